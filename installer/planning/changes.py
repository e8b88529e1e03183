"""What a transaction does to files and directories, as data for the plan and for the journal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from installer.core.errors import Problem
from installer.deploy.configuration.reactions import FileChanges
from installer.deploy.file_operations import batches
from installer.deploy.operation import Json, Op
from installer.planning.drift import Drifted
from installer.state.release import Installed

Verb = Literal["add", "replace", "restore", "remove", "make", "set"]


@dataclass(frozen=True, slots=True)
class FileChange:
    """One thing on the host that will change.

    Attributes:
        verb: `add`, `replace`, `restore` (was removed by somebody), `remove`, `make` (a directory) or `set`
            (its mode or owner).
        path: Where.
        size: Bytes that are written.
        origin: Its bundle path, where it has one.
        kept: Where what somebody else wrote there is kept; empty where nothing of that kind is there.
        before: For `set`: mode and owner now, `0755 0:0`.
        after: For `set`: mode and owner then.
    """

    verb: Verb
    path: str
    size: int = 0
    origin: str = ""
    kept: str = ""
    before: str = ""
    after: str = ""


@dataclass(slots=True)
class Changes:
    """Everything about files that a transaction will do.

    Attributes:
        installed: What the new release has on the host in the end, directories that hold it first.
        changes: For people.
        drifted: Files that somebody edited, or that are not ours, and what becomes of them.
        problems: What prevents it.
        early: Entries that have to be gone before others can come.
        entries: Entries that come, in order.
        late: Entries that go.
        prune: Directories that go when they are empty.
        stays: Paths of the old release that stay although it goes, each with the reason.
        notes: What the operator should know.
        instead_of: Of a file in the directory of the release, the same file of the running release.
    """

    installed: list[Installed] = field(default_factory=list)
    changes: list[FileChange] = field(default_factory=list)
    drifted: list[Drifted] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    early: list[Json] = field(default_factory=list)
    entries: list[Json] = field(default_factory=list)
    late: list[Json] = field(default_factory=list)
    prune: list[str] = field(default_factory=list)
    stays: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    instead_of: dict[str, str] = field(default_factory=dict)

    def of_files(self) -> FileChanges:
        """Return the files that come, change or go."""
        return FileChanges(self._paths("add", "restore"), self._paths("replace"), self._paths("remove"))

    def _paths(self, *verbs: Verb) -> frozenset[str]:
        return frozenset(change.path for change in self.changes if change.verb in verbs)

    def operations(self) -> list[Op]:
        """Return the operations, in order."""
        ops = [
            # Journals name the batches; their names stay, whatever people read.
            *batches(self.early, "make room", "prepare destinations"),
            *batches(self.entries, "place files", "install files"),
            *batches(self.late, "remove files"),
        ]
        if self.prune:
            prune = {"batch": "prune", "entries": [], "prune": self.prune}
            ops.append(Op("files.change", prune, "switch", ""))
        return ops


def without_sources(installed: Iterable[Installed]) -> list[Installed]:
    """Return what is installed without its sources, to compare two releases."""
    return [replace(item, source="") for item in installed]
