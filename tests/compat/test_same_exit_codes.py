"""The baseline's executables and the current ones end with the same exit code, each row for another one."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rig.compatrelease import FIRST, SECOND, bundle, lay_out
from tests.rig.desk import Desk
from tests.rig.executables import Executables
from tests.rig.hang import ends
from tests.rig.hostdir import HostDir

METHODS = ("--yes", "--only", "files,script")


@dataclass(frozen=True)
class Scene:
    """What a row has to work with: the desk, and a host with the first release, driven by one executable."""

    desk: Desk
    host: HostDir

    def apply(self, path: Path, *options: str) -> int:
        return self.host.run(path, *(options or METHODS)).rc

    def release(self, version: str = SECOND, step: str = "undo") -> Path:
        return bundle(self.desk, version, step)


def usage(scene: Scene) -> int:
    return scene.host.run("status", "--no-such-option").rc


def no_such_bundle(scene: Scene) -> int:
    return scene.apply(scene.host.root / "nothing.tar")


def untrusted(scene: Scene) -> int:
    desk, path = scene.desk, scene.desk.home / "untrusted.tar"
    if not path.exists():
        desk.bundle("keygen", "stranger")
        directory = lay_out(desk.home / "untrusted", SECOND)
        desk.bundle("create", SECOND, "-C", directory, "-o", path, "--key", "stranger.key")
    return scene.apply(path, "--yes")


def no_trust(scene: Scene) -> int:
    shutil.rmtree(scene.host.root / "etc/waybill/trust")
    return scene.apply(scene.release())


def tampered(scene: Scene) -> int:
    path = scene.host.root / "tampered.tar"
    data = bytearray(scene.release().read_bytes())
    data[data.index(b"\x7fELF new") + 5] ^= 1
    path.write_bytes(data)
    return scene.apply(path)


def cut_short(scene: Scene) -> int:
    path = scene.host.root / "cut.tar"
    path.write_bytes(scene.release().read_bytes()[:-5000])
    return scene.apply(path)


def revoked(scene: Scene) -> int:
    desk, root = scene.desk, scene.host.root / "revoking.json"
    shutil.copy2(desk.root, root)
    desk.bundle("trust", "revoke", root, "--bundle", scene.release())
    shutil.rmtree(scene.host.root / "etc/waybill/trust")
    shown = desk.document("trust", "show", root)
    fingerprint = shown.get("trust", shown)["fingerprint"]
    scene.host.check("trust", "init", root, "--fingerprint", fingerprint)
    return scene.apply(scene.release())


def downgrade(scene: Scene) -> int:
    scene.host.check(scene.release(), *METHODS)
    return scene.apply(scene.release(FIRST))


def not_approved(scene: Scene) -> int:
    (scene.host.root / "etc/waybill/environment").write_text("production\n")
    return scene.apply(scene.release())


def not_ready(scene: Scene) -> int:
    (scene.host.root / "etc/lan-chat/chatd.conf").write_text("edited\n")
    return scene.apply(scene.release())


def busy(scene: Scene) -> int:
    """The baseline's `install` holds the lock, whichever executable comes second."""
    root, first = scene.host.root, scene.desk.programs.install
    (root / "srv/wait-in-undo").touch()
    holder = subprocess.Popen(
        [first, "remove", "lan-chat", "--yes", "--root", root],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with ends():
            while not (root / "srv/waiting").exists():
                assert holder.poll() is None
                time.sleep(0.02)
        return scene.apply(scene.release())
    finally:
        (root / "srv/wait-in-undo").unlink()
        assert holder.wait(60) == 0


def declined(scene: Scene) -> int:
    """A terminal asks, and the answer is no."""
    command = [scene.host.install, "remove", "lan-chat", "--root", scene.host.root]
    terminal, inner = pty.openpty()
    try:
        running = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, start_new_session=True)
        os.close(inner)
        shown = b""
        with ends():
            while running.poll() is None:
                shown += read(terminal)
                # What is typed before the question does not answer it.
                if b"[y/N]" in shown:
                    os.write(terminal, b"n\n")
                    shown = b""
        return running.returncode
    finally:
        os.close(terminal)


def read(terminal: int) -> bytes:
    """Return what a terminal shows, so that its program can go on writing; empty at its end."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        time.sleep(0.02)
        return b""


def media(scene: Scene) -> int:
    """Standard input cannot be read: nothing is mapped at the beginning of a process's memory."""
    command = [scene.host.install, "-", "--yes", "--root", scene.host.root]
    with Path("/proc/self/mem").open("rb") as unreadable:
        return subprocess.run(command, stdin=unreadable, capture_output=True, check=False).returncode


def rolled_back(scene: Scene) -> int:
    (scene.host.root / "srv/fail-migrate").touch()
    return scene.apply(scene.release(SECOND, "restore"))


def incomplete(scene: Scene) -> int:
    (scene.host.root / "srv/fail-migrate").touch()
    return scene.apply(scene.release(SECOND, "forward"))


def unfit(scene: Scene) -> int:
    programs = Executables(scene.host.install, scene.host.install.with_name("bundle"))
    directory = lay_out(scene.host.root / "srv/unfit", SECOND)
    (directory / "CHANGELOG.md").unlink()
    return Desk(scene.desk.home, programs).run("create", SECOND, "-C", directory).rc


def done(scene: Scene) -> int:
    return scene.apply(scene.release())


ROWS: list[tuple[Callable[[Scene], int], int]] = [
    (done, 0),
    (usage, 2),
    (no_such_bundle, 2),
    (untrusted, 10),
    (no_trust, 10),
    (tampered, 11),
    (cut_short, 11),
    (revoked, 12),
    (downgrade, 13),
    (not_approved, 14),
    (not_ready, 15),
    (busy, 16),
    (declined, 17),
    (media, 18),
    (rolled_back, 20),
    (incomplete, 21),
    (unfit, 30),
]


@pytest.fixture(scope="module")
def running(approving: Desk, fast: Path, old: Executables) -> HostDir:
    """A host that trusts this desk and runs the first release, by the baseline."""
    host = HostDir(fast / "running", old.install)
    for folder in ("etc/waybill", "srv"):
        (host.root / folder).mkdir(parents=True)
    (host.root / "etc/waybill/environment").write_text("test\n")
    (host.root / "etc/data").write_text("data of nobody\n")
    host.check("trust", "init", approving.root, "--fingerprint", approving.fingerprint)
    host.check(bundle(approving, FIRST, "undo"), *METHODS)
    return host


@pytest.mark.parametrize(("row", "exit_code"), ROWS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_the_exit_code_is_the_same(
    row: Callable[[Scene], int],
    exit_code: int,
    approving: Desk,
    running: HostDir,
    old: Executables,
    new: Executables,
    hosts: Path,
) -> None:
    codes = {}
    for generation, programs in (("old", old), ("new", new)):
        codes[generation] = row(Scene(approving, running.copy(hosts / generation, programs.install)))
    assert codes == {"old": exit_code, "new": exit_code}
