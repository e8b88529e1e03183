"""VERB apply: carries out a plan, for `install BUNDLE`, `rollback` and `remove` alike.

0. The audit log has it that this begins; where that cannot be written, nothing is done.
1. What is not there yet is laid down beside what runs: the record, the configuration as it was rendered.
2. The transaction: stage, switch, activate.
3. Health is watched.
4. COMMIT; or everything is undone. The audit log has it either way.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from installer.audit import recorder
from installer.audit.removal_check import RemovalCheck, proven
from installer.core.errors import RolledBackError
from installer.deploy import health
from installer.deploy.health import ProbeResult
from installer.host.context import Context
from installer.host.directories import make_directory
from installer.planning.plan import Plan
from installer.state.release import record_bytes
from installer.state.state import Entry
from installer.transaction.execute import Change, execute, reason


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a plan that was carried out.

    Attributes:
        verb: `apply`, `rollback` or `remove`.
        product: Its product.
        changed: Whether anything was done; False where nothing was to do.
        old: What ran before; None where nothing did.
        new: What runs now; None after `remove`.
        transaction: Its id; empty where nothing was done.
        health: How the probes ended.
        pending: What is left to be cleared, in words; the next command does it. Empty: nothing.
        removal: What was found on the host after `remove`; None where that was not looked for.
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

    def as_json(self) -> dict[str, Any]:
        """Gives it as a JSON object."""
        found = {**asdict(replace(self, removal=None)), "removal": None}
        return {**found, "removal": self.removal.as_json() if self.removal else None}

    def text(self) -> str:
        """Gives it in words for people."""
        if self.verb != "remove" and not self.changed:
            return (
                f"{self.product} {self.new.version if self.new else ''} is installed already; nothing to do"
            )
        if self.new is None:
            head = self.removal.text() if self.removal else f"{self.product} was removed"
            return f"{head}\nnot yet cleared: {self.pending}" if self.pending else head
        before = (
            f", before it {self.old.version}" if self.old and self.old.version != self.new.version else ""
        )
        probes = f"; {len(self.health)} of {len(self.health)} probes healthy" if self.health else ""
        lines = [f"{self.product} {self.new.version} is installed{before}{probes}"]
        if self.pending:
            lines.append(f"not yet cleared: {self.pending}")
        return "\n".join(lines)


def apply(context: Context, plan: Plan) -> Applied:
    """Carries out a plan. The caller is inside `recover.exclusive`, in which the plan was made too.

    Args:
        context: The host.
        plan: What to do.

    Returns:
        What became of it.

    Raises:
        HostNotReadyError: Something, such as the audit log, stands in the way. Nothing was changed.
        RolledBackError: It failed; the host is as it was.
        NotUndoneError: It failed and could not be fully undone.
        IncompleteError: It stands, but something failed past a step that cannot be undone.
    """
    plan.require_ready()
    if plan.nothing:
        return Applied(plan.verb, plan.product, False, plan.old, plan.new)
    recorder.begin(context, plan)
    try:
        done = _carry_out(context, plan)
    finally:
        proofs = recorder.settle(context)
    if plan.verb != "remove":
        return done
    return replace(done, removal=proofs.get(plan.number) or proven(context, plan.number))


def _carry_out(context: Context, plan: Plan) -> Applied:
    try:
        _lay_down(context, plan)
    except OSError as error:
        with suppress(OSError):
            context.system.remove_tree(context.layout.record(plan.number))
        raise RolledBackError(
            f"could not begin: {reason(error)}", hint="nothing was changed; fix the cause and try again"
        ) from error
    results: list[ProbeResult] = []
    change = Change(plan.verb, plan.number, plan.state, plan.new, plan.operations)

    def watch() -> None:
        if plan.release is not None and plan.new is not None:
            results.extend(health.watch_release(context, plan.release, plan.new.methods))

    outcome = execute(context, change, watch)
    return Applied(
        plan.verb,
        plan.product,
        True,
        plan.old,
        outcome.state.current,
        plan.number,
        tuple(results),
        outcome.pending,
    )


def _lay_down(context: Context, plan: Plan) -> None:
    """Writes what the transaction takes from the disk, so that it and a later rollback need nothing else."""
    if plan.new is None or plan.release is None:
        return
    system, directory = context.system, context.layout.record(plan.number)
    make_directory(system, directory)
    for name, data in plan.rendered.items():
        system.write_new(f"{directory}/{name}", data, 0o600)
    system.write_new(
        f"{directory}/record.json", record_bytes(plan.release.installed, plan.release.health), 0o600
    )
    system.sync_dir(directory)
    system.sync_fs(plan.release.staged)
