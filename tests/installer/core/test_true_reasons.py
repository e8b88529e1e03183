"""The hint of a failure is that of its true reason, whatever was being done."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from installer.core.errors import HostNotReadyError, os_errors_as
from installer.host.safe_path import naming
from installer.host.system import System


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EMFILE, "this process may not open more files: raise the limit (`ulimit -n 1024`)"),
        (errno.ENFILE, "this host has too many open files"),
        (errno.ENOMEM, "this host has too little free memory"),
        (errno.ENOSPC, "free some space in /tmp"),
    ],
)
def test_a_full_table_of_files_is_no_full_disk(number: int, hint: str) -> None:
    with (
        pytest.raises(HostNotReadyError) as raised,
        os_errors_as(HostNotReadyError, "cannot write", "/tmp/x", "free some space in /tmp"),
    ):
        raise OSError(number, os.strerror(number))
    assert raised.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("filename", "named"), [(None, "/etc/x"), ("x", "/etc/x"), (7, "/etc/x"), ("/var/lib/y", "/var/lib/y")]
)
def test_a_failure_by_a_descriptor_or_below_an_open_directory_names_the_path(
    filename: object, named: str
) -> None:
    with pytest.raises(PermissionError) as raised, naming("/etc/x"):
        raise OSError(errno.EPERM, "Operation not permitted", filename)
    assert raised.value.filename == named


def test_a_rename_that_is_refused_names_the_new_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()

    def refused(source: str, *_args: object, **_more: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", source)

    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(PermissionError) as raised:
        System(tmp_path).rename("/a", "/b")
    assert raised.value.filename == "/b"
