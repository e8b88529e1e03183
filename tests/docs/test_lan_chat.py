"""lan-chat, the example that is built from source: its Makefile does what its README says."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from installer.host.system import System
from installer.planning.cluster.mdns import Announcement, browse
from tests.rig.engine import Engine
from tests.rig.lanchat import EXAMPLE, FIRST, SECOND, Tree
from tests.rig.mdns import link
from tests.rig.needs import needs
from tests.rig.process import Daemon

pytestmark = pytest.mark.needs("etcd")
ARTIFACT = "build/artifact/lan-chat-1.1.0-linux-amd64.tar.gz"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The tree with everything that `make artifact` makes, by the Go on the PATH."""
    needs("go")
    tree = Tree.lay_out(tmp_path_factory.mktemp("first") / "lan-chat")
    tree.make("artifact")
    return tree


def members(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_another_directory_gives_the_same_bytes(built: Tree, tmp_path: Path) -> None:
    again = Tree.lay_out(tmp_path / "elsewhere" / "chat")
    again.make("artifact")
    assert (built.directory / ARTIFACT).read_bytes() == (again.directory / ARTIFACT).read_bytes()


def test_the_artifact_has_all_that_a_bundle_is_made_of(built: Tree) -> None:
    names = members(built.directory / ARTIFACT)
    wanted = [
        "bundle.yaml",
        "CHANGELOG.md",
        "config/values.yaml",
        "deploy/compose.yaml",
        "build/web/index.html",
    ]
    wanted += [f"build/linux-amd64/{each}" for each in ("gateway", "store", "etcd")]
    wanted += [f"build/image/{each}/index.json" for each in ("gateway", "store", "etcd")]
    assert set(wanted) <= set(names)
    checked = subprocess.run(
        ["sha256sum", "--check", f"{Path(ARTIFACT).name}.sha256"],
        cwd=(built.directory / ARTIFACT).parent,
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0


def test_the_programs_are_static_and_say_their_version(built: Tree) -> None:
    for name in ("gateway", "store"):
        program = built.directory / "build/linux-amd64" / name
        assert b"ld-linux" not in program.read_bytes()
        said = subprocess.run([program, "version"], capture_output=True, text=True, check=True)
        assert said.stdout == f"{SECOND}\n"


@pytest.mark.needs("go-wheel")
def test_the_go_of_pypi_builds_it_too(tmp_path: Path) -> None:
    tree = Tree.lay_out(tmp_path / "lan-chat")
    said = tree.make("build", GO=needs("go-wheel"), VERSION=FIRST)
    assert f"lan-chat {FIRST} for linux/amd64 by go1.27" in said
    assert (tree.directory / "build/licences/go/LICENSE").is_file()


@pytest.mark.needs("go")
@pytest.mark.parametrize(
    ("variable", "remedy"), [("ETCD", "apt-get install etcd-server"), ("GO", "apt-get install golang-go")]
)
def test_a_build_without_its_tools_says_what_to_install(tmp_path: Path, variable: str, remedy: str) -> None:
    tree = Tree.lay_out(tmp_path / "lan-chat")
    code, _, err = tree.run("build", **{variable: "/nowhere"})
    assert code != 0
    assert remedy in err
    assert not (tree.directory / "build").exists()


@pytest.mark.needs("go")
def test_code_that_is_not_formatted_fails_lint(tmp_path: Path) -> None:
    tree = Tree.lay_out(tmp_path / "lan-chat")
    (tree.directory / "internal/chat/untidy.go").write_text("package chat\nvar  x = 1\n")
    code, _, err = tree.run("lint")
    assert code != 0
    assert "run gofmt -w on: internal/chat/untidy.go" in err


class TestFlutterSlot:
    """A client that was built elsewhere; here a file that stands for it."""

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Tree:
        needs("go")
        tree = Tree.lay_out(tmp_path / "lan-chat")
        slot = tree.directory / "artifacts" / "flutter"
        slot.mkdir(parents=True)
        (slot / "index.html").write_text("made by Flutter\n")
        return tree

    def pin(self, tree: Tree) -> None:
        subprocess.run(
            [
                "bash",
                "-c",
                "find . -type f | sort | xargs -d '\\n' sha256sum > ../flutter.sha256",
            ],
            cwd=tree.directory / "artifacts/flutter",
            check=True,
        )

    def test_a_pinned_client_becomes_a_part_of_the_web_client_and_of_the_image(self, tree: Tree) -> None:
        self.pin(tree)
        tree.make("image")
        assert (tree.directory / "build/web/app/index.html").read_text() == "made by Flutter\n"
        assert "web/app/index.html" in layer_of(tree.directory / "build/image/gateway")

    @pytest.mark.parametrize("fault", ["no checksums", "changed", "another file"])
    def test_a_client_is_refused_unless_every_file_is_pinned(self, tree: Tree, fault: str) -> None:
        slot = tree.directory / "artifacts" / "flutter"
        if fault != "no checksums":
            self.pin(tree)
        (slot / ("index.html" if fault == "changed" else "extra.js")).write_text("somebody else's\n")
        code, _, err = tree.run("build")
        assert code != 0
        assert "artifacts/flutter" in err
        assert not (tree.directory / "build/web").exists()


def layer_of(layout: Path) -> list[str]:
    """Return the names in the one layer of an OCI layout."""

    def blob(digest: str) -> Path:
        return layout / "blobs/sha256" / digest.removeprefix("sha256:")

    (image,) = json.loads((layout / "index.json").read_text())["manifests"]
    (layer,) = json.loads(blob(image["digest"]).read_text())["layers"]
    return members(blob(layer["digest"]))


@pytest.mark.needs("docker")
def test_the_dockerfile_makes_what_make_image_makes(
    built: Tree, docker_engine: Engine, tmp_path: Path
) -> None:
    for name in ("store", "gateway", "etcd"):
        tag = f"lan-chat-by-docker/{name}:1"
        subprocess.run(
            ["docker", "build", "-q", "-f", "deploy/Dockerfile", "--target", name, "-t", tag, "."],
            cwd=built.directory,
            env={**docker_engine.env, "DOCKER_BUILDKIT": "0"},
            check=True,
            capture_output=True,
        )
        config = json.loads(docker_engine.text("image", "inspect", tag))[0]["Config"]
        assert (config["User"], config["Entrypoint"]) == ("65532:65532", [f"/{name}"])
        container = docker_engine.text("create", tag).strip()
        docker_engine.docker("export", "-o", str(tmp_path / f"{name}.tar"), container)
        docker_engine.docker("rm", container)
        docker_engine.docker("rmi", tag)
        found = {each.rstrip("/") for each in members(tmp_path / f"{name}.tar")}
        assert {each.rstrip("/") for each in layer_of(built.directory / f"build/image/{name}")} <= found


def test_every_file_of_the_product_is_named_in_its_readme() -> None:
    readme = (EXAMPLE / "README.md").read_text()
    top = {path.name for path in EXAMPLE.iterdir()} - {"README.md", ".gitignore", "build", "artifacts"}
    assert {name for name in top if f"`{name}" not in readme} == set()
    assert len(top) > 8


class TestChart:
    """The Helm chart, by both versions of Helm."""

    CHART = EXAMPLE / "deploy/helm/lan-chat"

    def helm(self, program: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [needs(program), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    @pytest.mark.parametrize("program", ["helm3", "helm4"])
    def test_the_chart_is_valid_and_uses_the_images_of_the_bundle_in_every_environment(
        self, program: str
    ) -> None:
        linted = self.helm(program, "lint", "--strict", self.CHART)
        assert linted.returncode == 0, linted.stdout
        overrides = sorted((EXAMPLE / "deploy/helm/environments").glob("*/overrides.yaml"))
        assert len(overrides) == 2
        for each in overrides:
            rendered = self.helm(program, "template", "lan-chat", self.CHART, "-f", each)
            assert rendered.returncode == 0, rendered.stderr
            kinds = [document["kind"] for document in yaml.safe_load_all(rendered.stdout) if document]
            assert kinds == ["Service", "Service", "StatefulSet"]
            found = set(re.findall(r"image: (\S+)", rendered.stdout))
            assert found == {
                f"registry.lan:5000/lan-chat/{name}:{SECOND}" for name in ("etcd", "store", "gateway")
            }

    def test_the_version_of_the_chart_is_the_newest_of_the_changelog(self) -> None:
        chart = yaml.safe_load((self.CHART / "Chart.yaml").read_text())
        newest = re.search(r"^## (\S+)", (EXAMPLE / "CHANGELOG.md").read_text(), re.MULTILINE)
        assert newest
        assert (chart["version"], chart["appVersion"]) == (newest[1], newest[1])

    @pytest.mark.parametrize("value", ["replicas=2", "leaseSeconds=1", "service.port=0", "image.tga=1"])
    def test_values_that_cannot_be_are_refused(self, value: str) -> None:
        said = self.helm("helm4", "template", "lan-chat", self.CHART, "--set", value)
        assert said.returncode != 0
        assert value.partition("=")[0].rpartition(".")[2] in said.stderr


@pytest.mark.needs("netns", "go")
def test_install_sees_a_member_that_announces_itself(built: Tree, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    variables = {
        "LAN_CHAT_CLUSTER": "plant-3",
        "LAN_CHAT_NODE": "chat-1",
        "LAN_CHAT_LISTEN": "127.0.0.1:8080",
        "LAN_CHAT_ADMIN_LISTEN": "127.0.0.1:8081",
        "LAN_CHAT_STORES": "http://127.0.0.1:7071",
        "LAN_CHAT_TOKEN_FILE": str(token),
        "LAN_CHAT_WEB": str(built.directory / "build/web"),
        "LAN_CHAT_MDNS_INTERFACE": "eth0",
        "LAN_CHAT_PEER_PORT": "2390",
    }
    with link() as found:
        program = str(built.directory / "build/linux-amd64/gateway")
        running = Daemon(["ip", "netns", "exec", found.server, program], tmp_path / "log", variables)
        try:
            with found.entered():
                seen = browse(System(""), "eth0", "_lan-chat._tcp", 30, lambda there: len(there) == 1)
        finally:
            running.stop()
    assert seen == [
        Announcement("chat-1", ("198.19.77.1",), 2390, (("cluster", "plant-3"), ("node", "chat-1")))
    ]
