"""The documents do what they say: their commands are typed, in order, and must print what they show."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rig import transcript
from tests.rig.apart import apart
from tests.rig.host import Host
from tests.rig.lanchat import Tree
from tests.rig.needs import COMPONENTS, needs

TOP = Path(__file__).parents[2]
EXAMPLES = TOP / "examples"
EXAMPLE = EXAMPLES / "quickstart"
DOCUMENTS = {
    str(path.relative_to(TOP)): transcript.read(path)
    for path in sorted([TOP / "README.md", *(TOP / "docs").rglob("*.md"), *EXAMPLES.glob("*/**/*.md")])
}
CLUSTER, LIVE = "cluster", "live-host"
ON_A_HOST = {"systemd-host": "bookworm", "compose-host": "bookworm-docker"}
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def command(directory: Path, name: str, package: str) -> None:
    """Lays down a program that runs a command from the source tree."""
    program = directory / name
    call = f"import sys; from {package}.cli.main import main; sys.exit(main())"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{call}" "$@"\n')
    program.chmod(0o755)


def shell(room: Path, environment: dict[str, str], script: str) -> None:
    subprocess.run(["bash", "-euc", script], cwd=room, env=environment, check=True, capture_output=True)


def tools(room: Path, _environment: dict[str, str]) -> None:
    """The installer; `bundle` is on the PATH anyway."""
    command(room, "install", "installer")


def quickstart(room: Path, environment: dict[str, str]) -> None:
    """Three releases of lan-chat, as the demo prepares them, and the installer."""
    needs("nats")
    for version in ("1.4.0", "1.5.0", "1.6.0"):
        shell(room, environment, f"{EXAMPLE}/prepare.sh {version} lan-chat-{version}")
    tools(room, environment)


def signed(room: Path, environment: dict[str, str]) -> None:
    """The first release made and signed."""
    quickstart(room, environment)
    script = """
        bundle keygen release
        bundle create v1.4.0 -C lan-chat-1.4.0 -o lan-chat-1.4.0.tar --key release.key
    """
    shell(room, environment, script)


def trusted(room: Path, environment: dict[str, str]) -> None:
    """A host's directory that trusts the release key."""
    script = """
        bundle trust init root.json --release-key release.pub; mkdir host
        ./install trust init root.json --root host --fingerprint "$(bundle trust show root.json --json |
            python3 -c 'import json, sys; print(json.load(sys.stdin)["trust"]["fingerprint"])')"
    """
    shell(room, environment, script)


def gnupg(room: Path, environment: dict[str, str]) -> None:
    """An empty GNUPGHOME; the rest is in the document."""
    (room / ".gnupg").mkdir(mode=0o700)
    environment["GNUPGHOME"] = str(room / ".gnupg")


def ansible(room: Path, environment: dict[str, str]) -> None:
    """Ansible on the PATH, with a home of its own."""
    environment["PATH"] = os.pathsep.join([str(Path(needs("ansible")).parent), environment["PATH"]])
    environment["ANSIBLE_HOME"] = str(room.parent / "ansible")


def lan_chat(room: Path, environment: dict[str, str]) -> None:
    """The tree of the example that is built from source."""
    Tree.lay_out(room / "lan-chat")
    environment["ETCD"] = needs("etcd")


def buildbot(_room: Path, environment: dict[str, str]) -> None:
    """Master and worker on the PATH, after everything else: their directory has a Python of its own."""
    environment["PATH"] += os.pathsep + str(Path(needs("buildbot")).parent)


def salt(_room: Path, environment: dict[str, str]) -> None:
    """Salt on the PATH, after everything else: its directory has a Python of its own."""
    environment["PATH"] += os.pathsep + str(Path(needs("salt")).parent)


SETUPS: dict[str, Callable[[Path, dict[str, str]], None]] = {
    "tools": tools,
    "quickstart": quickstart,
    "signed": signed,
    "trusted": trusted,
    "gnupg": gnupg,
    "ansible": ansible,
    "lan-chat": lan_chat,
    "buildbot": buildbot,
    "salt": salt,
}


