"""Which deployment methods are used: what the manifest, `--only`, `--skip` and `--root` decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from installer.core.errors import Problem, UsageError
from installer.core.format.manifest import Deployment, FileEntry, Manifest
from installer.core.format.methods import FILES, IMAGES, IMPLICIT, SPECS
from installer.core.schema_errors import spelling_hint
from installer.deploy.configuration.planned import sparing
from installer.deploy.method import Target
from installer.deploy.method_registry import method
from installer.deploy.operation import Op
from installer.deploy.site.image_places import NOWHERE, image_places, taken_images
from installer.deploy.systemctl import is_masked
from installer.host.context import Context
from installer.host.system import System
from installer.state.release import Release
from installer.state.state import Entry

_ADD = "add {only} to run it"
_LIVE = "it runs only on a running host"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which methods are used.

    Attributes:
        used: Their names.
        skipped: The others that the manifest names, each with a sentence that says why.
    """

    used: frozenset[str]
    skipped: dict[str, str]


def select(
    manifest: Manifest,
    *,
    live: bool,
    only: frozenset[str],
    skip: frozenset[str],
    running: frozenset[str] = frozenset(),
    returns: bool = False,
) -> Selection:
    """Decide which methods are used.

    A choice persists: a method that deployed what runs is used again by an upgrade or a rollback, unless a
    flag excludes it. Otherwise the old release would go on running next to the new files. A rollback uses no
    other method: what neither release did on this host is not what anybody wants back.

    Args:
        manifest: Of the release.
        live: Whether this is the running host, not a directory below `--root`.
        only: What `--only` names; empty for no such choice.
        skip: What `--skip` names.
        running: Methods by which the releases that are involved were deployed here before.
        returns: Whether this is a rollback.

    Raises:
        UsageError: A name is not one of the release's methods, or `files` is to be skipped.
    """
    named = {deployment.method for deployment in manifest.deploy} | {FILES.name}
    if manifest.images:
        named.add(IMAGES.name)
    _refuse_unknown(named, only, skip)
    optional = {deployment.method for deployment in manifest.deploy if deployment.optional}
    used, why = {FILES.name}, dict[str, str]()
    # Images come last: whether they are needed depends on the other methods.
    for name in sorted(named - used, key=lambda name: (name == IMAGES.name, name)):
        spec = SPECS.get(name)
        needed = name == IMAGES.name and (
            taken_images(used) != NOWHERE or (not live and name not in optional)
        )
        # A hint that leads to the next refusal is none.
        add = _ADD if live or spec is None or spec.runs_below_root else _LIVE
        if name in skip:
            why[name] = ": it is listed in --skip"
        # `running` before `optional` and --root: a choice that was made once persists.
        elif not only and name in running:
            used.add(name)
        elif not only and returns:
            why[name] = f": neither release used it on this host; {add}"
        elif needed:
            used.add(name)
        elif only and name not in only:
            why[name] = ": it is not listed in --only"
        elif name not in only and name in optional:
            why[name] = f" because it is optional; {add}"
        elif not live and name not in only and (spec is None or spec.needs_live_host):
            why[name] = f" with --root; {add}{' on this machine' if add == _ADD else ''}"
        else:
            used.add(name)
    return Selection(frozenset(used), {name: _sentence(name, why[name], used) for name in why})


def _refuse_unknown(named: Collection[str], only: frozenset[str], skip: frozenset[str]) -> None:
    for flag, names in (("--only", only), ("--skip", skip)):
        if unknown := sorted(names.difference(named)):
            raise UsageError(
                f"{flag} {','.join(unknown)}: the release has no such method",
                hint=spelling_hint(unknown[0], sorted(named), f"it has {', '.join(sorted(named))}"),
            )
    # A release without its files would be a state that no other command knows.
    if FILES.name in skip:
        raise UsageError(
            f"--skip {FILES.name}: every release installs files",
            hint="skip the methods that use them instead",
        )


def _sentence(name: str, why: str, used: Collection[str]) -> str:
    return f'step "{name}" is skipped{why.format(only=_only(name, used))}'


def _only(name: str, used: Collection[str]) -> str:
    return f"--only {','.join([*sorted(used), name])}"


def how_to_run(used: Collection[str], name: str) -> str:
    """Return how something runs on this machine although `--root` names a directory.

    Args:
        used: Names of the methods that are used.
        name: A method that brings it along; empty for none.
    """
    return f"{_ADD.format(only=_only(name, used))} on this machine" if name else _LIVE


def is_installed(
    system: System, used: Collection[str], there: Container[str], entry: FileEntry, path: str
) -> bool:
    """Return whether a file of a step is installed at a path.

    Args:
        system: The host. What its administrator has masked is left as it is.
        used: The methods that are used.
        there: Paths of files that the running release has installed.
        entry: The file.
        path: The path.
    """
    specs = (SPECS[name] for name in used if name in SPECS)
    kinds = {option.kind for spec in specs for option in spec.every_option if option.directory}
    return path in there or (entry.kind in kinds and not is_masked(system, path))


