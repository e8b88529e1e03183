"""Compares what a release wants with what is on the host, and plans the operations on files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from installer.core.errors import Problem
from installer.deploy.base import Installed
from installer.deploy.files import batches, matches, parent
from installer.layout import Layout
from installer.operations import Json, Op
from installer.system import Seen, System

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
    """

    verb: Verb
    path: str
    size: int = 0
    origin: str = ""
    kept: str = ""

    def as_json(self) -> dict[str, Any]:
        """Gives it as a JSON object."""
        return asdict(self)


@dataclass(slots=True)
class Changes:
    """Everything about files that a transaction will do.

    Attributes:
        installed: What the new release has on the host in the end, directories that hold it first.
        changes: For people.
        problems: What stands in the way.
        early: Entries that have to be gone before others can come.
        entries: Entries that come, in order.
        late: Entries that go.
        prune: Directories that go when they are empty.
    """

    installed: list[Installed] = field(default_factory=list)
    changes: list[FileChange] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    early: list[Json] = field(default_factory=list)
    entries: list[Json] = field(default_factory=list)
    late: list[Json] = field(default_factory=list)
    prune: list[str] = field(default_factory=list)

    def operations(self) -> list[Op]:
        """Gives the operations, in order."""
        ops = [
            *batches(self.early, "make room"),
            *batches(self.entries, "place files"),
            *batches(self.late, "remove files"),
        ]
        if self.prune:
            prune = {"batch": "prune", "entries": [], "prune": self.prune}
            ops.append(Op("files.change", prune, "switch", ""))
        return ops


def compare(
    system: System,
    layout: Layout,
    number: str,
    old: Sequence[Installed],
    wanted: Sequence[Installed],
    *,
    overwrite: bool = False,
) -> Changes:
    """Plans how the host comes from one release's files to another's.

    Args:
        system: The host.
        layout: Where this product's things lie.
        number: The id of the transaction.
        old: What the running release has on the host.
        wanted: What the new one wants there, without directories that only hold it.
        overwrite: Whether files that somebody edited, or that are not ours, are replaced; they are kept.
    """
    comparison = _Comparison(system, f"{layout.kept}/{number}", old, wanted, overwrite)
    comparison.run()
    return comparison.result


