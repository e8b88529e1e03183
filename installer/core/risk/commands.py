"""Commands that a reviewer looks at first: they delete, open or fetch more than their line says.

No proof of anything: a script can do the same in a thousand other ways. It saves the reader of five hundred
lines from missing the one that counts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

_REMOVE = r"\brm\s+(?:-[A-Za-z-]+\s+)*-(?:[A-Za-z]*[rR]|-recursive)\S*\s+(?:--\s+)?[\"']?"
_SHELL = r"(?:ba|da|z|k)?sh\b"
# What it seems to do, and each of the patterns that say so; the gravest first.
_RULES: dict[str, tuple[str, ...]] = {
    "deletes the whole file system": (_REMOVE + r"/(?:\*|[\"']?\s*$|[\"']?\s*[;&|])",),
    "deletes a directory with all that is in it": (
        _REMOVE + r"(?:/[^/\s\"']*[\"']?(?:\s|$)|/(?:etc|usr|var/lib|boot|home|root)\b|~|\$)",
    ),
    "overwrites a disk": (
        r"\b(?:mkfs(?:\.\w+)?|wipefs|sgdisk|parted|fdisk|shred)\b",
        r"\bdd\b[^|;]*\bof=/dev/|>\s*/dev/(?:sd|vd|nvme|mapper)",
    ),
    "runs what it fetches from a network": (
        r"\b(?:curl|wget|fetch)\b[^|;&]*\|\s*(?:sudo\s+)?" + _SHELL,
        r"\b" + _SHELL + r"\s+(?:-c\s+)?[\"']?[<$]\((?:curl|wget)",
    ),
    "runs text that is made while it runs": (
        r"\bbase64\s+(?:-d|-D|--decode)\b[^;&]*\|\s*(?:\w*sh|python\d?|perl)\b|\beval\b",
    ),
    "opens a connection for commands": (r"\b(?:nc|ncat|socat)\b.*(?:-e|-c|exec:)|/dev/(?:tcp|udp)/",),
    "makes files writable for everybody, or setuid": (
        r"\bchmod\b.*\b[0-7]?[0-7][0-7][2367]\b",
        r"\bchmod\b.*(?:\b[oa]*\+\w*w|[ugo]*\+\w*s\b|\b[2467][0-7]{3}\b)",
    ),
    "changes who may log in or act as root": (
        r"\b(?:useradd|adduser|usermod|groupmod|gpasswd|passwd|chpasswd|visudo)\b",
        r"/etc/(?:sudoers|passwd|shadow)\b|authorized_keys",
    ),
    "turns off what protects the host": (
        r"\bsetenforce\s+0|\b(?:iptables|nft)\b.*(?:-F\b|flush)|\bufw\s+disable",
        r"\baa-(?:disable|teardown|complain)\b",
        r"\b(?:systemctl|service)\b.*(?:disable|stop|mask)\b.*(?:firewalld|auditd|apparmor|nftables|ufw|syslog)",
    ),
    "changes the running kernel": (r"\b(?:insmod|modprobe|kexec)\b|\bsysctl\s+-w\b|>\s*/proc/sys/",),
    "leaves a container, or starts one that can": (
        r"\bdocker\s+(?:run|create)\b.*(?:--privileged|--pid[= ]host|--net(?:work)?[= ]host|-v\s*/:)",
        r"docker\.sock|\bnsenter\b|\bchroot\b",
    ),
    "makes something run later": (
        r"\b(?:crontab|at)\s+-|/etc/cron|\bsystemctl\b.*\b(?:edit|link|set-property)\b",
    ),
    "touches Waybill's own files": (r"\bwaybill-install\b|/etc/waybill\b|/var/lib/waybill\b",),
}
LONGEST = 4096
"""Characters of a line that are searched."""
MOST = 200
"""Findings in one text."""


def suspicious(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the lines that a reviewer should read first: number, line, and what it seems to do.

    Args:
        text: A script, or one command.
    """
    count = 0
    for number, line in enumerate(_joined(text), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        for what in _what(stripped[:LONGEST]):
            yield number, stripped[:200], what
            count += 1
            if count == MOST:
                return


def _what(line: str) -> Iterator[str]:
    for pattern, what in _compiled():
        if pattern.search(line):
            yield what
            # The first rule is the gravest: one line is one finding.
            return


def _joined(text: str) -> list[str]:
    """Return the lines; one that is continued stands at its first number, with empty ones after it."""
    lines = list[str]()
    held, more = "", 0
    for line in text.split("\n"):
        if line.endswith("\\"):
            held, more = f"{held}{line[:-1]} ", more + 1
            continue
        # A backslash must not hide the second half of a command.
        lines += [held + line, *[""] * more]
        held, more = "", 0
    return [*lines, held] if held else lines


@functools.cache
def _compiled() -> list[tuple[re.Pattern[str], str]]:
    # Only when they are needed: every start would pay for them.
    return [(re.compile(pattern), what) for what, patterns in _RULES.items() for pattern in patterns]
