"""What secrets look like in text: private keys, tokens, credential files, and passwords in configuration.

Made to have few false alarms: a check that is often wrong is switched off. `install` hides all of this,
and more (ADR 0662): a test holds the two together. Tokens are one list for both.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator

from bundler.config.secrets.credentials import credentials_in
from bundler.config.secrets.literals import is_literal, is_password
from bundler.config.secrets.marks import places_in
from installer.shared.secrecy.tokens import tokens_at

# These names mean a secret, whatever the content: some are encrypted.
KEY_FILES = re.compile(
    r"(?:cosign\.key|id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?|[._]netrc|\.pgpass|\.git-credentials|\.vault-token)"
)
# Configuration by its name, in a tree: JSON and XML are mostly data of the program there.
_CONFIGURATION = re.compile(
    r"\.env(?:[.-].*)?|.*\.(?:env|ya?ml|properties|ini|conf|cfg|cnf|toml|tfvars|tfstate)"
    r"|appsettings.*\.json|web\.config|\.(?:npmrc|pypirc|s3cfg|boto|my\.cnf)",
    re.IGNORECASE,
)
# Texts of a user interface: `password: Kennwort` is a translation.
_TRANSLATIONS = re.compile(
    r"(?:^|/)(?:i18n|l10n|locales?|lang|langs|languages|translations?|messages)(?:/|[-_.])"
)
_PEM = re.compile(rb"-----BEGIN ((?:[A-Z0-9]{1,32} ){0,8}PRIVATE KEY(?: BLOCK)?)-----")
# The body may be inside JSON, where line ends are written as \n. It is matched up to the next key.
_PEM_BODY = re.compile(rb"(?:\\n|\s)*(?:[A-Za-z-]+: [^\n]*\n)*[A-Za-z0-9+/=\s\\]{48}")
# Key files that are text, but not PEM: each has a first line of its own.
_OTHER_KEYS: tuple[tuple[str, bytes, re.Pattern[bytes]], ...] = tuple(
    (what, mark, re.compile(pattern, re.MULTILINE))
    for what, mark, pattern in (
        ("a private key (PuTTY)", b"putty-user-key-file-", rb"^PuTTY-User-Key-File-[0-9]: [a-z]"),
        ("a private key (SSH2)", b"begin ssh2 ", rb"^---- BEGIN SSH2 (?:ENCRYPTED )?PRIVATE KEY ----"),
        (
            "a key (OpenVPN)",
            b"openvpn static key",
            rb"^-----BEGIN OpenVPN Static key V1-----\r?\n[0-9a-f]{32}",
        ),
        ("a private key (WireGuard)", b"privatekey", rb"^PrivateKey[ \t]*=[ \t]*[A-Za-z0-9+/]{43}="),
        ("a private key (minisign)", b"secret key", rb"\A[^\n]{0,200}secret key[^\n]*\n[A-Za-z0-9+/=]{100,}"),
        (
            "a private key (GnuPG)",
            b"private-key",
            rb"\A(?:Key: )?\((?:[0-9]{1,2}:)?(?:protected-)?private-key",
        ),
    )
)
_AWS = re.compile(
    rb"(?<![A-Za-z0-9_.-])(?:aws_secret_access_key|AWS_SECRET_ACCESS_KEY)[\"']?[ \t]*[=:][ \t]*[\"']?"
    rb"[A-Za-z0-9/+]{40}(?![A-Za-z0-9_-])"
)
_URL = re.compile(rb"[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'{}$<>]{1,64}:([^\s:/@\"']{3,128})@[A-Za-z0-9\[{$]")
_KEY = (
    rb"(?P<key>[A-Za-z0-9_.-]{0,64}(?:passw(?:or)?d|passphrase|secret|api[_-]?key|(?:access|private)[_-]?key"
    rb"|(?:auth|access)[_-]?token|[_-]pass|[_-]pwd)|pass|pwd)"
)
# At the start of a line, and after { or , where YAML and JSON have a mapping on one line.
_ASSIGNMENT = re.compile(
    rb"(?:^[ \t]*(?:-[ \t]+)*(?:export[ \t]+|Environment=[\"']?)?|[{,][ \t]*)[\"']?"
    + _KEY
    + rb"[\"']?[ \t]*(?P<sign>[:=])[ \t]*(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s#,}]+)",
    re.IGNORECASE | re.MULTILINE,
)
_OPTION = (
    rb"[ \t\"']--(?P<key>[A-Za-z0-9-]{0,32}(?:password|passwd|passphrase|token|api-key))"
    rb"(?:=|[ \t]+|[\"'],[ \t]*)(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s\"',-][^\s\"',]*)"
)
# Further notations: redis, XML elements, options of commands, parameters of a URL.
_OTHER_FORMS: tuple[re.Pattern[bytes], ...] = tuple(
    re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for pattern in (
        rb"^[ \t]*(?P<key>requirepass|masterauth)[ \t]+(?P<value>\S+)",
        rb"<(?P<key>[A-Za-z0-9_.:-]{0,64}(?:password|passwd|passphrase|secret))>(?P<value>[^<\s]+)</",
        _OPTION,
        rb"[?&;](?P<key>password|passwd|pwd)=(?P<value>[^\s&;\"'<]+)",
    )
)
_OF_CREDENTIALS = (b":_auth", b":_password", b'"auths"', b'"auth"', b"clusters")
Found = tuple[int, str]


def is_configuration(path: str) -> bool:
    """Return whether a file of a tree is configuration, according to its name, in which passwords count."""
    return _CONFIGURATION.fullmatch(path.rpartition("/")[2]) is not None and not _TRANSLATIONS.search(path)


def secrets_in(text: bytes, *, is_config: bool, is_tree: bool = False) -> Iterator[Found]:
    """Yield what looks like a secret in a text: line and description.

    Args:
        text: The text, in UTF-8 or another encoding that has ASCII in it.
        is_config: Whether lines such as `password: …` count too.
        is_tree: Whether it is a file of a tree, which may be anything: there a word alone is no password.
    """
    lines = Lines(text)
    for offset, what in offsets_in(text, is_config=is_config, is_tree=is_tree):
        yield lines.at(offset), what


def offsets_in(text: bytes, *, is_config: bool, is_tree: bool) -> Iterator[tuple[int, str]]:
    """Yield what looks like a secret in a text: offset and description; arguments as `secrets_in`."""
    places = places_in(text)
    # Most texts have no mark at all.
    marks = {place.mark for place in places}
    yield from _private_keys(text) if b"private key" in marks else ()
    for what, mark, key in _OTHER_KEYS:
        match_of_key = key.search(text) if mark in marks else None
        if match_of_key:
            yield match_of_key.start(), what
    for match in _AWS.finditer(text) if b"secret_access_key" in marks else ():
        if b"EXAMPLE" not in match[0].upper():
            yield match.start(), "an AWS secret access key"
    if places:
        yield from ((each.start, each.what) for each in tokens_at(text, places))
    if not marks.isdisjoint(_OF_CREDENTIALS):
        yield from credentials_in(text)
    if is_config:
        yield from _literals(text, is_tree=is_tree)


def _private_keys(text: bytes) -> Iterator[tuple[int, str]]:
    marks = list(_PEM.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    for mark, end in zip(marks, ends, strict=True):
        # Each body ends where the next key begins: no byte is looked at for two of them.
        if _PEM_BODY.match(text, mark.end(), end):
            yield mark.start(), f"a private key ({mark[1].decode().title()})"


def _literals(text: bytes, *, is_tree: bool) -> Iterator[tuple[int, str]]:
    for match in _URL.finditer(text):
        if is_literal(match[1]):
            yield match.start(), "a password in a URL"
    for match in _ASSIGNMENT.finditer(text):
        if is_password(match["key"], match["sign"], match["value"], is_tree=is_tree):
            yield match.start("key"), f"a literal {match['key'].decode()}"
    for pattern in _OTHER_FORMS:
        for match in pattern.finditer(text):
            if is_password(match["key"], b" ", match["value"], is_tree=is_tree):
                yield match.start("key"), f"a literal {match['key'].decode()}"


class Lines:
    """The numbers of the lines of a text; its line feeds are looked for once, when one is asked for."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._ends: array[int] | None = None

    def at(self, offset: int) -> int:
        """Return the number of the line that has an offset, from 1."""
        if self._ends is None:
            self._ends = array("Q", (match.start() for match in re.finditer(b"\n", self._text)))
        return bisect_left(self._ends, offset) + 1
