"""The numbered steps of a verification, with the words of `docs/reference/verification.md`.

A refusal carries the number of the step that refused. Each step is necessary: no other step would refuse what
it refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from installer.core.errors import WaybillError

STEPS = {
    1: "The head of the bundle is well-formed",
    2: "The root of the host has not expired",
    3: "The clock is not behind the last trusted time",
    4: "The bundle is not revoked",
    5: "Every signature by a release key is valid",
    6: "Enough owners have signed in the role release",
    7: "The signed list and the manifest agree",
    8: "The clock is not behind the creation of the bundle",
    9: "The bundle has not expired",
    10: "The environment allows the product",
    11: "The bundle is for the platform of the host",
    12: "The sequence number is not lower than the highest that the host has had",
    13: "The release is not below the security floor",
    14: "The installed release can be upgraded to this one",
    15: "The environment has a policy",
    16: "Every approval by a trusted key is valid",
    17: "The approvals are for this host",
    18: "Everything that the policy requires is present",
    19: "Every byte matches the signed list, and there is no other data",
    20: "The images are what the manifest says",
}
BUNDLE_EXPIRY = 9
"""The step that refuses a bundle for its own expiry, not for that of the root or of a key."""


@contextmanager
def verification_step(number: int) -> Iterator[None]:
    """Mark every refusal inside with the number of the step, unless an inner step has marked it."""
    try:
        yield
    except WaybillError as error:
        error.step = error.step or number
        raise
