"""Steps that cannot be undone: what a release has done for good, and what that stands in the way of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from installer.core.errors import Problem
from installer.deploy.registry import method
from installer.host.context import Context
from installer.planning.method_selection import MethodStep
from installer.planning.plan import Plan
from installer.state.state import Entry, State


def marked(context: Context, state: State, entry: Entry | None, jobs: Iterable[MethodStep]) -> Entry | None:
    """Gives a release that is to run with what it will have done that going back does not undo.

    What it did when it ran here before counts on: a step that is left out this time has not un-happened, and
    what was saved before its first run is what going back needs, not what a later run has found.

    Args:
        context: The host, with the transaction's id.
        state: What stands.
        entry: The release; None where none is to run.
        jobs: What the methods will do.
    """
    if entry is None:
        return None
    before = state.find(entry.name)
    said = list(before.irreversible) if before else []
    for job in jobs:
        used = method(job.name)
        if used is not None and job.new is not None:
            said += used.irreversible(context, job.new)
    by_step: dict[str, str] = {}
    for text in said:
        by_step.setdefault(text.partition(" ")[0], text)
    return replace(entry, irreversible=tuple(by_step.values()))


def past(plan: Plan) -> list[tuple[Entry, str]]:
    """Gives what a rollback goes back past: each newer release that ran since, with what is not undone."""
    newer = plan.state.past(plan.new) if plan.verb == "rollback" and plan.new else ()
    return [(entry, said) for entry in newer for said in entry.irreversible]


def going_back(plan: Plan, data_restored: bool) -> Plan:
    """Gives the plan of a rollback with what stands in its way: what ran since then and cannot be undone.

    Args:
        plan: The plan.
        data_restored: Whether the operator says that the data fit all the same.
    """
    done = past(plan)
    if data_restored:
        notes = [
            f"{entry.version} has run, and its {said}; the data were said to fit" for entry, said in done
        ]
        return replace(plan, notes=(*plan.notes, *notes))
    version = plan.new.version if plan.new else ""
    hint = (
        f"go forward: install a newer release. Or bring back the data that {version} knows by hand, and say "
        "so: --data-restored"
    )
    problems = [Problem(f"{entry.version} has run", f"its {said}", hint) for entry, said in done]
    return replace(plan, problems=(*plan.problems, *problems))


def said(plan: Plan) -> Iterable[str]:
    """Says for people from where on there is no way back by itself, and what that means."""
    steps = plan.final_steps
    if steps and plan.new:
        yield f"NO WAY BACK once it does this: {steps[0]}"
        for each in plan.new.irreversible:
            yield f"  {each}"
        yield f"  until then a failure is undone; after it {plan.new.version} stays, and what failed is told"
