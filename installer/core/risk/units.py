"""Rules for units of systemd: what they run as root, where they listen, what they take away."""

from __future__ import annotations

from collections.abc import Iterator

from installer.core.risk.commands import suspicious
from installer.core.risk.host_paths import opened
from installer.core.risk.risk import Found, Program, Risk

_ROOT = ("root", "0")
# Of each directive: the value that opens something (empty: any), and what it does.
_SERVICE = {
    "AmbientCapabilities": ("", "gets the capabilities {}"),
    "CapabilityBoundingSet": ("", "may have the capabilities {}"),
    "BindPaths": ("", "mounts {} from the host"),
    "DeviceAllow": ("", "may use the device {}"),
    "RootDirectory": ("", "runs in {} instead of the file system of the host"),
    "RootImage": ("", "runs in the image {}"),
    "PAMName": ("", "opens a login session of {}"),
}
_LISTEN = ("ListenStream", "ListenDatagram", "ListenSequentialPacket", "ListenNetlink")
_FULL_RIGHTS = "+!"
MOST = 1000
"""Lines with a directive that are looked at."""
Lines = list[tuple[int, str, str, str]]


def examine_unit(where: str, text: str) -> Found:
    """Yield what a unit runs and opens.

    Args:
        where: Its path in the bundle.
        text: Its text.
    """
    lines = list(_directives(text))
    yield from _programs(where, lines)
    for number, section, key, value in lines:
        place = f"{where}:{number}"
        if section == "Socket" and key in _LISTEN and value:
            yield Risk("port", place, f"listens at {value}")
        elif key in _SERVICE and value:
            yield Risk("host", place, f"{_SERVICE[key][1].format(value)} ({key}=)")
        elif key == "BindPaths" and value and (what := opened(value.lstrip("-").split(":")[0])):
            yield Risk("host", place, f"mounts {value}: {what}")
        elif section == "Mount" and key in ("What", "Where") and value:
            yield Risk("host", place, f"mounts: {key}={value}")
        elif section == "Timer" and key.startswith("On") and value:
            yield Risk("command", place, f"starts by itself: {key}={value}")
    if len(lines) >= MOST:
        yield Risk("unread", where, f"has more than {MOST} lines with a directive: the rest was not examined")


def _programs(where: str, lines: Lines) -> Iterator[Risk | Program]:
    def last(key: str) -> str:
        return next(
            (value for _, section, name, value in reversed(lines) if (section, name) == ("Service", key)), ""
        )

    service = any(section == "Service" for _, section, _, _ in lines)
    user, dynamic = last("User"), last("DynamicUser").lower() in ("yes", "true", "on", "1")
    as_root = service and not dynamic and (not user or user in _ROOT)
    if as_root:
        why = f"User={user}" if user else "no User= is set"
        yield Risk("root", where, f"the service runs as root: {why}")
    for number, section, key, value in lines:
        if not key.startswith("Exec") or not value:
            continue
        place, command = f"{where}:{number}", f"{key}={value}"
        prefix = value[: len(value) - len(value.lstrip("@-:+!|"))]
        full = any(sign in prefix for sign in _FULL_RIGHTS)
        # systemd runs the commands of sockets and mounts as root, too.
        runs_as = "root" if full or as_root or section != "Service" else user or "a dynamic user"
        yield Program(place, runs_as, command)
        if full and not as_root:
            yield Risk("root", place, f"runs with full rights in spite of User=: {command}")
        elif section != "Service":
            yield Risk("root", place, f"runs as root: {command}")
        for _, _, what in suspicious(value):
            yield Risk("command", place, f"{what}: {command}")


def _directives(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield number, section, key and value of each directive; as systemd, with lines that are continued."""
    section, held, first, count = "", "", 0, 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        # A comment in the middle of a continued line does not end it.
        if line.startswith(("#", ";")) or (not line and not held):
            continue
        first = first if held else number
        if line.endswith("\\"):
            held += f"{line[:-1]} "
            continue
        line, held = held + line, ""
        if line.startswith("["):
            section = line.strip("[]")
            continue
        key, sign, value = line.partition("=")
        if sign:
            yield first, section, key.strip(), value.strip()
            count += 1
            if count == MOST:
                return
