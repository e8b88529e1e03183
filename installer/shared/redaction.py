"""Diffs of configuration files, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

LIMIT = 1024 * 1024
CONTEXT = 3
SHORTEST_SECRET = 4
_SECRET = re.compile(
    r"""^(?P<head>\W*?(?P<indent>[ \t]*)[-"']?[ ]?["']?[\w.-]*
        (?:password|passwd|passphrase|secret|token|credential|key)[\w.-]*["']?\s*[:=]\s*)(?P<value>\S.*)$""",
    re.IGNORECASE | re.VERBOSE,
)
_IN_URL = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")


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


def diff(path: str, old: bytes, new: bytes, to: str = "") -> Diff:
    """Compare two versions of a file.

    Args:
        path: Where it is.
        old: The present content; empty if there is none.
        new: The new content.
        to: Where the new content is written, if not to `path`.
    """
    # difflib takes quadratic time.
    if max(len(old), len(new)) > LIMIT:
        return Diff(path, "", f"too large to show ({len(old)} and {len(new)} bytes)")
    try:
        before, after = old.decode().splitlines(), new.decode().splitlines()
    except UnicodeDecodeError:
        return Diff(path, "", "not text")
    lines = [f"--- {path}" if old else "--- /dev/null", f"+++ {to or path}", *_hunks(before, after)]
    return Diff(path, "\n".join(lines))


def _hunks(before: list[str], after: list[str]) -> Iterator[str]:
    """Compare the true lines and show the masked ones: of a changed secret only the change is visible."""
    shown_before, shown_after = list(mask(before)), list(mask(after))
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


def mask(lines: list[str]) -> Iterator[str]:
    """Replace values of keys that are named like secrets, blocks below such keys, and private keys."""
    inside_pem, block = False, -1
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if block >= 0 and (indent > block or not line.strip()):
            yield " " * indent + "***" if line.strip() else line
            continue
        block = -1
        # A key in PEM has no name in front of its lines.
        if inside_pem or ("-----BEGIN" in line and "PRIVATE KEY" in line):
            yield line if "-----" in line else "***"
            inside_pem = "-----END" not in line
            continue
        found = _SECRET.match(line)
        if found:
            if re.fullmatch(r"[|>][-+0-9]*", found["value"].strip()):
                block = indent
                yield line
            else:
                yield found["head"] + "***"
            continue
        yield _IN_URL.sub(r"\1***@", line)


def secrets_of(lines: list[str]) -> frozenset[str]:
    """Return the values that `mask` would replace, except short ones, which occur in any text."""
    found: set[str] = set()
    for line, masked in zip(lines, mask(lines), strict=True):
        if line != masked:
            kept = masked.partition("***")[0]
            value = line[len(kept) :].removesuffix(masked[len(kept) + 3 :])
            found |= {value.strip(), value.split(" #")[0].strip().rstrip(",;").strip("\"'")}
    return frozenset(value for value in found if len(value) >= SHORTEST_SECRET)


def conceal(lines: list[str], secrets: frozenset[str]) -> list[str]:
    """Return lines without the given secrets, and without those that `mask` finds."""
    hidden = []
    for line in lines:
        # The longest first: a shorter one may be a part of it.
        for secret in sorted(secrets, key=len, reverse=True):
            line = line.replace(secret, "***")  # noqa: PLW2901
        hidden.append(line)
    return list(mask(hidden))