def outside_root(context: Context, operations: Iterable[Op], *, probes: bool) -> Iterator[str]:
    """Yield which steps of a plan act on this machine although `--root` names a directory.

    Args:
        context: The host.
        operations: Of the plan.
        probes: Whether health checks will run.
    """
    if context.live:
        return
    kinds = {op.kind.partition(".")[0] for op in operations}
    names = sorted(name for name in kinds if name in SPECS and SPECS[name].needs_live_host)
    # They were asked for by name, once; whoever upgrades, rolls back or removes later must see it again.
    for name in names:
        yield f'OUTSIDE {context.system.root}: step "{name}" runs on this machine; --root does not contain it'
    if names and probes:
        yield f"OUTSIDE {context.system.root}: health checks run on this machine"


@dataclass(frozen=True, slots=True)
class MethodStep:
    """One step and what it has to do to get from one release to another.

    Attributes:
        name: The method.
        old: The step of the running release; None where it did not run.
        new: The step of the new release; None where the release does not have it any more.
    """

    name: str
    old: Target | None
    new: Target | None

    @property
    def implicit(self) -> bool:
        """Whether it belongs to the method of a release's own files or images, which others rely on."""
        return self.name in IMPLICIT

    @property
    def rendered(self) -> list[str]:
        """The paths of the files that the new release renders for it."""
        spec = SPECS.get(self.name)
        if self.new is None or spec is None:
            return []
        return [f"{self.new.release.directory}/{place}" for _, place in spec.rendered(self.new.options)]

    def drift(self, context: Context) -> list[Problem]:
        """Return where the host differs from the new release, as far as the method can tell."""
        used = method(self.name)
        return used.drift(context, self.new) if used and self.new else []

    def differs(self, context: Context) -> bool:
        """Return whether the new release, which is installed already, has something to repair."""
        used = method(self.name)
        return used is not None and self.new is not None and used.differs(context, self.new)


def method_steps(
    old: tuple[Entry, Release] | None, new: Release | None, selection: Selection, spared: Sequence[str] = ()
) -> list[MethodStep]:
    """Pair the steps of both releases: each with the same step of the other.

    Steps of the old release alone come first and in reverse: they are stopped before new ones start.

    Args:
        old: The running release.
        new: The release that is to run.
        selection: Which methods are used.
        spared: Units of the new release that are left alone if they run.
    """
    before: dict[StepKey, Target] = {}
    if old is not None:
        entry, release = old
        found = targets(release, frozenset(entry.methods))
        before = {key: target for key, target in found.items() if key.method in entry.methods}
    after = targets(new, selection.used) if new is not None else {}
    gone = [MethodStep(key.method, target, None) for key, target in before.items() if key not in after]
    come = [
        MethodStep(key.method, before.get(key), sparing(target, spared) if _has_units(key.method) else target)
        for key, target in after.items()
        if key.method in selection.used
    ]
    return [*reversed([step for step in gone if step.name not in selection.skipped]), *come]


def _has_units(name: str) -> bool:
    return name in SPECS and any(option.kind == "unit" for option in SPECS[name].options)


class StepKey(NamedTuple):
    """What tells the steps of one release apart, and is the same in the next release.

    Attributes:
        method: The method.
        identity: What the step is known by on the host, whatever its place in the list; see `MethodSpec`.
        place: How many steps with the same method and identity come before it.
    """

    method: str
    identity: str
    place: int


def targets(release: Release, used: frozenset[str]) -> dict[StepKey, Target]:
    """Return all steps of a release; those of `used` decide whether images go into the engine.

    Args:
        release: The release.
        used: Names of the methods that are, or were, used.
    """
    found: dict[StepKey, Target] = {}
    if release.manifest.images:
        taken = taken_images(used) if IMAGES.name in used else NOWHERE
        options = {"engine": taken.engine, "registry": taken.registry}
        found[StepKey(IMAGES.name, "", 0)] = Target(release, options)
    counts = Counter[tuple[str, str]]()
    for deployment in release.manifest.deploy:
        # Listing them is allowed and changes nothing: every release has them.
        if deployment.method in IMPLICIT:
            continue
        known_by = (deployment.method, _identity(deployment, release.manifest.product))
        found[StepKey(*known_by, counts[known_by])] = Target(release, dict(deployment.options))
        counts[known_by] += 1
    return found


def _identity(step: Deployment, product: str) -> str:
    spec = SPECS.get(step.method)
    if spec is None or not spec.identity:
        return ""
    known_by = step.options.get(spec.identity)
    # The first file of a list stands for all: the others change from release to release.
    known_by = known_by[0] if isinstance(known_by, list) else known_by
    return str(known_by or (product if spec.named_by_product else ""))


def blobs_apart(
    manifest: Manifest,
    *,
    live: bool,
    only: frozenset[str],
    skip: frozenset[str],
    running: frozenset[str],
    registry: bool,
) -> bool:
    """Return whether the blobs of images only pass through: into the engine, or nowhere. See `select`.

    A registry may lose what it has, and a rollback pushes it again: then they stay with the release.
    """
    used = select(manifest, live=live, only=only, skip=skip, running=running).used
    places = image_places(used, live=live, registry=registry)
    return IMAGES.name not in used or (places.engine and not places.registry)
