"""Files in which package managers and clusters keep their credentials, whatever a file is called."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator

from bundler.config.secrets.literals import is_literal, is_reference

_NPM = re.compile(rb"^[^\n]{0,200}:_(?:authToken|auth|password)[ \t]*=[ \t]*[\"']?([^\s\"']+)", re.MULTILINE)
# `MYTOKEN` and `your-token-here` stand in manuals. Registries make tokens that are no words.
_NPM_EXAMPLE = re.compile(
    rb"(?i)(?:[a-z_-]{0,40}base64[_-])?[a-z_-]{0,40}(?:token|password|passwd|auth|secret|key|base64)[0-9]{0,2}(?:[_-]?here)?"
)
_KUBECONFIG = re.compile(
    rb"^[ \t]*[\"']?(client-key-data|token|password)[\"']?:[ \t]*[\"']?([^\s\"',]+)", re.MULTILINE
)
_IS_KUBECONFIG = re.compile(rb"^[\"' {]*kind[\"']?:[ \t]*[\"']?Config\b", re.MULTILINE)
# Kinds of authentication, such as `basic`, `bearer` and `oauth2`.
_WORD = re.compile(r"[A-Za-z]{1,20}[0-9]?(?:[ _-][A-Za-z]{1,20}){0,3}")
_USER_AND_PASSWORD = re.compile(rb"[\x21-\x39\x3b-\x7e]+:(.*)", re.DOTALL)


def credentials_in(text: bytes) -> Iterator[tuple[int, str]]:
    """Yield the credentials of npm, Docker and Kubernetes in a text: offset in bytes, and description."""
    if b":_auth" in text or b":_password" in text:
        for match in _NPM.finditer(text):
            if is_literal(match[1]) and not _NPM_EXAMPLE.fullmatch(match[1]):
                yield match.start(), "a credential of npm"
    if b'"auths"' in text or b'"auth"' in text:
        yield from _docker(text)
    if b"clusters" in text and _IS_KUBECONFIG.search(text):
        for match in _KUBECONFIG.finditer(text):
            if is_literal(match[2]):
                yield match.start(), f"a {match[1].decode()} of a kubeconfig"


def _docker(text: bytes) -> Iterator[tuple[int, str]]:
    """Yield the credentials of Docker's `config.json`, and of its older form `.dockercfg`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    registries = document.get("auths", document) if isinstance(document, dict) else None
    at = last = 0
    for registry, entry in registries.items() if isinstance(registries, dict) else ():
        # The older form has the registries at its top, as many other documents have mappings.
        if _has_credential(entry) and ("auths" in document or "email" in entry or "." in registry):
            # Entries have the order of the text: the search goes on from the last one, never back, and ends
            # at a name that the text has in another notation.
            at = text.find(json.dumps(registry).encode(), at) if at >= 0 else at
            last = max(last, at)
            yield last, "a credential of Docker"


def _has_credential(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    given = [entry.get(key) for key in ("password", "identitytoken", "registrytoken")]
    auth = entry.get("auth")
    return any(isinstance(each, str) and _is_given(each) for each in given) or (
        isinstance(auth, str) and _is_auth(auth)
    )


def _is_given(value: str) -> bool:
    return bool(value) and not is_reference(value.encode("utf-8", "replace"))


def _is_auth(value: str) -> bool:
    """Return whether a value of `auth` is a credential, which Docker writes as base64 of `user:password`."""
    try:
        decoded = base64.b64decode(value + "=" * (-len(value) % 4), altchars=None, validate=True)
    except (ValueError, binascii.Error):
        decoded = b""
    if match := _USER_AND_PASSWORD.fullmatch(decoded):
        return bool(match[1])
    # What is not in that form is of no use to Docker, but may be secret all the same, unless it is a word.
    return _is_given(value) and not _WORD.fullmatch(value)
