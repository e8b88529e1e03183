"""Works out what applying, rolling back or removing a release would do, and what prevents it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from installer.core.digest import sha256_hex
from installer.core.errors import Problem, RefusedError
from installer.core.format.manifest import FileEntry, Manifest
from installer.core.format.methods import SPECS
from installer.deploy import health
from installer.deploy.file_operations import LINK, batches
from installer.deploy.method_registry import method
from installer.deploy.operation import Op
from installer.host.context import Context
from installer.host.disk_space import Demand, Need, space_problems
from installer.host.layout import release_name
from installer.planning import irreversible, method_selection, preflight, record_rebuild, removal
from installer.planning.changes import Changes, without_sources
from installer.planning.desired_state import Desired, desired
from installer.planning.destinations import Admission
from installer.planning.drift import NOTHING_SAID
from installer.planning.file_changes import compare
from installer.planning.method_selection import MethodStep, Selection
from installer.planning.owners import name_problems, names_of
from installer.planning.plan import MethodPlan, Options, Plan
from installer.planning.review import reviewed, unchanged_files
from installer.planning.views.content_diff import planned_diffs
from installer.planning.views.visible_release import HIDDEN, Visible, visible_release
from installer.shared.review.review import NO_REVIEW
from installer.staging.staged import Staged
from installer.state import recorded_values
from installer.state.evidence import NO_EVIDENCE, Evidence
from installer.state.public import AS_ROOT
from installer.state.release import Release, record_bytes
from installer.state.state import Entry, State, next_transaction


def plan_apply(
    context: Context,
    state: State,
    staged: Staged,
    options: Options,
    *,
    evidence: Evidence = NO_EVIDENCE,
    notes: Sequence[str] = (),
) -> Plan:
    """Return the plan by which a verified bundle becomes the running release.

    Whether the bundle may be installed here was decided by its verification, with the same state.

    Args:
        context: The product.
        state: Its state.
        staged: The bundle; its members have to be readable in `staged.directory`.
        options: What the operator chose.
        evidence: What its verification found; kept with the release.
        notes: What is out of the ordinary about the bundle; the plan begins with it.

    Raises:
        UsageError: `--only` or `--skip` name what is not there.
        NotUndoneError: What runs now is damaged.
    """
    manifest = staged.manifest
    # Taken now: paths of the record and of copies contain it, and the plan shows them.
    number = next_transaction(context.system, context.layout, state)
    name = release_name(manifest.sequence, staged.identity)
    directory = context.layout.release(name)
    again = record_rebuild.rebuilt_release(context, state, staged, options.values, evidence.environment)
    planner = Planner(context, state, options, number, staged.demands, again, notes)
    wanted = desired(
        context.system, context.layout, staged,
        directory=directory, record=context.layout.record(number), site=options.values,
        environment=evidence.environment, installs=planner.installs(manifest),
    )  # fmt: skip
    entry = Entry(
        name, manifest.version, manifest.sequence, staged.identity, staged.manifest_sha256, number, "",
        evidence=evidence, blobs=not staged.area,
    )  # fmt: skip
    release = Release(manifest, staged.identity, directory, staged.directory, blobs=staged.area or None)
    place = Op("release.place", {"from": staged.directory, "to": directory}, "stage")
    return planner.plan("apply", entry, release, wanted, [place])


def plan_remove(context: Context, state: State, options: Options | None = None) -> Plan:
    """Return the plan by which the running release is removed.

    Args:
        context: The product.
        state: Its state.
        options: What the operator chose; of it only what becomes of edited files counts.

    Raises:
        RefusedError: There is none.
        NotUndoneError: It is damaged.
    """
    if state.current is None:
        raise RefusedError(f"{context.layout.product} is not installed here")
    number = next_transaction(context.system, context.layout, state)
    planner = Planner(context, state, Options(drift=options.drift if options else NOTHING_SAID), number)
    return planner.plan("remove", None, None, Desired(), [])


class Planner:
    """Plans one transaction from the running release, the desired one and what the operator chose."""

    def __init__(
        self,
        context: Context,
        state: State,
        options: Options,
        number: str,
        staging: Sequence[Demand] = (),
        again: Release | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._context = context
        self._staging = staging
        self._state = state
        self._options = options
        self._number = number
        current = state.current
        visible = Visible(again) if again else visible_release(context, current) if current else None
        self.old = visible.release if visible else None
        self._partial = visible is not None and visible.partial
        self._again = again is not None
        self._problems: list[Problem] = []
        self._unfit: set[str] = set()  # methods that cannot run here, for which nothing is planned
        self._notes: list[str] = [*notes, *([record_rebuild.NOTE] if again else [])]
        self._notes += [f"not shown: {HIDDEN}; {AS_ROOT}"] if self._partial else []

    def plan(
        self, verb: str, entry: Entry | None, release: Release | None, wanted: Desired, first: list[Op]
    ) -> Plan:
        """Return the plan.

        Args:
            verb: `apply`, `rollback` or `remove`.
            entry: The release that is to run; None where none is.
            release: The same, with its manifest and where it lies.
            wanted: What it wants on the host.
            first: What has to be done before anything else.

        Raises:
            UsageError: `--only` or `--skip` name what is not there.
        """
        context, state = self._context, self._state
        old = self.old
        self._learn(wanted, entry)
        chosen = (
            self._select(release.manifest, entry.methods) if entry and release else Selection(frozenset(), {})
        )
        installed_before = old.installed if old else ()
        links = {item.path for item in wanted.items if item.kind == "link"}
        gone = {item.path for item in installed_before if item.kind == "link"} - links
        admission = Admission(context, gone)
        changes = compare(
            context.system, context.layout, self._number, installed_before, wanted.items, admission,
            policy=self._options.drift, rendered=wanted.rendered.keys(), back=verb == "rollback",
        )  # fmt: skip
        installed = tuple(changes.installed)
        if entry is not None and release is not None:
            # Only now it is known which directories are created for the release.
            release = replace(release, installed=installed, health=wanted.health)
            entry = replace(
                entry,
                methods=tuple(sorted(chosen.used)),
                record_sha256=sha256_hex(record_bytes(installed, wanted.health)),
            )
        jobs = method_selection.method_steps(
            (state.current, old) if state.current and old else None, release, chosen
        )
        nothing = self._nothing(entry, release, old, changes, jobs)
        methods = [] if nothing else self._methods(jobs)
        if verb == "remove":
            items = removal.inventory(context, state, old, changes)
            first = [removal.record_operation(items), *first]
        # Nothing to do means no transaction at all, not an empty one.
        operations = [] if nothing else [*first, *self._operations(changes, jobs, entry)]
        entry = irreversible.with_irreversible(replace(context, transaction=self._number), state, entry, jobs)
        self._problems += [*wanted.problems, *changes.problems]
        self._problems += admission.unknown(wanted.items, installed_before)
        if release is not None:
            self._problems += name_problems(admission.others, [*names_of(context, release, chosen.used)])
            self._problems += preflight.release_problems(context.system, context.layout, release.manifest)
        probes = health.selected(wanted.health, chosen.used, live=context.live)
        self._problems += health.missing(context, probes)
        needs = self._look(changes, operations)
        self._note(entry, changes, chosen)
        self._notes += admission.loose_notes()
        self._notes += method_selection.outside_root(context, operations, probes=bool(probes))
        if verb == "remove":
            self._notes += removal.removal_notes(context, state, items)
        elif verb == "rollback" and entry is not None:
            if self._options.data_restored:
                self._notes += irreversible.rollback_notes(state, entry)
            else:
                self._problems += irreversible.rollback_problems(state, entry)
            if wanted.values_unknown:
                self._notes.append(recorded_values.UNKNOWN)
        return Plan(
            verb=verb,
            product=context.layout.product,
            old=state.current,
            new=entry,
            nothing=nothing,
            changes=changes,
            diffs=planned_diffs(context, changes, wanted, release),
            methods=tuple(methods),
            skipped=chosen.skipped,
            needs=tuple(needs),
            problems=tuple(map(context.secrets.hide_problem, self._problems)),
            notes=tuple(map(context.secrets.hide, self._notes)),
            rendered=_record_files(wanted),
            operations=tuple(operations),
            state=replace(state, keep=self._options.keep or state.keep),
            number=self._number,
            release=release,
            sound=not wanted.problems,
            sensitive=admission.sensitive(wanted.items),
            value_changes=wanted.value_changes,
            review=NO_REVIEW if release is None or nothing else reviewed(context, release, chosen.used),
            known=unchanged_files(old, release),
        )

    def _learn(self, wanted: Desired, entry: Entry | None) -> None:
        """Remember the secrets of the site, before anything is said of its values."""
        secrets = self._context.secrets
        # A password that equals one of these would blank the headline of the plan.
        secrets.allow([self._context.layout.product, *((entry.version, entry.identity) if entry else ())])
        secrets.allow([entry.evidence.environment] if entry and entry.evidence.environment else [])
        secrets.add(wanted.secrets)
        self._notes += wanted.notes

    def installs(self, manifest: Manifest) -> Callable[[FileEntry, str], bool]:
        """Return whether a file of a step is installed: its method is used, or the running release has it."""
        specs = [SPECS[name] for name in self._select(manifest).used if name in SPECS]
        kinds = {option.kind for spec in specs for option in spec.options if option.directory}
        there = {item.path for item in self.old.installed} if self.old else set()
        return lambda entry, path: entry.kind in kinds or path in there

    def _select(self, manifest: Manifest, methods: Sequence[str] = ()) -> Selection:
        options, current = self._options, self._state.current
        return method_selection.select(
            manifest,
            live=self._context.live,
            only=options.only,
            skip=options.skip,
            running=frozenset(methods) | frozenset(current.methods if current else ()),
        )

    def _nothing(
        self,
        entry: Entry | None,
        release: Release | None,
        old: Release | None,
        changes: Changes,
        jobs: list[MethodStep],
    ) -> bool:
        current = self._state.current
        if entry is None or current is None or old is None or changes.problems or changes.changes:
            return False
        # The same bundle repairs a damaged record, and completes an INCOMPLETE release.
        if self._again or current.incomplete:
            return False
        if entry.identity != current.identity or not set(entry.methods) <= set(current.methods):
            return False
        # Without the record only the files can be compared.
        if self._partial:
            return not changes.drifted
        # A changed site value changes a health check without changing any file.
        if release is None or release.health != old.health or self._options.keep not in (0, self._state.keep):
            return False
        if without_sources(changes.installed) != without_sources(old.installed):
            return False
        return not any(job.drift(self._context) for job in jobs)

    def _methods(self, jobs: list[MethodStep]) -> list[MethodPlan]:
        plans = []
        for job in jobs:
            found = method(job.name)
            if found is None:
                hint = (
                    f"run the command again with --skip {job.name}, or use a version of "
                    "`install` that supports it"
                )
                what = "is not supported by this version of `install`"
                self._problems.append(Problem(f"method {job.name}", what, hint))
                continue
            if problems := found.check(self._context, job.old, job.new):
                self._problems += [each for each in problems if each not in self._problems]
                self._unfit.add(job.name)
            lines = tuple(map(self._context.secrets.hide, found.plan(self._context, job.old, job.new)))
            if lines:
                plans.append(MethodPlan(job.name, lines))
        return plans

    def _operations(self, changes: Changes, jobs: list[MethodStep], entry: Entry | None) -> list[Op]:
        link, label = {"path": self._context.layout.current, "kind": "absent"}, "remove the link `current`"
        if entry is not None:
            label = f"point `current` to {entry.version}"
            link = {**link, "kind": "link", "target": f"releases/{entry.name}"}
        # Undone in reverse: files first, then image tags, and the services that use both come back last.
        services = self._of([job for job in jobs if not job.implicit])
        images = self._of([job for job in jobs if job.implicit])
        first = [op for op in (*services, *images) if op.phase != "activate"]
        last = [op for op in (*images, *services) if op.phase == "activate"]
        return [*first, *changes.operations(), *batches([link], LINK, label), *last]

    def _of(self, jobs: Sequence[MethodStep]) -> list[Op]:
        ops: list[Op] = []
        for job in jobs:
            if job.name not in self._unfit and (found := method(job.name)):
                ops += found.operations(self._context, job.old, job.new)
        return ops

    def _look(self, changes: Changes, operations: list[Op]) -> list[Need]:
        # Each operation is in the journal up to three times: INTENT, DONE and UNDONE.
        journal = sum(3 * len(repr(op.args)) + 4096 for op in operations) + 2 * preflight.MIB
        found = preflight.needs(self._context.system, self._context.layout, changes, journal, self._staging)
        self._problems += space_problems(found)
        self._problems += preflight.place_problems(self._context.system, changes)
        return found

    def _note(self, entry: Entry | None, changes: Changes, chosen: Selection) -> None:
        if entry and not self._context.system.privileged and any(item.origin for item in changes.installed):
            self._notes.append("not run as root: owners of files are not set")
        treated = {each.path for each in changes.drifted}
        for change in changes.changes:
            if change.kept and change.path not in treated:
                self._notes.append(
                    f"{change.path} differs from the installed release; a copy is kept: {change.kept}"
                )
        self._notes += [*changes.notes, *(why for _, why in sorted(chosen.skipped.items()))]


def _record_files(wanted: Desired) -> dict[str, bytes]:
    """Return what is written next to the record of a release, by name."""
    files = {str(number): data for number, data in enumerate(wanted.rendered.values(), 1)}
    return files | ({recorded_values.NAME: wanted.values} if wanted.values else {})
