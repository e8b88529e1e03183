"""The one place that knows where methods and handlers are, and the only one that imports them.

A module is imported when it is first asked for, so that a command that deploys nothing starts without them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from installer.core.errors import WaybillError
from installer.core.format.methods import IMAGES, METHODS, SPECS
from installer.deploy.method import Method
from installer.deploy.operation import Handler, Op

_MODULES = {IMAGES.name: "installer.images.method"}
"""Where a method is that is not in `installer/deploy/NAME.py`, or in the package `installer/deploy/NAME`."""
_OPERATIONS = {
    "image": "installer.images.method",
    "data": "installer.deploy.purge",
    "on_change": "installer.deploy.configuration.operations",
    "release": "installer.deploy.place_release",
    "removal": "installer.deploy.inventory",
}
"""Which module has the `HANDLERS` of the kinds that start with this word; else the method of that name."""


def _module(name: str) -> str:
    return _MODULES.get(name, f"installer.deploy.{name}")


def method(name: str) -> Method | None:
    """Return a method by its name, or None where this version has none of that name."""
    # Never import by a name that is not in the list: names come from bundles and journals.
    if name not in SPECS:
        return None
    found: Method = importlib.import_module(_module(name)).METHOD
    return found


def methods() -> Iterator[Method]:
    """Yield all methods, in the order of `METHODS`."""
    return (found for spec in METHODS if (found := method(spec.name)) is not None)


def handler(kind: str) -> Handler:
    """Return the handler of a kind of operation.

    Raises:
        WaybillError: The kind is not known: a newer version wrote the journal.
    """
    word = kind.partition(".")[0]
    module = _OPERATIONS.get(word) or (_module(word) if word in SPECS else "")
    handlers: dict[str, Handler] = importlib.import_module(module).HANDLERS if module else {}
    if kind not in handlers:
        raise WaybillError(
            f"this version of `install` does not know the operation {kind!r}",
            hint="use the version of `install` that started the transaction, or a newer one",
        )
    return handlers[kind]


def is_point_of_no_return(op: Op) -> bool:
    """Return whether the transaction cannot be undone once an operation has begun."""
    # Only the last phase has such operations; so the handlers of the others need not be imported to plan.
    return op.phase == "activate" and handler(op.kind).point_of_no_return
