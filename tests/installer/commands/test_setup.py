"""`install setup`: the executable on the host, its link, and which environment the host belongs to."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from installer import __version__
from installer.commands import setup as module
from installer.commands.setup import NAME, PLACE, UNIT, UNIT_TEXT, UNITS, setup
from installer.core.digest import sha256_hex
from installer.core.errors import HostNotReadyError, MediaError, RefusedError, UsageError
from installer.host.system import System
from installer.shared.child.process import Completed
from installer.state.host_identity import ENVIRONMENT_FILE, environment
from tests.rig.bench import Bench, release
from tests.rig.executables import pack
from tests.rig.faulty import FaultySystem, Killed, snapshot
from tests.rig.needs import needs

PROGRAM = f'#!/bin/sh\n[ ! -e "$0.harm" ] || . "$0.harm"\necho install {__version__}\n'


@pytest.fixture
def executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small executable on its media, packed and unpacked as the real one is; this process is it."""
    with tempfile.TemporaryDirectory(prefix="waybill-test-", dir=Path.home()) as cache:
        (tmp_path / "app").mkdir()
        (tmp_path / "app/install").write_text(PROGRAM)
        (tmp_path / "app/data").write_bytes(random.Random(1).randbytes(5000))
        made = tmp_path / "media/install"
        made.parent.mkdir()
        made.write_bytes(pack(tmp_path / "app", "install", __version__))
        made.chmod(0o755)
        monkeypatch.setenv("WAYBILL_CACHE", cache)
        subprocess.run([made, "--version"], capture_output=True, check=True)
        (home,) = Path(cache).glob("install-*")
        monkeypatch.setenv("WAYBILL_EXE", str(made))
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        monkeypatch.setattr(sys, "prefix", str(home))
        yield made


@pytest.fixture
def system(tmp_path: Path, executable: Path) -> System:
    """A host below a directory."""
    (tmp_path / "host").mkdir()
    return System(tmp_path / "host")


def test_a_second_setup_changes_nothing(system: System, executable: Path) -> None:
    assert setup(system) == setup(system)
    assert system.read(PLACE, 99999) == executable.read_bytes()
    assert system.observe(NAME).target == PLACE
    assert setup(system).sha256 == sha256_hex(executable.read_bytes())
    assert system.observe(ENVIRONMENT_FILE).kind == "absent"


def test_the_environment_is_written_once_and_never_changed(system: System) -> None:
    done = setup(system, "production")
    assert "/etc/waybill/environment is set to production" in done.text()
    assert environment(system, "") == "production"
    written = Path(system.root, ENVIRONMENT_FILE[1:]).stat().st_ino
    setup(system, "production")
    assert Path(system.root, ENVIRONMENT_FILE[1:]).stat().st_ino == written
    with pytest.raises(RefusedError, match="belongs to the environment production, not test"):
        setup(system, "test")
    setup(system)
    assert system.read(ENVIRONMENT_FILE, 99) == b"production\n"


@pytest.mark.parametrize("fault", ["kill before", "kill half", "kill after"])
def test_a_setup_that_is_killed_anywhere_is_done_again_and_no_partial_name_binds_the_host(
    system: System, tmp_path: Path, fault: str
) -> None:
    counting = FaultySystem(Path(system.root))
    done = setup(counting, "production", recover_at_boot=True)
    for at in range(1, len(counting.trace) + 1):
        root = tmp_path / f"{at}"
        root.mkdir()
        with suppress(Killed):
            setup(FaultySystem(root, at, fault), "production", recover_at_boot=True)
        assert setup(System(root), "production", recover_at_boot=True) == done, at
        assert snapshot(root) == snapshot(Path(system.root)), at


