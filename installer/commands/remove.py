"""VERB remove: take off the host exactly what was installed, and check that it is gone."""

from __future__ import annotations

from installer.audit.recorder import happened
from installer.audit.removal_check import check_removal
from installer.commands.common.attempt import attempt
from installer.commands.common.plan_execution import TransactionResult, ask_and_execute
from installer.commands.common.recovery import exclusive
from installer.commands.common.session import Session
from installer.core.errors import UsageError
from installer.core.trust.root import PRODUCT
from installer.host.context import Context
from installer.planning import removal
from installer.planning.drift import NOTHING_SAID, Policy
from installer.planning.plan import Options
from installer.planning.planner import plan_remove
from installer.shared.ui import Ui


def remove(
    session: Session,
    product: str,
    on_drift: Policy = NOTHING_SAID,
    *,
    yes: bool = False,
    allow_quorum_loss: bool = False,
) -> TransactionResult:
    """Remove a product. The result says what is left of it; where it is removed already, it is checked again.

    Args:
        session: The host; its `ui` is shown the plan and asked.
        product: The product.
        on_drift: What becomes of files that were edited on this host.
        yes: Whether nobody is asked.
        allow_quorum_loss: Whether the cluster of the host may lose its quorum.

    Raises:
        WaybillError: It is refused, or failed.
    """
    if not PRODUCT.fullmatch(product):
        raise UsageError("is not the name of a product", where=product[:80], hint="see `install status`")
    known = session.products()
    # Repeated by scripts, and the host is as it should be.
    if product not in known:
        return TransactionResult("remove", product, False, None, None)
    name = product
    with attempt(session, "remove", product=name):
        context = session.context(name)
        # A second `remove` checks what the first one left, so that a problem can be fixed and checked
        # again.
        checked = check_removed(context, session.wait, session.ui)
        if checked is not None:
            return checked
        options = Options(drift=on_drift, allow_quorum_loss=allow_quorum_loss)
        return ask_and_execute(session, context, lambda state: plan_remove(context, state, options), yes=yes)


def check_removed(context: Context, wait: float = 0.0, ui: Ui | None = None) -> TransactionResult | None:
    """Look again for what a removal left, where that was the last transaction; None where a release runs.

    Raises:
        WaybillError: Another install runs, or what an earlier one left cannot be recovered.
    """
    with exclusive(context, wait, ui) as (state, _):
        found = removal.last_removal(context, state)
        if found is None:
            return None
        # What was in use at the removal may be free by now.
        number, items = found
        removal.remove_again(context, items)
        check = check_removal(context, number, items)
        row = {
            "verb": "remove",
            "product": context.layout.product,
            "exit": check.exit_code,
            **check.summary(),
        }
        happened(context.system, "unchanged", row, context.progress.warn)
    return TransactionResult("remove", context.layout.product, False, None, None, number, removal=check)
