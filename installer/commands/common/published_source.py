"""Opens the bundle that a command names: a file, standard input, or one that is published on the site."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from installer.commands.common.session import Session
from installer.core.errors import HostNotReadyError, UsageError
from installer.core.format.bundle_source import BundleSource, open_source
from installer.secrets.site_registry import SETTINGS, SiteRegistry, connect, read_site_registry
from installer.secrets.site_settings import is_loopback
from installer.secrets.store import StoreError
from installer.shared.published.address import Address, is_address, parse_address
from installer.shared.published.reader import PublishedBundle, source_of
from installer.shared.registry.connection import Connection
from installer.shared.registry.errors import REGISTRY, WEB_SERVER

_PRODUCT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def open_named(session: Session, name: str) -> BundleSource:
    """Open a bundle by the argument of a command.

    Args:
        session: The host; its settings say how a registry is reached.
        name: A path, `-` for standard input, or an address of a published bundle.

    Raises:
        UsageError: There is no such file, or it is no address.
        MediaError: It cannot be opened.
        HostNotReadyError: The settings of the registry cannot be used.
    """
    if not is_address(name):
        return open_source(name)
    address = parse_address(name)
    try:
        return source_of(PublishedBundle(_connection(session, address), address), name)
    except StoreError as error:
        raise HostNotReadyError(error.problem.what, where=SETTINGS, hint=error.problem.hint) from error


def _connection(session: Session, address: Address) -> Connection:
    """Return the connection: with the login and the CA of the site's registry, if that is the server."""
    site, typed = read_site_registry(session.system), ""
    if site is None or urlsplit(site.address).netloc.lower() != address.host.lower():
        plain = is_loopback(f"http://{address.host}") and address.scheme != "https"
        if address.scheme == "http" and not plain:
            hint = f"use https://; or name the server in {SETTINGS}, with allow_http: true"
            raise UsageError("http:// to another machine is not used", where=address.text, hint=hint)
        site, typed = SiteRegistry(f"{'http' if plain else 'https'}://{address.host}"), address.text
    elif address.scheme and address.scheme != urlsplit(site.address).scheme:
        hint = f"write {site.address}, as {SETTINGS} has it"
        raise UsageError("has another scheme than the server of this site", where=address.text, hint=hint)
    # Secrets of files belong to a product, which nobody knows yet: most name the repository like it.
    last = address.repository.rpartition("/")[2]
    context = session.context(last if _PRODUCT.fullmatch(last) else "published")
    return connect(context, site, WEB_SERVER if address.path else REGISTRY, typed)
