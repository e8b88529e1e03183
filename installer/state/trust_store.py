"""The host's trust: `/etc/waybill/trust/root.json`, set up once by a person who checks a fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from installer.core.errors import ExpiredError, HostNotReadyError, RefusedError, TamperedError, UntrustedError
from installer.core.limits import LIMITS
from installer.core.timestamps import format_time, parse_time
from installer.core.trust.root import Root, display_fingerprint, fingerprint, same_fingerprint
from installer.core.trust.root_json import load_root, parse_root
from installer.core.verify import Clock
from installer.host.atomic_file import remove_partial, remove_present, replace_file
from installer.host.directories import make_directory
from installer.host.layout import STATE, TRUST
from installer.host.system import System

ROOT_FILE = f"{TRUST}/root.json"
TIME_FILE = f"{STATE}/trusted-time"
_EARLIER_PARTIAL = (f"{TRUST}/.root.json.new", f"{STATE}/.trusted-time.new")
"""Temporary files of version 0.1, which an upgraded host may still have."""


def load_trust(system: System) -> tuple[Root, bytes]:
    """Read the host's trust.

    Returns:
        The root and its exact bytes.

    Raises:
        UntrustedError: None is set up.
        TamperedError: The file is damaged.
    """
    try:
        data = system.read(ROOT_FILE, LIMITS.document_bytes)
    except FileNotFoundError:
        below = "" if system.live else f" --root {system.root}"
        raise UntrustedError(
            "this host trusts nobody yet",
            where=ROOT_FILE,
            hint=f"get root.json and the printed trust sheet, then run `install trust init root.json{below}`",
        ) from None
    except OSError as error:
        raise UntrustedError(f"the trust cannot be read: {error.strerror}", where=ROOT_FILE) from None
    try:
        return parse_root(data, ROOT_FILE), data
    except TamperedError as error:
        below = "" if system.live else f" --root {system.root}"
        raise TamperedError(
            error.what,
            where=error.where,
            hint="somebody edited it, or the disk has lost data: put it back from a backup. Without one, "
            f"remove it and set up trust anew, by its sheet: `install trust init root.json{below}`",
            problems=error.problems,
        ) from None


def init_trust(
    system: System, path: Path, given: str, ask: Callable[[str], str], clock: Clock
) -> tuple[Root, str]:
    """Set up trust on a host that has none, after its fingerprint was compared.

    Args:
        system: The host.
        path: The root.json that was carried here.
        given: The fingerprint from the trust sheet; empty to have it asked for.
        ask: Asks a person for a line.
        clock: Tells the time.

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
    if clock() >= root.expires:
        raise ExpiredError("the root is expired", where=str(path), hint="ask for the current root.json")
    try:
        present = system.read(ROOT_FILE, LIMITS.document_bytes)
    except FileNotFoundError:
        present = b""
    if present == data:
        return root, digits
    if present:
        raise RefusedError(
            f"this host trusts another root already: {display_fingerprint(fingerprint(present))}",
            where=ROOT_FILE,
            hint="a root is replaced by its successor; to start anew, remove the file by hand",
        )
    typed = given or ask(
        f"{path} says it is a root for {', '.join(sorted({key.owner for key in root.keys.values()}))}.\n"
        "Type its fingerprint from the trust sheet (spaces do not matter): "
    )
    if not same_fingerprint(typed, digits):
        raise UntrustedError(
            "the fingerprint is not that of this file; nothing was changed",
            where=str(path),
            hint="compare with the trust sheet; if it truly differs, leave this medium and tell security",
        )
    store_root(system, data)
    remember_time(system, clock())
    return root, digits


def store_root(system: System, data: bytes) -> None:
    """Write the root that is trusted from now on, whole or not at all.

    Raises:
        HostNotReadyError: It cannot be written; the old one is still there.
    """
    try:
        make_directory(system, TRUST)
        replace_file(system, ROOT_FILE, data, 0o644)
    except OSError as error:
        raise HostNotReadyError(
            f"the trust cannot be written: {error.strerror}",
            where=ROOT_FILE,
            hint="run as root, or give --root DIR",
        ) from error


def known_time(system: System) -> datetime | None:
    """Return the last time that is known to have passed on this host; None where none is.

    Raises:
        HostNotReadyError: What was written down is damaged.
    """
    try:
        text = system.read(TIME_FILE, 64).decode("ascii", "replace").strip()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError:  # too long, a link, a bad disk: not to be taken for none
        text = ""
    moment = parse_time(text)
    if moment is None:
        raise HostNotReadyError(
            "does not hold a time", where=TIME_FILE, hint="see that the clock is right, then remove the file"
        )
    return moment


def remember_time(system: System, now: datetime) -> None:
    """Write down that this time has passed, so that a clock that is set back is noticed.

    Where it cannot be written, nothing is lost but that: no install fails for it.
    """
    known = known_time(system)
    if known is not None and known >= now:
        return
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
