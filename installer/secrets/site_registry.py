"""`/etc/waybill/registry.yaml`: the registry from which clusters of this site take images, and its login."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from installer.core.errors import Problem
from installer.host.context import Context
from installer.host.host import Host
from installer.host.layout import CONFIG
from installer.secrets.private_file import one_line_less, read_private
from installer.secrets.registry import parse
from installer.secrets.resolve import examine
from installer.secrets.site_settings import (
    has_host,
    is_loopback,
    read_document,
    require_valid,
    secret_fault,
    tls_context,
)
from installer.secrets.store import Secret, StoreError
from installer.shared import strict_yaml
from installer.shared.http.faults import Server
from installer.shared.http.session import new_session
from installer.shared.registry.connection import Connection, Login
from installer.shared.registry.errors import REGISTRY

SETTINGS = f"{CONFIG}/registry.yaml"
SCHEMA = "v1/registry-yaml.schema.json"


@dataclass(frozen=True, slots=True)
class SiteRegistry:
    """The registry of a site.

    Attributes:
        address: `https://HOST[:PORT]`, without a slash at the end.
        prefix: What its repositories for this site start with; empty for nothing.
        ca_file: Host path of the certificates to trust; empty for those of the host.
        timeout: Seconds for each request that moves little.
        auth: How to log in, as the file has it; empty for no login.
    """

    address: str
    prefix: str = ""
    ca_file: str = ""
    timeout: int = 30
    auth: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Its host and port, with `/PREFIX` where it has one: what references on the site start with."""
        return urlsplit(self.address).netloc + (f"/{self.prefix}" if self.prefix else "")


def read_site_registry(host: Host) -> SiteRegistry | None:
    """Read and check the settings; None where the site has no registry.

    Raises:
        StoreError: They are wrong, or somebody else can change them.
    """
    document = read_document(host, SETTINGS)
    if document is None:
        return None
    require_valid(document, SETTINGS, SCHEMA, _inline_secret, _rules)
    value = document.value
    plain = {key: value[key] for key in ("prefix", "ca_file", "timeout", "auth") if key in value}
    return SiteRegistry(value["address"].rstrip("/"), **plain)


def has_site_registry(host: Host) -> bool:
    """Return whether the site has settings of a registry, right or wrong."""
    try:
        return host.observe(SETTINGS, digest=False).kind != "absent"
    except OSError:
        return True


def connect(context: Context, site: SiteRegistry, kind: str = REGISTRY, typed: str = "") -> Connection:
    """Return a connection to the registry of the site, with its login; nothing is sent yet.

    Args:
        context: The host.
        site: The settings.
        kind: What errors call it.
        typed: The address on the command line that names it; empty where the settings do.

    Raises:
        StoreError: The login or the certificates cannot be used.
        HostNotReadyError: A secret could not be hidden.
    """
    tls = tls_context(context.system, site.address, site.ca_file, SETTINGS)
    setting, ca_file, settings = f"address in {SETTINGS}", f"ca_file in {SETTINGS}", ""
    if typed:
        # The settings say nothing of this server: its CA and its login count once they name it.
        settings = f"in {SETTINGS}, with {site.address} as address"
        setting, ca_file = f"the address {typed}", f"ca_file {settings}"
    server = Server(
        kind,
        site.address,
        urlsplit(site.address).hostname or "",
        setting,
        f"give {ca_file}: the certificate of the CA that issued it",
        site.ca_file,
        settings=settings,
    )
    session = new_session(tls, site.timeout)
    return Connection(server, session, _login(context, site.auth), site.timeout, context.system.effect)


def _login(context: Context, auth: Mapping[str, Any]) -> Login:
    if not auth:
        return Login()
    if auth["method"] == "token":
        return Login(token=_secret(context, auth, "token"))
    # Named by root, or the registry itself: nobody else is sent the password.
    server = str(auth.get("token_server", "")).rstrip("/")
    return Login(auth["username"], _secret(context, auth, "password"), realm=server)


def _secret(context: Context, auth: Mapping[str, Any], name: str) -> str:
    """Return the password or token that the settings name; it is hidden from then on."""
    if reference := auth.get(name):
        found = parse(reference)
        if isinstance(found, Problem):
            raise StoreError(f"{name} in {SETTINGS} {found.what}", found.hint)
        resolution = examine(context, [found])
        secret = resolution.secrets.get(found)
        if not isinstance(secret, Secret):
            problem = resolution.problems()[0]
            raise StoreError(f"{name} in {SETTINGS}: {problem.where}: {problem.what}", problem.hint)
        return secret.reveal().strip()
    path = str(auth[f"{name}_file"])
    data = read_private(context.system, path)
    if isinstance(data, Problem):
        raise StoreError(f"{name}_file {data.where}: {data.what}", data.hint)
    text = one_line_less(data).decode("utf-8", "replace")
    # Before it is used for anything, and whatever it is.
    context.secrets.add([text])
    if not text or "\ufffd" in text or not text.isprintable():
        raise StoreError(f"{name}_file {path} does not hold one line of text", "write the value into it")
    return text


def _inline_secret(key: str, value: object) -> Problem | None:
    holds = key in ("password", "token") and not str(value).startswith("secret://")
    return secret_fault(key, value, holds=holds, addresses=("address", "token_server"))


def _rules(document: strict_yaml.Document) -> list[Problem]:
    value = document.value
    address, auth = value["address"], value.get("auth") or {}
    server = auth.get("token_server", "")
    for key, url in (("address", address), ("auth", server)):
        if url and not has_host(url):
            what = f"{key} has no host, or a port that is none"
            return [Problem(document.where((key,)), what, "write https://HOST:PORT")]
    for name in ("password", "token"):
        given = [key for key in (name, f"{name}_file") if key in auth]
        if auth and (name == "token") == (auth["method"] == "token") and len(given) != 1:
            what = f"auth needs {name}_file or {name}, and one of them only"
            return [Problem(document.where(("auth",)), what, f"{name}_file: /etc/waybill/registry.{name}")]
    plain = [url for url in (address, server) if url.startswith("http://") and not is_loopback(url)]
    if not plain:
        return []
    # The references of clusters have digests, so nobody can replace an image; a login has no such protection.
    if auth:
        what = "has a login and http:// to another machine: everybody on the way could read it"
        return [Problem(document.where(("address",)), what, "use https://, and ca_file for a CA of your own")]
    if not value.get("allow_http", False):
        what = "address is http:// to another machine: everybody on the way sees the images"
        hint = "use https://, and ca_file for a CA of your own; or allow it: allow_http: true"
        return [Problem(document.where(("address",)), what, hint)]
    return []
