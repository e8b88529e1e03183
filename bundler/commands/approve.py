"""VERB `bundle approve`: countersigns a bundle, in the bundle or in a directory beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from bundler.approvals.approval import Approved, Request, make_approval
from bundler.approvals.statements import look, opened
from bundler.archive import append
from bundler.signing import Signer
from bundler.signing.bundle import open_locked
from installer.core.errors import UnfitInputError


@dataclass(frozen=True, slots=True)
class Repaired:
    """What `repair` did: `finished` the approval `name`, `dropped` what was there of it, or `nothing`."""

    outcome: Literal["finished", "dropped", "nothing"]
    name: str = ""

    def text(self) -> str:
        """Return it in words for people."""
        return {
            "finished": f"{self.name} was all there: finished, it counts now",
            "dropped": "what was there of an approval was taken back: approve again",
            "nothing": "nothing was cut short",
        }[self.outcome]


def approve(
    path: Path,
    signer: Signer,
    request: Request,
    now: datetime,
    *,
    directory: Path | None = None,
    sidecar: bool = False,
) -> Approved:
    """Approve a bundle. Only its head and tail are read; verify it before.

    Args:
        path: The bundle.
        signer: Whose approval.
        request: What it says.
        now: The time.
        directory: Where to write it beside the bundle; None: `BUNDLE.approvals`.
        sidecar: Whether to leave the bundle itself as it is, as is done where it cannot be written to.

    Returns:
        What was added.

    Raises:
        UsageError: The request makes no sense.
        UnfitInputError: It cannot be written, or there are too many; an append was cut short before.
        BusyError: Another process signs or approves it.
        TamperedError: It is not a bundle.
    """
    with opened(path, directory, sidecar=sidecar) as place:
        approval = make_approval(request, place.bundle, now)
        data = approval.to_bytes()
        files = place.add(approval.role, signer.keyid8, data, signer.sign(data))
        return Approved(approval, files, place.directory)


def repair(path: Path) -> Repaired:
    """Finish or takes back an approval that was cut short.

    Args:
        path: The bundle.

    Returns:
        What was done.

    Raises:
        UnfitInputError: It cannot be written.
        BusyError: Another process signs or approves it.
        TamperedError: It is not a bundle, or was cut short by something else.
    """
    fd = open_locked(path)
    try:
        return Repaired(*append.repair(fd, look(path)))
    except OSError as error:
        raise UnfitInputError(f"cannot be repaired: {error.strerror}", where=str(path)) from None
    finally:
        os.close(fd)
