"""Steps that cannot be undone: what a release did for good, and what that prevents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from installer.core.errors import Problem
from installer.deploy.method_registry import method
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


def passed_by(state: State, target: Entry | None) -> list[tuple[Entry, str]]:
    """Return what a rollback passes: each newer release that ran since, with what is not undone."""
    newer = state.past(target) if target else ()
    return [(entry, step) for entry in newer for step in entry.irreversible]


def rollback_problems(state: State, target: Entry) -> list[Problem]:
    """Return why a rollback to `target` is refused: releases that ran since did what cannot be undone."""
    hint = (
        f"install a newer release instead; or restore data that {target.version} can read, then "
        "run `install rollback --data-restored`"
    )
    return [
        Problem(f"{entry.version} ran on this host", f"its {step}", hint)
        for entry, step in passed_by(state, target)
    ]


def rollback_notes(state: State, target: Entry) -> list[str]:
    """Return the notes of a rollback to `target` for which the operator says that the data were restored."""
    return [
        (
            f"{entry.version} ran on this host, and its {step}; --data-restored: you confirm that the "
            "data was restored"
        )
        for entry, step in passed_by(state, target)
    ]


def final_lines(plan: Plan) -> Iterable[str]:
    """Yield for people what the point of no return of a plan is, and what that means."""
    steps = plan.final_steps
    if steps and plan.new:
        yield f"POINT OF NO RETURN: {steps[0]}"
        for each in plan.new.irreversible:
            yield f"  {each}"
        yield (
            "  a failure before this step rolls everything back; a failure in this step or later "
            f"leaves {plan.new.version} committed and INCOMPLETE"
        )
