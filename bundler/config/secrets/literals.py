"""Whether the value of a password in configuration is one, and not a reference, a placeholder or a name."""

from __future__ import annotations

import re

_PLACEHOLDER = re.compile(
    rb"(?i)(?:replace[_-]?me|todo|example|dummy|placeholder|redacted|secret|password|none|null|true|false"
    rb"|required|optional|file|vault|env|yes|no|prompt|ask|x{3,}|\*+|\.{3}|-+|[|>][+-]?|&\w+|!\w+)"
)
# Names of secrets of Docker and Podman, and their options: `--secret=id=npm,src=npmrc`, `--secret=my-tls-1`.
_SECRET_OPTION = re.compile(
    rb"(?:id|src|source|type|env|target)=.*|[a-z]+(?:[-_.][a-z]+)+[-_.]?v?[0-9]{1,2}"
    rb"|(?i:(?:my|your)[-_]?(?:[a-z]{1,20}[-_]){0,3}[a-z]{0,20}(?:secret|token|password|key|cert))"
)
# What `pwd` and `pass` mean besides a password: a directory, and the number of tests that passed.
_DIRECTORY = re.compile(rb"\.{0,2}/.*|\.{1,2}|~(?:/.*)?|[A-Za-z]:[\\/].*|[A-Za-z_][A-Za-z0-9_.]*\(\)")
_COUNT = re.compile(rb"[0-9]{1,5}")


def is_literal(value: bytes) -> bool:
    """Return whether a value is given as it is; shorter than four bytes it is no secret."""
    if len(value) < 4 or is_reference(value):
        return False
    return not _PLACEHOLDER.fullmatch(value) and b"change" not in value.lower()


def is_reference(value: bytes) -> bool:
    """Return whether a value refers to a variable, a file or a template, as a secret should be given."""
    if value[:1] in (b"$", b"/", b"<", b"%", b"{", b"[", b"@"):
        return True
    # Of Jenkins: the name of an entry in its store follows.
    if value.startswith(b"credentials("):
        return True
    # The last one is a reference of Waybill itself, which the host resolves.
    return b"{{" in value or b"${" in value or b"$(" in value or value.startswith(b"secret://")


def is_password(key: bytes, sign: bytes, raw: bytes, *, is_tree: bool) -> bool:
    """Return whether `key: value` has a secret in it.

    Args:
        key: The name, which is that of a secret.
        sign: `:` or `=`.
        raw: The value, in quotes if it has some.
        is_tree: Whether it is in a file of a tree, which may be anything: there a word alone is no password.
    """
    value = raw.strip(b"\"'")
    if not is_literal(value):
        return False
    name = key.lower()
    # `secret: tls-cert` in Kubernetes names a secret, and is none.
    if name.endswith(b"secret") and re.fullmatch(rb"[a-z_.-]+", value):
        return False
    if name == b"--secret" and _SECRET_OPTION.fullmatch(value):
        return False
    # A number in quotes, or after `=`, is not what a report of tests has.
    is_count = sign == b":" and raw == value and _COUNT.fullmatch(value)
    if name in (b"pass", b"pwd") and (is_count or _DIRECTORY.fullmatch(value)):
        return False
    # Trees have interfaces, examples and schemas: `password: string` is no password there.
    return not (is_tree and (b" " in value or not re.search(rb"[0-9!@#%^*+=?]", value)))
