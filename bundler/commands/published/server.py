"""The server that an address names, as this side reaches it: Docker's logins and certificates, no proxy."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bundler.image_sources.http import stored_login, uses_plain_http
from installer.core.errors import MediaError, UsageError, os_errors_as
from installer.shared.http.faults import Server
from installer.shared.http.session import (
    HOST_CERTIFICATES,
    LARGEST_CERTIFICATES,
    client_tls,
    new_session,
)
from installer.shared.published.address import Address
from installer.shared.registry.connection import Connection, Login
from installer.shared.registry.errors import REGISTRY, WEB_SERVER, RegistryError

_TIMEOUT = 30.0


def connect(address: Address, ca_file: Path | None = None) -> Connection:
    """Return a connection to the server of an address; nothing is sent yet.

    Args:
        address: The address.
        ca_file: The certificates that count, in PEM; None: those of this machine, and of Docker for the host.

    Raises:
        UsageError: The file cannot be used, or HTTP is not allowed.
    """
    plain = uses_plain_http(address.host)
    if address.scheme == "http" and not plain:
        hint = "use https://, or list the host in WAYBILL_INSECURE_REGISTRIES"
        raise UsageError("http:// to another machine is not used", where=address.text, hint=hint)
    scheme = address.scheme or ("http" if plain else "https")
    name = address.host.rpartition(":")[0] or address.host
    server = Server(
        WEB_SERVER if address.path else REGISTRY,
        f"{scheme}://{address.host}",
        name,
        "the address",
        "give --ca-file FILE: the certificate of the CA that issued it",
        str(ca_file or ""),
    )
    tls = client_tls(_certificates(address.host, ca_file) if scheme == "https" else None)
    return Connection(server, new_session(tls, _TIMEOUT), _login(address.host), _TIMEOUT)


def _certificates(host: str, ca_file: Path | None) -> str:
    if ca_file is not None:
        with os_errors_as(UsageError, "cannot be read", ca_file), ca_file.open("rb") as file:
            text = file.read(LARGEST_CERTIFICATES).decode("ascii", "replace")
        if "BEGIN CERTIFICATE" not in text:
            raise UsageError("has no certificate in PEM", where=str(ca_file))
        return text
    paths = [next((Path(each) for each in HOST_CERTIFICATES if Path(each).is_file()), None)]
    paths.append(Path("/etc/docker/certs.d") / host / "ca.crt")
    found = [path.read_text("ascii", "replace") for path in paths if path is not None and path.is_file()]
    if not found:
        hint = "give --ca-file FILE: the certificate of the CA that issued that of the server"
        raise UsageError("this machine has no list of certificates to trust", hint=hint)
    return "\n".join(found)


def _login(host: str) -> Login:
    """Return the login that `docker login HOST` has stored."""
    # Docker's helpers know it; Waybill keeps no logins on this side.
    stored = stored_login(host).removeprefix("Basic ")
    try:
        user, _, password = base64.b64decode(stored).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return Login()
    return Login(user, password)


@contextmanager
def as_media(address: str = "", after_a_break: str = "") -> Iterator[None]:
    """Turn what goes wrong with the server into an error of the media.

    Args:
        address: What the error is about; empty: what was asked of the server.
        after_a_break: What to do if the connection breaks; given where the server has answered before, and
            the address is right.
    """
    try:
        yield
    except RegistryError as error:
        hint = after_a_break if after_a_break and error.lost else error.hint
        raise MediaError(error.what, where=address or error.where, hint=hint) from None
