"""The numbered steps of a verification. `docs/reference/verification.md` lists the same numbers and words.

A refusal carries the number of the step that refused. Each refuses by itself: no other would notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from installer.core.errors import WaybillError

STEPS = {
    1: "The head reads as a bundle's",
    2: "The host's root is in force",
    3: "The clock is not behind the last trusted time",
    4: "The bundle is not revoked",
    5: "Every signature by a release key is good",
    6: "Enough owners have released it",
    7: "The list and the manifest agree",
    8: "The clock is not behind the bundle's creation",
    9: "The bundle is not expired",
    10: "The product is let in here",
    11: "The platform is the host's",
    12: "It is not older than what the host has had",
    13: "It is not below the security floor",
    14: "It can be reached from what runs",
    15: "The environment has a policy",
    16: "Every approval by a trusted key is good",
    17: "The approvals are for this host",
    18: "Everything that the policy asks for is there",
    19: "Every byte is what was signed, and nothing else is there",
}


@contextmanager
def verification_step(number: int) -> Iterator[None]:
    """Mark every refusal inside with the number of the step, unless an inner step has marked it."""
    try:
        yield
    except WaybillError as error:
        error.step = error.step or number
        raise
