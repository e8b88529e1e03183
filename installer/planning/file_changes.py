"""Compares the desired files with those on the host, and plans the operations on files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from installer.core.errors import Problem
from installer.deploy.file_backups import saw, saw_at
from installer.deploy.file_checks import CLEARED, matches
from installer.deploy.operation import Json
from installer.host.directories import parent
from installer.host.host import A_KIND
from installer.host.layout import Layout
from installer.host.system import Seen, System
from installer.planning import directory_changes
from installer.planning.changes import Changes, FileChange, Verb
from installer.planning.destinations import Admission
from installer.planning.drift import (
    NEW_SUFFIX,
    NOTHING_SAID,
    Drifted,
    Policy,
    Treatment,
    difference,
    entry_of,
    same_content,
    set_back,
)
from installer.state.release import Installed

_FOREIGN = "already exists and was not installed by Waybill"
_ABSENT = Seen("absent")


def compare(
    system: System,
    layout: Layout,
    number: str,
    old: Sequence[Installed],
    wanted: Sequence[Installed],
    admission: Admission,
    *,
    policy: Policy = NOTHING_SAID,
    rendered: Collection[str] = (),
    back: bool = False,
) -> Changes:
    """Return what changes the files of one release into those of another.

    Args:
        system: The host.
        layout: Where this product's things lie.
        number: The id of the transaction.
        old: What the running release has on the host.
        wanted: What the new one wants there, without directories that only hold it.
        admission: Decides which places the release may have.
        policy: What the operator said about files that were edited or are not ours. Where nothing was said,
            they are refused; what goes anyway is moved to where copies are kept.
        rendered: Paths of what is rendered from templates.
        back: Whether it is a rollback: what was kept by policy then stays without being asked for again.
    """
    before, after = ({item.path: item for item in items} for items in (old, wanted))
    with system.hold_directories():
        return _Comparison(
            system, f"{layout.preserved}/{number}", before, after, admission, policy, rendered, back
        ).run()


@dataclass(slots=True)
class _Comparison:
    _system: System
    _kept: str
    _old: Mapping[str, Installed]
    _wanted: Mapping[str, Installed]
    _admission: Admission
    _policy: Policy
    _rendered: Collection[str]
    _back: bool
    _gone: set[str] = field(default_factory=set)
    _made: set[str] = field(default_factory=set)
    _there: dict[str, bool] = field(default_factory=lambda: {"/": True})
    result: Changes = field(default_factory=Changes)

    def run(self) -> Changes:
        directories = sorted(
            (i for i in self._wanted.values() if i.kind == "dir"), key=lambda item: item.path
        )
        for item in [*directories, *(i for i in self._wanted.values() if i.kind != "dir")]:
            self._guarded(self._take, item)
        for path in sorted(self._old.keys() - {item.path for item in self.result.installed}):
            if path not in self._gone and path not in self._wanted:
                self._guarded(self._leave, self._old[path])
        return self.result

    def _guarded(self, do: Callable[[Installed], None], item: Installed) -> None:
        """Plan for one item; a place that cannot be examined is a problem of the host, not of ours."""
        try:
            do(item)
        except OSError as error:
            self.result.problems.append(self._admission.unreachable(item.path, error))

    def _take(self, item: Installed) -> None:
        problems, notes = self._admission.ask(item, self._old.get(item.path))
        self.result.problems += problems
        self.result.notes += notes
        if not problems and self._hold(parent(item.path), item):
            self._place(item)

    def _leave(self, item: Installed) -> None:
        """Plan that something of the old release goes."""
        if why := self._admission.forbidden(item.path):
            # Only an earlier version can have put it there. Removing it could take the host's trust away.
            self.result.stays[item.path] = why
            self.result.notes.append(f"{item.path} is not removed: it {why}")
        elif owner := self._admission.owner(item.path):
            # Both have it since an earlier version allowed that: the last of the two to go removes it.
            self.result.stays[item.path] = f"belongs to {owner} too"
            if item.kind != "dir":
                self.result.notes.append(f"{item.path} is not removed: it belongs to {owner} too")
        elif item.kind == "dir":
            directory_changes.leave(self._system, self.result, item, self._poor(item.path))
        else:
            self._remove(item, self.result.late)

    def _look(self, path: str) -> Seen:
        """Return what is at a path once all that goes early is gone: below a new directory nothing."""
        return _ABSENT if self._is_new(parent(path)) else self._system.observe(path)

    def _is_new(self, directory: str) -> bool:
        return directory in self._made

    def _hold(self, directory: str, for_: Installed) -> bool:
        """Plan a directory that something is to be in; return whether it can exist."""
        if directory in self._there:
            return self._there[directory]
        if wanted := self._wanted.get(directory):
            self._there[directory] = wanted.kind == "dir"
            if not self._there[directory]:
                what = f"is a file of the release, but {for_.path} needs a directory there"
                hint = "ask the team that built the bundle to correct bundle.yaml and to send a new bundle"
                self._refuse(directory, what, hint)
            return self._there[directory]
        held, old = self._hold(parent(directory), for_), self._old.get(directory)
        if held and old and old.kind != "dir":
            self._remove(old, self.result.early)
            self._make(directory)
        elif held and (self._is_new(parent(directory)) or not self._system.is_dir(directory)):
            held = self._make_or_refuse(directory, for_)
        elif held and old and old.was:
            # The new release asks nothing of it any more: it becomes again what it was before the product.
            self._gone.add(directory)
            directory_changes.leave(self._system, self.result, old, self._poor(directory))
        elif held and old:
            self.result.installed.append(replace(old, origin=""))
        elif held and (shared := self._admission.made_by_other(directory)):
            # Whoever of the two products goes last removes it.
            self.result.installed.append(replace(shared, path=directory))
        self._there[directory] = held
        return held

    def _make_or_refuse(self, directory: str, for_: Installed) -> bool:
        seen = self._look(directory)
        if seen.kind == "absent":
            self._make(directory)
            return True
        what = "a dangling link" if seen.kind == "link" else "not a directory"
        self._refuse(directory, f"is {what}, but {for_.path} needs a directory there", "move it away")
        return False

    def _make(self, directory: str) -> None:
        self._made.add(directory)
        owner = 0 if self._system.privileged else -1
        item = Installed(directory, "dir", mode=0o755, uid=owner, gid=owner)
        self.result.installed.append(item)
        self.result.entries.append({**self._entry(item), "saw": self._saw(directory, _ABSENT)})
        self.result.changes.append(FileChange("make", directory))

    def _place(self, item: Installed) -> None:
        before = self._old.get(item.path)
        seen = self._look(item.path)
        entry = {**self._entry(item), "saw": self._saw(item.path, seen)}
        if seen.kind == "dir" == item.kind:
            self._place_on_directory(item, before, seen)
            return
        self.result.installed.append(item)
        if matches(seen, entry):
            return
        if seen.capabilities and not item.capabilities and not (before and before.capabilities):
            what = f"{seen.capabilities}, which this host gave to its old content: the new content gets none"
            self.result.notes.append(f"{item.path} loses {what}")
        if seen.kind == "absent":
            verb: Verb = "make" if item.kind == "dir" else "restore" if before else "add"
            if item.kind == "dir":
                self._made.add(item.path)
            self._change(verb, item, entry)
        elif seen.kind == "dir":
            self._replace_directory(item, entry)
        elif seen.kind == "other" or item.kind == "dir":
            if before and before.kind != "dir" and matches(seen, self._entry(before)):
                self._remove(before, self.result.early)
                self._made.add(item.path)
                self._change("make", item, {**entry, "saw": self._saw(item.path, _ABSENT)})
            else:
                self._refuse_foreign(item.path, seen)
        # Exactly as installed: nobody loses anything by the replacement.
        elif before and matches(seen, self._entry(before)):
            self._change("replace", item, entry)
        else:
            what = difference(seen, before, self._poor(item.path)) if before else _FOREIGN
            self._apply_treatment(item, before, seen, what)

    def _place_on_directory(self, item: Installed, before: Installed | None, seen: Seen) -> None:
        """Plan for a directory that exists: one that was there before the product is the operator's."""
        # What was a file of the old release has become a directory by somebody else's hands.
        before = before if before and before.kind == "dir" else None
        known = before or self._admission.made_by_other(item.path)
        item, ours = directory_changes.with_origin(item, known, seen)
        entry = {**self._entry(item), "saw": self._saw(item.path, seen)}
        self.result.installed.append(item)
        if matches(seen, entry):
            return
        if fault := self._admission.may_change(item, seen):
            self.result.problems.append(fault)
            return
        if not ours:
            treatment = self._policy.of(item.path) or "refuse"
            kept = before is not None and before.policy == "kept"
            # Kept against this very mode and owner, or by the release that is rolled back to.
            if kept and (self._back or (before and self._entry(before) == self._entry(item))):
                treatment = self._policy.of(item.path) or "keep"
            if treatment == "keep":
                self.result.installed[-1] = replace(item, policy="kept")
            what = difference(seen, item)
            self.result.drifted.append(Drifted(item.path, what, treatment, "", item.origin, "dir"))
            if treatment == "refuse":
                self.result.problems.append(directory_changes.refusal(item, seen))
            if treatment != "replace":
                return
        self.result.entries.append(entry)
        self.result.changes.append(directory_changes.change(item, seen, item))

    def _apply_treatment(self, item: Installed, before: Installed | None, seen: Seen, what: str) -> None:
        """Treat a file that was edited, or is not ours, as the operator chose."""
        path, treatment = item.path, self._treatment(item, before)
        if treatment == "keep" and self._is_configuration(item):
            self.result.installed[-1] = replace(item, policy="kept")
            beside = replace(item, path=path + NEW_SUFFIX, policy="beside")
            self.result.drifted.append(Drifted(path, what, treatment, beside.path, item.origin))
            self._write_next_to(beside, known=self._same(item, before))
        elif treatment == "replace":
            kept = self._kept + path
            self.result.drifted.append(Drifted(path, what, treatment, kept, item.origin))
            entry = {**self._entry(item), "keep": kept, "saw": self._saw(path, seen)}
            self._change("replace", item, entry, kept)
        else:
            self.result.drifted.append(Drifted(path, what, "refuse", "", item.origin))
            said = f"was changed on this host ({what})" if before else _FOREIGN
            self._refuse(path, said, self._remedies(item, before, seen))

    def _treatment(self, item: Installed, before: Installed | None) -> Treatment:
        if said := self._policy.of(item.path):
            return said
        # A decision to keep holds for the version that it was made against, not for the next one.
        kept = before is not None and before.policy == "kept"
        return "keep" if kept and (self._back or self._same(item, before)) else "refuse"

    @staticmethod
    def _same(item: Installed, before: Installed | None) -> bool:
        """Return whether the operator has already kept an edited file against this version."""
        return before is not None and before.policy == "kept" and before.sha256 == item.sha256

    def _is_configuration(self, item: Installed) -> bool:
        return item.kind == "file" and (item.path in self._rendered or item.path.startswith("/etc/"))

    def _remedies(self, item: Installed, before: Installed | None, seen: Seen) -> str:
        first = "move it away"
        if same_content(seen, as_was := before or item):
            # Nobody's work is in it: there is nothing to move away.
            first = f"set it back: `{set_back(seen, as_was)}`"
        elif item.path in self._rendered and before:
            first = "put the change into the values file of the site"
        keep = "; to keep it: --on-drift keep" if self._is_configuration(item) else ""
        return f"{first}{keep}; to replace it (a copy is kept): --on-drift replace"

    def _write_next_to(self, item: Installed, *, known: bool) -> None:
        """Write the release's version next to the one that stays, unless the operator removed it before."""
        seen = self._look(item.path)
        entry = {**self._entry(item), "saw": self._saw(item.path, seen)}
        self.result.installed.append(item)
        if matches(seen, entry) or (known and seen.kind == "absent"):
            return
        if seen.kind not in ("absent", "file", "link"):
            self._refuse_foreign(item.path, seen)
        elif seen.kind == "absent":
            self._change("add", item, entry)
        else:
            old = self._old.get(item.path)
            kept = "" if old and matches(seen, self._entry(old)) else self._kept + item.path
            self._change("replace", item, {**entry, "keep": kept} if kept else entry, kept)

    def _replace_directory(self, item: Installed, entry: Json) -> None:
        """Replace a directory, only if everything in it is ours and is removed, too."""
        below = self._system.tree(item.path)
        # A single foreign file stops the replacement: `rm -r` of a directory is never ours to decide.
        strange = [path for path in below if not self._is_as_installed(path)]
        old = self._old.get(item.path)
        # Only one that Waybill created goes, not what the operator had, or put in place of a file.
        if old is None or old.kind != "dir" or old.was or strange:
            what = f"is a directory that contains {strange[0]}" if strange else "is a directory"
            self._refuse(item.path, f"{what}, which was not installed by Waybill", "move it away")
            return
        seen = self._system.observe(item.path)
        seen_below = [saw_at(self._system, path) for path in below]
        entry_before = {"path": item.path, "kind": "absent", "tree": below, "below": seen_below}
        self.result.early.append({**entry_before, "saw": saw(seen)})
        self._gone.update(below)
        self.result.changes += [
            FileChange("remove", path, 0, self._old[path].origin)
            for path in below
            if self._old[path].kind != "dir"
        ]
        self._change("replace", item, {**entry, "saw": CLEARED})

    def _is_as_installed(self, path: str) -> bool:
        old = self._old.get(path)
        if old is None or path in self._wanted:
            return False
        seen = self._system.observe(path)
        return seen.kind == "dir" == old.kind or matches(seen, self._entry(old))

    def _remove(self, item: Installed, entries: list[Json]) -> None:
        """Plan that a file or link of the old release goes."""
        self._gone.add(item.path)
        seen = self._system.observe(item.path)
        # What was a file or link of ours is one, or somebody else's.
        if seen.kind not in ("file", "link"):
            return
        entry: Json = {"path": item.path, "kind": "absent", "saw": saw(seen)}
        kept = ""
        # An edited file is never deleted without a copy.
        if not matches(seen, self._entry(item)):
            what = difference(seen, item, self._poor(item.path))
            if self._stays(item, what, can_stay=entries is self.result.late):
                return
            kept = self._kept + item.path
            entry["keep"] = kept
        entries.append(entry)
        self.result.changes.append(FileChange("remove", item.path, 0, item.origin, kept))

    def _stays(self, item: Installed, what: str, *, can_stay: bool) -> bool:
        """Return whether an edited file that is not in the new release stays."""
        said = self._policy.of(item.path) or ("keep" if item.policy == "kept" and can_stay else "replace")
        if item.policy == "beside" or said == "replace":
            return False
        if said == "keep" and can_stay:
            self.result.drifted.append(Drifted(item.path, what, "keep", "", item.origin))
        else:
            self.result.drifted.append(Drifted(item.path, what, "refuse", "", item.origin))
            seen = self._system.observe(item.path)
            first = f"set it back: `{set_back(seen, item)}`" if same_content(seen, item) else "move it away"
            hint = f"{first}; to remove it (a copy is kept): --on-drift replace"
            self._refuse(item.path, f"was changed on this host ({what})", hint)
        return True

    def _change(self, verb: Verb, item: Installed, entry: Json, kept: str = "") -> None:
        self.result.entries.append(entry)
        self.result.changes.append(FileChange(verb, item.path, item.size, item.origin, kept))

    def _entry(self, item: Installed) -> Json:
        return entry_of(item, self._poor(item.path))

    def _poor(self, path: str) -> str:
        return self._admission.file_systems.poor(parent(path))

    def _saw(self, path: str, seen: Seen) -> str:
        """Return what an operation is told of what the plan saw at a path."""
        cleared = path in self._gone or self._is_new(parent(path))
        return CLEARED if cleared else saw(seen)

    def _refuse_foreign(self, path: str, seen: Seen) -> None:
        self._refuse(path, f"is {A_KIND[seen.kind]} that was not installed by Waybill", "move it away")

    def _refuse(self, path: str, what: str, hint: str) -> None:
        self.result.problems.append(Problem(path, what, hint))
