"""The head of the audit log, and what stands around the log: read, repaired, or a reason to add nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from installer.audit import log as audit_log
from installer.audit.log import HEAD, LOG, AuditError, check, opened
from installer.core.errors import HostNotReadyError
from installer.host.layout import Layout
from installer.host.system import System
from tests.rig.auditlogs import EVENT, content, put, record


@pytest.fixture
def four(system: System) -> System:
    for number in range(4):
        record(system, reason=f"reason {number}")
    return system


@pytest.mark.parametrize("left", [{}, {"host": "another"}])
def test_the_repair_is_told_with_time_host_user_and_program_as_far_as_they_are_known(
    four: System, left: dict[str, str]
) -> None:
    put(four, content(four) + b"half a rec")
    fields = {name: EVENT[name] for name in ("time", "by")}
    with opened(four) as log:
        log.append({**fields, "event": "refused", "reason": "no part of it", **left})
    repaired = check(*audit_log.read(four)).records[4].fields
    assert {name: repaired.get(name) for name in (*fields, *left)} == {**fields, **left}
    assert repaired.keys().isdisjoint({"reason", "program"})


def test_what_an_interrupted_head_left_is_removed(four: System) -> None:
    put(four, b"half", f"{HEAD}.new")
    with opened(four) as log:
        log.note_head()
    assert not Path(four.root, f"{HEAD[1:]}.new").exists()


@pytest.mark.parametrize("words", [b"", b"1", b"x " + b"0" * 64 + b"\n", b"01 " + b"0" * 64 + b"\n"])
def test_nothing_is_added_where_the_head_is_no_head(four: System, words: bytes) -> None:
    put(four, words, HEAD)
    with pytest.raises(AuditError, match="does not contain a number and a hash") as caught:
        record(four)
    assert (caught.value.exit_code, caught.value.where) == (15, HEAD)


def test_nothing_is_begun_anew_where_a_product_has_a_history(system: System) -> None:
    history = Path(system.root, Layout("lan-chat").history[1:])
    history.parent.mkdir(parents=True)
    history.touch()
    with opened(system):
        pass
    Path(system.root, HEAD[1:]).unlink(missing_ok=True)
    history.write_text("a row\n")
    with pytest.raises(AuditError, match="is missing, but lan-chat was installed here") as caught:
        record(system)
    assert (caught.value.exit_code, caught.value.where) == (15, LOG)
    assert not Path(system.root, LOG[1:]).exists()


def test_a_user_who_may_not_read_the_log_is_told_how_to(system: System) -> None:
    class Refused(System):
        def read(self, path: str, limit: int, **more: Any) -> bytes:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    with pytest.raises(HostNotReadyError, match="cannot be read") as caught:
        audit_log.read_head(Refused(Path(system.root)))
    assert caught.value.where == HEAD