def stop(pid: int, place: str) -> None:
    """Stops a server that a document started, if it still is that one: its words or its directory say so."""
    process = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        where = [(process / "cmdline").read_bytes(), bytes((process / "cwd").readlink())]
        if any(place.encode() in each for each in where):
            os.kill(pid, signal.SIGTERM)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """The directory that a reader works in; servers that were started there are stopped."""
    place = tmp_path / "w"
    place.mkdir()
    yield place
    for pid_file in place.rglob("*.pid"):
        stop(int(pid_file.read_text()), str(place))
    if (place / ".gnupg").is_dir():
        subprocess.run(["gpgconf", "--homedir", str(place / ".gnupg"), "--kill", "all"], check=False)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a reader's shell knows: `bundle` on the PATH and a password; nothing of ours besides."""
    programs = tmp_path / "bin"
    programs.mkdir()
    command(programs, "bundle", "bundler")
    scripts = sysconfig.get_path("scripts")
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("WAYBILL_", "DOCKER_", "GNUPG"))
    }
    return {
        **kept,
        "PATH": os.pathsep.join([str(programs), scripts, os.environ["PATH"]]),
        "PYTHONPATH": str(TOP),
        "COSIGN_PASSWORD": "documents",
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }


def lonely(words: list[str]) -> list[str]:
    """Puts a command into a network of its own where that can be had: no internet, and every port is free."""
    alone = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    can = os.geteuid() == 0 and shutil.which("ip") and shutil.which("unshare")
    works = can and subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
    return [*alone, *words] if works else words


RUN = {name: document for name, document in DOCUMENTS.items() if document.steps}


@pytest.mark.parametrize("name", [name for name in RUN if not RUN[name].setups & {*ON_A_HOST, CLUSTER, LIVE}])
def test_commands_do_what_the_document_shows(name: str, room: Path, environment: dict[str, str]) -> None:
    document = RUN[name]
    for tool in document.needs:
        needs(tool)
    for name_of_setup, prepare in SETUPS.items():
        if name_of_setup in document.setups:
            prepare(room, environment)
    transcript.run(document, room, environment, lonely)


@pytest.mark.parametrize("name", [name for name in RUN if RUN[name].setups & ON_A_HOST.keys()])
def test_commands_on_a_host_do_what_the_document_shows(
    name: str, room: Path, environment: dict[str, str], boot: Callable[[str], Host]
) -> None:
    """The stick is made here; the rest happens on a host without network and Python."""
    installer = needs("installer")
    signed(room, environment)
    host = boot(ON_A_HOST[min(RUN[name].setups)])
    shell(room, environment, "bundle trust init root.json --release-key release.pub")
    for thing in (installer, room / "lan-chat-1.4.0.tar", room / "root.json"):
        shutil.copy2(thing, host.media)
    said = subprocess.run(
        ["bundle", "trust", "show", "root.json", "--json"],
        cwd=room,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
    )
    known = [f"FINGERPRINT={json.loads(said.stdout)['trust']['fingerprint']}", "NO_COLOR=1"]
    outer = {**environment, **host.engine.env}
    transcript.run(RUN[name], room, outer, lambda words: host.command(["env", "-C", "/root", *known, *words]))


@pytest.mark.needs("mount")
@pytest.mark.parametrize("name", [name for name in RUN if CLUSTER in RUN[name].setups])
def test_commands_with_a_cluster_do_what_the_document_shows(
    name: str, room: Path, environment: dict[str, str], request: pytest.FixtureRequest
) -> None:
    """The host is this machine, whose directories are changed in a room only."""
    for tool in RUN[name].needs:
        needs(tool)
    cluster = request.getfixturevalue("api_cluster")
    tools(room, environment)
    shutil.copyfile(cluster.kubeconfig, room / "kubeconfig")
    programs = [str(Path(needs(tool)).parent) for tool in ("helm3", "kubectl132")]
    environment["PATH"] = os.pathsep.join([*programs, environment["PATH"]])
    transcript.run(RUN[name], room, environment, apart(room.parent))


@pytest.mark.needs("mount")
@pytest.mark.parametrize("name", [name for name in RUN if LIVE in RUN[name].setups])
def test_commands_on_this_machine_do_what_the_document_shows(
    name: str, room: Path, environment: dict[str, str]
) -> None:
    """The host is this machine, whose directories are changed in a room only."""
    programs = [str(Path(needs(tool)).parent) for tool in RUN[name].needs]
    environment["PATH"] = os.pathsep.join([environment["PATH"], *programs])
    tools(room, environment)
    transcript.run(RUN[name], room, environment, apart(room.parent))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    page = TOP / name
    missing = [
        link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()
    ]
    assert not missing


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_asks_for_is_known(name: str) -> None:
    document = DOCUMENTS[name]
    assert document.setups <= {*SETUPS, *ON_A_HOST, CLUSTER, LIVE}
    assert set(document.needs) <= set(COMPONENTS)
    assert all(len(reason) > 20 for reason in document.left_out)
