"""Commands that a reviewer looks at first: they delete, open or fetch more than their line says.

No proof of anything: a script can do the same in a thousand other ways. It saves the reader of five hundred
lines from missing the one that counts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from installer.core.risk.risk import Found, Kind, Program, Risk

# What the parts of a pattern are looked for in: a line, its pipelines, its commands, or its jobs.
_LINE = ""
_PIPELINE = r";|&&|(?<!>)&(?=\s|$)"
_COMMAND = r"[;&|]"
_JOB = r"[;|]"
_REMOVE = (r"\brm(?=\s)", r"\s-(?:[A-Za-z]*[rR]|-recursive)")
_INTO = r"(?<!\|)\|\s*"
_SHELL = r"(?:ba|da|z|k)?sh\b"
Pattern = tuple[str, ...]
"""Where to look, then expressions that are found one after the other. What one of them matches has a bounded
length or cannot begin twice, so the time is that of reading the line a few times, whatever it says."""
# What it seems to do, and each of the patterns that say so; the gravest first.
_RULES: dict[str, tuple[Pattern, ...]] = {
    "deletes the whole file system": ((_COMMAND, *_REMOVE, r"\s[\"']?/(?:\*|[\"']?(?:\s|$))"),),
    "deletes a directory with all that is in it": (
        (
            _COMMAND,
            *_REMOVE,
            r"\s[\"']?(?:/[^/\s\"']*[\"']?(?:\s|$)|/(?:etc|usr|var/lib|boot|home|root)\b|~|\$)",
        ),
    ),
    "overwrites a disk": (
        (_LINE, r"\b(?:mkfs(?:\.\w+)?|wipefs|sgdisk|parted|fdisk|shred)\b"),
        (_JOB, r"\bdd\b", r"\bof=/dev/"),
        (_LINE, r">\s*/dev/(?:sd|vd|nvme|mapper)"),
    ),
    "runs what it fetches from a network": (
        (_PIPELINE, r"\b(?:curl|wget|fetch)\b", _INTO + r"(?:sudo\s+)?" + _SHELL),
        (_LINE, r"\b" + _SHELL + r"\s+(?:-c\s+)?[\"']?[<$]\((?:curl|wget)"),
    ),
    "runs text that is made while it runs": (
        (_PIPELINE, r"\bbase64\s+(?:-d|-D|--decode)\b", _INTO + r"(?:\w*sh|python\d?|perl)\b"),
        (_LINE, r"\beval\b"),
    ),
    "opens a connection for commands": (
        (_LINE, r"\b(?:nc|ncat|socat)\b", r"-e|-c|exec:"),
        (_LINE, r"/dev/(?:tcp|udp)/"),
    ),
    "makes files writable for everybody, or setuid": (
        (_LINE, r"\bchmod\b", r"\b[0-7]?[0-7][0-7][2367]\b|\w\+\w*w\b|\+\w*s\b|\b[2467][0-7]{3}\b"),
    ),
    "changes who may log in or act as root": (
        (_LINE, r"\b(?:useradd|adduser|usermod|groupmod|gpasswd|passwd|chpasswd|visudo)\b"),
        (_LINE, r"/etc/(?:sudoers|passwd|shadow)\b|authorized_keys"),
    ),
    "turns off what protects the host": (
        (_LINE, r"\bsetenforce\s+0|\bufw\s+disable|\baa-(?:disable|teardown|complain)\b"),
        (_LINE, r"\b(?:iptables|nft)\b", r"-F\b|flush"),
        (
            _LINE,
            r"\b(?:systemctl|service)\b",
            r"(?:disable|stop|mask)\b",
            r"(?:firewalld|auditd|apparmor|nftables|ufw|syslog)",
        ),
    ),
    "changes the running kernel": ((_LINE, r"\b(?:insmod|modprobe|kexec)\b|\bsysctl\s+-w\b|>\s*/proc/sys/"),),
    "leaves a container, or starts one that can": (
        (
            _LINE,
            r"\bdocker\s+(?:run|create)\b",
            r"--privileged|--pid[= ]host|--net(?:work)?[= ]host|-v\s*/:",
        ),
        (_LINE, r"docker\.sock|\bnsenter\b|\bchroot\b"),
    ),
    "makes something run later": (
        (_LINE, r"\b(?:crontab|at)\s+-|/etc/cron"),
        (_LINE, r"\bsystemctl\b", r"\b(?:edit|link|set-property)\b"),
    ),
    "touches Waybill's own files": ((_LINE, r"\bwaybill-install\b|/etc/waybill\b|/var/lib/waybill\b"),),
}
LONGEST = 4096
"""Characters of a line that are searched."""
MOST = 200
"""Findings in one text."""
_LINE_END = re.compile(r"\r\n|\r|\n")
"""Also of interpreters other than the shell."""
_BLANK = " \t"
"""What may stand before the `#` of a comment: any other white space would begin a command."""


def suspicious(where: str, text: str, *, numbered: bool = True) -> Iterator[Risk]:
    """Yield the lines that a reviewer should read first, and those that were not examined.

    Args:
        where: Its path in the bundle, or the place of a command.
        text: A script, or one command.
        numbered: Whether the number of the line is added to the place.
    """
    count = 0
    for number, line in _lines(text):
        for kind, what in _found(line):
            if count == MOST:
                yield Risk(
                    "unread", where, f"more than {MOST} lines to read first: the rest was not examined"
                )
                return
            count += 1
            yield Risk(kind, f"{where}:{number}" if numbered else where, what)


def _found(line: str) -> Iterator[tuple[Kind, str]]:
    # The first rule is the gravest: one line is one finding.
    if what := next((what for what, patterns in _compiled() if _matches(line[:LONGEST], patterns)), ""):
        yield "command", f"{what}: {line}"
    if len(line) > LONGEST:
        yield "unread", f"has more than {LONGEST} characters in one command: the rest was not examined"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers, as a shell reads them: without comments, continued ones in one."""
    held, first = list[str](), 0
    for number, line in enumerate(_LINE_END.split(text), 1):
        # A comment ends with its line, whatever its last character is: a command could hide after it.
        if not held and line.lstrip(_BLANK).startswith("#"):
            first = 0
            continue
        # An even number of backslashes is some that are quoted.
        is_continued = (len(line) - len(line.rstrip("\\"))) % 2 == 1
        # A word may go on after the backslash: nothing is put in its place.
        body = line[:-1] if is_continued else line
        if held or body.strip(_BLANK):
            held.append(body)
        first = first or number
        if not is_continued:
            yield first, "".join(held).strip()
            held, first = [], 0
    if held:
        yield first, "".join(held).strip()


