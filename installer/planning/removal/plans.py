"""What a removal adds to its plan, and the plan that only deletes data which an earlier removal left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from installer.deploy.operation import Op
from installer.deploy.purge import purge_operation
from installer.host.context import Context
from installer.planning.changes import Changes
from installer.planning.method_selection import MethodStep
from installer.planning.plan import MethodPlan, Plan
from installer.planning.removal import inventory
from installer.planning.removal.data import data_left, product_data, purging
from installer.state.release import Release
from installer.state.state import State, next_transaction


@dataclass(frozen=True, slots=True)
class Removal:
    """What a removal adds to a plan; nothing for other plans.

    Attributes:
        operations: What comes first.
        notes: What the operator should know.
        purged: Names of the data that are deleted.
    """

    operations: tuple[Op, ...] = ()
    notes: tuple[str, ...] = ()
    purged: tuple[str, ...] = ()


NO_REMOVAL = Removal()


def planned_removal(
    context: Context,
    verb: str,
    state: State,
    old: Release | None,
    changes: Changes,
    steps: Sequence[MethodStep],
    *,
    purge: bool,
) -> tuple[Removal, list[MethodStep]]:
    """Return what a removal adds to its plan, and its steps; other plans stay as they are.

    Args:
        context: The product.
        verb: Of the plan.
        state: Its state.
        old: The release that runs.
        changes: What becomes of its files.
        steps: Its steps.
        purge: Whether its data are deleted.
    """
    if verb != "remove":
        return NO_REMOVAL, [*steps]
    data = product_data(context, steps, purge=purge)
    gone = [item for item in data if not item.why]
    things = (*inventory.inventory(context, state, old, changes), *data)
    operations = [inventory.record_operation(things), *([purge_operation(gone)] if gone else [])]
    notes = [*inventory.removal_notes(context, state, things)]
    if purge and not gone:
        none = "this product has no data that Waybill can delete"
        notes.append(f"--purge: {'all data stay, for the reasons above' if data else none}")
    removal = Removal(tuple(operations), tuple(notes), tuple(item.name for item in gone))
    return removal, purging(steps, data)


def plan_purge(context: Context, state: State) -> Plan | None:
    """Return the plan that deletes the data which the last removal left; None where there are none.

    Args:
        context: The product, which is removed.
        state: Its state.
    """
    found = inventory.last_removal(context, state)
    if found is None:
        return None
    number, items = found
    decided = data_left(context, items)
    gone = [item for item in decided.values() if not item.why]
    if not gone:
        return None
    removed = inventory.removed_release(context, number)
    things = [decided.get(item, item) for item in items]
    stays = [f"{item.kind} {item.name} stays: it {item.why}" for item in decided.values() if item.why]
    deleted = [f"DELETE {item.kind} {item.name} and its data: nothing brings them back" for item in gone]
    return Plan(
        verb="remove",
        product=context.layout.product,
        old=removed,
        new=None,
        nothing=False,
        changes=Changes(),
        diffs=(),
        methods=(MethodPlan("data", (*deleted, *stays)),),
        skipped={},
        needs=(),
        problems=(),
        notes=(),
        rendered={},
        operations=(inventory.record_operation(things, removed), purge_operation(gone)),
        state=state,
        number=next_transaction(context.system, context.layout, state),
        release=None,
        purged=tuple(item.name for item in gone),
    )
