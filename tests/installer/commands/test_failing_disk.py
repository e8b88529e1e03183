"""A disk that fails at any call: exit code, place and reason, never a traceback, and no mixed host."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from installer.host.system import System
from installer.state.trust_store import ROOT_FILE
from tests.rig.bench import Bench, newer, release
from tests.rig.faulty import snapshot
from tests.rig.share import share

CALLS = (
    "open", "read", "pread", "preadv", "write", "stat", "fstat", "readlink", "listdir", "mkdir", "fsync",
    "fchmod", "rename", "link", "unlink", "rmdir", "symlink", "fstatvfs", "lseek", "ftruncate", "access",
)  # fmt: skip
"""The functions of `os` by which `install` reaches a disk."""
TOLD = (10, 11, 15, 18, 20, 21)
"""Exit codes with which a command may end: of the host, the media, or what the disk no longer has."""


class FailingDisk:
    """Lets one call of the installer fail; a context manager.

    Attributes:
        at: Which one, counted from 1; 0 for none.
        calls: How many there were.
        hit: The one that failed, for people.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.at, self.calls, self.hit = 0, 0, ""
        self._on, self._number = False, number
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            frame = sys._getframe(1)
            if self._on and "/installer/" in frame.f_code.co_filename:
                self.calls += 1
                if self.calls == self.at:
                    self.hit = f"{name} at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                    named = words[0] if words and isinstance(words[0], str) else None
                    raise OSError(self._number, os.strerror(self._number), named)
            return real(*words, **more)

        return call

    def failing(self, at: int) -> FailingDisk:
        """Let the call number `at` fail from here on."""
        self.at, self.calls, self.hit = at, 0, ""
        return self

    def __enter__(self) -> FailingDisk:
        self._on = True
        return self

    def __exit__(self, *_: object) -> None:
        self._on = False


COMMANDS: list[tuple[str, ...]] = [
    ("verify", "NEWER"), ("plan", "NEWER"), ("apply", "NEWER", "--yes"), ("rollback", "--yes"),
    ("remove", "lan-chat", "--yes"), ("recover",), ("status",), ("history",), ("audit",), ("metrics",),
]  # fmt: skip
READS_ONLY = ("verify", "plan", "status", "history", "audit")


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE], ids=errno.errorcode.get)
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_call_that_fails_ends_in_words_and_never_in_a_traceback(
    bench: Bench, words: tuple[str, ...], number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.host / "prom").mkdir()
    (bench.host / "etc/waybill/metrics-directory").write_text("/prom\n")
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    if words[0] == "rollback":
        assert bench.run(newer(bench), "--yes")[0] == 0
    shutil.copytree(bench.host, tmp_path / "saved", symlinks=True)
    typed = [newer(bench) if word == "NEWER" else word for word in words]
    before = outside(bench.host)
    disk = FailingDisk(monkeypatch, number)
    with disk.failing(0):
        assert bench.text(*typed)[0] == 0
    after, total = outside(bench.host), disk.calls
    assert total > 50
    broken, runs = [], 0
    for at in share(range(1, total + 1), 60):
        shutil.rmtree(bench.host)
        shutil.copytree(tmp_path / "saved", bench.host, symlinks=True)
        with disk.failing(at):
            code, said = bench.text(*typed)
        runs += bool(disk.hit)
        where = f"{errno.errorcode[number]} at {at}, {disk.hit}: exit {code}"
        if code not in (0, *TOLD) or "Traceback" in said or "internal error" in said:
            broken.append(f"{where}: {said[-300:]}")
        if code == 15 and os.strerror(number) not in said and "audit" not in said:
            broken.append(f"{where}: without the reason: {said}")
        now = outside(bench.host)
        # A removal that is committed lists what remains; the same command finishes it.
        if words[0] == "remove" and code == 21 and now not in (before, after):
            bench.text(*typed)
            if outside(bench.host) != after:
                broken.append(f"{where}: the same command does not finish the removal")
        elif now not in allowed(words[0], code, before, after):
            broken.append(f"{where}: the host is neither as before nor as after")
    assert runs > 20
    assert broken == []


def test_a_root_that_fails_to_be_read_once_is_not_taken_for_a_changed_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real, failed = str(bench.bundle(release())), System.read, []

    def read(self: System, name: str, *words: Any, **more: Any) -> bytes:
        if name == ROOT_FILE and not failed:
            failed.append(name)
            raise OSError(errno.EIO, os.strerror(errno.EIO), name)
        return real(self, name, *words, **more)

    monkeypatch.setattr(System, "read", read)
    code, said = bench.text("apply", path, "--yes")
    assert (code, failed) == (0, [ROOT_FILE]), said


def allowed(command: str, code: int, before: object, after: object) -> tuple[object, ...]:
    """Return in which states a command may leave the host."""
    if command in READS_ONLY or code in (15, 18, 20):
        return (before,)
    return (after,) if code == 0 else (before, after)


def outside(host: Path) -> object:
    """Return what is outside of Waybill's own directories."""
    return {
        path: what
        for path, what in snapshot(host).items()
        if not path.startswith(("var", "prom", "etc/waybill"))
    }


@pytest.mark.parametrize(
    ("name", "code", "what"),
    [
        (".", 2, "is a directory"),
        ("/", 2, "is a directory"),
        ("..", 2, "is a directory"),
        ("ROOT", 2, "is a directory"),
        ("/dev/null", 2, "is not a regular file"),
        ("/proc/self/mem", 18, "cannot be read"),
        ("/proc/self/environ", 11, ""),
    ],
)
@pytest.mark.parametrize("verb", ["apply", "plan", "verify"])
def test_what_is_no_bundle_is_refused_in_words(
    bench: Bench, verb: str, name: str, code: int, what: str
) -> None:
    if name == "ROOT":  # a link to a directory without a name
        (bench.stick / name).symlink_to("/")
        name = str(bench.stick / name)
    found, document, said = bench.run(verb, name)
    assert found == code, document
    assert what in document.what
    assert "Traceback" not in said
