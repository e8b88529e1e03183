"""The one protocol of all deployment methods.

A method looks at two releases, the one that runs and the one that is to run, and says what has to be done as
operations. It does nothing itself: the transaction does, and undoes, through the operations' handlers.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from installer.core.errors import Problem
from installer.deploy.operation import Op
from installer.host.context import Context
from installer.state.release import Release

_MODULES = {
    "files": "installer.deploy.files",
    "images": "installer.images.method",
    "systemd": "installer.deploy.systemd",
    "compose": "installer.deploy.compose",
    "script": "installer.deploy.script",
}
OFFLINE_METHODS = ("files", "images")
"""Methods that need no live system: with `--root DIR` they are driven without being asked for."""


@dataclass(frozen=True, slots=True)
class Target:
    """A release together with what its manifest tells one method to do.

    Attributes:
        release: The release.
        options: `Deployment.options`; empty for `files`, which every release has; for `images`, `engine` says
            whether a method is driven that takes them from the engine.
    """

    release: Release
    options: dict[str, Any]


class Method(Protocol):
    """One way to deploy. Either side may be None: nothing ran before, or the new release has it no more."""

    name: str

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Looks for reasons why it cannot be done here: missing tools, wrong options, conflicts."""
        ...

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Says for people what will be done, a line each; nothing to do gives no lines."""
        ...

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Gives what has to be done, in order; nothing to do gives no operations.

        It may look at the host but changes nothing. `Op.phase` sorts the operations of all methods: all of
        `stage`, then all of `switch`, then all of `activate`, each in the order of the manifest.
        """
        ...


def method(name: str) -> Method | None:
    """Gives a method by its name, or None where this installer has none of that name."""
    module = _MODULES.get(name)
    if module is None:
        return None
    found: Method = importlib.import_module(module).METHOD
    return found


_ENGINE = {"compose"}
"""Methods that need the images to be in the engine."""


def uses_engine(methods: Iterable[str], *, live: bool) -> bool:
    """Says whether images go into the engine: on a live host, and where a method is driven that needs it.

    Args:
        methods: The methods that are, or were, driven.
        live: Whether this is the running host, not a directory below `--root`.
    """
    return live or not _ENGINE.isdisjoint(methods)
