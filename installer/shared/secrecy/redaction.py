"""Diffs of configuration files, without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from installer.shared.secrecy.known import Secrets
from installer.shared.secrecy.notations import secrets_of

LIMIT = 1024 * 1024
CONTEXT = 3


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
    shown_before, shown_after = known.hide_all(before), known.hide_all(after)
    matcher = SequenceMatcher(None, before, after, autojunk=len(before) + len(after) > 2000)
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


def _range(first: int, last: int) -> str:
    """Return a range as POSIX diff -u counts it: an empty one by the line before it."""
    return f"{first + 1 if last > first else first},{last - first}"
