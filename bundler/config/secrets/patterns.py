"""What secrets look like in text: private keys, tokens, credential files, and passwords in configuration.

Made to have few false alarms: a check that is often wrong is switched off.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator

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
# The body may be inside JSON, where line ends are written as \n.
_PEM = re.compile(
    rb"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?)-----(?:\\n|\s)*"
    rb"(?:[A-Za-z-]+: [^\n]*\n)*[A-Za-z0-9+/=\s\\]{48,}"
)
# Key files that are text, but not PEM: each has a first line of its own.
_OTHER_KEYS: tuple[tuple[str, bytes, re.Pattern[bytes]], ...] = tuple(
    (what, mark, re.compile(pattern, re.MULTILINE))
    for what, mark, pattern in (
        ("a private key (PuTTY)", b"PuTTY-User-Key-File-", rb"^PuTTY-User-Key-File-[0-9]: [a-z]"),
        ("a private key (SSH2)", b"BEGIN SSH2 ", rb"^---- BEGIN SSH2 (?:ENCRYPTED )?PRIVATE KEY ----"),
        (
            "a key (OpenVPN)",
            b"OpenVPN Static key",
            rb"^-----BEGIN OpenVPN Static key V1-----\r?\n[0-9a-f]{32}",
        ),
        ("a private key (WireGuard)", b"PrivateKey", rb"^PrivateKey[ \t]*=[ \t]*[A-Za-z0-9+/]{43}="),
        ("a private key (minisign)", b"secret key", rb"\A[^\n]{0,200}secret key[^\n]*\n[A-Za-z0-9+/=]{100,}"),
        (
            "a private key (GnuPG)",
            b"private-key",
            rb"\A(?:Key: )?\((?:[0-9]{1,2}:)?(?:protected-)?private-key",
        ),
    )
)
# A plain search for what every token of a kind has in it is far cheaper than its pattern.
_TOKENS: tuple[tuple[str, tuple[bytes, ...], re.Pattern[bytes]], ...] = tuple(
    (what, marks, re.compile(rb"(?<![A-Za-z0-9_.-])(?:" + pattern + rb")(?![A-Za-z0-9_-])"))
    for what, marks, pattern in (
        ("an AWS access key", (b"AKIA", b"ASIA"), rb"(?:AKIA|ASIA)[A-Z2-7]{16}"),
        (
            "an AWS secret access key",
            (b"aws_secret_access_key", b"AWS_SECRET_ACCESS_KEY"),
            rb"(?:aws_secret_access_key|AWS_SECRET_ACCESS_KEY)[\"']?[ \t]*[=:][ \t]*[\"']?[A-Za-z0-9/+]{40}",
        ),
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
# What package managers and clusters keep their credentials in, whatever the file is called.
_NPM = re.compile(rb"^[^\n]{0,200}:_(?:authToken|auth|password)[ \t]*=[ \t]*[\"']?([^\s\"']+)", re.MULTILINE)
_KUBECONFIG = re.compile(
    rb"^[ \t]*[\"']?(client-key-data|token|password)[\"']?:[ \t]*[\"']?([^\s\"',]+)", re.MULTILINE
)
_IS_KUBECONFIG = re.compile(rb"^[\"' {]*kind[\"']?:[ \t]*[\"']?Config\b", re.MULTILINE)
_URL = re.compile(rb"[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'{}$<>]{1,64}:([^\s:/@\"']{3,128})@[A-Za-z0-9\[{$]")
_KEY = (
    rb"(?P<key>[A-Za-z0-9_.-]{0,64}(?:passw(?:or)?d|passphrase|secret|api[_-]?key|(?:access|private)[_-]?key"
    rb"|(?:auth|access)[_-]?token|[_-]pass|[_-]pwd)|pass|pwd)"
)
# At the start of a line, and after { or , where YAML and JSON have a mapping on one line.
_ASSIGNMENT = re.compile(
    rb"(?:^[ \t]*(?:-[ \t]+)*(?:export[ \t]+|Environment=[\"']?)?|[{,][ \t]*)[\"']?"
    + _KEY
    + rb"[\"']?[ \t]*[:=][ \t]*(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s#,}]+)",
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
_PLACEHOLDER = re.compile(
    rb"(?i)(?:replace[_-]?me|todo|example|dummy|placeholder|redacted|secret|password|none|null|true|false"
    rb"|required|optional|file|vault|env|yes|no|prompt|ask|x{3,}|\*+|\.{3}|-+|[|>][+-]?|&\w+|!\w+)"
)
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
    for match in _PEM.finditer(text) if b"PRIVATE KEY" in text else ():
        yield _line(text, match.start()), f"a private key ({match[1].decode().title()})"
    for what, mark, key in _OTHER_KEYS:
        match_of_key = key.search(text) if mark in text else None
        if match_of_key:
            yield _line(text, match_of_key.start()), what
    for what, marks, pattern in _TOKENS:
        for match in pattern.finditer(text) if any(mark in text for mark in marks) else ():
            # AWS documents its own example key; manuals have it.
            if b"EXAMPLE" not in match[0].upper():
                yield _line(text, match.start()), what
    for match in _JWT.finditer(text) if b"eyJ" in text else ():
        # Base64 text of this form is common; a JWT has JSON with `alg` in its first part.
        if _is_token_header(match[1]):
            yield _line(text, match.start()), "a JSON Web Token"
    yield from _credentials(text)
    if is_config:
        yield from _literals(text, is_tree=is_tree)


def _credentials(text: bytes) -> Iterator[Found]:
    if b":_auth" in text or b":_password" in text:
        for match in _NPM.finditer(text):
            if _is_literal(match[1]):
                yield _line(text, match.start()), "a credential of npm"
    if b'"auths"' in text or b'"auth"' in text:
        yield from _docker(text)
    if b"clusters" in text and _IS_KUBECONFIG.search(text):
        for match in _KUBECONFIG.finditer(text):
            if _is_literal(match[2]):
                yield _line(text, match.start()), f"a {match[1].decode()} of a kubeconfig"


def _docker(text: bytes) -> Iterator[Found]:
    """Yield the credentials of Docker's `config.json`, and of its older form `.dockercfg`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    registries = document.get("auths", document) if isinstance(document, dict) else None
    for registry, entry in registries.items() if isinstance(registries, dict) else ():
        has = isinstance(entry, dict) and any(
            isinstance(entry.get(key), str) and entry[key]
            for key in ("auth", "password", "identitytoken", "registrytoken")
        )
        # The older form has the registries at its top, as many other documents have mappings.
        if has and ("auths" in document or "email" in entry or "." in registry):
            yield _line(text, max(0, text.find(json.dumps(registry).encode()))), "a credential of Docker"


def _literals(text: bytes, *, is_tree: bool) -> Iterator[Found]:
    for match in _URL.finditer(text):
        if _is_literal(match[1]):
            yield _line(text, match.start()), "a password in a URL"
    for pattern in (_ASSIGNMENT, *_OTHER_FORMS):
        for match in pattern.finditer(text):
            value = match["value"].strip(b"\"'")
            # `secret: tls-cert` in Kubernetes names a secret, and is none.
            is_name = match["key"].lower().endswith(b"secret") and re.fullmatch(rb"[a-z_.-]+", value)
            # Trees have interfaces, examples and schemas: `password: string` is no password there.
            is_word = is_tree and (b" " in value or not re.search(rb"[0-9!@#%^*+=?]", value))
            if _is_literal(value) and not is_name and not is_word:
                yield _line(text, match.start("key")), f"a literal {match['key'].decode()}"


def _is_literal(value: bytes) -> bool:
    # References to variables, files and templates are how a secret should be given.
    if len(value) < 4 or value[:1] in b"$/<%{[@" or b"{{" in value or b"${" in value or b"$(" in value:
        return False
    # A reference of Waybill itself, which the host resolves.
    if value.startswith(b"secret://"):
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
