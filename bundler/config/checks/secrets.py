"""Find secrets in inputs: private keys, tokens, passwords.

Made to have few false alarms: a check that is often wrong is switched off.
Text files up to 1 MiB are read. Messages show the kind and line of a finding, never its value.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from installer.core.errors import Problem

MAX_BYTES = 1024 * 1024
HINT = (
    "remove it and change the secret; if it is not a secret, list the file under secrets_allow with a reason"
)
# These names mean a secret, whatever the content: some are encrypted.
_KEY_FILES = re.compile(
    r"(?:cosign\.key|id_(?:rsa|dsa|ecdsa|ed25519)|\.netrc|\.pgpass|\.git-credentials|\.vault-token)"
)
# The body may be inside JSON, where line ends are written as \n.
_PEM = re.compile(
    rb"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?)-----(?:\\n|\s)*"
    rb"(?:[A-Za-z-]+: [^\n]*\n)*[A-Za-z0-9+/=\s\\]{48,}"
)
# A plain search for what every token of a kind has in it is far cheaper than its pattern.
_TOKENS: tuple[tuple[str, tuple[bytes, ...], re.Pattern[bytes]], ...] = tuple(
    (what, marks, re.compile(rb"(?<![A-Za-z0-9_.-])(?:" + pattern + rb")(?![A-Za-z0-9_-])"))
    for what, marks, pattern in (
        ("an AWS access key", (b"AKIA", b"ASIA"), rb"(?:AKIA|ASIA)[A-Z2-7]{16}"),
        (
            "a GitHub token",
            (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
            rb"gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255}",
        ),
        ("a GitLab token", (b"glpat-",), rb"glpat-[A-Za-z0-9_-]{20,64}"),
        ("a Slack token", (b"xox",), rb"xox[abeprs]-(?:[0-9A-Za-z]{8,}-)+[0-9A-Za-z]{16,}"),
        (
            "a Slack webhook",
            (b"hooks.slack.com",),
            rb"https://hooks\.slack\.com/services/T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/[A-Za-z0-9]{20,}",
        ),
        ("a Google API key", (b"AIza",), rb"AIza[0-9A-Za-z_-]{35}"),
        ("a Stripe key", (b"k_live_",), rb"[sr]k_live_[0-9A-Za-z]{20,}"),
        ("an npm token", (b"npm_",), rb"npm_[A-Za-z0-9]{36}"),
        ("a PyPI token", (b"pypi-AgEI",), rb"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}"),
        ("a Vault token", (b"hvs.",), rb"hvs\.[A-Za-z0-9_-]{24,}"),
        ("an age key", (b"AGE-SECRET-KEY-1",), rb"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    )
)
_JWT = re.compile(rb"(?<![A-Za-z0-9_-])(eyJ[A-Za-z0-9_-]{10,})\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}")
_URL = re.compile(rb"[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'{}$<>]{1,64}:([^\s:/@\"']{3,128})@[A-Za-z0-9\[{$]")
_ASSIGNMENT = re.compile(
    rb"^[ \t]*(?:-[ \t]+)?(?:export[ \t]+|Environment=[\"']?)?[\"']?"
    rb"(?P<key>[A-Za-z0-9_.-]{0,64}(?:passw(?:or)?d|passphrase|secret|api[_-]?key|(?:access|private)[_-]?key"
    rb"|(?:auth|access)[_-]?token))[\"']?[ \t]*[:=][ \t]*(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s#,}]+)",
    re.IGNORECASE | re.MULTILINE,
)
_PLACEHOLDER = re.compile(
    rb"(?i)(?:replace[_-]?me|todo|example|dummy|placeholder|redacted|secret|password|none|null|true|false"
    rb"|required|optional|file|vault|env|yes|no|x{3,}|\*+|\.{3}|-+|[|>][+-]?|&\w+|!\w+)"
)


@dataclass(frozen=True, slots=True)
class Allowance:
    """One entry of `secrets_allow`: a glob, and its place in bundle.yaml."""

    pattern: str
    where: str


@dataclass(slots=True)
class Scanner:
    """A scanner that remembers which allowances were needed.

    Attributes:
        allowed: The entries of `secrets_allow`.
    """

    allowed: Sequence[Allowance] = ()
    _used: set[str] = field(default_factory=set)

    def file(
        self, source: Path | str, shown: str, *, is_config: bool = False, most: int = MAX_BYTES
    ) -> list[Problem]:
        """Search one file; other checks report a file that cannot be read.

        Args:
            source: The file.
            shown: Its name in messages; allowances are matched against it.
            is_config: Whether `password: …` lines count too.
            most: Its size in bytes, if known.
        """
        try:
            # O_NONBLOCK: a pipe among the inputs must not block the scan.
            fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return []
        try:
            # One byte more than expected tells a file that has grown.
            data = os.read(fd, most + 1)
        except OSError:
            return []
        finally:
            os.close(fd)
        return self.data(data, shown, is_config=is_config)

    def data(self, data: bytes, shown: str, *, is_config: bool = False) -> list[Problem]:
        """Search bytes; see `file`."""
        found = list(_findings(data, shown, is_config=is_config))
        if not found:
            return []
        allowances = [entry for entry in self.allowed if matches(entry.pattern, shown)]
        # Used even if several match: none of them is superfluous.
        self._used.update(entry.pattern for entry in allowances)
        if allowances:
            return []
        return [
            Problem(f"{shown}:{line}" if line else shown, f"contains {what}", HINT) for line, what in found
        ]

    def unused(self) -> list[Problem]:
        """Return a problem for each allowance that allowed nothing: it would hide the next secret."""
        return [
            Problem(
                entry.where,
                f"secrets_allow lists {entry.pattern}, but no secret was found there",
                "remove the entry",
            )
            for entry in self.allowed
            if entry.pattern not in self._used
        ]


def matches(pattern: str, path: str) -> bool:
    """Whether a glob covers a path: `*` stays within one directory, `**` spans any."""
    parts = re.split(r"(\*\*/?|\*|\?)", pattern)
    # Everything else of a pattern is text: a dot in a file name matches a dot.
    words = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    return re.fullmatch("".join(words.get(part, re.escape(part)) for part in parts), path) is not None


def _findings(data: bytes, shown: str, *, is_config: bool) -> Iterator[tuple[int, str]]:
    if _KEY_FILES.fullmatch(shown.rpartition("/")[2]):
        yield 0, "a secret, according to its name"
        return
    # Binary files match such patterns by accident.
    if len(data) > MAX_BYTES or b"\0" in data[:8192]:
        return
    for match in _PEM.finditer(data) if b"PRIVATE KEY" in data else ():
        yield _line(data, match.start()), f"a private key ({match[1].decode().title()})"
    for what, marks, pattern in _TOKENS:
        for match in pattern.finditer(data) if any(mark in data for mark in marks) else ():
            # AWS documents its own example key; manuals have it.
            if b"EXAMPLE" not in match[0].upper():
                yield _line(data, match.start()), what
    for match in _JWT.finditer(data) if b"eyJ" in data else ():
        # Base64 text of this form is common; a JWT has JSON with `alg` in its first part.
        if _is_token_header(match[1]):
            yield _line(data, match.start()), "a JSON Web Token"
    if is_config:
        yield from _literals(data)


def _literals(data: bytes) -> Iterable[tuple[int, str]]:
    for match in _URL.finditer(data):
        if _is_literal(match[1]):
            yield _line(data, match.start()), "a password in a URL"
    for match in _ASSIGNMENT.finditer(data):
        value = match["value"].strip(b"\"'")
        # `secret: tls-cert` in Kubernetes names a secret, and is none.
        is_name = match["key"].lower().endswith(b"secret") and re.fullmatch(rb"[a-z_.-]+", value)
        if _is_literal(value) and not is_name:
            yield _line(data, match.start("key")), f"a literal {match['key'].decode()}"


def _is_literal(value: bytes) -> bool:
    # References to variables, files and templates are how a secret should be given.
    if len(value) < 4 or value[:1] in b"$/<%{[@" or b"{{" in value or b"${" in value or b"$(" in value:
        return False
    return not _PLACEHOLDER.fullmatch(value) and b"change" not in value.lower()


def _is_token_header(part: bytes) -> bool:
    try:
        header = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return False
    return isinstance(header, dict) and "alg" in header


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1
