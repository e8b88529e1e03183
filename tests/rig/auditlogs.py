"""The audit log of a host in a directory: read and checked, or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from installer.audit import log as audit_log
from installer.audit.log import LOG, check, opened
from installer.audit.record import Record
from installer.host.system import System

TOP = Path(__file__).parents[2]
EVENT = {"event": "refused", "time": "2026-11-24T03:00:00Z", "host": "h", "by": {"uid": 0}, "program": "0"}
SCHEMA = Draft202012Validator(json.loads((TOP / "schemas/v1/audit.schema.json").read_text()))


def records(place: Path) -> list[dict[str, Any]]:
    """Return what the log of a host says; it has to be whole, and every record as the schema says."""
    chain = check(*audit_log.read(System(place)))
    assert chain.problem is None
    for record in chain.records:
        SCHEMA.validate(record.as_json())
    return [record.fields for record in chain.records]


def events(place: Path) -> list[str]:
    """Return the events of that log with their results."""
    return [f"{r['event']} {r.get('result', '')}".strip() for r in records(place)]


def break_log(place: Path) -> None:
    """Cut the last record off in the middle."""
    log = place / audit_log.LOG[1:]
    log.write_bytes(log.read_bytes()[:-20])


def record(system: System, **fields: Any) -> Record:
    """Append a record of a refusal, with other fields."""
    with opened(system) as log:
        return log.append({**EVENT, **fields})


def content(system: System, path: str = LOG) -> bytes:
    """Return the bytes of the log, or of another file of the host."""
    return Path(system.root, path[1:]).read_bytes()


def put(system: System, data: bytes, path: str = LOG) -> None:
    """Write them."""
    Path(system.root, path[1:]).write_bytes(data)


def problem(system: System) -> str:
    """Return what is wrong with the log; empty for nothing."""
    found = check(*audit_log.read(system)).problem
    return found.what if found else ""
