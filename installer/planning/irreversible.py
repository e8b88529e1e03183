"""Steps that cannot be undone: what a release did for good, and what that prevents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from installer.core.errors import Problem
from installer.deploy.registry import method
from installer.host.context import Context
from installer.planning.method_selection import MethodStep
from installer.planning.plan import Plan
from installer.state.state import Entry, State


def with_irreversible(
    context: Context, state: State, entry: Entry | None, steps: Iterable[MethodStep]
) -> Entry | None:
    """Return the entry of a release, with what its steps will have done that a rollback does not undo.

    Args:
        context: The host, with the transaction's id.
        state: The state before.
        entry: The release; None where none is to run.
        steps: The steps that will run.
    """
    if entry is None:
        return None
    before = state.find(entry.name)
    # What the release did when it ran here before still counts, even if the step is left out this time; and
    # what was saved before its first run is what a rollback needs, not what a later run has found.
    texts = list(before.irreversible) if before else []
    for step in steps:
        used = method(step.name)
        if used is not None and step.new is not None:
            texts += used.irreversible(context, step.new)
    by_step: dict[str, str] = {}
    for text in texts:
        by_step.setdefault(text.partition(" ")[0], text)
    return replace(entry, irreversible=tuple(by_step.values()))


def irreversible_since(plan: Plan) -> list[tuple[Entry, str]]:
    """Return what a rollback does not undo: each newer release that ran since, with what it did for good."""
    newer = plan.state.past(plan.new) if plan.verb == "rollback" and plan.new else ()
    return [(entry, text) for entry in newer for text in entry.irreversible]


def check_rollback(plan: Plan, data_restored: bool) -> Plan:
    """Return the plan of a rollback with a problem, or else a note, for everything it does not undo.

    Args:
        plan: The plan.
        data_restored: Whether the operator confirms that the data was restored by hand.
    """
    done = irreversible_since(plan)
    if data_restored:
        notes = [f"{entry.version} ran since: {text}; the data was restored" for entry, text in done]
        return replace(plan, notes=(*plan.notes, *notes))
    version = plan.new.version if plan.new else ""
    hint = f"install a newer release; or restore the data of {version} by hand, then add --data-restored"
    problems = [Problem(f"{entry.version} ran since", text, hint) for entry, text in done]
    return replace(plan, problems=(*plan.problems, *problems))


def point_of_no_return(plan: Plan) -> Iterator[str]:
    """Yield the lines that say which step is the point of no return, why, and what that means."""
    steps = plan.final_steps
    if steps and plan.new:
        yield f"POINT OF NO RETURN: {steps[0]}"
        for text in plan.new.irreversible:
            yield f"  {text}"
        yield "  a failure before it is undone; after it, a failure leaves the release INCOMPLETE"
