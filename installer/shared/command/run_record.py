"""What becomes known of one run of a command; the document that `--json` prints is made of it.

A run has one document of one shape, however it ends: `COMMON` and the fields of its command. What is not
known is null, so an error differs from a success by its values, never by its shape. `schemas/v1/cli`
describes the documents, and docs/reference/json.md is made from these schemas.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from installer.core.errors import Problem, StoppedError, WaybillError
from installer.core.timestamps import format_time
from installer.shared.terminal.text import json_text

Row = dict[str, Any]
Shapes = Mapping[str, Sequence[str]]
"""The fields that each command has besides `COMMON`, by the words of the command: `trust init`."""

COMMON = (
    "schema", "exit", "code", "cause", "changed", "product", "host", "root", "from", "to", "transaction",
    "evidence", "run", "started", "ended", "seconds", "steps", "warnings", "problems",
)  # fmt: skip
"""The fields of every document, in their order."""

OURS = ("schema", "run", "code", "cause", "started", "ended")
"""Common fields with words of this program only, whatever a command is about."""

FACTS = frozenset({"cause", "changed", "product", "host", "root", "from", "to", "transaction", "evidence"})
"""The common fields that a command tells; all others are made here."""

CODES = {2: "usage", 3: "differs"}
"""Codes of exits without an error: the help of a group, and an answer that scripts ask for."""

OUTPUT_LINES = 50
"""Last lines of what failed, such as a script, that a step has."""

LOOKING = frozenset(
    {
        "verify",
        "plan",
        "status",
        "history",
        "trust show",
        "secrets check",
        "inspect",
        "diff",
        "licenses",
        "version",
    }
)
"""Commands that change nothing, however they end."""


def release_row(version: str, sequence: int | None, identity: str) -> Row:
    """Return what `from` and `to` have of a release."""
    name = f"{sequence}-{identity[:12]}" if sequence is not None and identity else None
    return {"release": name, "version": version, "sequence": sequence, "identity": identity or None}


def root_row(version: int, fingerprint: str = "") -> Row:
    """Return what `from` and `to` have of a version of the root."""
    return release_row(str(version), version, "") | {"identity": fingerprint or None}


def problem_row(problem: Problem, code: str | None = None, step: int = 0) -> Row:
    """Return a problem as documents have it.

    Args:
        problem: The problem.
        code: The code of the error that it belongs to.
        step: The step of the verification that refused; 0 for none.
    """
    # A warning has a name of its own; a problem belongs to its error.
    named = {"code": problem.code or code}
    found = {name: getattr(problem, name) or None for name in ("where", "what", "hint")}
    return named | found | {"verification_step": step or None}


def problem_rows(error: WaybillError) -> list[Row]:
    """Return an error and all further problems of the same input; the error itself is the first."""
    first = problem_row(Problem(error.where, error.what, error.hint), error.code, error.step)
    return [first, *(problem_row(each, error.code) for each in error.problems)]


@dataclass(slots=True)
class RunRecord:
    """One run of a command.

    Attributes:
        program: `bundle` or `install`.
        shapes: The fields of each command.
        command: The words of the command, without the program; empty as long as they are not known.
        id: Names the run in structured logs.
        began: When it began.
        facts: What the command has told of `FACTS`.
        fields: What it has told of its own fields.
        answered: Whether it has a result.
        steps: What a transaction did, each with how it ended.
        warnings: What was out of the ordinary, and stopped nothing.
    """

    program: str
    shapes: Shapes = field(default_factory=dict)
    command: str = ""
    # Not by `secrets`, which loads OpenSSL: a configuration of it is forgotten first.
    id: str = field(default_factory=lambda: os.urandom(8).hex())
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    facts: Row = field(default_factory=lambda: {"host": os.uname().nodename})
    fields: Row = field(default_factory=dict)
    answered: bool = False
    steps: list[Row] = field(default_factory=list)
    warnings: list[Row] = field(default_factory=list)
    _clock: float = field(default_factory=time.monotonic)

    @property
    def schema(self) -> str:
        """The name of the schema of its document."""
        # `install` is what hosts and playbooks call: its commands have the plain names.
        words = self.command.split() or ([self.program] if self.program == "install" else [])
        name = "-".join(words if self.program == "install" else [self.program, *words])
        return f"waybill/cli/{name}/v1"

    def tell(self, **facts: Any) -> None:
        """Take down common fields as soon as they are known; `from_` stands for `from`.

        Args:
            facts: Their values. `changed` stays true once it was true: what follows does not undo it.

        Raises:
            TypeError: A name is not one of `FACTS`.
        """
        found = {name.rstrip("_"): value for name, value in facts.items()}
        if unknown := found.keys() - FACTS:
            raise TypeError(f"not a common field: {', '.join(sorted(unknown))}")
        if self.facts.get("changed"):
            found.pop("changed", None)
        self.facts |= found

    def answer(self, document: Mapping[str, Any]) -> None:
        """Take down the result: common fields that it knows, and the fields of the command."""
        self.answered = True
        self.tell(**{name: value for name, value in document.items() if name in FACTS})
        self.fields |= {name: value for name, value in document.items() if name not in FACTS}

    def warn(self, problem: Problem) -> None:
        """Take down a warning."""
        self.warnings.append(problem_row(problem))

    def step(self, fields: Mapping[str, Any]) -> None:
        """Take down the end of a step of a transaction; its begin and marks of the journal are not steps."""
        if number := fields.get("transaction"):
            self.tell(transaction=number)
        action, _, result = str(fields.get("step", "")).partition(" ")
        if action in ("do", "undo", "health") and result in ("done", "failed"):
            known = {
                "name": fields.get("label") or None, "kind": fields.get("kind"), "phase": fields.get("phase"),
                "action": action, "result": result, "seconds": fields.get("seconds"),
                "cause": fields.get("cause") or None, "reason": fields.get("reason"),
                "output": list(fields.get("output", ())),
            }  # fmt: skip
            self.steps.append(known)

    def log_row(self, message: str, level: str, fields: Mapping[str, Any]) -> Row:
        """Return a line of a structured log."""
        about = {"run": self.id, "product": self.facts.get("product"), "host": self.facts.get("host")}
        head = {"time": format_time(datetime.now(UTC)), "level": level, "program": self.program, **about}
        return {**head, "event": "message", "message": message, **fields}

    def _changed(self, code: int) -> bool | None:
        """Return whether something was changed, by the exit code, for a command that did not say so."""
        if code not in (1, 21) or self.command in LOOKING:
            return False
        # What could not be undone was changed, if this run began it; an internal error may be anywhere.
        return True if code == 21 and self.facts.get("transaction") else None

    def document(self, code: int, error: WaybillError | None = None) -> Row:
        """Return the document of the run.

        Args:
            code: Its exit code.
            error: Why it failed; None where it did not.
        """
        own = dict.fromkeys(self.shapes.get(self.command, ())) | self.fields
        more = own.pop("problems", None) or []
        # A failure inside of a failure, such as an undo, is about what failed first.
        caused = error.cause if error else ""
        found: Row = {
            "schema": self.schema,
            "run": self.id,
            "exit": code,
            "code": error.code if error else CODES.get(code),
            "started": format_time(self.began),
            "ended": format_time(datetime.now(UTC)),
            "seconds": round(time.monotonic() - self._clock, 3),
            "steps": self.steps,
            "warnings": self.warnings,
            "problems": [*(problem_rows(error) if error else ()), *more],
            "cause": caused or None,
            "changed": self._changed(code),
        }
        return dict.fromkeys(COMMON) | found | self.facts | own


def stopped_document(program: str) -> str:
    """Return the document of a run that was interrupted while the program was loaded."""
    return json_text(RunRecord(program).document(130, StoppedError("interrupted")), indent=1)
