"""Works out what applying, rolling back or removing a release would do, and what prevents it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from installer.core.digest import sha256_hex
from installer.core.errors import Problem, RefusedError
from installer.core.format.manifest import FileEntry, Manifest
from installer.deploy.configuration.planned import NO_EFFECTS, Effects
from installer.deploy.configuration.planned import effects as configuration_effects
from installer.deploy.configuration.planned import operations as on_change_operations
from installer.deploy.file_operations import LINK, batches
from installer.deploy.method_registry import method
from installer.deploy.operation import Op
from installer.host.context import Context
from installer.host.disk_space import Need, space_problems
from installer.host.layout import release_name
from installer.planning import irreversible, method_selection, preflight, record_rebuild
from installer.planning.changes import Changes, without_sources
from installer.planning.cluster import members
from installer.planning.cluster.check import Change, ClusterReport, check_plan
from installer.planning.desired_state import Desired, desired
from installer.planning.destinations import Admission
from installer.planning.file_changes import compare
from installer.planning.health_checks import planned_checks
from installer.planning.method_selection import MethodStep, Selection
from installer.planning.owners import name_problems, names_of
from installer.planning.plan import MethodPlan, Options, Plan
from installer.planning.removal.plans import planned_removal
from installer.planning.review import reviewed, unchanged_files
from installer.planning.step_files import comparison as step_files
from installer.planning.views.content_diff import planned_diffs
from installer.planning.views.visible_release import HIDDEN, Visible, visible_release
from installer.secrets.site import SiteSecrets
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
    keeps_key: bool = False,
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
        keeps_key: Whether the key for digests of secrets is created if there is none: for a plan that is
            carried out.

    Raises:
        UsageError: `--only` or `--skip` name what is not there.
        NotUndoneError: What runs now is damaged.
        HostNotReadyError: Secrets could not be kept secret.
    """
    manifest = staged.manifest
    # Taken now: paths of the record and of copies contain it, and the plan shows them.
    number = next_transaction(context.system, context.layout, state)
    name = release_name(manifest.sequence, staged.identity)
    directory = context.layout.release(name)
    secrets = SiteSecrets(context, keeps_key=keeps_key)
    sight = members.sight_of(context, state.current, manifest)
    again = record_rebuild.rebuilt_release(
        context, state, staged, secrets, options.values, evidence.environment, sight
    )
    planner = Planner(context, state, options, number, staged, again, notes)
    wanted = desired(
        context, staged, secrets,
        directory=directory, record=context.layout.record(number), site=options.values,
        environment=evidence.environment, sight=sight, installs=planner.installs(manifest),
        used=planner.used(manifest),
    )  # fmt: skip
    entry = Entry(
        name, manifest.version, manifest.sequence, staged.identity, staged.manifest_sha256, number, "",
        evidence=evidence, blobs=not staged.area,
    )  # fmt: skip
    place = Op("release.place", {"from": staged.directory, "to": directory}, "stage")
    return planner.plan("apply", entry, staged.release(directory), wanted, [place])


def plan_remove(context: Context, state: State, options: Options | None = None) -> Plan:
    """Return the plan by which the running release is removed.

    Args:
        context: The product.
        state: Its state.
        options: What the operator chose; of it only what becomes of edited files and of the quorum counts.

    Raises:
        RefusedError: There is none.
        NotUndoneError: It is damaged.
    """
    if state.current is None:
        raise RefusedError(f"{context.layout.product} is not installed here")
    number = next_transaction(context.system, context.layout, state)
    planner = Planner(context, state, options or Options(), number)
    return planner.plan("remove", None, None, Desired(), [])


