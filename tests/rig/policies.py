"""Worlds under a policy: what is missing in them, and what breaks the glass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from installer.core import errors
from installer.core.trust.root import PRODUCTION, Policy, Role, Root
from tests.rig.trustworld import Said, World, person, root

GLASS = replace(PRODUCTION, break_glass=True)
BROKEN = (Said("break-glass", fields={"notes": "plant stands still, INC-4"}),)


def with_policy(policy: Policy, **fields: Any) -> Root:
    return root(environments={"production": policy}, **fields)


def with_holders(base: Root, **holders: tuple[str, ...]) -> Root:
    """Gives roles to other people."""
    keys, roles = dict(base.keys), dict(base.roles)
    for role, names in holders.items():
        people = [person(name).key for name in names]
        keys |= {key.keyid: key for key in people}
        roles[role] = Role(tuple(key.keyid for key in people), 1)
    return replace(base, keys=keys, roles=roles)


def refused(world: World, kind: type[errors.WaybillError] = errors.NotApprovedError) -> errors.WaybillError:
    with pytest.raises(kind) as caught:
        world.verify()
    assert type(caught.value) is kind
    return caught.value


def missing(world: World) -> dict[str, str]:
    problems = refused(world).problems
    return {p.where or p.what.partition(" (")[0].partition(";")[0]: f"{p.what} {p.hint}" for p in problems}
