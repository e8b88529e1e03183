"""Semantic versions (semver 2.0.0), their order, and the sequence number a release gets by default.

The host compares releases by sequence, an integer, and never by text. It is derived from the version
for finals and for `alpha.N`, `beta.N`, `rc.N`; anything else needs an explicit `sequence` in bundle.yaml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

from installer.core.errors import UsageError

MAX_LENGTH = 128
_COMPONENT_LIMIT = 10_000
_FINAL_RANK = 999
_STAGE_RANK = {"alpha": 0, "beta": 300, "rc": 600}
_STAGE_LIMIT = 300

_PATTERN = re.compile(
    r"(?P<major>0|[1-9][0-9]*)\.(?P<minor>0|[1-9][0-9]*)\.(?P<patch>0|[1-9][0-9]*)"
    r"(?:-(?P<pre>(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """A semantic version; equality and order are semver's precedence, so build metadata does not count."""

    major: int
    minor: int
    patch: int
    prerelease: tuple[str, ...] = ()
    build: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        if self.prerelease:
            text += "-" + ".".join(self.prerelease)
        if self.build:
            text += "+" + ".".join(self.build)
        return text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key() == other._key()

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]:
        # A final release sorts after its prereleases; numbers sort before words, shorter before longer.
        identifiers = tuple(
            (not part.isdigit(), int(part) if part.isdigit() else 0, "" if part.isdigit() else part)
            for part in self.prerelease
        )
        return self.major, self.minor, self.patch, not self.prerelease, identifiers


def parse(text: str) -> Version:
    """Read a semantic version; a leading `v` is allowed and dropped.

    Args:
        text: For example `v1.4.0` or `1.5.0-rc.2`.

    Raises:
        UsageError: The text is not a semantic version; the message says which part is wrong.
    """
    shown = repr(text if len(text) <= MAX_LENGTH else text[:MAX_LENGTH] + "…")
    bare = text[1:] if text[:1] == "v" else text
    # Length first: the pattern is tried only on texts that it handles quickly.
    match = _PATTERN.fullmatch(bare) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise UsageError(f"{shown} is not a semantic version", hint=_why(bare, len(text)))
    return Version(
        int(match["major"]),
        int(match["minor"]),
        int(match["patch"]),
        tuple(match["pre"].split(".")) if match["pre"] else (),
        tuple(match["build"].split(".")) if match["build"] else (),
    )


def compare(left: str, right: str) -> int:
    """Compare two versions by semver precedence: -1, 0 or 1.

    Raises:
        UsageError: One of them is not a semantic version.
    """
    a, b = parse(left), parse(right)
    return (a > b) - (a < b)


def default_sequence(version: Version) -> int | None:
    """Return the sequence number of a version, or None if it must be given explicitly.

    The number is `(major * 10^8 + minor * 10^4 + patch) * 1000 + rank`. The rank is 999 for a final
    release, N for `alpha.N`, 300 + N for `beta.N` and 600 + N for `rc.N`, with N below 300.
    """
    if max(version.major, version.minor, version.patch) >= _COMPONENT_LIMIT:
        return None
    rank = _rank(version.prerelease)
    if rank is None:
        return None
    return (version.major * 10**8 + version.minor * 10**4 + version.patch) * 1000 + rank


def _rank(prerelease: tuple[str, ...]) -> int | None:
    if not prerelease:
        return _FINAL_RANK
    if len(prerelease) != 2 or prerelease[0] not in _STAGE_RANK or not prerelease[1].isdigit():
        return None
    number = int(prerelease[1])
    return _STAGE_RANK[prerelease[0]] + number if number < _STAGE_LIMIT else None


def _why(bare: str, length: int) -> str:
    if length > MAX_LENGTH:
        return f"a version has at most {MAX_LENGTH} characters"
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", bare):
        missing = 2 - bare.count(".")
        return f"give all three numbers, for example {bare}{'.0' * missing}"
    if re.match(r"0[0-9]|[0-9]+\.0[0-9]|[0-9]+\.[0-9]+\.0[0-9]", bare):
        return "numbers must not have leading zeros"
    return "write MAJOR.MINOR.PATCH with an optional prerelease, for example 1.4.0 or 1.4.0-rc.1"


def is_version(text: str) -> bool:
    """Return whether a text is a semantic version without a leading `v`."""
    return len(text) <= MAX_LENGTH and _PATTERN.fullmatch(text) is not None
