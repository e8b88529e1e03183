"""What happens because configuration files change: pure decisions, from two manifests and a list of changes.

A unit of the release that some file names in `on_change` is not restarted by every upgrade. It is restarted
where something changes that it may use: its unit file, a file that its unit file names, or a file that no
unit names exactly, since then nobody can tell who uses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal

from installer.core.format.entries.config_file import COMMAND_SECONDS, OnChange, command_text
from installer.core.format.entries.quadlet_files import KIND as QUADLET
from installer.core.format.entries.quadlet_files import QuadletFile
from installer.core.format.entries.unit_names import step_units, template_of
from installer.core.format.manifest import FileEntry, Image, Kind, Manifest
from installer.core.format.methods import IMAGES, SPECS, installed_by_method
from installer.core.risk import setting_lines
from installer.core.risk.unit_lines import directives

Does = Literal["reload", "restart", "command"]
_UNIT: Kind = "unit"
_NOT_USED = (
    *("doc", "sbom", "values", "schema", "template", "unit", "user-unit", "image", QUADLET),
    *setting_lines.KINDS,
)
"""Kinds of files in the directory of a release that no running service reads, or that are compared apart."""
_NAMING = ("EnvironmentFile", "WorkingDirectory", "RootDirectory", "LoadCredential")
"""Directives whose values name files of a unit, besides those that begin with `Exec`."""
_INSTANCE = re.compile(r"@[^.]*\.")
_PATH = re.compile(r"/[^\s\"';:,=]+")


@dataclass(frozen=True, slots=True)
class Reaction:
    """One thing that happens because files change.

    Attributes:
        does: What.
        because: The files, as host paths.
        unit: The unit; empty for a command.
        command: The words of the command; empty for a unit.
        own: Whether the release has the unit.
        comes: Whether the release has the template of the unit: the host need not know the unit yet.
        fresh: Whether none of the files was there before.
        ended: Whether none of the files is there afterwards.
        seconds: The time that a command has; 0 for a unit.
    """

    does: Does
    because: tuple[str, ...]
    unit: str = ""
    command: tuple[str, ...] = ()
    own: bool = False
    comes: bool = False
    fresh: bool = False
    ended: bool = False
    seconds: int = 0

    def text(self) -> str:
        """Return it in words, as an order."""
        return f"run {command_text(self.command)}" if self.command else f"{self.does} {self.unit}"

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "does": self.does,
            "unit": self.unit or None,
            "command": list(self.command) or None,
            "because": list(self.because),
            "timeout": self.seconds or None,
        }


@dataclass(frozen=True, slots=True)
class Reactions:
    """All that happens because files change.

    Attributes:
        acts: Commands first, then units, each once.
        spared: Units of the release that go on running, unless they do not run.
        skipped: Units that the release carries, but whose step is not run, each with the files.
    """

    acts: tuple[Reaction, ...] = ()
    spared: tuple[str, ...] = ()
    skipped: tuple[Reaction, ...] = ()


NO_REACTIONS = Reactions()


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two releases.

    Attributes:
        manifest: Its manifest.
        platform: The platform of the host.
        methods: The methods that are, or were, used.
        current: The link to the running release, as units name files in its directory.
        units: The texts of its units with their drop-ins, by their names; only needed of the new release.
    """

    manifest: Manifest
    platform: str
    methods: frozenset[str]
    current: str
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def within(self) -> str:
        """What paths in the directory of the running release begin with."""
        return f"{self.current}/"

    def reacting(self) -> dict[str, FileEntry]:
        """Return the files with `on_change`, by their places on the host."""
        return {
            entry.install: entry
            for entry in self.manifest.for_platform(self.platform)
            if entry.on_change and entry.install
        }

    def carried(self, *, used: bool) -> list[str]:
        """Return the names of its units; of those of steps that are used, or of all."""
        return [
            unit
            for step in self.manifest.deploy
            if step.method in SPECS and (not used or step.method in self.methods)
            # Units of users are not reloaded by the manager of the system.
            if "user" not in step.options
            for unit in (*step_units(step.options), *step.options.get("instances", []))
        ]

    def made(self, *, used: bool) -> set[str]:
        """Return the services that Podman makes of its files: their own step restarts them, always."""
        return {
            QuadletFile(path.rpartition("/")[2], "").service
            for step in self.manifest.deploy
            if step.method in SPECS and (not used or step.method in self.methods)
            for option, path in SPECS[step.method].files(step.options)
            if option.kind == QUADLET
        }

    def unit_files(self) -> dict[str, str]:
        """Return the places of its unit files, with the names of the units."""
        return {
            to: to.rpartition("/")[2]
            for entry in self.manifest.of_kind(_UNIT)
            if (to := entry.install or installed_by_method(entry)) and not to.endswith(".conf")
        }

    def settings(self) -> set[str]:
        """Return the places of files that only programs of the host read, such as those of sysctl.d."""
        files = self.manifest.of_kind(QUADLET, "user-unit", *setting_lines.KINDS)
        return {installed_by_method(entry) for entry in files}

    def images(self) -> set[Image]:
        """Return the images that it loads here: none on a host without an engine."""
        return set(self.manifest.images) if IMAGES.name in self.methods else set()

    def kept(self) -> dict[str, str]:
        """Return what stays in its directory and may be used by services, each with its digest or target."""
        files = {
            f"{self.current}/{entry.path}": f"{entry.sha256} {entry.mode}"
            for entry in self.manifest.for_platform(self.platform)
            if not entry.install and entry.kind not in _NOT_USED
        }
        links = {
            f"{self.current}/{link.path}": link.target for link in self.manifest.links if not link.install
        }
        return files | links


