"""Which names of keys, variables and options name a secret."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_WORDS = re.compile(
    r"pass|pw|pwd|psk|passphrase|passcode|secrets?|tokens?|credentials?|creds?|bearer|authorization"
    r"|masterauth|jwt"
)
# Parts of words: dbpassword, apikeys, myaccesstoken.
_PARTS = re.compile(
    r"passw(?:or)?d|passwort|passphrase|secret|credential|token$|tokens$|erlangcookie$"
    r"|(?:api|access|private|secret|auth|signing|encryption|encrypt|shared|master|session|account|storage"
    r"|licen[cs]e|hmac|aes|wg|preshared|client)keys?(?:data)?$"
)
_ENDS_IN_PASS = re.compile(r"(?:pass|pwd|pw)$")
_NO_PASSWORDS = re.compile(r"bypass|compass|overpass|underpass|surpass|trespass|encompass|multipass")
_ABOUT_ONE = re.compile(
    r"files?|paths?|dir|directory|ttl|length|len|min|max|count|size|enabled?|required|policy|type|algorithm"
    r"|algo|alg|expiry|expires|expiration|timeout|rotation|days|hours|minutes|seconds|lifetime|age|prefix"
    r"|suffix|header|field|names?|ids?|url|uri|endpoint|encryption|format|ref|reference|store|provider|backend"
    r"|manager|source|mode|env|variable|limits?|attempts|retries|history|reset|change|prompt|hint|label"
    r"|placeholder|interval|port|host|hostname|users?|username|issuer|audience|scopes?|claim|class|kind"
    r"|version|mount|engine"
)
"""Last words of names that say something about a secret, and do not hold it: password_file, token_ttl."""


def words_of(name: str) -> list[str]:
    """Return the words of a name, in lower case: `DB_PASSWORD`, `db-password` and `dbPassword` have two."""
    return [word.lower() for word in _WORD.findall(name)]


def names_secret(name: str) -> bool:
    """Return whether a name says that its value is a secret.

    Args:
        name: Of a key, an environment variable, an option or an element.
    """
    words = words_of(name[-200:])
    if not words or _ABOUT_ONE.fullmatch(words[-1]):
        return False
    if any(_WORDS.fullmatch(word) for word in words) or _PARTS.search("".join(words)):
        return True
    return any(_ENDS_IN_PASS.search(word) and not _NO_PASSWORDS.fullmatch(word) for word in words)
