"""The section of a version in a changelog with the headings of Keep a Changelog."""

from __future__ import annotations

import re

from installer.core.errors import Problem, UsageError
from installer.core.schema_errors import did_you_mean
from installer.core.semver import Version, parse

# A changelog of a long-lived product is large; a log file given by mistake is larger.
MAX_BYTES = 4 * 1024 * 1024
_HEADING = re.compile(r"##[ \t]+\[?(?P<name>[^\]\s()]+)\]?(?:[ \t(].*)?")
_FENCE = re.compile(r"[ \t]*(```|~~~)")


def section(data: bytes, given: str, version: Version) -> tuple[str, list[Problem]]:
    """Find the section of a version in a changelog.

    Args:
        data: The file.
        given: Its path in bundle.yaml, for messages.
        version: The version.

    Returns:
        The text below the version's heading, and the problems.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return "", [Problem(f"{given}@{error.start}", "is not UTF-8", "save the file as UTF-8")]
    sections = _sections(text)
    matching = [(line, body) for line, name, body in sections if _is(name, version)]
    if not matching:
        return "", [_absent(given, version, [(line, name) for line, name, _ in sections])]
    line, body = matching[0]
    if len(matching) > 1:
        what = f"has two sections for {version}; the other is in line {matching[1][0]}"
        return body, [Problem(f"{given}:{line}", what, "merge them")]
    if not any(row.strip() and not row.lstrip().startswith("#") for row in body.splitlines()):
        return "", [
            Problem(
                f"{given}:{line}",
                f"has an empty section for {version}",
                "describe what changes for the operator",
            )
        ]
    return body, []


def _sections(text: str) -> list[tuple[int, str, str]]:
    sections: list[tuple[int, str, list[str]]] = []
    fenced = False
    for number, row in enumerate(text.splitlines(), 1):
        # A heading inside of a code block is an example, not a section.
        fenced ^= bool(_FENCE.match(row))
        match = None if fenced else _HEADING.fullmatch(row.rstrip())
        if match:
            sections.append((number, match["name"], []))
        # Link definitions at the end of the file belong to no section.
        elif sections and not re.match(r"\[[^\]]+\]:\s", row):
            sections[-1][2].append(row)
    return [(number, name, "\n".join(rows).strip("\n") + "\n") for number, name, rows in sections]


def _is(name: str, version: Version) -> bool:
    try:
        sections = parse(name)
    except UsageError:
        return False
    # Compared as versions: `v1.4.0` and `1.4.0` are the same.
    return str(sections) == str(version)


def _absent(given: str, version: Version, headings: list[tuple[int, str]]) -> Problem:
    unreleased = next((line for line, name in headings if name.lower() == "unreleased"), None)
    if unreleased is not None:
        hint = f"rename the heading [Unreleased] in line {unreleased} to [{version}] - DATE, or add a section"
    else:
        close = did_you_mean(str(version), [name for _, name in headings])
        hint = f"add a heading ## [{version}] - DATE" + (f"; the closest heading is {close}" if close else "")
    return Problem(given, f"has no section for {version}", hint)
