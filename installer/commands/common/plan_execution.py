"""Asks for a plan and executes it, for `install BUNDLE`, `rollback` and `remove` alike.

0. The audit log records that it begins; where that cannot be written, nothing is done.
1. The record of the release and its rendered configuration are written next to those of the running release.
2. The transaction: stage, switch, activate.
3. Health checks.
4. COMMIT, or everything is undone. The audit log records the end either way.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from installer.audit import recorder
from installer.audit.removal_check import RemovalCheck, ended_removal
from installer.commands.common.recovery import exclusive
from installer.commands.common.session import Session
from installer.core.errors import HostNotReadyError, WaybillError
from installer.deploy.configuration.validation import run_checks
from installer.deploy.health.needs import SkippedProbe
from installer.deploy.health.watch import ProbeResult, watch_release
from installer.deploy.method_registry import handler
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.host.directories import make_directory
from installer.host.layout import RECORD_FILE
from installer.host.system import System
from installer.planning.plan import Plan
from installer.planning.plan_text import plan_text
from installer.shared.terminal import interrupts
from installer.state.documents import release_brief
from installer.state.evidence import EvidenceFile
from installer.state.host_identity import environment, host_name
from installer.state.release import record_bytes
from installer.state.state import Entry, State
from installer.transaction.execute import Change, execute
from installer.transaction.failures import not_started_error


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """How the execution of a plan ended.

    Attributes:
        verb: `apply`, `rollback` or `remove`.
        product: Its product.
        changed: Whether anything was done; False where there was nothing to do.
        old: The release that ran before; None where none did.
        new: The release that runs now; None after `remove`.
        transaction: Its id; empty where nothing was done.
        health: Results of the health checks.
        pending: What could not be cleaned up yet, in words; the next command does it. Empty: nothing.
        removal: Result of the check after `remove`; None where there was none.
        skipped_checks: Health checks that were not asked.
    """

    verb: str
    product: str
    changed: bool
    old: Entry | None
    new: Entry | None
    transaction: str = ""
    health: tuple[ProbeResult, ...] = ()
    pending: str = ""
    removal: RemovalCheck | None = None
    skipped_checks: tuple[SkippedProbe, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "product": self.product,
            "changed": self.changed,
            "transaction": self.transaction or None,
            "from": release_brief(self.old),
            "to": release_brief(self.new),
            "pending": self.pending or None,
            "health": [each.as_json() for each in self.health],
            "removal": self.removal.as_json() if self.removal else None,
        }

    def text(self, *, everything: bool = False) -> str:
        """Return it for people; of a long list only the first entries, unless `everything` is to be shown."""
        new, old = self.new, self.old
        if self.verb == "remove" and not self.changed and self.removal is None:
            return f"{self.product} is not installed here; nothing to do"
        if self.verb != "remove" and not self.changed:
            return f"{self.product} {new.version if new else ''} is already installed; nothing to do"
        if new is None:
            head = self.removal.text(everything=everything) if self.removal else f"{self.product} was removed"
        else:
            before = f" (was {old.version})" if old and old.version != new.version else ""
            head = f"{self.product} {new.version} installed{before}{self._health()}"
        return f"{head}\nnot cleaned up yet: {self.pending}" if self.pending else head

    def _health(self) -> str:
        """Return what the health checks said, as it goes on after the release."""
        said = f"; {len(self.health)} of {len(self.health)} health checks passed" if self.health else ""
        # What belongs to a step that is skipped says nothing of the release as it is installed here.
        count = sum(not each.step for each in self.skipped_checks)
        return (
            f"{said}; {count} health check{'s' if count > 1 else ''} skipped with --root" if count else said
        )


def ask_and_execute(
    session: Session,
    context: Context,
    make_plan: Callable[[State], Plan],
    *,
    yes: bool,
    last: Callable[[], None] = lambda: None,
) -> TransactionResult:
    """Take the lock, recover, plan, ask and execute: for a plan that needs no bundle.

    Args:
        session: Shows the plan and asks.
        context: The product.
        make_plan: Returns the plan from the state of the product.
        yes: Whether nobody is asked.
        last: Called right before the transaction; raises where time or people have changed the decision.

    Raises:
        WaybillError: It is refused, or failed.
    """
    with exclusive(context, session.wait, session.ui) as (state, _):
        plan = make_plan(state)
        show_and_ask(session, plan, yes=yes)
        last()
        return execute_plan(context, plan)


def show_and_ask(session: Session, plan: Plan, *, yes: bool) -> None:
    """Show a plan that changes something, and return once it may be executed.

    Raises:
        PlanNotReadyError: Something prevents it.
        UsageError: There is nobody to ask.
        DeclinedError: The answer was not yes.
    """
    session.ui.tell(product=plan.product, from_=release_brief(plan.old), to=release_brief(plan.new))
    if not plan.nothing:
        session.ui.show("plan", plan_text(plan, everything=session.ui.everything), plan.as_json())
    plan.require_ready()
    if not plan.nothing and not yes:
        session.ui.confirm(question(session.system, plan), "--yes")


def question(system: System, plan: Plan) -> str:
    """Return what a person is asked before a plan is executed.

    It names everything that makes it the wrong answer on the wrong terminal: what is done, product, versions,
    host and environment.
    """
    old, new = plan.old, plan.new
    running = old.version if old else ""
    if new is None and plan.state.current is None:
        what = f"Delete the data of {plan.product}"
    elif new is None:
        what = f"Remove {plan.product} {running}".rstrip()
    elif plan.verb == "rollback":
        what = f"Roll back {plan.product} {running} → {new.version}"
    elif old is None:
        what = f"Install {plan.product} {new.version}"
    elif old.identity == new.identity:
        what = f"Apply {plan.product} {new.version} again"
    else:
        what = f"Upgrade {plan.product} {running} → {new.version}"
    final = " The plan has a step that cannot be undone, see above." if plan.final_steps else ""
    final += f" Its data are deleted: {', '.join(plan.purged)}." if plan.purged else ""
    return f"{what} on {_host(system, plan)}?{final}"


def _host(system: System, plan: Plan) -> str:
    """Return where the plan would be executed: host, directory of `--root`, environment."""
    name = host_name(system) if system.live else f"{host_name(system)}, below {system.root}"
    # What an approval was checked against, or what this host says of itself.
    known = plan.new.evidence.environment if plan.new else ""
    with suppress(WaybillError):
        known = known or environment(system, "")
    return f"{name} ({f'environment {known}' if known else 'no environment is set'})"


def execute_plan(context: Context, plan: Plan, verified: EvidenceFile | None = None) -> TransactionResult:
    """Execute a plan. The caller is inside `recovery.exclusive`, in which the plan was made too.

    Args:
        context: The product.
        plan: What to do.
        verified: The record of the verification of the new release; the history refers to it.

    Raises:
        HostNotReadyError: Something, such as the audit log, prevents it. Nothing was changed.
        RolledBackError: It failed; the host is as it was.
        NotUndoneError: It failed and could not be fully undone.
        IncompleteError: It is committed, but something failed past a step that cannot be undone.
    """
    plan.require_ready()
    if plan.nothing:
        _record_unchanged(context, plan)
        return TransactionResult(plan.verb, plan.product, False, plan.old, plan.new)
    _require_unchanged(context, plan)
    _check_configuration(context, plan)
    new = plan.new
    if new and verified:
        new = replace(new, evidence=new.evidence.with_file(verified))
    with interrupts.deferred():
        # On the disk before the journal: no change without a record of who began it.
        recorder.begin(context, plan, new)
        try:
            done = _execute(context, plan, new)
        finally:
            # Also after a failure: the end of the transaction is derived from the journal, whatever it was.
            checks = recorder.settle(context)
    if plan.verb != "remove":
        return done
    return replace(done, removal=checks.get(plan.number) or ended_removal(context, plan.number))


def _require_unchanged(context: Context, plan: Plan) -> None:
    """Require that nothing was changed while the plan was made, shown and answered.

    Raises:
        HostNotReadyError: Something was; nothing is done.
    """
    try:
        for op in plan.operations:
            handler(op.kind).require_unchanged(context, op.args)
    except StepError as error:
        raise HostNotReadyError(
            error.what, where=error.where, hint=error.hint, problems=error.problems
        ) from error


def _check_configuration(context: Context, plan: Plan) -> None:
    """Let the release's own commands check the configuration files that change.

    Raises:
        HostNotReadyError: One of them rejected a file. Nothing was changed.
    """
    if plan.release is not None:
        record = context.layout.record(plan.number)
        rendered = {f"{record}/{name}": data for name, data in plan.rendered.items()}
        run_checks(context, plan.release, plan.effects.checks, rendered, record)


def _record_unchanged(context: Context, plan: Plan) -> None:
    if plan.new is not None:
        row: dict[str, Any] = {"verb": plan.verb, "product": plan.product, "version": plan.new.version}
        row |= {"identity": plan.new.identity, "exit": 0}
        recorder.happened(context.system, "unchanged", row, context.progress.warn)


def _execute(context: Context, plan: Plan, new: Entry | None) -> TransactionResult:
    try:
        _write_record(context, plan)
    except OSError as error:
        # The transaction has not begun; what stays is cleared by the next command.
        with suppress(OSError):
            context.system.remove_tree(context.layout.record(plan.number))
        raise not_started_error("cannot start", error) from error
    results: list[ProbeResult] = []
    change = Change(plan.verb, plan.number, plan.state, new, plan.operations)

    def watch() -> list[ProbeResult]:
        if plan.release is not None and plan.new is not None:
            results.extend(watch_release(context, plan.release, plan.new.methods))
        return results

    outcome = execute(context, change, watch)
    return TransactionResult(
        plan.verb,
        plan.product,
        True,
        plan.old,
        outcome.state.current,
        plan.number,
        tuple(results),
        outcome.pending,
        skipped_checks=plan.skipped_checks,
    )


def _write_record(context: Context, plan: Plan) -> None:
    """Write what the transaction reads from the disk, so that it and a later rollback need nothing else."""
    if plan.new is None or plan.release is None:
        return
    system, directory = context.system, context.layout.record(plan.number)
    make_directory(system, directory)
    files = {
        **plan.rendered,
        RECORD_FILE: record_bytes(plan.release.installed, plan.release.health),
    }
    for name, data in files.items():
        system.write_new(f"{directory}/{name}", data, 0o600)
    system.sync_dir(directory)
    # BEGIN promises that the release can be placed: its members must not be in the cache alone by then.
    system.sync_fs(plan.release.staged)
