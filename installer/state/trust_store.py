"""The trust of the host: `/etc/waybill/trust/root.json`, set up by a person who compares a fingerprint."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from installer.core.document_file import REMEDY, originals, text_damage
from installer.core.errors import (
    ExpiredError,
    HostNotReadyError,
    RefusedError,
    TamperedError,
    UntrustedError,
    WaybillError,
    os_errors_as,
)
from installer.core.limits import LIMITS
from installer.core.remedies import remedy
from installer.core.timestamps import expired_text, format_time, parse_time
from installer.core.trust.root import Root, display_fingerprint, fingerprint, same_fingerprint
from installer.core.trust.root_json import load_root, parse_root
from installer.core.verify import Clock
from installer.host.atomic_file import remove_partial, remove_present, replace_file
from installer.host.directories import make_directory
from installer.host.layout import STATE, TRUST
from installer.host.ownership import require_protected
from installer.host.system import Lock, System
from installer.shared.terminal import interrupts
from installer.state.host_identity import ENVIRONMENT_FILE, environment_to_record, record_environment
from installer.state.typed_fingerprint import ask_fingerprint, fingerprint_error

Ask = Callable[[str, str], str]
"""Asks a person: the question, and the option that gives the answer beforehand."""
ROOT_FILE = f"{TRUST}/root.json"
TIME_FILE = f"{STATE}/trusted-time"
EARLIER_FILE = f"{TRUST}/earlier"
"""Version and fingerprint of the roots that this host went through, one a line."""
LOCK = f"{TRUST}/.lock"
MOST_EARLIER = 1000
_UNWRITABLE = "the trust files cannot be written"
_EARLIER_PARTIAL = (f"{TRUST}/.root.json.new", f"{STATE}/.trusted-time.new")
"""Temporary files of version 0.1, which an upgraded host may still have."""


def load_trust(system: System) -> tuple[Root, bytes]:
    """Read the root of the host.

    Returns:
        The root and its exact bytes.

    Raises:
        UntrustedError: No trust is set up, or somebody else could have changed it.
        TamperedError: The file is damaged.
    """
    data = trusted_bytes(system)
    if data is None:
        raise UntrustedError(
            "no trust is set up on this host",
            where=ROOT_FILE,
            hint="get root.json and the printed trust sheet, then run `install trust init root.json`",
        )
    try:
        return parse_root(data, ROOT_FILE), data
    except TamperedError as error:
        raise TamperedError(
            error.what,
            where=error.where,
            hint="somebody edited it, or the disk lost data: restore it from a backup. Without a "
            "backup, remove it, then run `install trust init root.json` with the "
            "printed trust sheet",
            problems=error.problems,
        ) from None


def require_fingerprint(path: Path, data: bytes, typed: str) -> None:
    """Compare the fingerprint that somebody read from the trust sheet: the security of the first trust.

    Raises:
        UntrustedError: It is not that of the file.
    """
    if same_fingerprint(typed, fingerprint(data)):
        return
    # Line ends that were changed on the way are no attack: then the fingerprint fits what was there before.
    if any(same_fingerprint(typed, fingerprint(each)) for each in originals(data)):
        damage = text_damage(data) or "has another last line end"
        what = f"the fingerprint is that of the original file, but this copy {damage}"
        raise UntrustedError(what, where=str(path), hint=REMEDY)
    raise fingerprint_error(path, typed, fingerprint(data))


def trusted_bytes(system: System) -> bytes | None:
    """Return the exact bytes of the root of the host; None where it trusts nothing.

    Raises:
        UntrustedError: Somebody else could have changed it, or it cannot be read.
    """
    # Whoever can write the root of trust, or replace it by way of its directory, decides what is installed.
    require_protected(system, ROOT_FILE)
    try:
        return system.read(ROOT_FILE, LIMITS.document_bytes)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UntrustedError(f"the trust files cannot be read: {error.strerror}", where=ROOT_FILE) from None


def init_trust(
    system: System,
    path: Path,
    given: str,
    ask: Ask,
    clock: Clock,
    env: str = "",
    ask_more: Ask | None = None,
) -> tuple[Root, str, str]:
    """Set up trust on a host that has none, after the fingerprint of the root was compared.

    Args:
        system: The host.
        path: The root.json that was carried here.
        given: The fingerprint from the trust sheet; empty to ask for it.
        ask: Asks a person for a line; its second argument is the option that answers.
        clock: Returns the time.
        env: The environment of the host, where its own setting does not name it; empty to ask for it, if the
            root has policies.
        ask_more: Asks for the rest of an answer; None: like any other line.

    Returns:
        The root that is now trusted, its fingerprint, and the environment that was recorded; empty for none.

    Raises:
        RefusedError: Another root is trusted already, or the host belongs to another environment.
        UntrustedError: The fingerprint is not that of the file.
        ExpiredError: The root is expired.
        UsageError: The root has no such environment.
        HostNotReadyError: It cannot be written.
    """
    root, data = load_root(path)
    digits = fingerprint(data)
    # A given fingerprint is compared first and always: whoever compares wants to know, whatever is here.
    if given:
        require_fingerprint(path, data, given)
    now = clock()
    require_current(root, path, now)
    present = trusted_bytes(system)
    if present not in (None, data):
        raise RefusedError(
            # A second root of trust would be a way around the rotation.
            f"this host already trusts another root: {display_fingerprint(fingerprint(present or b''))}",
            where=ROOT_FILE,
            hint="to replace it with a newer version, run `install trust update`; if it may be a newer "
            "version of this one, run `install trust ensure`; to set up trust from the beginning, remove the "
            "file first",
        )
    # What was given has to fit before 64 digits are typed.
    if env:
        environment_to_record(system, root, env, lambda question: ask(question, "--env"))
    # To be typed, not confirmed: whoever only answers "yes" has not looked at the trust sheet.
    if present is None and not given:
        owners = ", ".join(sorted({key.owner for key in root.keys.values()}))
        typed = ask_fingerprint(f"{path} is a root for {owners}.\n", ask, ask_more or ask)
        require_fingerprint(path, data, typed)
    chosen = environment_to_record(system, root, env, lambda question: ask(question, "--env"))
    introduce(system, data, chosen, expected=present)
    # Not what the clock shows by now: it may have been set while somebody was asked.
    if present is None:
        remember_time(system, now)
    return root, digits, chosen


def require_current(root: Root, path: Path, now: datetime) -> None:
    """Refuse an expired root: it would refuse every bundle; better noticed now, with the sheet at hand.

    Raises:
        ExpiredError: It has expired.
    """
    if now >= root.expires:
        raise ExpiredError(
            f"the root {expired_text(root.expires, now)}",
            where=str(path),
            hint="check the clock with `date -u`; if it is right, ask the security team for the current "
            "root.json",
        )


def introduce(
    system: System,
    data: bytes,
    env: str,
    passed: Sequence[tuple[int, str]] = (),
    *,
    expected: bytes | None = None,
) -> None:
    """Record the environment and the root of a host; what is as it should be is not written.

    Args:
        system: The host; where a root is replaced, the caller has its `trust_lock`.
        data: The root's exact bytes.
        env: The environment; empty: it is left as it is.
        passed: Version and fingerprint of each root that it follows from.
        expected: The root that was there when this was decided; None for none.

    Raises:
        RefusedError: Another root was set up meanwhile.
        HostNotReadyError: It cannot be written.
    """
    # Somebody may have been asked meanwhile.
    if trusted_bytes(system) != expected:
        what = "another root was set up meanwhile"
        raise RefusedError(what, where=ROOT_FILE, hint="look at it with `install trust show`")
    # The environment first: interrupted between the two, the host trusts nothing yet.
    if env:
        with os_errors_as(HostNotReadyError, _UNWRITABLE, ENVIRONMENT_FILE, hint=remedy):
            record_environment(system, env)
    if data != expected:
        store_root(system, data, passed)


def trust_lock(system: System) -> Lock:
    """Take the lock under which the root of a host, which has one, is replaced.

    Raises:
        BusyError: Another change is running.
        HostNotReadyError: It cannot be written.
    """
    with os_errors_as(HostNotReadyError, "cannot write the root", LOCK, hint=remedy):
        return system.lock(LOCK)


@os_errors_as(HostNotReadyError, _UNWRITABLE, ROOT_FILE, hint=remedy)
def store_root(system: System, data: bytes, passed: Sequence[tuple[int, str]] = ()) -> None:
    """Replace the root of the host.

    Args:
        system: The host.
        data: The exact bytes of the new one.
        passed: Version and fingerprint of each root that it replaces.

    Raises:
        HostNotReadyError: It cannot be written; the old one is still there.
    """
    make_directory(system, TRUST)
    # Before the root: a host must never have forgotten where its root comes from.
    if rows := [row for row in map(_row, passed) if row not in _earlier(system)]:
        lines = [*_earlier(system), *rows][-MOST_EARLIER:]
        replace_file(system, EARLIER_FILE, "".join(f"{line}\n" for line in lines).encode(), 0o644)
    replace_file(system, ROOT_FILE, data, 0o644)
    # From here on the command has changed the host: a signal must not end it as "nothing was changed".
    interrupts.finish()


def is_earlier(system: System, version: int, digits: str) -> bool:
    """Return whether this host once trusted a root, or passed it on the way to the one that it trusts.

    Args:
        system: The host.
        version: The version of the root.
        digits: Its fingerprint.

    Raises:
        UntrustedError: Somebody else could have changed the record.
    """
    require_protected(system, EARLIER_FILE)
    return _row((version, digits)) in _earlier(system)


def _row(passed: tuple[int, str]) -> str:
    return f"{passed[0]} {passed[1]}"


def _earlier(system: System) -> list[str]:
    # Of a host that version 1.0 or older has set up, there is none.
    with suppress(FileNotFoundError):
        return system.read(EARLIER_FILE, LIMITS.document_bytes).decode("ascii", "replace").split("\n")[:-1]
    return []


def known_time(system: System) -> datetime | None:
    """Return the last time that is known to have passed on this host; None if none is recorded.

    Raises:
        UntrustedError: Somebody else could have changed the record.
        HostNotReadyError: The record is damaged.
    """
    # Set back in this file, a clock that is set back would not be noticed.
    require_protected(system, TIME_FILE)
    try:
        text = system.read(TIME_FILE, 64).decode("ascii", "replace").strip()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as error:  # must not be taken for "none recorded"
        if error.errno not in (errno.EFBIG, errno.ELOOP):
            what = f"cannot be read: {error.strerror}"
            raise HostNotReadyError(what, where=TIME_FILE, hint=remedy(error)) from error
        text = ""  # too long, or a link
    moment = parse_time(text)
    if moment is None:
        raise HostNotReadyError(
            "does not contain a time",
            where=TIME_FILE,
            hint="check the system clock with `timedatectl`, then remove the file",
        )
    return moment


def remember_time(system: System, moment: datetime) -> None:
    """Record that a time has passed, so that a clock that is set back is noticed.

    What may be recorded, and why: ADR 0616.

    Args:
        system: The host.
        moment: A time at which something was verified, or an expiry that was passed.
    """
    # Not a reason to fail an installation that is complete: the next one records a later time. A record that
    # is damaged stays as it is, for the next command to name.
    with suppress(OSError, WaybillError):
        known = known_time(system)
        # Only ever later: a wrong clock in the past must not lower it.
        if known is not None and known >= moment:
            return
        make_directory(system, STATE)
        replace_file(system, TIME_FILE, f"{format_time(moment)}\n".encode(), 0o644)


def remove_partial_files(system: System) -> None:
    """Remove what an interrupted replacement of the root or the trusted time left.

    Raises:
        OSError: A file cannot be removed.
    """
    for path in (ROOT_FILE, TIME_FILE, EARLIER_FILE, ENVIRONMENT_FILE):
        remove_partial(system, path)
    for path in _EARLIER_PARTIAL:
        remove_present(system, path)
