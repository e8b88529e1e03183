"""HTTP to registries: their two kinds of login, redirects that cannot lead astray, and tries that end.

Certificates are checked against the system's store and against `/etc/docker/certs.d/HOST/ca.crt`, where
Docker looks too. Plain HTTP is spoken with loopback, with hosts in WAYBILL_INSECURE_REGISTRIES
(`host[:port]`, commas between) and with references that begin with `http://`.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bundler.image_sources.logins import authorization
from installer.core.errors import UnfitInputError
from installer.core.limits import MIB
from installer.core.oci.reference import DOCKER_HUB

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

TRIES = 3
MAX_REDIRECTS = 5
TIMEOUT = 30.0
_HUB_HOST = "registry-1.docker.io"
_REDIRECTS = (301, 302, 303, 307, 308)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class Response(Protocol):
    """What of an HTTP response is used."""

    status: int
    headers: Any

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes of the body."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


def speaks_plainly(host: str) -> bool:
    """Return whether a registry is spoken to without TLS: loopback, and what the environment lists."""
    listed = {each.strip() for each in os.environ.get("WAYBILL_INSECURE_REGISTRIES", "").split(",")}
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name == "localhost" or host in listed:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Connection:
    """A registry.

    Args:
        host: Its name and port.
        plain: Speak HTTP without TLS.
    """

    def __init__(self, host: str, *, plain: bool) -> None:
        self.host = host
        self._plain = plain
        self._base = f"{'http' if plain else 'https'}://{_HUB_HOST if host == DOCKER_HUB else host}"
        self._opener = _opener(host)
        self._authorization = ""

    def get(self, path: str, headers: Mapping[str, str], where: str) -> Response:
        """Ask for something, and logs in where it has to.

        Args:
            path: Path of the URL, with its leading slash.
            headers: Of the request.
            where: How errors name what is asked for.

        Raises:
            UnfitInputError: The registry cannot be reached, or does not give it.
        """
        for attempt in range(2):
            response = self._tries(lambda: self._follow(self._base + path, headers), where)
            if response.status in (200, 206):
                return response
            challenge = response.headers.get("WWW-Authenticate", "")
            response.close()
            if response.status != 401 or attempt or not challenge:
                raise self._refused(response.status, where)
            self._log_in(challenge, where)
        raise AssertionError

    def _follow(self, url: str, headers: Mapping[str, str]) -> Response:
        """Send a request along its redirects; the login goes to the registry's own host only."""
        own = urllib.parse.urlsplit(url).netloc
        for _ in range(MAX_REDIRECTS + 1):
            parts = urllib.parse.urlsplit(url)
            if parts.scheme not in (("http", "https") if self._plain else ("https",)):
                raise UnfitInputError(f"the registry redirects to {url[:120]!r}, which is not safe to follow")
            request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", **headers})  # noqa: S310
            if self._authorization and parts.netloc == own:
                request.add_unredirected_header("Authorization", self._authorization)
            response = self._send(request)
            target = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not target:
                return response
            response.close()
            url = urllib.parse.urljoin(url, target)
        raise UnfitInputError(f"the registry redirects more than {MAX_REDIRECTS} times")

    def _send(self, request: urllib.request.Request) -> Response:
        try:
            response: Response = self._opener.open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            return error  # type: ignore[return-value]
        return response

    def _tries(self, ask: Callable[[], Response], where: str) -> Response:
        error: Exception | None = None
        for attempt in range(TRIES):
            time.sleep(0.3 * attempt)
            try:
                response = ask()
            except UnfitInputError as fault:
                raise UnfitInputError(fault.what, where=where, hint="look at the registry's set-up") from None
            except (OSError, http.client.HTTPException) as problem:
                error = problem
                if _is_certificate(problem):
                    break
                continue
            if response.status < 500 or attempt == TRIES - 1:
                return response
            response.close()
        raise self._unreachable(error, where)

    def _log_in(self, challenge: str, where: str) -> None:
        scheme, _, rest = challenge.partition(" ")
        known = authorization(self.host)
        if scheme.lower() == "basic":
            self._authorization = known
            if not known:
                raise self._refused(401, where)
            return
        said = dict(_PARAMETER.findall(rest))
        realm = urllib.parse.urlsplit(said.pop("realm", ""))
        if scheme.lower() != "bearer" or realm.scheme not in (
            ("http", "https") if self._plain else ("https",)
        ):
            what = f"the registry asks for a login of an unknown kind: {challenge[:200]!r}"
            raise UnfitInputError(what, where=where, hint="fetch the image by other means, as an archive")
        question = urllib.parse.urlencode({key: said[key] for key in ("service", "scope") if key in said})
        url = realm._replace(query="&".join(filter(None, (realm.query, question)))).geturl()
        request = urllib.request.Request(url, headers={"Authorization": known} if known else {})  # noqa: S310
        response = self._tries(lambda: self._send(request), where)
        try:
            answer = json.loads(response.read(MIB)) if response.status == 200 else {}
        except (ValueError, RecursionError):
            answer = {}
        finally:
            response.close()
        token = (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise self._refused(401, where)
        self._authorization = f"Bearer {token}"

    def _refused(self, status: int, where: str) -> UnfitInputError:
        what, hint = {
            401: ("the registry wants a login", f"`docker login {self.host}`"),
            403: (
                "the registry does not allow it",
                f"`docker login {self.host}` with an account that may pull it",
            ),
            404: ("the registry has no such image", "check the name, the tag and that it was pushed"),
            429: ("the registry has had too many requests", "try again later, or log in"),
        }.get(status, (f"the registry answers with status {status}", "look at the registry's log"))
        return UnfitInputError(what, where=where, hint=hint)

    def _unreachable(self, error: Exception | None, where: str) -> UnfitInputError:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        why = getattr(reason, "strerror", None) or reason or "it answers with faults of its own"
        if error is not None and _is_certificate(error):
            hint = f"put its authority's certificate into /etc/docker/certs.d/{self.host}/ca.crt"
        elif "WRONG_VERSION_NUMBER" in str(reason):
            hint = f"if it speaks plain HTTP, write `registry: http://{self.host}/…`"
        else:
            hint = "check the host's name and port, the network and HTTPS_PROXY"
        return UnfitInputError(f"the registry {self.host} cannot be reached: {why}", where=where, hint=hint)


def _is_certificate(error: Exception) -> bool:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(reason, ssl.SSLCertVerificationError)


def _opener(host: str) -> OpenerDirector:
    """Make an opener that knows HTTP and HTTPS only and follows no redirect by itself."""
    context = ssl.create_default_context()
    own = Path("/etc/docker/certs.d") / host / "ca.crt"
    if own.is_file():
        context.load_verify_locations(own)
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
