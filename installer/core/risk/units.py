"""Rules for units of systemd: what they run as root, where they listen, what they take away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from installer.core.risk.commands import suspicious
from installer.core.risk.groups import ROOT_GROUPS
from installer.core.risk.host_paths import opened
from installer.core.risk.risk import Found, Program, Risk
from installer.core.risk.unit_lines import INCLUDE, directives, irregular_lines

_OWNER = "the user of the step"
_ROOT = ("root", "0")
# Of each directive: what a value does.
_OPENS = {
    "AmbientCapabilities": "gets the capabilities {}",
    "CapabilityBoundingSet": "may have the capabilities {}",
    "DeviceAllow": "may use the device {}",
    "RootDirectory": "runs in {} instead of the file system of the host",
    "RootImage": "runs in the image {}",
    "PAMName": "opens a login session of {}",
    "SupplementaryGroups": "has the rights of the groups {}, too",
}
_MOUNTS = {"BindPaths": "", "BindReadOnlyPaths": ", read-only"}
_LISTEN = ("ListenStream", "ListenDatagram", "ListenSequentialPacket", "ListenNetlink")
_FULL_RIGHTS = "+!"
_PREFIX = re.compile(r"(?:^|[ \t];)[ \t]*([-@:+!|]*)")
"""What stands before each command of a line; a `;` between blanks begins another one."""
_YES = ("1", "yes", "y", "true", "t", "on")
MOST = 1000
"""Lines with a directive that are looked at."""
Lines = list[tuple[int, str, str, str]]


def examine_unit(where: str, text: str) -> Found:
    """Yield what a unit runs and opens.

    Args:
        where: Its path in the bundle.
        text: Its text.
    """
    lines = list(islice(directives(text), MOST + 1))
    is_whole = len(lines) <= MOST
    yield from _programs(where, lines[:MOST])
    for number, section, key, value in lines[:MOST]:
        if value:
            yield from _opens(f"{where}:{number}", section, key, value)
    for number, what in irregular_lines(text):
        yield Risk("command", f"{where}:{number}", f"this line {what}")
    if not is_whole:
        yield Risk("unread", where, f"has more than {MOST} lines with a directive: the rest was not examined")


def examine_user_unit(where: str, text: str) -> Found:
    """Yield what a unit of a user runs and opens. Its manager has the rights of the user, and no others."""
    for found in examine_unit(where, text):
        if isinstance(found, Program):
            yield Program(found.where, _OWNER, found.text)
        elif found.kind != "root":
            yield found


def _opens(place: str, section: str, key: str, value: str) -> Iterator[Risk]:
    if section == "Socket" and key in _LISTEN:
        yield Risk("port", place, f"listens at {value}")
    elif key in _MOUNTS:
        for each in value.split():
            source = each.strip("\"'").lstrip("-+").partition(":")[0]
            what = f": {found}" if (found := opened(source)) else ""
            yield Risk("host", place, f"mounts {each} from the host{_MOUNTS[key]}{what} ({key}=)")
    elif key in _OPENS:
        yield Risk("host", place, f"{_OPENS[key].format(value)} ({key}=)")
    elif section == "Mount" and key in ("What", "Where"):
        yield Risk("host", place, f"mounts: {key}={value}")
    elif section == "Timer" and key.startswith("On"):
        yield Risk("command", place, f"starts by itself: {key}={value}")
    elif key == INCLUDE:
        yield Risk("unread", place, f"includes {value}, which was not examined")
    if key in ("Group", "SupplementaryGroups"):
        yield from _groups(place, key, value)


def _groups(place: str, key: str, value: str) -> Iterator[Risk]:
    for group in value.split():
        if group in ROOT_GROUPS:
            yield Risk("root", place, f"{key}={group}: {ROOT_GROUPS[group]}")
        elif key == "Group" and (group.isdecimal() or "%" in group):
            yield Risk("host", place, f"{key}={group}: which group that is, only the host knows")


def _programs(where: str, lines: Lines) -> Iterator[Risk | Program]:
    def last(key: str) -> str:
        return next(
            (value for _, section, name, value in reversed(lines) if (section, name) == ("Service", key)), ""
        )

    service = any(section == "Service" for _, section, _, _ in lines)
    keys = {name for _, section, name, _ in lines if section == "Service"}
    user, is_dynamic = last("User"), last("DynamicUser").lower() in _YES
    # A dynamic user is not made where its name is that of a user of the host. %U is 0, and %u is root.
    # Who runs the commands of a drop-in, its unit says where the drop-in does not.
    is_drop_in = where.endswith(".conf")
    # A drop-in that sets either of the two to nothing, or to no, takes away what the unit has set.
    says_nothing = is_drop_in and not {"User", "DynamicUser"} & keys
    as_root = service and (user in _ROOT or "%" in user or not (user or is_dynamic or says_nothing))
    nobody = "the user of its unit" if is_drop_in and not is_dynamic else "a dynamic user"
    start_only = last("PermissionsStartOnly").lower() in _YES
    if as_root:
        why = f"User={user}" if user else "no User= is set in this file"
        if "User" in keys and not user:
            why = "User= is empty"
        # A drop-in without a user may leave the one of the unit as it is.
        may = "may run" if is_drop_in and not user else "runs"
        yield Risk("root", where, f"the service {may} as root: {why}")
    for number, section, key, value in lines:
        if not key.startswith("Exec") or not value:
            continue
        place, command = f"{where}:{number}", f"{key}={value}"
        full = any(sign in match[1] for match in _PREFIX.finditer(value) for sign in _FULL_RIGHTS)
        full = full or (start_only and key != "ExecStart")
        # systemd runs the commands of sockets and mounts as root, too.
        runs_as = "root" if full or as_root or section != "Service" else user or nobody
        yield Program(place, runs_as, command)
        if full and not as_root:
            yield Risk("root", place, f"runs with full rights in spite of User=: {command}")
        elif section != "Service":
            yield Risk("root", place, f"runs as root: {command}")
        yield from suspicious(place, command, numbered=False)
