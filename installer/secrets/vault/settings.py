"""`/etc/waybill/vault.yaml`: how this host reaches its Vault, without a secret in it."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from installer.core.errors import InternalError, Problem
from installer.core.limits import KIB
from installer.core.remedies import remedy
from installer.core.schema_errors import findings
from installer.host.host import Host
from installer.host.layout import CONFIG
from installer.host.ownership import unprotected
from installer.secrets.store import StoreError
from installer.shared import strict_yaml
from installer.shared.secrecy.names import names_secret

SETTINGS = f"{CONFIG}/vault.yaml"
SCHEMA = "v1/vault-yaml.schema.json"
_LIMIT = 64 * KIB
_CHECKOUT = Path(__file__).resolve().parents[3]
_POD_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


@dataclass(frozen=True, slots=True)
class Auth:
    """How to log in.

    Attributes:
        method: `token_file`, `approle`, `kubernetes` or `cert`.
        mount: Where the login is, below `auth/`.
        role: The role; may be empty for `cert`.
        files: Host paths of the files that the login needs, by their names in the settings.
    """

    method: str
    mount: str = ""
    role: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """How this host reaches its Vault.

    Attributes:
        address: `https://HOST:PORT`, without a slash at the end.
        auth: How to log in.
        namespace: The namespace; empty for none.
        ca_file: Host path of the certificates to trust; empty for those of the host.
        timeout: Seconds for each request.
        proxy: The URL of a proxy; empty for none.
        mounts: Versions of key-value mounts that are not asked for.
    """

    address: str
    auth: Auth
    namespace: str = ""
    ca_file: str = ""
    timeout: int = 10
    proxy: str = ""
    mounts: Mapping[str, int] = field(default_factory=dict)


def read_settings(host: Host) -> Settings:
    """Read and check the settings.

    Raises:
        StoreError: There are none, or they are wrong, or somebody else can change them.
    """
    try:
        if host.observe(SETTINGS, digest=False).kind == "absent":
            what = f"{SETTINGS} does not exist: this host does not know which Vault to ask"
            raise StoreError(what, "create it: see docs/how-to/use-secret-stores.md")
        # Whoever can change it can send the login of this host to a server of his own.
        if problem := next(iter(unprotected(host, SETTINGS)), None):
            raise StoreError(f"{SETTINGS} is not safe: {problem.where} {problem.what}", problem.hint)
        data = host.read(SETTINGS, _LIMIT, follow=True)
    except OSError as error:
        raise StoreError(f"{SETTINGS} cannot be read: {error.strerror}", remedy(error)) from error
    document = strict_yaml.load(data, SETTINGS)
    problems = list(document.problems)
    if not problems:
        problems = _inline_secrets(document) or [
            each.problem for each in findings(_schema(), document.value, document.where)
        ]
    if not problems:
        problems = _address_problems(document)
    if problems:
        raise _refused(problems)
    return _settings(document.value)


def _refused(problems: Sequence[Problem]) -> StoreError:
    if len(problems) == 1:
        (one,) = problems
        return StoreError(f"{SETTINGS} is not valid: {one.where}: {one.what}", one.hint)
    # Each with its own hint: joined, nobody could tell which belongs to which.
    what = f"{SETTINGS} is not valid: {len(problems)} problems"
    return StoreError(what, "correct what is named below", problems)


def _schema() -> dict[str, Any]:
    # An executable has the schemas inside of the package, a checkout next to it.
    for place in (files("installer.core").joinpath("schemas"), _CHECKOUT / "schemas"):
        if place.is_dir():
            found: dict[str, Any] = json.loads(place.joinpath(SCHEMA).read_bytes())
            return found
    raise InternalError("the schemas are missing in this installation", hint="install Waybill again")


def _inline_secrets(document: strict_yaml.Document) -> list[Problem]:
    """Return what would hold a secret, or does; before the schema, whose messages quote values."""
    value = document.value
    levels = [((), value), (("auth",), value.get("auth"))] if isinstance(value, dict) else []
    found = []
    for path, level in levels:
        for key, each in level.items() if isinstance(level, dict) else ():
            if fault := _inline_secret(key, each):
                found.append(replace(fault, where=document.where((*path, key))))
    return found


def _inline_secret(key: str, value: Any) -> Problem | None:
    if names_secret(key) or key in ("secret_id", "role_id", "jwt", "key"):
        hint = f"put it into a file, mode 0600, and give its path: {key}_file: /etc/waybill/…"
        return Problem("", f"has {key} itself in it, which belongs into a file", hint)
    if key in ("address", "proxy") and isinstance(value, str) and "@" in value:
        return Problem("", f"{key} has a user or a password in it", "write https://HOST:PORT")
    # A token where the path of its file belongs is the mistake that people make.
    if key.endswith("_file") and isinstance(value, str) and not value.startswith("/"):
        return Problem("", f"{key} is not an absolute path", "give the path of the file: /etc/waybill/…")
    return None


def _address_problems(document: strict_yaml.Document) -> list[Problem]:
    value = document.value
    found = [
        Problem(
            document.where((key,)), f"{key} has no host, or a port that is none", "write https://HOST:PORT"
        )
        for key in ("address", "proxy")
        if value.get(key) and not _has_host(value[key])
    ]
    plain = value["address"].startswith("http://")
    if not found and plain and not _is_loopback(value["address"]):
        what = "address is http:// to another machine: everybody on the way could read the secrets"
        found.append(
            Problem(document.where(("address",)), what, "use https://, and ca_file for a CA of your own")
        )
    if not found and plain and value.get("proxy"):
        what = "address is http:// through a proxy, which could read the secrets"
        found.append(Problem(document.where(("address",)), what, "use https://, or leave out proxy"))
    return found


def _has_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_loopback(address: str) -> bool:
    name = urlsplit(address).hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _settings(value: Mapping[str, Any]) -> Settings:
    given = dict(value["auth"])
    method = str(given.pop("method"))
    named = {name: path for name, path in given.items() if name.endswith("_file")}
    if method == "kubernetes":
        named.setdefault("token_file", _POD_TOKEN)
    auth = Auth(method, given.get("mount", method), given.get("role", ""), named)
    plain = {key: value[key] for key in ("namespace", "ca_file", "timeout", "mounts") if key in value}
    address, proxy = value["address"].rstrip("/"), value.get("proxy", "").rstrip("/")
    return Settings(address, auth, proxy=proxy, **plain)
