"""VERB plan: verify a bundle and work out what applying it would change. Changes nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from installer.audit.floor import with_floor
from installer.commands.common.bundle_verifier import BundleInput, missing_environment, opened_bundle
from installer.commands.common.session import Session
from installer.commands.common.unfinished import find_unfinished
from installer.core.errors import HostNotReadyError, NotUndoneError
from installer.core.verify import OpenedBundle, summary
from installer.host.context import Context
from installer.planning.method_selection import blobs_apart
from installer.planning.plan import DEFAULT_OPTIONS, Options, Plan
from installer.planning.planner import plan_apply
from installer.planning.views.content_diff import edited_members
from installer.planning.views.visible_release import visible_release
from installer.secrets.site_registry import has_site_registry
from installer.staging.preview import previewed
from installer.staging.work_dir import work_dir as checked_work_dir
from installer.state.documents import release_brief
from installer.state.evidence import Evidence
from installer.state.release import Installed
from installer.state.state import State, host_readable
from installer.transaction.failed_release import FailedRelease, failed_before

NO_SPACE = "the plan needs disk space for the documents of the bundle: choose a directory with --work-dir DIR"


def plan(
    session: Session,
    source: BundleInput,
    options: Options = DEFAULT_OPTIONS,
    *,
    work_dir: Path | None = None,
) -> Plan:
    """Return the plan of applying a bundle; `problems` says why it could not be applied now.

    Args:
        session: The host.
        source: The bundle.
        options: What the operator chose.
        work_dir: Where documents and the blobs of images would be staged; None: with the release.

    Raises:
        WaybillError: The bundle is refused, or the host cannot be read.
    """
    with opened_bundle(session, source) as (verifier, opened):
        context = session.context(opened.bundle.manifest.product)
        with host_readable():
            open_ = find_unfinished(context)
        state = open_.state
        try:
            state = with_floor(context.system, context.layout.product, state)
        except HostNotReadyError:
            # Only root reads the audit log; the verification notes that it did not check for a downgrade.
            if context.system.privileged:
                raise
        # With the very state that the plan is made from, so that the planner needs no check of its own.
        verifier.check_again(opened, state)
        # A plan changes nothing, not even what recovery would: it says so and goes on.
        verifier.trace.notes += [open_.note] if open_.note else []
        failure = failed_release(context, state, opened.bundle.identity, options)
        session.ui.tell(from_=release_brief(state.current))
        work, apart = blob_directory(context, opened, state, options, work_dir)
        also = edited_members(context.system, opened.bundle.manifest, _installed(context, state))
        with previewed(
            opened,
            context.system,
            context.layout,
            context.progress,
            work=work,
            apart=apart,
            also=also,
            hint=NO_SPACE,
        ) as (verified, staged):
            decision = verifier.decide(opened)
            session.ui.note(summary(verified, decision))
            evidence = Evidence.of(verified, decision)
            made = plan_apply(
                context, state, staged, options, evidence=evidence, notes=tuple(verifier.trace.notes)
            )
            found = [failure.problem(context.layout.product)] if failure and not made.nothing else []
            missing = missing_environment(context.system, verifier.trust.root)
            # What a command changes while the plan is made looks like drift.
            if (note := find_unfinished(context).note) and note != open_.note:
                made = replace(made, notes=(note, *made.notes))
            # With a root that is only given nothing of the host is set up yet: that is the question.
            if missing is not None and source.root is None:
                found.append(missing)
            return replace(made, problems=(*made.problems, *found))


def failed_release(context: Context, state: State, identity: str, options: Options) -> FailedRelease | None:
    """Return the failure of a release on this host; None if it may be applied.

    It may if it is running by now, or if the operator wants it tried again.
    """
    if options.retry_failed or (state.current is not None and state.current.identity == identity):
        return None
    with host_readable():
        return failed_before(context, identity)


def _installed(context: Context, state: State) -> tuple[Installed, ...]:
    if state.current is None:
        return ()
    # The planner says what is to be done about a record that is damaged.
    with suppress(NotUndoneError):
        return visible_release(context, state.current).release.installed
    return ()


def blob_directory(
    context: Context, opened: OpenedBundle, state: State, options: Options, chosen: Path | None
) -> tuple[str, bool]:
    """Return the work directory as a host path, and whether the blobs of images are staged in it.

    Raises:
        UsageError: It is not a directory, or is in a place that is not allowed.
        HostNotReadyError: It is not safe, or cannot be written.
    """
    if chosen is None:
        return "", False
    # What brought up the running release is used again, and decides whether an engine takes the blobs.
    running = frozenset(state.current.methods if state.current else ())
    apart = blobs_apart(
        opened.bundle.manifest,
        live=context.live,
        only=options.only,
        skip=options.skip,
        running=running,
        registry=has_site_registry(context.system),
    )
    return checked_work_dir(context.system, context.layout, chosen), apart
