"""`/etc/waybill/vault.yaml`: how this host reaches its Vault, without a secret in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from installer.core.errors import Problem
from installer.host.host import Host
from installer.host.layout import CONFIG
from installer.secrets.site_settings import (
    has_host,
    is_loopback,
    read_document,
    require_valid,
    secret_fault,
)
from installer.secrets.store import StoreError
from installer.shared import strict_yaml
from installer.shared.secrecy.names import names_secret

SETTINGS = f"{CONFIG}/vault.yaml"
SCHEMA = "v1/vault-yaml.schema.json"
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
    document = read_document(host, SETTINGS)
    if document is None:
        what = f"{SETTINGS} does not exist: this host does not know which Vault to ask"
        raise StoreError(what, "create it: see docs/how-to/use-secret-stores.md")
    require_valid(document, SETTINGS, SCHEMA, _inline_secret, _address_problems)
    return _settings(document.value)


def _inline_secret(key: str, value: Any) -> Problem | None:
    holds = names_secret(key) or key in ("secret_id", "role_id", "jwt", "key")
    return secret_fault(key, value, holds=holds, addresses=("address", "proxy"))


def _address_problems(document: strict_yaml.Document) -> list[Problem]:
    value = document.value
    found = [
        Problem(
            document.where((key,)), f"{key} has no host, or a port that is none", "write https://HOST:PORT"
        )
        for key in ("address", "proxy")
        if value.get(key) and not has_host(value[key])
    ]
    plain = value["address"].startswith("http://")
    if not found and plain and not is_loopback(value["address"]):
        what = "address is http:// to another machine: everybody on the way could read the secrets"
        found.append(
            Problem(document.where(("address",)), what, "use https://, and ca_file for a CA of your own")
        )
    if not found and plain and value.get("proxy"):
        what = "address is http:// through a proxy, which could read the secrets"
        found.append(Problem(document.where(("address",)), what, "use https://, or leave out proxy"))
    return found


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
