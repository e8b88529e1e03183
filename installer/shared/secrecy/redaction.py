"""Diffs of configuration files, without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from installer.shared.secrecy import MASK
from installer.shared.secrecy.known import Secrets
from installer.shared.secrecy.notations import secrets_of

LIMIT = 1024 * 1024
CONTEXT = 3
_PAIRED = 200
"""Lines that were replaced together, up to which each new one is compared with all old ones."""


@dataclass(frozen=True, slots=True)
class Diff:
    """How one file of configuration will change.

    Attributes:
        path: Where it is.
        text: A unified diff; empty if the file is not text, or too large to show.
        note: Why there is no diff.
    """

    path: str
    text: str
    note: str = ""


def diff(path: str, old: bytes, new: bytes, to: str = "", secrets: Secrets | None = None) -> Diff:
    """Compare two versions of a file.

    A value in a notation of a secret is hidden, in both versions, and so is every secret value, wherever they
    contain it.

    Args:
        path: Where it is.
        old: The present content; empty if there is none.
        new: The new content.
        to: Where the new content is written, if not to `path`.
        secrets: What is known to be secret. It is looked up once, however many files are compared.
    """
    # difflib takes quadratic time.
    if max(len(old), len(new)) > LIMIT:
        return Diff(path, "", f"too large to show ({len(old)} and {len(new)} bytes)")
    try:
        before, after = old.decode().splitlines(), new.decode().splitlines()
    except UnicodeDecodeError:
        return Diff(path, "", "not text")
    # What the old version names as secret may stand anywhere in the new one, and the other way round.
    known = (secrets or Secrets()).also([*secrets_of(before), *secrets_of(after)])
    if why := known.why_withheld():
        return Diff(path, "", f"differs; not shown: {why}")
    lines = [f"--- {path}" if old else "--- /dev/null", f"+++ {to or path}", *_hunks(before, after, known)]
    return Diff(path, "\n".join(lines))


def _hunks(before: list[str], after: list[str], known: Secrets) -> Iterator[str]:
    """Compare the true lines and show the masked ones: of a changed secret only the change is visible."""
    matcher = SequenceMatcher(None, before, after, autojunk=len(before) + len(after) > 2000)
    shown_after = known.hide_all(after)
    rotated = [
        value
        for tag, i1, i2, j1, j2 in matcher.get_opcodes()
        if tag == "replace"
        for value in _rotated(before[i1:i2], after[j1:j2], shown_after[j1:j2])
    ]
    if rotated:
        known = known.also(rotated)
        shown_after = known.hide_all(after)
    shown_before = known.hide_all(before)
    for group in matcher.get_grouped_opcodes(CONTEXT):
        _, first_old, _, first_new, _ = group[0]
        _, _, last_old, _, last_new = group[-1]
        yield f"@@ -{_range(first_old, last_old)} +{_range(first_new, last_new)} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (f" {line}" for line in shown_before[i1:i2])
                continue
            yield from (f"-{line}" for line in shown_before[i1:i2])
            yield from (f"+{line}" for line in shown_after[j1:j2])


def _rotated(before: Sequence[str], after: Sequence[str], shown: Sequence[str]) -> Iterator[str]:
    """Yield the old texts in place of which there is a secret now: they were the secrets before."""
    for number, (line, masked) in enumerate(zip(after, shown, strict=True)):
        if line == masked:
            continue
        parts = masked.split(MASK)
        # Without anything around it, only its place tells which line it replaces.
        is_alone = not any(part.strip() for part in parts)
        others = before[number : number + 1] if is_alone or len(before) > _PAIRED else before
        for old in others:
            yield from _between(old, parts)


def _between(line: str, parts: Sequence[str]) -> list[str]:
    """Return the texts between parts of a line; nothing if the line does not consist of these parts."""
    if not (line.startswith(parts[0]) and line.endswith(parts[-1])):
        return []
    found, at, end = [], len(parts[0]), len(line) - len(parts[-1])
    for part in parts[1:-1]:
        to = line.find(part, at, end)
        if to < 0:
            return []
        found.append(line[at:to])
        at = to + len(part)
    return [each.strip() for each in (*found, line[at:end]) if each.strip()]


def _range(first: int, last: int) -> str:
    """Return a range as POSIX diff -u counts it: an empty one by the line before it."""
    return f"{first + 1 if last > first else first},{last - first}"