class _Comparison:
    def __init__(
        self,
        system: System,
        kept: str,
        old: Sequence[Installed],
        wanted: Sequence[Installed],
        overwrite: bool,
    ) -> None:
        self._system = system
        self._kept = kept
        self._old = {item.path: item for item in old}
        self._wanted = {item.path: item for item in wanted}
        self._overwrite = overwrite
        self._leaves = {path for path, item in self._old.items() if item.kind != "dir"} - self._wanted.keys()
        self._gone: set[str] = set()
        self._made: set[str] = set()
        self._there: dict[str, bool] = {"/": True}
        self.result = Changes()

    def run(self) -> None:
        with self._system.steady():
            self._run()

    def _run(self) -> None:
        directories = sorted(
            (i for i in self._wanted.values() if i.kind == "dir"), key=lambda item: item.path
        )
        for item in [*directories, *(i for i in self._wanted.values() if i.kind != "dir")]:
            if self._hold(parent(item.path), item):
                self._place(item)
        for path in sorted(self._old.keys() - {item.path for item in self.result.installed}):
            item = self._old[path]
            if path in self._gone or path in self._wanted:
                continue
            if item.kind == "dir":
                self.result.prune.insert(0, path)
            else:
                self._remove(item, self.result.late)

    def _hold(self, directory: str, for_: Installed) -> bool:
        """Sees to it that a directory is there to hold something; says whether it can be."""
        if directory in self._there:
            return self._there[directory]
        if directory in self._wanted and self._wanted[directory].kind == "dir":
            self._there[directory] = True
            return True
        if directory in self._wanted:
            self._refuse(
                directory,
                f"is a file of the release, and {for_.path} is to be below it",
                "change bundle.yaml",
            )
            self._there[directory] = False
            return False
        held = self._hold(parent(directory), for_)
        if held and directory in self._leaves:
            self._remove(self._old[directory], self.result.early)
            self._make(directory)
        elif held and (not self._system.is_dir(directory) or parent(directory) in self._made):
            held = self._make_or_refuse(directory, for_)
        elif held and directory in self._old:
            self.result.installed.append(replace(self._old[directory], origin=""))
        self._there[directory] = held
        return held

    def _make_or_refuse(self, directory: str, for_: Installed) -> bool:
        seen = self._system.observe(directory, digest=False)
        if seen.kind == "absent":
            self._make(directory)
            return True
        what = "a link that leads nowhere" if seen.kind == "link" else "no directory"
        self.result.problems.append(
            Problem(directory, f"is {what}, and {for_.path} is to be below it", "move it out of the way")
        )
        return False

    def _make(self, directory: str) -> None:
        self._made.add(directory)
        owner = 0 if self._system.privileged else -1
        item = Installed(directory, "dir", mode=0o755, uid=owner, gid=owner)
        self.result.installed.append(item)
        self.result.entries.append(_entry(item))
        self.result.changes.append(FileChange("make", directory))

    def _place(self, item: Installed) -> None:
        before = self._old.get(item.path)
        seen = self._system.observe(item.path)
        entry = _entry(item)
        self.result.installed.append(item)
        if item.kind != "dir":
            self._there[item.path] = False
        if matches(seen, entry):
            return
        if seen.kind == "absent":
            verb: Verb = "make" if item.kind == "dir" else "restore" if before else "add"
            self._change(verb, item, entry)
        elif seen.kind == "dir" and item.kind == "dir":
            self._change("set", item, entry)
        elif seen.kind == "dir":
            self._replace_directory(item, entry)
        elif seen.kind == "other" or item.kind == "dir":
            if before and before.kind != "dir" and matches(seen, _entry(before)):
                self._remove(before, self.result.early)
                self._change("make", item, entry)
            else:
                self._refuse(item.path, f"is a {seen.kind} that is not ours", "move it out of the way")
        elif before and matches(seen, _entry(before)):
            self._change("replace", item, entry)
        elif self._overwrite:
            kept = self._kept + item.path
            self._change("replace", item, {**entry, "keep": kept}, kept)
        elif before:
            self._refuse(
                item.path,
                f"was changed since it was installed ({_difference(seen, before)})",
                "carry the change into the site's values, or replace it with --overwrite (a copy is kept)",
            )
        else:
            self._refuse(
                item.path,
                "is there already and is not ours",
                "move it out of the way, or replace it with --overwrite (a copy is kept)",
            )

    def _replace_directory(self, item: Installed, entry: Json) -> None:
        """A directory gives way only when everything in it is ours and goes too."""
        below = self._system.tree(item.path)
        strange = [path for path in below if not self._is_as_installed(path)]
        if item.path not in self._old or strange:
            what = f"is a directory with {strange[0]} in it" if strange else "is a directory"
            self._refuse(item.path, f"{what}, which is not ours to remove", "move it out of the way")
            return
        self.result.early.append({"path": item.path, "kind": "absent", "tree": below})
        self._gone.update(below)
        self.result.changes += [
            FileChange("remove", path, 0, self._old[path].origin)
            for path in below
            if self._old[path].kind != "dir"
        ]
        self._change("replace", item, entry)

    def _is_as_installed(self, path: str) -> bool:
        old = self._old.get(path)
        if old is None or path in self._wanted:
            return False
        seen = self._system.observe(path)
        return seen.kind == "dir" == old.kind or matches(seen, _entry(old))

    def _remove(self, item: Installed, entries: list[Json]) -> None:
        self._gone.add(item.path)
        seen = self._system.observe(item.path)
        if seen.kind in ("absent", "other") or (seen.kind == "dir") != (item.kind == "dir"):
            return
        entry: Json = {"path": item.path, "kind": "absent"}
        kept = ""
        if item.kind != "dir" and not matches(seen, _entry(item)):
            kept = self._kept + item.path
            entry["keep"] = kept
        entries.append(entry)
        self.result.changes.append(FileChange("remove", item.path, 0, item.origin, kept))

    def _change(self, verb: Verb, item: Installed, entry: Json, kept: str = "") -> None:
        self.result.entries.append(entry)
        self.result.changes.append(FileChange(verb, item.path, item.size, item.origin, kept))

    def _refuse(self, path: str, what: str, hint: str) -> None:
        self.result.problems.append(Problem(path, what, hint))


def drift(system: System, installed: Iterable[Installed]) -> list[Problem]:
    """Says where the host is not what a release has put there."""
    with system.steady():
        return [problem for item in installed if (problem := _drifted(system, item))]


def _drifted(system: System, item: Installed) -> Problem | None:
    try:
        seen = system.observe(item.path)
    except OSError as error:
        return Problem(item.path, f"cannot be looked at: {error.strerror}")
    if item.origin and not matches(seen, _entry(item)):
        return Problem(item.path, _difference(seen, item))
    return None


def _difference(seen: Seen, item: Installed) -> str:
    if seen.kind == "absent":
        return "is missing"
    if seen.kind != item.kind:
        return f"is a {seen.kind}, not a {item.kind}"
    if seen.kind == "link":
        return f"points to {seen.target}, not to {item.target}"
    if seen.kind == "file" and seen.sha256 != item.sha256:
        return "has other content"
    if seen.mode != item.mode:
        return f"has mode {seen.mode:04o}, not {item.mode:04o}"
    return f"belongs to {seen.uid}:{seen.gid}, not to {item.uid}:{item.gid}"


def _entry(item: Installed) -> Json:
    if item.kind == "link":
        return {"path": item.path, "kind": "link", "target": item.target}
    common = {"path": item.path, "kind": item.kind, "mode": item.mode, "uid": item.uid, "gid": item.gid}
    if item.kind == "dir":
        return common
    return {**common, "sha256": item.sha256, "source": item.source}


def without_sources(installed: Iterable[Installed]) -> list[Installed]:
    """Gives what is installed without where it came from, to compare two releases."""
    return [replace(item, source="") for item in installed]
