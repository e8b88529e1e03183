"""What a transaction is made of: operations, which are data, and the handlers that do and undo them.

The journal holds an operation and its preimage, and a handler gets nothing else. So a later process can undo
an operation after any crash, from the journal alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from installer.core.errors import Cause, WaybillError
from installer.host.context import Context
from installer.shared.child.process import Completed
from installer.shared.command.run_record import OUTPUT_LINES
from installer.shared.secrecy.known import Secrets

Json = dict[str, Any]
LINE = 2000
"""Characters of a line of output."""
Phase = Literal["stage", "switch", "activate"]
PHASES: tuple[Phase, ...] = ("stage", "switch", "activate")


@dataclass(frozen=True, slots=True)
class Op:
    """One operation.

    Attributes:
        kind: Names its handler, `<word>.<verb>`.
        args: All that the handler is told: JSON only, paths of the host only, nothing that is valid in this
            process only.
        phase: `stage` does not touch what runs; `switch` replaces files; `activate` starts services.
        label: What it does, in a few words for people.
    """

    # These four are the JSON of journals on hosts: names and meaning stay as they are.
    kind: str
    args: Json
    phase: Phase = "activate"
    label: str = ""

    def as_json(self) -> Json:
        """Return the operation as the journal holds it."""
        return {"kind": self.kind, "args": self.args, "phase": self.phase, "label": self.label}

    @classmethod
    def from_json(cls, value: Json) -> Op:
        """Read an operation from the journal."""
        return cls(value["kind"], value["args"], value["phase"], value["label"])


class StepError(WaybillError):
    """An operation could not be done or undone: a service, the engine or a script failed.

    It never leaves the transaction, which turns it into RolledBackError or NotUndoneError. Undoing is tried
    again a few times after a StepError, and after no other error.
    """

    code = "step"

    def of(self, ended: Completed, secrets: Secrets) -> Self:
        """Take over the last lines of a child that failed, and whether its time was up; return the error."""
        self.output = output_lines(ended, secrets, OUTPUT_LINES)
        if ended.timed_out:
            self.cause = "timeout"
        return self


def output_lines(ended: Completed, secrets: Secrets, count: int) -> tuple[str, ...]:
    """Return the end of what a child wrote, its errors last, without secrets; long lines are cut.

    Args:
        ended: The child.
        secrets: What it may have printed of what it was given.
        count: Lines at most.
    """
    text = b"\n".join(each.strip(b"\n") for each in (ended.stdout, ended.stderr) if each.strip())
    return tuple(secrets.last_lines(text.decode("utf-8", "replace"), count, LINE))


class ThirdStateError(WaybillError):
    """Something is neither as it was before nor as the operation made it: somebody else changed it."""

    code = "third-state"


class Handler(ABC):
    """Does and undoes one kind of operation. Holds no state.

    Journals on hosts name kinds of operations: a handler has to read and undo what any earlier version wrote.
    """

    point_of_no_return: ClassVar[bool] = False
    """Whether the transaction cannot be undone once such an operation has begun; for `activate` only."""
    cause: ClassVar[Cause] = "engine"
    """What fails if it fails, where the error does not say so: what runs the release, a script, or `io`."""

    # The three that have no default: a forgotten preimage or undo must not go unnoticed.
    @abstractmethod
    def observe(self, context: Context, args: Json) -> Json:
        """Return all that `undo` will need, the preimage. Change nothing.

        Record explicitly that something is not there (`"absent"`). If `do` uses a name that is not known
        before, such as a temporary file's, choose it here, so that `undo` finds it after a crash.
        """

    @abstractmethod
    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Do it. The effect is durable on return, and doing it twice has the effect of doing it once.

        Raises:
            StepError: A service, the engine or a script failed.
            OSError: The host failed.
        """

    @abstractmethod
    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Restore the preimage, whether `do` has run not at all, partly or fully; twice is once.

        Raises:
            ThirdStateError: What is there is neither the preimage nor what `do` makes; it is left alone.
            StepError: A service, the engine or a script failed.
            OSError: The host failed.
        """

    def require_unchanged(self, context: Context, args: Json) -> None:
        """Require that the host still is as the plan saw it. Default: do nothing.

        Called before the transaction begins, and again before the first operation that touches what runs:
        operators and programs do not wait for the installer.

        Raises:
            StepError: Somebody changed something that the operation would replace or remove.
            OSError: The host cannot be examined.
        """

    def undo_label(self, op: Op) -> str:
        """Return how progress names the undo of an operation; empty: not at all. Default: its label."""
        return f"undo: {op.label}" if op.label else ""

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Remove what only `undo` would have needed. Called after COMMIT; twice is once. Default: nothing."""

    def places(self, args: Json) -> Iterable[str]:
        """Return the directories outside of Waybill's own in which `do` makes or removes entries itself.

        Recovery syncs them before it acts on what it sees there. Default: none.
        """
        return ()


class WithoutPreimage(Handler):
    """An operation whose undo needs to know nothing about what was there before."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return nothing."""
        return {}
