"""Carried programs: what runs is what was verified, also once its directory is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from installer.core.digest import sha256_hex
from installer.deploy.kubernetes import tools
from installer.deploy.release_files import ChangedFileError
from installer.host.system import System

PLACE = "/releases/1/deploy/tools/linux-amd64/helm"
PROGRAM = Path("/bin/echo").read_bytes()
SHA256 = sha256_hex(PROGRAM)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    monkeypatch.setattr(tools, "_open", {})
    path = tmp_path / PLACE[1:]
    path.parent.mkdir(parents=True)
    path.write_bytes(PROGRAM)
    path.chmod(0o755)
    return System(tmp_path)


def said(system: System) -> bytes:
    with tools.runnable(system, PLACE, SHA256) as path:
        return system.run([path, "hello"], timeout=10).stdout


def test_a_program_runs_also_once_its_directory_is_gone(system: System) -> None:
    assert said(system) == b"hello\n"
    shutil.rmtree(f"{system.root}/releases")
    assert said(system) == b"hello\n"
    assert system.inherited == ()


def test_a_program_that_is_replaced_after_the_check_is_not_the_one_that_runs(system: System) -> None:
    path = Path(f"{system.root}{PLACE}")
    with tools.runnable(system, PLACE, SHA256) as place:
        path.rename(path.with_name("old"))
        path.write_bytes(Path("/bin/false").read_bytes())
        path.chmod(0o755)
        assert system.run([place, "hello"], timeout=10).stdout == b"hello\n"


@pytest.mark.parametrize("how", ["edited", "gone", "a link"])
def test_a_program_that_is_not_what_was_verified_is_not_run(system: System, how: str) -> None:
    path = Path(f"{system.root}{PLACE}")
    path.unlink()
    if how == "edited":
        path.write_bytes(PROGRAM + b"\0")
    elif how == "a link":
        path.symlink_to("/bin/echo")
    with pytest.raises(ChangedFileError, match="was not run"):
        said(system)
