"""What a row of the table of hostile input is, and how attacks are named in it.

A test is named `module::function` or, for one attack of a table, `module::TABLE[fault]`. Modules of this
directory stand without a path. `test_attack_table` holds that every row has attacks, and that they exist.
"""

from __future__ import annotations

from dataclasses import dataclass

BUNDLES, INPUTS, TRUST = "test_attack_bundles::ATTACKS", "test_attack_inputs::ATTACKS", "test_attack_trust"
STEPS = "test_attack_steps::ATTACKS"


@dataclass(frozen=True, slots=True)
class Row:
    """One vector."""

    vector: str
    defence: str
    tests: tuple[str, ...]


def bundles(*faults: str) -> tuple[str, ...]:
    """Names attacks on bundles."""
    return tuple(f"{BUNDLES}[{fault}]" for fault in faults)


def signed_steps(*faults: str) -> tuple[str, ...]:
    """Names attacks by steps, probes and templates of a signed bundle."""
    return tuple(f"{STEPS}[{fault}]" for fault in faults)


def names(*faults: str) -> tuple[str, ...]:
    """Names attacks by true names and required words."""
    return tuple(f"test_attack_names::ATTACKS[{fault}]" for fault in faults)


def layers(*faults: str) -> tuple[str, ...]:
    """Names attacks by values for environments and clusters."""
    return tuple(f"test_attack_layers::ATTACKS[{fault}]" for fault in faults)


def inputs(*faults: str) -> tuple[str, ...]:
    """Names attacks on what a bundle is made of."""
    return tuple(f"{INPUTS}[{fault}]" for fault in faults)


def roots(*faults: str) -> tuple[str, ...]:
    """Names attacks on root files."""
    return tuple(f"{TRUST}::ROOTS[{fault}]" for fault in faults)


def approvals(*faults: str) -> tuple[str, ...]:
    """Names attacks on approvals."""
    return tuple(f"{TRUST}::APPROVING[{fault}]" for fault in faults)
