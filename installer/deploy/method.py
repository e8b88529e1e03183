"""The one protocol of all deployment methods.

A method looks at two releases, the one that runs and the one that is to run, and says what has to be done as
operations. It does nothing itself: the transaction does, and undoes, through the operations' handlers.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from installer.core.errors import Problem
from installer.core.format.manifest import HealthCheck, Manifest
from installer.deploy.operation import Context, Op

_MODULES = {
    "files": "installer.deploy.files",
    "images": "installer.images.method",
    "systemd": "installer.deploy.systemd",
    "compose": "installer.deploy.compose",
    "script": "installer.deploy.script",
}
EVERYWHERE = ("files", "images")
"""Methods that need no live system: with `--root DIR` they are driven without being asked for."""


@dataclass(frozen=True, slots=True)
class Installed:
    """One thing that a release has on the host outside of its own directory.

    Attributes:
        path: Where, as a host path.
        kind: `file`, `link` or `dir`.
        sha256: Of a file's bytes, in hex.
        size: Of a file.
        mode: Permission bits of a file or directory.
        uid: Owner; -1 where owners are not changed.
        gid: Group; -1 where owners are not changed.
        target: Of a link.
        source: Where a file's bytes are taken from, as a host path: in the release's directory, or rendered.
        origin: Its bundle path; empty for a directory that is there only to hold others.
        policy: `kept`: the operator's own version stands there; `beside`: it is the release's version of such
            a file, laid beside it.
    """

    path: str
    kind: str
    sha256: str = ""
    size: int = 0
    mode: int = 0
    uid: int = -1
    gid: int = -1
    target: str = ""
    source: str = ""
    origin: str = ""
    policy: Literal["", "kept", "beside"] = ""


@dataclass(frozen=True, slots=True)
class Release:
    """One release on this host.

    Attributes:
        manifest: Its verified manifest.
        identity: SHA-256 of its SHA256SUMS, in hex.
        directory: Where its members lie under their bundle paths once the transaction began, as a host path.
        staged: Where they lie now, while planning; the same as `directory` for a retained release.
        installed: What it has outside of `directory`, in the order in which it is made.
        health: Its probes, their targets rendered with the host's values.
        blobs: Where the blobs of its images lie while operations run, where that is not `directory`; empty:
            nowhere, only the engine has them.
    """

    manifest: Manifest
    identity: str
    directory: str
    staged: str
    installed: tuple[Installed, ...] = ()
    health: tuple[HealthCheck, ...] = ()
    blobs: str | None = None

    @property
    def blobs_at(self) -> str:
        """The directory below which its images are loaded from; empty where they are not kept."""
        return self.directory if self.blobs is None else self.blobs

    def now(self, path: str) -> str:
        """Gives the host path at which a member can be read while planning."""
        return f"{self.staged}/{path}"

    def then(self, path: str) -> str:
        """Gives the host path that a member has while operations run; the one to put into their args."""
        return f"{self.directory}/{path}"


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