@dataclass(frozen=True, slots=True)
class FileChanges:
    """Which files on the host change.

    Attributes:
        fresh: Those that come.
        replaced: Those that change.
        gone: Those that go.
    """

    fresh: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()

    @property
    def written(self) -> frozenset[str]:
        """Those that come or change."""
        return self.fresh | self.replaced

    def reaction(self, does: Does, paths: Sequence[str], **what: Any) -> Reaction:
        """Return what happens because these files change."""
        fresh, ended = self.fresh.issuperset(paths), self.gone.issuperset(paths)
        return Reaction(does, tuple(paths), fresh=fresh, ended=ended, **what)


def reactions(old: Side | None, new: Side | None, changes: FileChanges) -> Reactions:
    """Return what happens because files change.

    Args:
        old: The running release; None where none is.
        new: The release that is to run; None where none is.
        changes: Which files change.
    """
    written, gone = changes.written, changes.gone
    now, before = (side.reacting() if side else {} for side in (new, old))
    fired = [(path, entry) for path, entry in now.items() if path in written]
    # What the old release said of a file counts for its end.
    fired += [(path, entry) for path, entry in before.items() if path in gone]
    commands: dict[tuple[str, ...], list[str]] = {}
    times: dict[tuple[str, ...], int] = {}
    units: dict[str, list[tuple[str, OnChange]]] = {}
    for path, entry in fired:
        change = entry.on_change
        if words := change.command:
            commands.setdefault(words, []).append(path)
            # Once for several files: as long as the most patient one allows.
            times[words] = max(times.get(words, 0), entry.timeout or COMMAND_SECONDS)
        else:
            units.setdefault(change.unit, []).append((path, change))
    acts = [
        changes.reaction("command", paths, command=words, seconds=times[words])
        for words, paths in commands.items()
    ]
    ours = {*new.carried(used=True), *new.made(used=True)} if new else set()
    left = {*old.carried(used=True), *old.made(used=True)} - ours if old else set()
    found, skipped = list[Reaction](), list[Reaction]()
    for unit, rows in units.items():
        does: Does = "restart" if any(change.restart for _, change in rows) else "reload"
        own, comes = unit in ours, _INSTANCE.sub("@.", unit) in ours
        act = changes.reaction(does, [path for path, _ in rows], unit=unit, own=own, comes=comes)
        # A unit that goes is stopped by its own step.
        if unit not in left:
            is_skipped = new is not None and not act.own and unit in _all(new)
            (skipped if is_skipped else found).append(act)
    spared = list(_spared(old, new, written | gone, found)) if old and new else []
    # A unit of the release that is not spared is started or restarted by its own step.
    acts += [act for act in found if not act.own or (act.unit in spared and act.does == "reload")]
    return Reactions(tuple(acts), tuple(spared), tuple(skipped))


def _all(side: Side) -> set[str]:
    return {*side.carried(used=False), *side.made(used=False)}


def _spared(old: Side, new: Side, changed: Set[str], found: list[Reaction]) -> Iterator[str]:
    named = {entry.on_change.unit for entry in new.reacting().values()}
    ours = new.carried(used=True)
    both = [unit for unit in ours if unit in named and unit in old.carried(used=True)]
    restarted = {act.unit for act in found if act.does == "restart"}
    if both and new.images() == old.images():
        affected = _affected(old, new, changed, ours)
        # What is said of a template holds for its instances.
        yield from (unit for unit in both if unit not in restarted and template_of(unit) not in affected)


def _affected(old: Side, new: Side, changed: Set[str], ours: list[str]) -> set[str]:
    """Return the units that may use something that changes, besides files with `on_change`."""
    named = _named(new, ours)
    found, files = set[str](), old.unit_files() | new.unit_files()
    before, after = old.kept(), new.kept()
    if old.manifest != new.manifest:
        # Such a unit runs in the directory of the old release, which will be removed some day.
        found |= {
            unit for path, users in named.items() if f"{path}/".startswith(new.within) for unit in users
        }
    others = changed - new.reacting().keys() - old.reacting().keys() - new.settings() - old.settings()
    others |= {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    for path in others:
        drop_in = path.rpartition("/")[0].removesuffix(".d")
        # A drop-in may be for one instance: then the others are restarted with it.
        if unit := files.get(path) or files.get(drop_in) or files.get(template_of(drop_in)):
            found.add(template_of(unit))
            continue
        # Who uses a file that no unit names exactly, such as a library, nobody can tell.
        if path not in named:
            return {template_of(unit) for unit in ours}
        found |= {unit for each in (path, *_above(path)) for unit in named.get(each, ())}
    return found


def _named(side: Side, ours: Iterable[str]) -> dict[str, set[str]]:
    """Return the paths that units name, each with the units."""
    found: dict[str, set[str]] = {}
    for unit in ours:
        texts = {each: side.units.get(each, "") for each in (template_of(unit), unit)}
        for text in texts.values():
            for _, _, key, value in directives(text):
                if key.startswith("Exec") or key in _NAMING:
                    for path in _PATH.findall(value):
                        found.setdefault(path.rstrip("/"), set()).add(template_of(unit))
    return found


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