def flips(content: bytes) -> Iterator[bytes]:
    """Every kind of place in the file: each line of the head, the payload, its end, and the length."""
    head = content.index(b"\n}\n\x1f\x8b") + 3
    for at in (*range(0, head, 611), head - 2, head, head + 9, (head + len(content)) // 2, len(content) - 1):
        yield content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    yield from (content[:-1], content + b"\0", content[:head], b"", content[: head // 2])


def test_media_that_read_differently_the_second_time_leave_the_old_one(
    system: System, executable: Path
) -> None:
    good = executable.read_bytes()
    for old in (None, b"the old one"):
        if old:
            place = Path(system.root, PLACE[1:])
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(old)
        for content in flips(good):
            executable.write_bytes(content)
            with pytest.raises(MediaError, match="not the executable that runs") as caught:
                setup(system)
            assert caught.value.where == str(executable)
            here = Path(system.root, PLACE[1:]).parent
            left = {path.name: path.read_bytes() for path in here.iterdir()}
            assert left == ({"install": old} if old else {})
            assert system.names("/usr/local/bin") == []


def test_another_version_on_the_media_is_not_what_runs(
    system: System, executable: Path, tmp_path: Path
) -> None:
    (tmp_path / "app/data").write_bytes(b"of another version")
    executable.write_bytes(pack(tmp_path / "app", "install", __version__))
    with pytest.raises(MediaError, match="not the executable that runs") as caught:
        setup(system, "production")
    assert caught.value.exit_code == 18
    assert system.observe(ENVIRONMENT_FILE).kind == "absent"


def test_media_that_cannot_be_read_are_told(system: System, executable: Path) -> None:
    executable.unlink()
    executable.symlink_to("/proc/self/mem")
    with pytest.raises(MediaError, match="cannot be read") as caught:
        setup(system)
    assert caught.value.where == str(executable)
    assert system.names("/opt/waybill/bin") == []


@pytest.mark.parametrize(
    "harm",
    ["exit 3", f"echo install {__version__}; exit 3", "echo another; exit 0", "printf '\\377'; exit 0"],
)
def test_a_copy_that_does_not_start_leaves_the_old_one(system: System, executable: Path, harm: str) -> None:
    setup(system)
    old = Path(system.root, PLACE[1:])
    inode = old.stat().st_ino
    (Path(sys.prefix) / "install.harm").write_text(harm)
    with pytest.raises(HostNotReadyError, match="the copy does not start") as caught:
        setup(system, "production")
    assert (caught.value.where, caught.value.exit_code) == (PLACE, 15)
    assert old.stat().st_ino == inode
    assert system.names("/opt/waybill/bin") == ["install"]
    assert system.observe(ENVIRONMENT_FILE).kind == "absent"


def test_what_an_interrupted_run_left_is_no_obstacle(system: System, executable: Path) -> None:
    left = Path(system.root, f"{PLACE[1:]}.new")
    left.parent.mkdir(parents=True)
    left.write_text("half")
    setup(system)
    assert system.names("/opt/waybill/bin") == ["install"]


@pytest.mark.parametrize("removable", [True, False])
def test_a_copy_that_cannot_be_read_back_is_told_and_removed_where_it_can_be(
    system: System, executable: Path, monkeypatch: pytest.MonkeyPatch, *, removable: bool
) -> None:
    def stuck(*_given: object) -> None:
        raise OSError(30, "Read-only file system")

    def broken(*_given: object) -> bool:
        monkeypatch.setattr(module, "remove_partial", module.remove_partial if removable else stuck)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "is_same_program", broken)
    with pytest.raises(HostNotReadyError, match="Input/output error"):
        setup(system)
    assert system.names("/opt/waybill/bin") == ([] if removable else ["install.new"])


class Booted(System):
    """A host on which systemd runs, as far as setup can see."""

    status = 0

    def sync_dir(self, path: str) -> None:
        self.synced = [*getattr(self, "synced", []), (path, *self.names(path))]
        super().sync_dir(path)

    def run(self, argv: Sequence[str], **more: Any) -> Completed:
        if "systemctl" not in argv:
            return super().run(argv, **more)
        self.asked = [*getattr(self, "asked", []), *argv]
        return Completed(tuple(argv), self.status, b"", b"Access denied")


def test_systemd_reads_its_units_again_where_it_runs(system: System) -> None:
    booted = Booted(Path(system.root))
    booted.live = True
    setup(booted, recover_at_boot=True)
    assert not hasattr(booted, "asked")
    assert (f"{UNITS}/multi-user.target.wants", UNIT) in booted.synced
    Path(system.root, "run/systemd/system").mkdir(parents=True)
    setup(system, recover_at_boot=True)
    setup(booted, recover_at_boot=True)
    assert booted.asked == ["systemctl", "daemon-reload"]
    booted.status = 1
    with pytest.raises(HostNotReadyError, match=r"systemd refuses the unit: .*Access denied") as caught:
        setup(booted, recover_at_boot=True)
    assert (caught.value.where, caught.value.exit_code) == (f"{UNITS}/{UNIT}", 15)


@pytest.mark.parametrize("name", ["two words", "Production", "../x", "é", "a\n"])
def test_what_is_no_environment_is_refused_before_anything_is_written(system: System, name: str) -> None:
    with pytest.raises(UsageError):
        setup(system, name)
    assert system.names("/") == []


def test_a_run_from_source_has_nothing_to_copy(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYBILL_EXE")
    with pytest.raises(UsageError, match="needs the standalone executable"):
        setup(system, "production")
    assert system.names("/") == []


def test_the_real_executable_sets_up_a_real_directory(tmp_path: Path) -> None:
    program = needs("installer")
    words = [program, "setup", "--env", "production", "--root", str(tmp_path), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["environment"] == "production"
    assert (tmp_path / "etc/waybill/environment").read_text() == "production\n"
    assert (tmp_path / PLACE[1:]).read_bytes() == Path(program).read_bytes()


def test_the_unit_comes_only_on_request_and_twice_is_once(system: System) -> None:
    assert setup(system).unit == ""
    assert system.names("/etc") == []
    for _ in range(2):
        assert "at boot" in setup(system, recover_at_boot=True).text()
    unit = Path(system.root, UNITS[1:], UNIT)
    assert f"ExecStart={PLACE} recover" in unit.read_text()
    assert unit.stat().st_mode & 0o777 == 0o644
    assert (unit.parent / "multi-user.target.wants" / UNIT).resolve() == unit
    assert sorted(path.name for path in unit.parent.iterdir()) == ["multi-user.target.wants", UNIT]


def test_the_unit_waits_for_another_install_and_never_takes_busy_for_success() -> None:
    assert "SuccessExitStatus" not in UNIT_TEXT
    (command,) = [line.partition("=")[2] for line in UNIT_TEXT.splitlines() if line.startswith("ExecStart=")]
    assert command.split() == [PLACE, "recover", "--wait", "600"]


def test_recover_takes_the_words_of_the_unit_and_ends_with_16_if_it_waited_in_vain(bench: Bench) -> None:
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    assert bench.run("recover", "--wait", "600")[0] == 0
    lock = System(bench.host).lock("/var/lib/waybill/lan-chat/lock")
    with lock:
        code, document, _ = bench.run("recover", "--wait", "1")
    assert (code, document["code"]) == (16, "busy")
