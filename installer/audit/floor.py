"""The highest sequence number of a product by the audit log, where its own state does not have it."""

from __future__ import annotations

from dataclasses import replace

from installer.audit import segments
from installer.host.system import System
from installer.state.state import State, host_readable

_COMMITTED = ("done", "incomplete", "unknown")
"""Results of a transaction after which its release may have run."""


def with_floor(system: System, product: str, state: State) -> State:
    """Return a state that knows the highest sequence number, although somebody removed the product's state.

    Without this, whoever deletes `/var/lib/waybill/PRODUCT` could install an old release with a known hole.

    Args:
        system: The host.
        product: The product.
        state: Its state; returned as it is where anything was ever committed.

    Raises:
        HostNotReadyError: This user may not read the audit log, or it cannot be read.
    """
    if state.transaction or state.highest >= 0:
        return state
    with host_readable():
        return replace(state, highest=highest_sequence(system, product))


def highest_sequence(system: System, product: str) -> int:
    """Return the highest sequence number of a product that the audit log has as installed; -1 for none.

    Raises:
        HostNotReadyError: This user may not read the log.
        OSError: It cannot be read.
    """
    highest, open_ = -1, dict[str, int]()
    for record in segments.about(system, product):
        fields = record.fields
        number = str(fields.get("transaction"))
        if record.event == "begun":
            sequence = fields.get("sequence")
            open_[number] = sequence if type(sequence) is int else -1
        elif record.event == "ended":
            sequence = open_.pop(number, -1)
            if fields.get("result") in _COMMITTED:
                highest = max(highest, sequence)
    # One without an end may have been committed.
    return max([highest, *open_.values()])
