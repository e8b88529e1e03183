"""What goes wrong with a registry or a web server, in words of its own and never in those of the server."""

from __future__ import annotations

from urllib.parse import urlsplit

from installer.core.errors import HostNotReadyError
from installer.shared.http.faults import Server

REGISTRY, WEB_SERVER = "registry", "web server"
"""The kinds of servers that a connection may be to."""


class RegistryError(HostNotReadyError):
    """A registry cannot be reached, refuses, failed, or does not keep to the protocol.

    Attributes:
        status: The HTTP status that said so; 0 where none did, -1 for what gets no better by asking again.
        lost: Whether there was no answer: the connection broke, or the server was too slow.
    """

    code = "registry"
    status = 0
    lost = False

    def with_status(self, status: int) -> RegistryError:
        """Note the status, and return the error."""
        self.status = status
        return self


def refused(server: Server, where: str, status: int, body: bytes) -> RegistryError:
    """Return why a server does not do what it was asked.

    Args:
        server: The server.
        where: What was to be done or fetched.
        status: Its answer.
        body: The start of what it said; looked into, never shown.
    """
    # docker-registry reports a full disk as an error of its own: 500, with the number of ENOSPC inside.
    said = body[:4096].lower()
    full = status == 507 or b"no space left" in said or b'"err":28' in said.replace(b" ", b"")
    name, web = f"the {server.kind}", server.kind == WEB_SERVER
    log = f"read the log of {name} {urlsplit(server.address).netloc}"
    size = "of the size of a bundle" if web else "of 16 MiB"
    rows = {
        401: (
            f"{name} refuses the login, or wants one",
            f"give a login that it knows, {server.by_login}",
        ),
        403: (
            f"{name} does not permit that to this login",
            f"let this account {'write' if web else 'push'} there, or give another one",
        ),
        404: (
            f"{name} does not know that",
            f"check {'the path in the address' if web else 'the prefix and the name of the repository'}",
        ),
        405: (f"{name} does not support that, or it was switched off", log),
        413: (
            f"{name}, or a proxy in front of it, refuses a request of that size",
            f"allow requests {size} there (nginx: client_max_body_size)",
        ),
        429: (f"{name} gets too many requests", "try again later"),
    }
    what, hint = rows.get(status, (f"{name} answers with status {status}", log))
    if full:
        garbage = "" if web else ", or collect its garbage"
        what, hint = f"{name} is full", f"free space on it{garbage}; then try again"
    elif b"digest_invalid" in said:
        what = "what came there does not match its digest: it was damaged on the way"
        hint = "run the command again; if it fails again, check the network and the memory of both machines"
    return RegistryError(what, where=where, hint=hint).with_status(status)


def lying(where: str, what: str, kind: str = REGISTRY) -> RegistryError:
    """Return the error for an answer that no server gives that keeps to the protocol."""
    hint = f"do not use this {kind} until it is known why: something between may change what it says"
    return RegistryError(f"the {kind} {what}", where=where, hint=hint)


def elsewhere(where: str, kind: str = REGISTRY) -> RegistryError:
    """Return the error for an answer that leads to another server: no request leaves the named host."""
    what = f"the {kind} sends its client to another server, which is never followed"
    hint = "let it serve everything itself: switch off redirects to "
    if kind == WEB_SERVER:
        hint += "other servers"
    else:
        hint += (
            "its storage, and set the external address of the registry (`http.host` or `http.relativeurls` "
            "in its configuration)"
        )
    return RegistryError(what, where=where, hint=hint)
