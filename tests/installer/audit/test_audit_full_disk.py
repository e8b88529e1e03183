"""The audit log on a file system of its own that is full or read-only: an error, nothing half written."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from installer.audit import log as audit_log
from installer.audit.log import check, opened
from installer.host.system import System
from tests.rig.auditlogs import EVENT, problem, record
from tests.rig.needs import lacks, needs


@pytest.fixture
def small(tmp_path: Path) -> Any:
    """A file system of its own, of 1 MiB, that can be filled and made read-only."""
    needs("root")
    needs("unshare")
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "small", place], check=False, capture_output=True
    )
    if done.returncode:
        lacks("mount", done.stderr.decode())
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(place: Path) -> None:
    with suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_reserved_space_is_used_on_a_full_disk_and_its_absence_is_an_error(small: Path) -> None:
    system = System(small)
    with opened(system) as log:
        log.reserve()
        log.append({**EVENT, "reason": "begun"})
    fill(small)
    record(system, reason="ended")
    with opened(system) as log, pytest.raises(OSError, match="No space left"):
        log.reserve()
    (small / "filler").unlink()
    record(system, reason="later")
    chain = check(*audit_log.read(system))
    assert chain.problem is None
    assert [r.fields.get("reason") for r in chain.records] == ["begun", "ended", "later"]


def test_nothing_is_half_written_on_a_disk_that_is_full_from_the_start(small: Path) -> None:
    system = System(small)
    record(system, reason="first")
    fill(small)
    for number in range(50):  # the block of the log has room for some
        with suppress(OSError):
            record(system, reason=f"{number} " + "z" * 900)
    (small / "filler").unlink()
    record(system, reason="last")
    assert problem(system) == ""


def test_a_read_only_file_system_is_an_error_and_the_log_can_still_be_read(small: Path) -> None:
    system = System(small)
    record(system, reason="first")
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    with pytest.raises(OSError, match="Read-only"):
        record(system)
    assert problem(system) == ""
