"""An image that something uses, and where that is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageUse:
    """An image that is used.

    Attributes:
        reference: As it is written.
        user: What uses it, in words, such as `service web` or `Deployment web`.
        where: `FILE:LINE`.
        policy: When it would be pulled, as a container of Kubernetes says it; empty where nothing is said.
    """

    reference: str
    user: str
    where: str
    policy: str = ""
