"""VERB remove: take off the host exactly what was installed, and check that it is gone."""

from __future__ import annotations

from installer.audit.recorder import happened
from installer.audit.removal_check import check_removal
from installer.commands.common.attempt import attempt
from installer.commands.common.plan_execution import TransactionResult, execute_plan, show_and_ask
from installer.commands.common.recovery import exclusive
from installer.commands.common.session import Session
from installer.core.errors import UsageError
from installer.core.trust.root import PRODUCT
from installer.host.context import Context
from installer.planning.drift import NOTHING_SAID, Policy
from installer.planning.plan import Options
from installer.planning.planner import plan_remove
from installer.planning.removal import inventory
from installer.planning.removal.plans import plan_purge
from installer.state.state import State


def remove(
    session: Session,
    product: str,
    on_drift: Policy = NOTHING_SAID,
    *,
    yes: bool = False,
    allow_quorum_loss: bool = False,
    purge: bool = False,
) -> TransactionResult:
    """Remove a product. The result says what is left of it; where it is removed already, it is checked again.

    Args:
        session: The host; its `ui` is shown the plan and asked.
        product: The product.
        on_drift: What becomes of files that were edited on this host.
        yes: Whether nobody is asked.
        allow_quorum_loss: Whether the cluster of the host may lose its quorum.
        purge: Whether its data are deleted, too, also after a removal that left them.

    Raises:
        WaybillError: It is refused, or failed.
    """
    if not PRODUCT.fullmatch(product):
        raise UsageError("is not the name of a product", where=product[:80], hint="see `install status`")
    known = session.products()
    # Repeated by scripts, and the host is as it should be.
    if product not in known:
        return _nothing_to_do(product)
    name = product
    with attempt(session, "remove", product=name):
        context = session.context(name)
        options = Options(drift=on_drift, allow_quorum_loss=allow_quorum_loss, purge=purge)
        with exclusive(context, session.wait, session.ui) as (state, _):
            if state.current is not None:
                plan = plan_remove(context, state, options)
            elif (later := plan_purge(context, state) if purge else None) is not None:
                plan = later
            else:
                # A second `remove` checks what the first one left, so that a problem can be fixed and checked
                # again. There was no first one where every attempt ended before anything was installed.
                return check_removed(context, state, purge=purge) or _nothing_to_do(product)
            show_and_ask(session, plan, yes=yes)
            return execute_plan(context, plan)


def _nothing_to_do(product: str) -> TransactionResult:
    return TransactionResult("remove", product, False, None, None)


def check_removed(context: Context, state: State, *, purge: bool = False) -> TransactionResult | None:
    """Look again for what a removal left, where that was the last transaction.

    Args:
        context: The product, locked.
        state: Its state.
        purge: Whether data that the removal left were to be deleted now.

    Returns:
        The result; None where a release runs.
    """
    found = inventory.last_removal(context, state)
    if found is None:
        return None
    # What was in use at the removal may be free by now.
    number, items = found
    changed = inventory.remove_again(context, items)
    check = check_removal(context, number, items, purge=purge)
    product = context.layout.product
    row = {"verb": "remove", "product": product, "exit": check.exit_code, **check.summary()}
    # No transaction begins or ends: what went now, the removal has recorded as its own.
    happened(context.system, "unchanged", row, context.progress.warn)
    return TransactionResult("remove", product, changed, None, None, number, removal=check)
