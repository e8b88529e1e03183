"""VERB apply: lock, recover, verify, stage, plan, ask, execute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from installer.audit.evidence import EvidenceRecorder
from installer.commands.common.attempt import attempt
from installer.commands.common.bundle_verifier import (
    BundleInput,
    BundleVerifier,
    audit_fields,
    opened_bundle,
)
from installer.commands.common.plan_execution import TransactionResult, execute_plan, show_and_ask
from installer.commands.common.recovery import exclusive
from installer.commands.common.session import Session
from installer.commands.plan import blob_directory, failed_release
from installer.core.errors import FailedBeforeError, HostNotReadyError, RolledBackError
from installer.core.verify import OpenedBundle, report, summary
from installer.core.vsa import VerificationTrace
from installer.host.context import Context
from installer.planning.plan import DEFAULT_OPTIONS, Options, Plan, PlanNotReadyError
from installer.planning.planner import plan_apply
from installer.shared.terminal.interrupts import TimeLimitPassed, time_limit
from installer.staging.area import discard
from installer.staging.stage import KEPT, stage
from installer.state.documents import evidence_row
from installer.state.evidence import Evidence
from installer.state.state import State
from installer.state.trust_store import remember_time
from installer.state.watch import Watch


@dataclass(frozen=True, slots=True)
class _Choices:
    options: Options
    work_dir: Path | None
    yes: bool
    show_evidence: bool


def apply(
    session: Session,
    source: BundleInput,
    options: Options = DEFAULT_OPTIONS,
    *,
    work_dir: Path | None = None,
    yes: bool = False,
    show_evidence: bool = False,
    timeout: float = 0.0,
) -> TransactionResult:
    """Verify a bundle, stage it, show the plan, ask, and carry it out.

    Args:
        session: The host; its `ui` is shown the plan and asked.
        source: The bundle.
        options: What the operator chose.
        work_dir: Where the blobs of images may be staged; None: with the release.
        yes: Whether nobody is asked.
        show_evidence: Whether each signature, approval and check is reported.
        timeout: Seconds after which it is stopped, and rolled back if it has begun; 0: no limit.

    Raises:
        WaybillError: It is refused, or failed; every refusal is in the audit log.
    """
    chosen = _Choices(options, work_dir, yes, show_evidence)
    limit = f"the time limit of {timeout:g} s (--timeout) has passed"
    try:
        with time_limit(timeout, limit):
            return _apply(session, source, chosen)
    # A transaction that it stopped has its own error already: here, none has begun.
    except TimeLimitPassed as error:
        failed = RolledBackError(
            f"{error} before the release was begun", hint="give it more time, and look at what took so long"
        )
        failed.cause = "timeout"
        raise failed from error


def _apply(session: Session, source: BundleInput, chosen: _Choices) -> TransactionResult:
    trace = VerificationTrace(file=source.path)
    recorder = EvidenceRecorder(session.system, session.clock, session.ui.alert, trace)

    def known() -> Mapping[str, Any]:
        return {**audit_fields(trace), **recorder.audit_fields()}

    watch = Watch(session.clock)
    with (
        attempt(session, "apply", medium=source.path, known=known),
        _evidence_told(session, recorder),
        recorder.record_refusals(),
        opened_bundle(session, source, trace, installs=True, watch=watch) as (verifier, opened),
    ):
        context = session.context(opened.bundle.manifest.product)
        # What is staged of this very bundle stays in recovery: the same command continues with it. The
        # transaction itself has no such exception: its end removes all that is staged.
        resuming = replace(context, resume=opened.bundle.identity)
        # Everything below happens under the lock: nobody else may change what the plan is made from.
        with exclusive(resuming, session.wait, session.ui) as (state, _):
            verifier.check_again(opened, state)
            _require_not_failed(context, state, opened.bundle.identity, chosen.options)
            plan = _staged_plan(session, context, verifier, opened, state, chosen, watch)
            return _execute(session, context, plan, recorder, watch)


def _require_not_failed(context: Context, state: State, identity: str, options: Options) -> None:
    """Refuse a release that failed here before.

    Before anything is staged: this is the answer that a timer gets, every few minutes.

    Raises:
        FailedBeforeError: It did.
    """
    failure = failed_release(context, state, identity, options)
    if failure is not None:
        problem = failure.problem(context.layout.product)
        raise FailedBeforeError(problem.what, where=problem.where, hint=problem.hint)


@contextmanager
def _evidence_told(session: Session, recorder: EvidenceRecorder) -> Iterator[None]:
    """Tell where the record of the verification is, however the command inside ends."""
    try:
        yield
    finally:
        session.ui.tell(evidence=evidence_row(recorder.recorded))


def _staged_plan(
    session: Session,
    context: Context,
    verifier: BundleVerifier,
    opened: OpenedBundle,
    state: State,
    chosen: _Choices,
    watch: Watch,
) -> Plan:
    """Stage the bundle and return the plan, once a person has agreed to it."""
    system, layout, progress = context.system, context.layout, context.progress
    work, apart = blob_directory(context, opened, state, chosen.options, chosen.work_dir)
    # Staged and verified in one pass: what is applied later is what was hashed, never the media again.
    verified, staged = stage(opened, system, layout, progress, work=work if apart else "")
    try:
        # Of a stream the approvals come after the payload, so this can still refuse what is staged.
        decision = verifier.decide(opened)
        # Who agrees to the plan has to know whose release it is.
        session.ui.note((report if chosen.show_evidence else summary)(verified, decision))
        evidence, notes = Evidence.of(verified, decision), tuple(verifier.trace.notes)
        plan = plan_apply(
            context, state, staged, chosen.options, evidence=evidence, notes=notes, keeps_key=True
        )
        show_and_ask(session, plan, yes=chosen.yes)
        # The last moment before BEGIN: staging and an open prompt may have taken hours.
        if not plan.nothing:
            verifier.check_last(opened, state, watch)
    except BaseException as error:
        # Only where the same command can continue with them the staged files are of use.
        if isinstance(error, KeyboardInterrupt) or (isinstance(error, PlanNotReadyError) and error.resumable):
            session.ui.note(KEPT)
        else:
            discard(system, layout, progress, staged.identity)
        raise
    # The running release is this bundle: nothing of it needs to stay in the staging area.
    if plan.nothing:
        discard(system, layout, progress, staged.identity)
    return plan


def _execute(
    session: Session, context: Context, plan: Plan, recorder: EvidenceRecorder, watch: Watch
) -> TransactionResult:
    # The time at which all of it was verified; what the clock shows later was compared with nothing.
    verified = watch.trusted()
    try:
        # The record of the verification is written only when something is done with it: a plan that is
        # declined must not look like an install.
        done = execute_plan(context, plan, None if plan.nothing else recorder.record_passed())
    except (HostNotReadyError, KeyboardInterrupt):
        session.ui.note(KEPT)  # nothing was changed yet
        raise
    # Last: only a bundle that was verified moves the trusted time forward.
    remember_time(context.system, verified)
    return done
