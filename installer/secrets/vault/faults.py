"""Why a Vault gives no secrets: each reason in words of its own, with what to do.

Never a text of the server, which may repeat what it was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from installer.secrets.store import StoreError
from installer.secrets.vault.settings import SETTINGS, Settings
from installer.shared.http.faults import Server, SlowError
from installer.shared.http.faults import unreachable as why_unreachable

NO_NAMESPACE = ("the Vault does not know the namespace", f"check namespace in {SETTINGS}")
_STANDBY = (429, 472, 473)


def slow(settings: Settings) -> StoreError:
    """Return the error for an answer that did not come in time."""
    what = f"the Vault {settings.address} did not answer within {settings.timeout} s"
    return StoreError(what, f"check its load and the network; timeout in {SETTINGS} may be up to 120")


def slow_in_all(settings: Settings, seconds: float) -> StoreError:
    """Return the error for a server that answers each request in time, and is too slow for all of them."""
    what = f"the Vault {settings.address} took more than {seconds:.0f} s for the secrets before this one"
    return StoreError(
        what, "check its load and the network; keep secrets that belong together under one path"
    )


def lying(settings: Settings, what: str) -> StoreError:
    """Return the error for an answer that no Vault gives."""
    hint = f"check address in {SETTINGS}: something else than a Vault may answer there"
    return StoreError(f"what {settings.address} answers {what}", hint)


def redirected(settings: Settings) -> StoreError:
    """Return the error for a redirect: to follow it would send the token to wherever it leads."""
    what = f"{settings.address} is a standby, or no Vault: it sends its clients to another server"
    return StoreError(what, f"give the address of the active server, or of the load balancer, in {SETTINGS}")


def unable(settings: Settings, status: int, health: Mapping[str, Any]) -> StoreError:
    """Return why a server that answers cannot serve.

    Args:
        settings: How it is reached.
        status: The status of its answer.
        health: What it says of itself; empty if nothing.
    """
    name = f"the Vault {settings.address}"
    if status == 501 or health.get("initialized") is False:
        return StoreError(
            f"{name} is not initialised", "initialise it: bao operator init, or vault operator init"
        )
    if health.get("sealed") is True:
        return StoreError(f"{name} is sealed", "unseal it: bao operator unseal, or vault operator unseal")
    if status in _STANDBY[1:] or health.get("standby") is True:
        what = f"{name} is a standby and cannot reach its active server"
        return StoreError(what, "give the address of the active server, or start it")
    if status == 429:
        return StoreError(
            f"{name} refuses: too many requests", "try again later, or raise the quota of this client"
        )
    what = f"{name} failed (status {status})"
    return StoreError(what, "read the log of the server; then try again")


def unreachable(settings: Settings, error: BaseException) -> StoreError:
    """Return why there was no answer."""
    server = Server(
        "Vault",
        settings.address,
        urlsplit(settings.address).hostname or "",
        f"address in {SETTINGS}",
        f"give ca_file in {SETTINGS}: the certificate of the CA that issued it",
        settings.ca_file,
        settings.proxy,
        f"use the method cert in {SETTINGS}, with a certificate that the server trusts",
    )
    try:
        return StoreError(*why_unreachable(server, error))
    except SlowError:
        return slow(settings)
