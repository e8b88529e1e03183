"""Files in `/etc/waybill` that say how this host reaches a server: protected, without a secret in them."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from installer.core.errors import Problem
from installer.core.limits import KIB
from installer.core.remedies import remedy
from installer.core.schema_errors import findings
from installer.host.host import Host
from installer.host.ownership import unprotected
from installer.secrets.store import StoreError
from installer.shared import strict_yaml
from installer.shared.http.session import HOST_CERTIFICATES, LARGEST_CERTIFICATES, client_tls
from installer.shared.published_schema import published_schema

_LIMIT = 64 * KIB


def read_document(host: Host, path: str) -> strict_yaml.Document | None:
    """Read a file of settings; None where there is none.

    Raises:
        StoreError: It cannot be read, or somebody else can change it.
    """
    try:
        if host.observe(path, digest=False).kind == "absent":
            return None
        # Whoever can change it can send the login of this host to a server of his own.
        if problem := next(iter(unprotected(host, path)), None):
            raise StoreError(f"{path} is not safe: {problem.where} {problem.what}", problem.hint)
        data = host.read(path, _LIMIT, follow=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}", remedy(error)) from error
    return strict_yaml.load(data, path)


def require_valid(
    document: strict_yaml.Document,
    path: str,
    schema: str,
    secret: Callable[[str, Any], Problem | None],
    rules: Callable[[strict_yaml.Document], list[Problem]],
) -> None:
    """Require that settings are well formed, hold no secret, fit their schema and follow their rules.

    Args:
        document: From `read_document`.
        path: The file, for texts.
        schema: The schema below `schemas`.
        secret: Returns what is wrong with a key and its value that are or would hold a secret.
        rules: Returns what the schema cannot say; asked only if it is satisfied.

    Raises:
        StoreError: They do not.
    """
    # Secrets before the schema, whose messages quote values.
    problems = list(document.problems) or _inline_secrets(document, secret)
    problems = problems or [
        each.problem for each in findings(published_schema(schema), document.value, document.where)
    ]
    problems = problems or rules(document)
    if problems:
        raise _refused(path, problems)


def _inline_secrets(
    document: strict_yaml.Document, fault: Callable[[str, Any], Problem | None]
) -> list[Problem]:
    """Return what holds a secret in settings, or does probably: in the file itself and in its `auth`.

    Args:
        document: From `read_document`.
        fault: Returns what is wrong with one key and its value.
    """
    value = document.value
    given = value.get("auth") if isinstance(value, dict) else None
    rows: list[tuple[tuple[str, ...], Any]] = []
    for path, level in (((), value), (("auth",), given)):
        rows += [((*path, str(key)), each) for key, each in level.items()] if isinstance(level, dict) else []
    return [
        replace(found, where=document.where(path)) for path, each in rows if (found := fault(path[-1], each))
    ]


def secret_fault(key: str, value: object, *, holds: bool, addresses: Sequence[str]) -> Problem | None:
    """Return what is wrong with a key that holds a secret, or whose value looks like one.

    Args:
        key: The key.
        value: Its value.
        holds: Whether it holds a secret by its name.
        addresses: Keys of URLs.
    """
    if holds:
        hint = f"put it into a file, mode 0600, and give its path: {key}_file: /etc/waybill/…"
        return Problem("", f"has {key} itself in it, which belongs into a file", hint)
    if key in addresses and isinstance(value, str) and "@" in value:
        return Problem("", f"{key} has a user or a password in it", "write https://HOST:PORT")
    # A token where the path of its file belongs is the mistake that people make.
    if key.endswith("_file") and isinstance(value, str) and not value.startswith("/"):
        return Problem("", f"{key} is not an absolute path", "give the path of the file: /etc/waybill/…")
    return None


def _refused(path: str, problems: Sequence[Problem]) -> StoreError:
    if len(problems) == 1:
        (one,) = problems
        return StoreError(f"{path} is not valid: {one.where}: {one.what}", one.hint)
    # Each with its own hint: joined, nobody could tell which belongs to which.
    what = f"{path} is not valid: {len(problems)} problems"
    return StoreError(what, "correct what is named below", problems)


def has_host(address: str) -> bool:
    """Return whether a URL has a host, and a port that is one."""
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_loopback(address: str) -> bool:
    """Return whether a URL leads to this machine."""
    name = urlsplit(address).hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def tls_context(host: Host, address: str, ca_file: str, settings: str) -> ssl.SSLContext:
    """Return the TLS settings for a server: which certificates it may have.

    Args:
        host: The host.
        address: The URL of the server.
        ca_file: Host path of the certificates that count; empty for those of the host.
        settings: The file that says so, for texts.

    Raises:
        StoreError: A file cannot be used.
    """
    if not address.startswith("https:"):
        return client_tls()
    path, text = _certificates(host, ca_file, settings)
    try:
        return client_tls(text)
    except ValueError:
        raise StoreError(f"{path} has no certificate in PEM", f"check ca_file in {settings}") from None


def _certificates(host: Host, ca_file: str, settings: str) -> tuple[str, str]:
    paths = (ca_file,) if ca_file else HOST_CERTIFICATES
    for path in paths:
        try:
            return path, host.read(path, LARGEST_CERTIFICATES, follow=True).decode("ascii", "replace")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(
                f"{path} cannot be read: {error.strerror}", f"see ca_file in {settings}"
            ) from error
    if ca_file:
        raise StoreError(f"ca_file {ca_file} does not exist", f"correct ca_file in {settings}")
    what = "this host has no list of certificates to trust"
    raise StoreError(what, f"give ca_file in {settings}: the certificate of the CA that issued the server's")