def _matches(line: str, patterns: list[tuple[re.Pattern[str] | None, list[re.Pattern[str]]]]) -> bool:
    for ends, stages in patterns:
        if stages[0].search(line):
            parts = ends.split(line) if ends else [line]
            if any(_in_order(part, stages) for part in parts):
                return True
    return False


def _in_order(text: str, stages: list[re.Pattern[str]]) -> bool:
    # Not in one expression with `.*`: that would begin again at each of a thousand words.
    at = 0
    for stage in stages:
        match = stage.search(text, at)
        if match is None:
            return False
        at = match.end()
    return True


@functools.cache
def _compiled() -> list[tuple[str, list[tuple[re.Pattern[str] | None, list[re.Pattern[str]]]]]]:
    # Only when they are needed: every start would pay for them.
    return [
        (
            what,
            [(re.compile(ends) if ends else None, list(map(re.compile, stages))) for ends, *stages in rows],
        )
        for what, rows in _RULES.items()
    ]


def examine_state(where: str, text: str) -> Found:
    """Yield a file of states as a program: templates decide on the host what is in it.

    Args:
        where: Its path in the bundle.
        text: Its content.
    """
    if where.endswith(".sls"):
        count = len(text.splitlines())
        yield Program(where, "root", text)
        yield Risk("root", where, f"Salt applies it as root, {count} line{'' if count == 1 else 's'}")
    # Scripts and templates of the state, too: states run them, and write them to the host.
    yield from suspicious(where, text)
