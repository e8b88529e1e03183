"""templates/ci/script/release.sh: stages in order, a release complete or not there, nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rig.bundleprogram import put_bundle
from tests.rig.engine import wait_for
from tests.rig.executables import TOP
from tests.rig.gitcheckout import commit_all, git
from tests.rig.host import Result
from tests.rig.lanchat import SECOND, Tree
from tests.rig.needs import needs

SCRIPT = TOP / "templates/ci/script/release.sh"
STAGES = ("lint", "test", "build", "image", "artifact")
MAKEFILE = """\
lint test build image:
\t@echo ran $@
\t@[ "$@" != "$(FAIL)" ]
artifact:
\t@mkdir -p build/artifact && echo $(VERSION) > build/artifact/tool && echo ran $@
\t@[ "$@" != "$(FAIL)" ]
"""
BUNDLE = """\
schema: waybill/v1
product: tool
platforms: [linux/amd64]
expires: 36500d
binaries: [{path: build/artifact/tool}]
"""

pytestmark = pytest.mark.needs("git")


class Product:
    """A product in a checkout, and the script that releases it."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory, self.programs = directory, programs

    def environment(self, **variables: str) -> dict[str, str]:
        path = f"{self.programs}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "RUNNER_KEY": "none", "CI": "true", **variables}

    def release(self, *words: str, **variables: str) -> Result:
        done = subprocess.run(
            [SCRIPT, *words],
            cwd=self.directory,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def released(self) -> list[str]:
        """Name what is in the directory of releases, but for its lock."""
        place = self.directory / "releases"
        return sorted(each.name for each in place.iterdir() if each.name != ".lock") if place.is_dir() else []


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    directory = tmp_path / "bin"
    put_bundle(directory)
    return directory


@pytest.fixture
def make_product(tmp_path: Path, programs: Path) -> Callable[..., Product]:
    def make(makefile: str = MAKEFILE) -> Product:
        directory = tmp_path / "product"
        (directory / "docs").mkdir(parents=True)
        for name, text in {
            "Makefile": makefile,
            "bundle.yaml": BUNDLE,
            "CHANGELOG.md": "# Changelog\n\n## 1.4.0\n\nFirst.\n",
            "docs/UPGRADE.md": "Nothing to do.\n",
            ".gitignore": "build/\nreleases/\n",
        }.items():
            (directory / name).write_text(text)
        commit_all(directory, "v1.4.0", "https://git.example/tool.git")
        return Product(directory, programs)

    return make


def ran(said: Result) -> list[str]:
    return [line.removeprefix("ran ") for line in said.out.splitlines() if line.startswith("ran ")]


def test_all_stages_run_in_order_and_the_release_is_complete(make_product: Callable[..., Product]) -> None:
    product = make_product()
    said = product.release("v1.4.0")
    assert said.rc == 0, said.out + said.err
    assert ran(said) == list(STAGES)
    assert product.released() == ["1.4.0"]
    place = product.directory / "releases/1.4.0"
    names = {"SHA256SUMS", "tool", "tool-1.4.0.tar", "tool-1.4.0.tar.provenance.json"}
    assert {each.name for each in place.iterdir()} == names
    checked = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=place, capture_output=True, check=True
    )
    assert len(checked.stdout.splitlines()) == len(names) - 1


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_fails_stops_what_follows_and_leaves_no_release(
    make_product: Callable[..., Product], stage: str
) -> None:
    product = make_product()
    said = product.release("1.4.0", MAKEFLAGS=f"FAIL={stage}")
    assert said.rc == 2
    assert ran(said) == list(STAGES[: STAGES.index(stage) + 1])
    assert f"the stage {stage} failed (exit code 2); nothing is in releases/1.4.0" in said.err
    assert product.released() == []


def test_a_bundle_that_cannot_be_made_leaves_no_release(make_product: Callable[..., Product]) -> None:
    product = make_product()
    (product.directory / "docs/UPGRADE.md").write_text("changed\n")
    said = product.release("1.4.0")
    assert said.rc == 30
    assert "the stage bundle failed (exit code 30)" in said.err
    assert product.released() == []


