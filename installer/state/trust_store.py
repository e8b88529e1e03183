"""The trust of the host: `/etc/waybill/trust/root.json`, set up by a person who compares a fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from installer.core.errors import (
    ExpiredError,
    HostNotReadyError,
    RefusedError,
    TamperedError,
    UntrustedError,
    os_errors_as,
)
from installer.core.limits import LIMITS
from installer.core.timestamps import format_time, parse_time
from installer.core.trust.root import Root, display_fingerprint, fingerprint, same_fingerprint
from installer.core.trust.root_json import load_root, parse_root
from installer.core.verify import Clock
from installer.host.atomic_file import remove_partial, remove_present, replace_file
from installer.host.directories import make_directory
from installer.host.layout import STATE, TRUST
from installer.host.system import System
from installer.shared import interrupts

ROOT_FILE = f"{TRUST}/root.json"
TIME_FILE = f"{STATE}/trusted-time"
_EARLIER_PARTIAL = (f"{TRUST}/.root.json.new", f"{STATE}/.trusted-time.new")
"""Temporary files of version 0.1, which an upgraded host may still have."""


def load_trust(system: System) -> tuple[Root, bytes]:
    """Read the root of the host.

    Returns:
        The root and its exact bytes.

    Raises:
        UntrustedError: No trust is set up.
        TamperedError: The file is damaged.
    """
    below = "" if system.live else f" --root {system.root}"
    try:
        data = system.read(ROOT_FILE, LIMITS.document_bytes)
    except FileNotFoundError:
        raise UntrustedError(
            "no trust is set up on this host",
            where=ROOT_FILE,
            hint=f"get root.json and the printed trust sheet, then run `install trust init root.json{below}`",
        ) from None
    except OSError as error:
        raise UntrustedError(f"the trust files cannot be read: {error.strerror}", where=ROOT_FILE) from None
    try:
        return parse_root(data, ROOT_FILE), data
    except TamperedError as error:
        raise TamperedError(
            error.what,
            where=error.where,
            hint="somebody edited it, or the disk lost data: restore it from a backup. Without a "
            f"backup, remove it, then run `install trust init root.json{below}` with the "
            "printed trust sheet",
            problems=error.problems,
        ) from None


def init_trust(
    system: System, path: Path, given: str, ask: Callable[[str], str], clock: Clock
) -> tuple[Root, str]:
    """Set up trust on a host that has none, after the fingerprint of the root was compared.

    Args:
        system: The host.
        path: The root.json that was carried here.
        given: The fingerprint from the trust sheet; empty to ask for it.
        ask: Asks a person for a line.
        clock: Returns the time.

    Returns:
        The root that is now trusted, and its fingerprint.

    Raises:
        RefusedError: Another root is trusted already.
        UntrustedError: The fingerprint is not that of the file.
        ExpiredError: The root is expired.
        HostNotReadyError: It cannot be written.
    """
    root, data = load_root(path)
    digits = fingerprint(data)
    # An expired root would refuse every bundle; better to notice it now, with the sheet at hand.
    if clock() >= root.expires:
        raise ExpiredError(
            "the root has expired", where=str(path), hint="ask the security team for the current root.json"
        )
    present = b""
    with suppress(FileNotFoundError):
        present = system.read(ROOT_FILE, LIMITS.document_bytes)
    # Running the command again is not an error.
    if present == data:
        return root, digits
    if present:
        raise RefusedError(
            # A second root of trust would be a way around the rotation.
            f"this host already trusts another root: {display_fingerprint(fingerprint(present))}",
            where=ROOT_FILE,
            hint="to replace it with a newer version, run `install trust update`; to set up trust "
            "from the beginning, remove the file first",
        )
    # To be typed, not confirmed: whoever only answers "yes" has not looked at the trust sheet.
    typed = given or ask(
        f"{path} is a root for {', '.join(sorted({key.owner for key in root.keys.values()}))}.\n"
        "Type the fingerprint on the trust sheet (spaces do not matter): "
    )
    # The comparison is the whole security of the first trust.
    if not same_fingerprint(typed, digits):
        raise UntrustedError(
            "the fingerprint does not match this file; nothing was changed",
            where=str(path),
            hint="compare it with the trust sheet; if it differs, do not use this media and tell "
            "the security team",
        )
    store_root(system, data)
    remember_time(system, clock())
    return root, digits


@os_errors_as(
    HostNotReadyError, "the trust files cannot be written", ROOT_FILE, hint="run as root, or give --root DIR"
)
def store_root(system: System, data: bytes) -> None:
    """Replace the root of the host.

    Raises:
        HostNotReadyError: It cannot be written; the old one is still there.
    """
    make_directory(system, TRUST)
    replace_file(system, ROOT_FILE, data, 0o644)
    # From here on the command has changed the host: a signal must not end it as "nothing was changed".
    interrupts.finish()


def known_time(system: System) -> datetime | None:
    """Return the last time that is known to have passed on this host; None if none is recorded.

    Raises:
        HostNotReadyError: The record is damaged.
    """
    try:
        text = system.read(TIME_FILE, 64).decode("ascii", "replace").strip()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError:  # too long, a link, a bad disk: must not be taken for "none recorded"
        text = ""
    moment = parse_time(text)
    if moment is None:
        raise HostNotReadyError(
            "does not contain a time",
            where=TIME_FILE,
            hint="check the system clock with `timedatectl`, then remove the file",
        )
    return moment


def remember_time(system: System, now: datetime) -> None:
    """Record that this time has passed, so that a clock that is set back is noticed."""
    known = known_time(system)
    # Only ever later: a wrong clock in the past must not lower it.
    if known is not None and known >= now:
        return
    # Not a reason to fail an installation that is complete: the next one records a later time.
    with suppress(OSError):
        make_directory(system, STATE)
        replace_file(system, TIME_FILE, f"{format_time(now)}\n".encode(), 0o644)


def remove_partial_files(system: System) -> None:
    """Remove what an interrupted replacement of the root or the trusted time left.

    Raises:
        OSError: A file cannot be removed.
    """
    for path in (ROOT_FILE, TIME_FILE):
        remove_partial(system, path)
    for path in _EARLIER_PARTIAL:
        remove_present(system, path)
