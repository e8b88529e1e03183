"""What a transaction is made of: operations that are data, and the handlers that do and undo them.

The journal holds an operation and its preimage; a handler gets nothing else. So whatever crashed, a later
process undoes it from the journal alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from installer.core.errors import WaybillError
from installer.host.context import Context

Json = dict[str, Any]
Phase = Literal["stage", "switch", "activate"]
PHASES: tuple[Phase, ...] = ("stage", "switch", "activate")

_MODULES = {
    "release": "installer.deploy.place_release",
    "files": "installer.deploy.files",
    "image": "installer.images.method",
    "systemd": "installer.deploy.systemd",
    "compose": "installer.deploy.compose",
    "script": "installer.deploy.script",
    "removal": "installer.planning.removal",
}
"""Which module has the `HANDLERS` of the kinds that start with this word and a dot."""


@dataclass(frozen=True, slots=True)
class Op:
    """One operation.

    Attributes:
        kind: Names its handler, `<word>.<verb>`.
        args: All the handler is told: JSON only, host paths only, nothing that is valid only in this process.
        phase: `stage` does not touch what runs; `switch` replaces files; `activate` drives services.
        label: For people: what it does, in a few words.
    """

    kind: str
    args: Json
    phase: Phase = "activate"
    label: str = ""

    def as_json(self) -> Json:
        """Gives it as the journal holds it."""
        return {"kind": self.kind, "args": self.args, "phase": self.phase, "label": self.label}

    @classmethod
    def from_json(cls, value: Json) -> Op:
        """Reads it back from the journal."""
        return cls(value["kind"], value["args"], value["phase"], value["label"])


class StepError(WaybillError):
    """An operation could not be done or undone: a service, an engine or a script said no.

    It never leaves the transaction: that turns it into RolledBackError or NotUndoneError. Undoing after a
    StepError is tried again a few times; after any other error it is not.
    """

    code = "step"


class ThirdStateError(WaybillError):
    """Something is neither as we found it nor as we made it: somebody else changed it in between."""

    code = "third-state"


class Handler(Protocol):
    """Does and undoes one kind of operation. Holds no state."""

    def observe(self, context: Context, args: Json) -> Json:
        """Looks at what `do` is about to change, changes nothing, and gives all that `undo` will need.

        What is not there is said in words (`"absent"`), never by leaving it out. What `do` writes that is not
        known before (a temporary name, say) is chosen here, so that `undo` finds it after a crash.
        """
        ...

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Does it; when it returns, the effect is durable. Doing it twice is doing it once.

        Raises:
            StepError: A service, an engine or a script said no.
            OSError: The host did.
        """
        ...

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Brings the preimage back, whether `do` ran not at all, half or whole; twice is once.

        Raises:
            ThirdStateError: What is there is neither what was before nor what `do` makes; it is left alone.
            StepError: A service, an engine or a script said no.
            OSError: The host did.
        """
        ...


class FinishingHandler(Handler, Protocol):
    """A handler that leaves something behind for `undo` which is not needed once the transaction stands."""

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Clears what only `undo` would have needed; called after COMMIT; twice is once."""
        ...


class PlacedHandler(Handler, Protocol):
    """A handler that changes something outside of Waybill's own directory by itself."""

    def places(self, args: Json) -> Iterable[str]:
        """Gives the directories in which it does."""
        ...


def places(op: Op) -> Iterable[str]:
    """Gives the directories outside of Waybill's own in which an operation changes something by itself.

    Raises:
        WaybillError: No such kind is known: the journal is of a newer installer.
    """
    found = getattr(handler(op.kind), "places", None)
    return () if found is None else found(op.args)


def is_final(op: Op) -> bool:
    """Says whether there is no way back once an operation is begun; only `activate` has such ones."""
    return op.kind == "script.forward"


def handler(kind: str) -> Handler:
    """Gives the handler of a kind of operation.

    Raises:
        WaybillError: No such kind is known: the journal is of a newer installer.
    """
    module = _MODULES.get(kind.partition(".")[0])
    handlers = importlib.import_module(module).HANDLERS if module else {}
    if kind not in handlers:
        raise WaybillError(
            f"the operation {kind!r} is not known to this installer",
            hint="use the installer that began the transaction, or a newer one",
        )
    found: Handler = handlers[kind]
    return found
