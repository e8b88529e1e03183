"""The audit log of a host in a directory: read and checked, or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from installer.audit import log as audit_log
from installer.audit.log import check
from installer.host.system import System

TOP = Path(__file__).parents[2]
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
