"""The section of a version in a changelog, as people and release tools write it.

A section begins with a heading that names a version, such as `## [1.4.0] - 2026-03-01`, `# Version 1.4.0`, or
`1.4.0 / 2026-03-01` underlined. It ends where the next section begins, or a heading of a higher level.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from installer.core.errors import Problem, UsageError
from installer.core.schema_errors import did_you_mean
from installer.core.semver import Version, parse

# A changelog of a long-lived product is large; a log file given by mistake is larger.
MAX_BYTES = 4 * 1024 * 1024
_COMPARED = 1000
"""How many headings are compared with the version; the newest ones come first."""
_LONGEST = 1000
"""Characters of a heading that are looked at: no pattern may take long because a line does."""
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-{2,})[ \t]*")
_NO_PARAGRAPH = re.compile(r"$|[ \t]{4}|\t|[ \t]*(?:[-+*>|#]|[0-9]+[.)])(?:[ \t]|$)")
"""Lines that an underline makes no heading of: empty ones, code, lists, quotes, tables."""
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_DEFINITION = re.compile(r"\[[^\]]+\]:\s")
_TAG = re.compile(r"<[^<>]*>")
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])?")
_VERSION = re.compile(
    r"v?([0-9]+\.[0-9]+(?:\.[0-9]+[0-9A-Za-z.+-]*|(?=\s*(?:$|[-(/:,\]–—]))))", re.IGNORECASE
)
_DATE = re.compile(r"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}(?![0-9A-Za-z.+-])")
_WORDS = re.compile(
    r"(?:(?:the|in|for|of|version|release|released|ver\.?|rel\.?|tag|notes?|changes|changelog|what['’]s|new"
    r"|hotfix|patch)\b)",
    re.IGNORECASE,
)
"""What stands before the version in the heading of its section; `Upgrade from 1.3.0` is inside of one."""
_MARKS = re.compile(r"[*`\\]|__")
_UNRELEASED = re.compile(r"unreleased\b", re.IGNORECASE)
_CANDIDATE = re.compile(r"[0-9]\.[0-9]|unreleased", re.IGNORECASE)
"""What a heading of a section has somewhere: most headings have nothing of it."""
_SEPARATORS = " \t-–—:,/@_.()"
_INSIDE = 3
"""From this level on, a heading of the same level may be inside of a section: standard-version writes
`### [1.3.1]` and, in it, `### Bug Fixes`."""


class _Heading(NamedTuple):
    line: int
    level: int
    text: str
    rows: int


class _Section(NamedTuple):
    line: int
    level: int
    name: str
    rows: list[str]


def section(data: bytes, given: str, version: Version, product: str = "") -> tuple[str, list[Problem]]:
    """Find the section of a version in a changelog.

    Args:
        data: The file.
        given: Its path in bundle.yaml, for messages.
        version: The version.
        product: The name that may stand before versions in headings.

    Returns:
        The text below the version's heading, and the problems.
    """
    try:
        # Editors on Windows begin files with a byte order mark.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return "", [Problem(f"{given}@{error.start}", "is not UTF-8", "save the file as UTF-8")]
    sections = _sections(text.splitlines(), product)
    matching = [(each.line, each.rows) for each in sections if _is(each.name, version)]
    if not matching:
        return "", [_absent(given, version, sections)]
    line, rows = matching[0]
    body = "\n".join(rows).strip("\n") + "\n"
    if len(matching) > 1:
        what = f"has two sections for {version}; the other is in line {matching[1][0]}"
        return body, [Problem(f"{given}:{line}", what, "merge them")]
    if not any(row.strip() and not row.lstrip().startswith("#") for row in rows):
        return "", [
            Problem(
                f"{given}:{line}",
                f"has an empty section for {version}",
                "describe what changes for the operator",
            )
        ]
    return body, []


def _sections(rows: list[str], product: str) -> list[_Section]:
    sections: list[_Section] = []
    is_open = False
    headings = {heading.line: heading for heading in _headings(rows)}
    names = _Names(product)
    number = 1
    while number <= len(rows):
        heading = headings.get(number)
        name = names.of(heading.text) if heading else ""
        if heading and name:
            sections.append(_Section(number, heading.level, name, []))
            is_open = True
        elif heading and is_open and _ends(sections[-1], heading):
            is_open = False
        # Link definitions at the end of the file belong to no section.
        elif is_open and not _DEFINITION.match(rows[number - 1]):
            sections[-1].rows.append(rows[number - 1])
        number += heading.rows if heading and name else 1
    return sections


def _ends(current: _Section, heading: _Heading) -> bool:
    same = heading.level == current.level and current.level < _INSIDE
    return same or heading.level < current.level


def _headings(rows: list[str]) -> Iterator[_Heading]:
    """Yield headings: `## text`, and text that is underlined with `=` or `-`."""
    fence, comment = "", False
    for number, row in enumerate(rows, 1):
        # A heading inside of a code block or a comment is an example, not a section.
        match = _FENCE.match(row)
        if fence:
            fence = "" if match and match[1].startswith(fence) else fence
            continue
        if comment:
            comment = "-->" not in row
            continue
        if match:
            fence = match[1]
            continue
        comment = "-->" not in row[row.rindex("<!--") :] if "<!--" in row else False
        if atx := _ATX.match(row):
            yield _Heading(number, len(atx[1]), row[atx.end() :][:_LONGEST], 1)
        elif number < len(rows) and _UNDERLINE.fullmatch(rows[number]) and not _NO_PARAGRAPH.match(row):
            yield _Heading(number, 1 if "=" in rows[number] else 2, row[:_LONGEST], 2)


class _Names:
    """Says which headings are those of sections; the name of the product is looked for with one pattern."""

    def __init__(self, product: str) -> None:
        # Spelled `lan-chat`, `Lan Chat` or `@acme/lan-chat`.
        spelled = r"[-_ ]".join(map(re.escape, re.split(r"[-_ ]", product)))
        after = re.escape(_SEPARATORS)
        self._product = re.compile(rf"(?:@[\w.-]+/)?{spelled}(?=[{after}])", re.IGNORECASE)
        # An empty name would match everywhere.
        self._has_product = bool(product)

    def of(self, text: str) -> str:
        """Return the version that a heading is for, `unreleased`, or nothing for other headings."""
        if not _CANDIDATE.search(text):
            return ""
        # Only what is seen counts: no tags, targets of links, emphasis.
        text = _MARKS.sub("", _LINK.sub(r"\1", _TAG.sub("", text))).strip().rstrip("#").strip("[]() \t")
        if _UNRELEASED.match(text):
            return "unreleased"
        while text:
            # Asked first: a product may have a name that looks like the beginning of a version.
            match = (self._product.match(text) if self._has_product else None) or _DATE.match(text)
            if match is None and (found := _VERSION.match(text)):
                return found[1].rstrip(".-+")
            match = match or _WORDS.match(text)
            if match is None:
                return ""
            text = text[match.end() :].lstrip(_SEPARATORS + "[]")
        return ""


def _is(name: str, version: Version) -> bool:
    try:
        found = parse(name)
    except UsageError:
        return False
    # Compared as versions: `v1.4.0` and `1.4.0` are the same.
    return str(found) == str(version)


def _absent(given: str, version: Version, sections: list[_Section]) -> Problem:
    unreleased = next((each.line for each in sections if each.name == "unreleased"), None)
    if unreleased is not None:
        hint = f"rename the heading [Unreleased] in line {unreleased} to [{version}] - DATE, or add a section"
    else:
        close = did_you_mean(str(version), [each.name for each in sections[:_COMPARED]])
        hint = f"add a heading ## [{version}] - DATE" + (f"; the closest heading is {close}" if close else "")
    return Problem(given, f"has no section for {version}", hint)
