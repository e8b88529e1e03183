"""What `install` does with a plan: asks, carries it out, and keeps or clears what is staged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from installer.cli.options import clock, console, context, loud
from installer.core.errors import HostNotReadyError
from installer.core.format.bundle_source import open_source

if TYPE_CHECKING:
    from installer.audit.evidence import EvidenceRecorder
    from installer.commands.bundle_verifier import BundleVerifier
    from installer.commands.carry_out import Applied
    from installer.core.verify import OpenedBundle
    from installer.host.context import Context
    from installer.planning.plan import Options, Plan
    from installer.state.state import State


def noted(found: Plan, judge: BundleVerifier) -> Plan:
    """Gives a plan with what the judge has to say, first."""
    return replace(found, notes=(*judge.notes, *found.notes))


def work_of(
    where: Context, opened: OpenedBundle, state: State, options: Options, typed: Path | None
) -> tuple[str, bool]:
    """Gives the work directory as a host path, and whether blobs of images are staged in it.

    Raises:
        UsageError: It is no directory, or lies where it may not.
        HostNotReadyError: It is not fit.
    """
    from installer.planning.method_selection import blobs_apart
    from installer.staging.work_dir import work_dir

    if typed is None:
        return "", False
    running = frozenset(state.current.methods if state.current else ())
    apart = blobs_apart(
        opened.bundle.manifest, live=where.live, only=options.only, skip=options.skip, running=running
    )
    return work_dir(where.system, where.layout, typed), apart


def apply_bundle(
    bundle: str,
    judge: BundleVerifier,
    options: Options,
    work_dir: Path | None,
    yes: bool,
    show_evidence: bool,
    keeper: EvidenceRecorder,
) -> Applied:
    """Verifies a bundle, stages it, shows the plan, asks, and carries it out.

    Args:
        bundle: What the operator typed.
        judge: Decides on it.
        options: What the operator chose.
        work_dir: Where blobs of images may be staged; None: with the rest.
        yes: Whether nobody is asked.
        show_evidence: Whether each signature, approval and check is printed.
        keeper: Keeps the evidence.

    Raises:
        WaybillError: It is refused, or failed.
    """
    medium = open_source(bundle)
    try:
        opened = judge.open(medium)
        where = context(judge.system, opened.bundle.manifest.product, console.progress())
        return _apply_trusted(judge, opened, where, options, work_dir, yes, show_evidence, keeper)
    finally:
        medium.close()


def _apply_trusted(
    judge: BundleVerifier,
    opened: OpenedBundle,
    where: Context,
    options: Options,
    work_dir: Path | None,
    yes: bool,
    show_evidence: bool,
    keeper: EvidenceRecorder,
) -> Applied:
    from installer.commands.recover import exclusive
    from installer.core.verify import report
    from installer.planning.planner import plan_apply
    from installer.staging.area import discard
    from installer.staging.stage import KEPT, stage
    from installer.state.trust_store import remember_time

    system, manifest, identity = where.system, opened.bundle.manifest, opened.bundle.identity
    with exclusive(replace(where, resume=identity)) as (state, recovered):
        for each in recovered:
            console.log(each.text(), "warning")
        judge.again(opened, state)
        work, apart = work_of(where, opened, state, options, work_dir)
        verified, staged = stage(
            opened, system, where.layout, system.platform(), where.progress, work=work if apart else ""
        )
        wanted = False
        try:
            decision, staged = judge.decide(opened), judge.staged(opened, staged)
            if show_evidence:
                console.log(report(verified, decision))
            found = noted(plan_apply(where, state, staged, options), judge)
            if not found.nothing:
                _log_plan(found)
                # once the host is put right the same command goes on; of an unsound release nothing stays
                wanted = found.sound
                found.require_ready()
                wanted = False
                if not yes:
                    back = " It has a step without a way back, see above." if found.final_steps else ""
                    console.confirm(f"Apply {manifest.product} {manifest.version}?{back}", "--yes")
                found = keeper.passed(found)
            wanted = not found.nothing
            applied = _carry_out(where, found)
            remember_time(system, clock())
        except (HostNotReadyError, KeyboardInterrupt) as error:
            wanted = wanted or isinstance(error, KeyboardInterrupt)
            if wanted:
                console.log(KEPT)
            raise
        finally:
            if not wanted:
                discard(system, where.layout, where.progress, identity)
    return applied


def _log_plan(found: Plan) -> None:
    """Before anything is done the plan goes to stderr: stdout has the result."""
    from installer.planning.plan_text import text

    console.log(text(found) if console.log_format == "text" else "plan", plan=found.as_json())


def execute(where: Context, yes: bool, make_plan: Any) -> Applied:
    """Carries out a plan that needs no bundle.

    Args:
        where: The host and the product.
        yes: Whether nobody is asked.
        make_plan: Makes the plan from what stands.

    Raises:
        WaybillError: It is refused, or failed.
    """
    from installer.commands.recover import exclusive

    with exclusive(where) as (state, recovered):
        for each in recovered:
            console.log(each.text(), "warning")
        found: Plan = make_plan(state)
        if not found.nothing:
            _log_plan(found)
            found.require_ready()
            if not yes:
                console.confirm(f"{found.verb.capitalize()} {found.product}?", "--yes")
        return _carry_out(where, found)


def looked_again(where: Context) -> Applied | None:
    """Looks again for what a removal left, where that was the last thing done; None where something runs.

    Raises:
        WaybillError: Another install runs, or what an earlier one left cannot be brought to an end.
    """
    from installer.audit.recorder import happened
    from installer.audit.removal_check import prove
    from installer.commands.carry_out import Applied
    from installer.commands.recover import exclusive
    from installer.planning import removal

    with exclusive(where) as (state, _):
        found = removal.last(where, state)
        if found is None:
            return None
        removal.let_go_again(where, found[1])
        proof = prove(where, *found)
        of = {"verb": "remove", "product": where.layout.product, "exit": proof.exit_code}
        happened(where.system, "unchanged", {**of, **proof.summary()}, loud)
    return Applied("remove", where.layout.product, False, None, None, found[0], removal=proof)


def _carry_out(where: Context, found: Plan) -> Applied:
    from installer.audit.recorder import happened
    from installer.commands.carry_out import apply

    applied = apply(where, found)
    if not applied.changed and applied.new:
        of = {"verb": found.verb, "product": found.product, "version": applied.new.version}
        happened(where.system, "unchanged", {**of, "identity": applied.new.identity, "exit": 0}, loud)
    return applied