def test_what_a_stage_started_is_ended_whether_it_passes_or_fails(
    make_product: Callable[..., Product],
) -> None:
    started = "\t@sleep 1000 & echo $$! >> pids\n"
    product = make_product(MAKEFILE.replace("\t@echo ran $@\n", f"{started}\t@echo ran $@\n"))
    assert product.release("1.4.0", MAKEFLAGS="FAIL=test").rc == 2
    pids = (product.directory / "pids").read_text().split()
    assert len(pids) == 2
    wait_for("their end", lambda: not any(alive(int(pid)) for pid in pids), 30)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_leaves_nothing(make_product: Callable[..., Product], number: int) -> None:
    product = make_product(MAKEFILE.replace("\t@echo ran $@\n", "\t@echo $$$$ > pid; exec sleep 1000\n"))
    with subprocess.Popen(
        [SCRIPT, "1.4.0"],
        cwd=product.directory,
        env=product.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        pid = product.directory / "pid"
        wait_for("its first stage", lambda: pid.exists() and pid.read_text().endswith("\n"), 30)
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    wait_for("the end of the stage", lambda: not alive(int(pid.read_text())), 30)
    assert product.released() == []


def test_a_stage_that_hangs_is_ended_at_its_limit(make_product: Callable[..., Product]) -> None:
    product = make_product(MAKEFILE.replace("\t@echo ran $@\n", "\t@sleep 1000\n"))
    said = product.release("1.4.0", STAGE_LIMIT="0.5s")
    assert said.rc == 124
    assert "the stage lint failed" in said.err


def test_a_version_is_released_once(make_product: Callable[..., Product]) -> None:
    product = make_product()
    assert product.release("1.4.0").rc == 0
    said = product.release("1.4.0")
    assert (said.rc, ran(said)) == (1, [])
    assert "releases/1.4.0 is there already" in said.err
    assert product.released() == ["1.4.0"]


def test_a_runner_without_a_key_is_refused_before_the_first_stage(
    make_product: Callable[..., Product],
) -> None:
    said = make_product().release("1.4.0", RUNNER_KEY="")
    assert (said.rc, ran(said)) == (1, [])
    assert "set WAYBILL_PROVENANCE_KEY" in said.err


def test_a_shallow_clone_is_refused_before_the_first_stage(
    make_product: Callable[..., Product], tmp_path: Path, programs: Path
) -> None:
    origin = make_product()
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{origin.directory}", "shallow")
    said = Product(tmp_path / "shallow", programs).release("1.4.0")
    assert (said.rc, ran(said)) == (1, [])
    assert "git fetch --unshallow --tags" in said.err


@pytest.mark.parametrize("words", [(), ("next",), ("1.4.0", "more"), ("../1.4.0",)])
def test_what_is_no_version_is_refused(make_product: Callable[..., Product], words: tuple[str, ...]) -> None:
    said = make_product().release(*words)
    assert said.rc == 1
    assert "usage: release.sh VERSION" in said.err


@pytest.mark.needs("go", "etcd")
def test_lan_chat_is_linted_tested_built_and_bundled(tmp_path: Path, programs: Path) -> None:
    """The real product: its unit tests, and those against etcd servers, are stages of its release."""
    tree = Tree.lay_out(tmp_path / "lan-chat")
    (tree.directory / ".gitignore").write_text("build/\nreleases/\n")
    tree.rewrite("bundle.yaml", "expires: 180d", "expires: 36500d")  # commits of the rig are old
    commit_all(tree.directory, f"v{SECOND}", "https://git.example/lan-chat.git")
    said = Product(tree.directory, programs).release(SECOND, ETCD=needs("etcd"))
    assert said.rc == 0, said.out + said.err
    assert said.out.count("ok  \tlan-chat/") >= 8
    names = {each.name for each in (tree.directory / f"releases/{SECOND}").iterdir()}
    assert {f"lan-chat-{SECOND}.tar", f"lan-chat-{SECOND}-linux-amd64.tar.gz", "SHA256SUMS"} <= names