class Planner:
    """Plans one transaction from the running release, the desired one and what the operator chose."""

    def __init__(
        self,
        context: Context,
        state: State,
        options: Options,
        number: str,
        staged: Staged | None = None,
        again: Release | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._context = context
        self._staging = staged.demands if staged else ()
        self._repairs = staged is not None and staged.repairs
        self._state = state
        self._options = options
        self._number = number
        current = state.current
        visible = Visible(again) if again else visible_release(context, current) if current else None
        self.old = visible.release if visible else None
        self._partial = visible is not None and visible.partial
        self._again = again is not None
        self._problems: list[Problem] = []
        self._restarts = False  # whether services are stopped or started
        self._unfit = set[str]()  # methods that cannot run here, or lack a file: nothing is planned for them
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
        context, state, old = self._context, self._state, self.old
        self._learn(wanted, entry)
        rotated = self._rotated(wanted)
        chosen = Selection(frozenset(), {})
        if entry and release:
            chosen = self._select(release.manifest, entry.methods, returns=verb == "rollback")
        inside, installed_before = step_files.split(context.layout, old.installed if old else ())
        own, items = step_files.split(context.layout, wanted.items)
        links = {item.path for item in wanted.items if item.kind == "link"}
        unlinked = {item.path for item in installed_before if item.kind == "link"} - links
        admission = Admission(context, unlinked)
        changes = compare(
            context.system, context.layout, self._number, installed_before, items, admission,
            policy=self._options.drift, rendered=wanted.rendered.keys(), back=verb == "rollback",
        )  # fmt: skip
        step_files.compare(context.system, changes, inside, own, placed=verb == "apply")
        installed = tuple(changes.installed)
        if entry is not None and release is not None:
            # Only now it is known which directories are created for the release.
            release = replace(release, installed=installed, health=wanted.health, rendered=wanted.rendered)
            entry = replace(
                entry,
                methods=tuple(sorted(chosen.used)),
                record_sha256=sha256_hex(record_bytes(installed, wanted.health)),
            )
        effects = self._effects(release, chosen, changes)
        jobs = method_selection.method_steps(
            (state.current, old) if state.current and old else None, release, chosen, effects.acts.spared
        )
        self._unfit = {job.name for job in jobs if not wanted.unrendered.isdisjoint(job.rendered)}
        # A secret that no template uses is in the record all the same.
        nothing = not rotated and self._nothing(entry, release, old, changes, jobs)
        effects = NO_EFFECTS if nothing else effects
        gone, jobs = planned_removal(context, verb, state, old, changes, jobs, purge=self._options.purge)
        methods = [] if nothing else self._methods(jobs)
        # Nothing to do means no transaction at all, not an empty one.
        operations = (
            [] if nothing else [*gone.operations, *first, *self._operations(changes, jobs, entry, effects)]
        )
        cluster = None if nothing else self._cluster(verb, release, wanted)
        entry = irreversible.with_irreversible(replace(context, transaction=self._number), state, entry, jobs)
        self._problems += [*wanted.problems, *changes.problems, *effects.problems]
        self._problems += admission.unknown(items, installed_before)
        if release is not None:
            self._problems += name_problems(admission.others, [*names_of(context, release, chosen.used)])
            self._problems += preflight.release_problems(context.system, context.layout, release.manifest)
        probes = planned_checks(context, wanted.health, release, chosen, self._options.skip)
        self._problems += probes.problems
        needs = self._look(changes, operations)
        self._note(entry, changes, chosen)
        self._notes += [*effects.notes, *admission.loose_notes()]
        self._notes += [*probes.notes(context, operations), *gone.notes]
        if verb == "rollback" and entry is not None:
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
            rendered=wanted.record_files(),
            operations=tuple(operations),
            state=replace(state, keep=self._options.keep or state.keep),
            number=self._number,
            release=release,
            sound=not wanted.problems,
            sensitive=admission.sensitive(items),
            value_changes=wanted.value_changes,
            review=NO_REVIEW if nothing else reviewed(context, release, chosen.used, probes.numbers),
            known=unchanged_files(old, release),
            layers=wanted.layers,
            effects=effects,
            cluster=cluster,
            purged=gone.purged,
            skipped_checks=probes.skipped,
        )

    def _effects(self, release: Release | None, chosen: Selection, changes: Changes) -> Effects:
        """Return what is checked before files change, and what happens then."""
        current = self._state.current
        return configuration_effects(
            self._context,
            (self.old, current.methods) if self.old and current else None,
            (release, chosen.used) if release else None,
            changes.of_files(),
        )

    def _learn(self, wanted: Desired, entry: Entry | None) -> None:
        """Remember the secrets of the site, before anything is said of its values."""
        secrets = self._context.secrets
        # A password that equals one of these would blank the headline of the plan.
        secrets.allow([self._context.layout.product, *((entry.version, entry.identity) if entry else ())])
        secrets.allow([entry.evidence.environment] if entry and entry.evidence.environment else [])
        secrets.add(wanted.secrets)
        self._notes += wanted.notes

    def _rotated(self, wanted: Desired) -> tuple[str, ...]:
        """Return the keys of secrets that have changed since the running release was rendered."""
        context, current = self._context, self._state.current
        if current is None or not wanted.store_secrets:
            return ()
        then = recorded_values.read_secrets(context.system, context.layout, current.record)
        keys = then.changed(wanted.store_secrets)
        self._notes += recorded_values.rotation_notes(keys, current.version)
        return keys

    def used(self, manifest: Manifest) -> frozenset[str]:
        """Return the methods of a release that are used."""
        return self._select(manifest).used

    def installs(self, manifest: Manifest) -> Callable[[FileEntry, str], bool]:
        """Return whether a file of a step is installed: its method is used, or the running release has it."""
        there = {item.path for item in self.old.installed} if self.old else set[str]()
        used = self._select(manifest).used
        return partial(method_selection.is_installed, self._context.system, used, there)

    def _select(self, manifest: Manifest, methods: Sequence[str] = (), *, returns: bool = False) -> Selection:
        options, current = self._options, self._state.current
        return method_selection.select(
            manifest,
            live=self._context.live,
            only=options.only,
            skip=options.skip,
            running=frozenset(methods) | frozenset(current.methods if current else ()),
            returns=returns,
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
        # The same bundle repairs a damaged record or image, and completes an INCOMPLETE release.
        if self._again or self._repairs or current.incomplete:
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
        return not any(job.differs(self._context) for job in jobs)

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

    def _operations(
        self, changes: Changes, jobs: list[MethodStep], entry: Entry | None, effects: Effects
    ) -> list[Op]:
        link, label = {"path": self._context.layout.current, "kind": "absent"}, "remove the link `current`"
        if entry is not None:
            label = f"point `current` to {entry.version}"
            link = {**link, "kind": "link", "target": f"releases/{entry.name}"}
        # Undone in reverse: files first, then image tags, and the services that use both come back last.
        services = self._of([job for job in jobs if not job.implicit])
        self._restarts = bool(services)
        images = self._of([job for job in jobs if job.implicit])
        first = [op for op in (*services, *images) if op.phase != "activate"]
        last = [op for op in (*images, *services) if op.phase == "activate"]
        # Undone right after the files are back; done before services start, which may need their result.
        before, after = on_change_operations(effects.acts)
        return [*first, *before, *changes.operations(), *batches([link], LINK, label), *after, *last]

    def _of(self, jobs: Sequence[MethodStep]) -> list[Op]:
        ops: list[Op] = []
        for job in jobs:
            if job.name not in self._unfit and (found := method(job.name)):
                ops += found.operations(self._context, job.old, job.new)
        return ops

    def _cluster(self, verb: str, release: Release | None, wanted: Desired) -> ClusterReport | None:
        change = Change(
            self._restarts, self.old is not None, release is not None, self._options.allow_quorum_loss
        )
        current, cluster = self._state.current, wanted.cluster
        found = check_plan(self._context, verb, current, self.old, release, cluster, change)
        self._problems += found.problems if found else ()
        self._notes += found.notes if found else ()
        return found

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
                said = "differs from the installed release; a copy is kept"
                self._notes.append(f"{change.path} {said}: {change.kept}")
        self._notes += [*changes.notes, *(why for _, why in sorted(chosen.skipped.items()))]
