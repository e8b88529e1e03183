"""Check that every destination on the host is safe and used once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bundler.config.checks.inputs import unknown_character_fault
from installer.core.errors import Problem
from installer.core.format.member_names import destination_fault

# Files cannot be created there, or vanish.
_KERNEL = ("/proc", "/sys", "/dev")
_FLEETING = ("/tmp", "/run", "/var/run")  # noqa: S108  names to refuse, nothing is written there
# Directories that belong to the system: a release puts things into them, never in their place.
_SYSTEM = re.compile(
    r"/(?:bin|boot|etc|home|lib(?:32|64|x32)?|media|mnt|opt|root|sbin|srv|usr|var"
    r"|etc/(?:systemd|systemd/system|default|init\.d|cron\.d|ssh|ssl|pam\.d)"
    r"|usr/(?:bin|sbin|lib|lib64|libexec|share|local|local/(?:bin|sbin|lib|etc|share)|lib/systemd|lib/systemd/system)"
    r"|var/(?:lib|log|cache|spool|tmp|opt|lib/docker))"
)


@dataclass(frozen=True, slots=True)
class InstallPath:
    """A destination on the host.

    Attributes:
        install: The path.
        given: The input, as bundle.yaml names it.
        where: `bundle.yaml:LINE`.
        platform: `os/arch`; empty for all.
        is_tree: Whether it is a directory.
    """

    install: str
    given: str
    where: str
    platform: str = ""
    is_tree: bool = False


def check(places: Sequence[InstallPath]) -> list[Problem]:
    """Check all destinations of a release against the rules and against each other."""
    problems = [problem for place in places if (problem := _unsafe(place))]
    # Sorted by components, a path is followed directly by what lies below it. `above` has the places that
    # the present one may lie in, one for each path and platform: each place is compared with few others.
    above: list[tuple[str, dict[str, InstallPath]]] = []
    for place in sorted(places, key=lambda place: place.install.split("/")):
        while above and not f"{place.install}/".startswith(f"{above[-1][0]}/"):
            above.pop()
        found = (_meeting(place, there) for _, there in above)
        # One problem for each place: with the others it clashes for the same reason.
        if first := next((each for each in found if each), None):
            problems.append(_clash(first, place))
        if not above or above[-1][0] != place.install:
            above.append((place.install, {}))
        above[-1][1].setdefault(place.platform, place)
    return problems


def _meeting(place: InstallPath, there: Mapping[str, InstallPath]) -> InstallPath | None:
    """Return a place that is on the same hosts, or None: different platforms never meet on one host."""
    if place.platform:
        return there.get("") or there.get(place.platform)
    return next(iter(there.values()), None)


def _unsafe(place: InstallPath) -> Problem | None:
    path = place.install
    faults = (
        # The rule that a host applies to the manifest, too: absolute, plain, and none of Waybill's own
        # directories.
        (destination_fault(path), "use a plain absolute path, such as /opt/product/bin/tool"),
        (unknown_character_fault(path), "use characters that every Unicode version knows"),
        (_inside(path, _KERNEL) and "is on a kernel file system", "use a service, or sysctl.d for settings"),
        (_inside(path, _FLEETING) and "does not survive a reboot", "use /var/lib, or tmpfiles.d"),
        (_SYSTEM.fullmatch(path) and "is a system directory", "choose a path inside it"),
    )
    problems = [Problem(place.where, f"install: {path} {fault}", hint) for fault, hint in faults if fault]
    return problems[0] if problems else None


def _inside(path: str, tops: tuple[str, ...]) -> bool:
    return any(path == top or path.startswith(top + "/") for top in tops)


def _clash(place: InstallPath, other: InstallPath) -> Problem:
    first, second = sorted((place, other), key=lambda item: _line(item.where))
    if place.install == other.install:
        what = f"{second.given} and {first.given} ({first.where}) both install to {place.install}"
        return Problem(second.where, what, "choose different paths")
    if place.is_tree:
        what = f"{other.given} installs to {other.install}, inside the tree {place.given} ({place.where})"
        return Problem(other.where, what, "move it into the tree, or install it elsewhere")
    what = f"{other.given} installs to {other.install}, but {place.install} is a file ({place.where})"
    return Problem(other.where, what, "install one of them elsewhere")


def _line(where: str) -> int:
    # Problems refer to the later of two lines, so the earlier entry counts as the right one.
    digits = where.rpartition(":")[2]
    return int(digits) if digits.isdigit() else 0
