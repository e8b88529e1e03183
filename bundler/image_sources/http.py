"""HTTP to registries: both kinds of login, bounded redirects and retries; a login stays with its host.

Certificates are checked against the system's store and `/etc/docker/certs.d/HOST/ca.crt`, as Docker does.
Plain HTTP is used for loopback, for hosts in WAYBILL_INSECURE_REGISTRIES (`host[:port]`, separated by commas)
and for references that begin with `http://`.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import re
import ssl
import time
import urllib.parse
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from installer.core.errors import UnfitInputError
from installer.core.limits import MIB
from installer.core.oci.reference import DOCKER_HUB

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session

# A restart of a registry behind a load balancer takes seconds; everything longer is for the person.
TRIES = 3
MAX_REDIRECTS = 5
TIMEOUT = 30.0
_HUB_HOST = "registry-1.docker.io"


def uses_plain_http(host: str) -> bool:
    """Return whether a registry is spoken to without TLS: loopback, and what the environment lists."""
    listed = {each.strip() for each in os.environ.get("WAYBILL_INSECURE_REGISTRIES", "").split(",")}
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    # Docker makes the same exception for loopback: nothing leaves the machine.
    if name == "localhost" or host in listed:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def stored_login(host: str) -> str:
    """Return the `Authorization` header of a login that `docker login` has stored; empty if there is none.

    Docker's own client library reads its configuration and asks its credential helpers.
    """
    from docker import auth
    from docker.errors import DockerException

    try:
        with warnings.catch_warnings():
            # Docker's library warns about a helper that is not installed; that is just no login.
            warnings.simplefilter("ignore")
            login = auth.load_config().resolve_authconfig(host) or {}
    except (DockerException, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # A broken configuration is no login: the registry then says whether it needs one.
        return ""
    user = login.get("Username") or login.get("username")
    password = login.get("Password") or login.get("password")
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""


def read_body(response: Response, size: int) -> bytes:
    """Read at most `size` bytes of a body, as they are on the wire.

    Raises:
        OSError: The connection broke.
    """
    from urllib3.exceptions import HTTPError

    try:
        # Decoding would make digests wrong, and could expand a small answer without bounds.
        return bytes(response.raw.read(size, decode_content=False))
    except HTTPError as error:
        raise ConnectionError(str(error)) from error


class NoSuchImageError(UnfitInputError):
    """The registry has nothing under a name, or does not say so to this login."""


class Connection:
    """A registry.

    Args:
        host: Its name and port.
        plain: Use HTTP without TLS.
    """

    def __init__(self, host: str, *, plain: bool) -> None:
        self.host = host
        self._schemes = ("http", "https") if plain else ("https",)
        self._base = f"{self._schemes[0]}://{_HUB_HOST if host == DOCKER_HUB else host}"
        self._session = _session(host)
        self._authorization = ""

    def get(self, path: str, headers: Mapping[str, str], where: str) -> Response:
        """Send a GET request, and log in if the registry requires it.

        Args:
            path: Path of the URL, with its leading slash.
            headers: Headers of the request.
            where: How errors name what is requested.

        Returns:
            The response, status 200 or 206; read it with `read_body` and close it.

        Raises:
            UnfitInputError: The registry cannot be reached, or refuses.
        """
        for attempt in range(2):
            response = self._retry(lambda: self._follow(self._base + path, headers), where)
            if response.status_code in (200, 206):
                return response
            challenge = response.headers.get("WWW-Authenticate", "")
            response.close()
            # One login only: a second challenge means that the login was refused.
            if response.status_code != 401 or attempt or not challenge:
                raise self._refused(response.status_code, where)
            self._log_in(challenge, where)
        raise AssertionError

    def _follow(self, url: str, headers: Mapping[str, str]) -> Response:
        """Send a request and follow its redirects, here because requests reads the whole body of each."""
        for _ in range(MAX_REDIRECTS + 1):
            # From TLS to plain text, or to a local file, no redirect leads.
            if urllib.parse.urlsplit(url).scheme not in self._schemes:
                raise UnfitInputError(f"the registry redirects to {url[:120]!r}, which is not safe to follow")
            response = self._send(url, headers, self._authorize)
            target = self._session.get_redirect_target(response)
            if not target:
                return response
            response.close()
            url = urllib.parse.urljoin(url, target)
        raise UnfitInputError(f"the registry redirects more than {MAX_REDIRECTS} times")

    def _send(
        self, url: str, headers: Mapping[str, str], auth: Callable[[PreparedRequest], PreparedRequest]
    ) -> Response:
        headers = {"Accept-Encoding": "identity", **headers}
        # With a function for `auth`, requests does not look for a login in ~/.netrc.
        return self._session.get(
            url, headers=headers, auth=auth, stream=True, timeout=TIMEOUT, allow_redirects=False
        )

    def _authorize(self, request: PreparedRequest) -> PreparedRequest:
        """Add the login to a request, unless a redirect has led it to another host."""
        own = urllib.parse.urlsplit(self._base).netloc
        if self._authorization and urllib.parse.urlsplit(str(request.url)).netloc == own:
            request.headers["Authorization"] = self._authorization
        return request

    def _retry(self, send: Callable[[], Response], where: str) -> Response:
        """Send a request up to `TRIES` times, until the registry answers with a status below 500."""
        import requests

        error: Exception | None = None
        for attempt in range(TRIES):
            # Longer each time, and not at all before the first try.
            time.sleep(0.3 * attempt)
            try:
                response = send()
            except UnfitInputError as fault:
                raise UnfitInputError(
                    fault.what, where=where, hint="check the configuration of the registry"
                ) from None
            except (requests.RequestException, OSError) as problem:
                error = problem
                # It will not get better by itself.
                if _bad_certificate(problem):
                    break
                continue
            if response.status_code < 500 or attempt == TRIES - 1:
                return response
            response.close()
        raise self._unreachable(error, where)

    def _log_in(self, challenge: str, where: str) -> None:
        """Answer a challenge of RFC 9110, `Basic` or `Bearer` as Docker's token protocol has it."""
        from requests.utils import parse_dict_header

        scheme, _, rest = challenge.partition(" ")
        login = stored_login(self.host)
        if scheme.lower() == "basic":
            self._authorization = login
            if not login:
                raise self._refused(401, where)
            return
        parameters = parse_dict_header(rest)  # type: ignore[no-untyped-call]
        realm = urllib.parse.urlsplit(parameters.get("realm") or "")
        if scheme.lower() != "bearer" or realm.scheme not in self._schemes:
            what = (
                f"the registry requires an authentication method that is not supported: {challenge[:200]!r}"
            )
            raise UnfitInputError(
                what,
                where=where,
                hint="save the image to a file on a machine that can pull it, and use `archive:`",
            )
        query = urllib.parse.urlencode(
            {key: parameters[key] for key in ("service", "scope") if key in parameters}
        )
        url = realm._replace(query="&".join(filter(None, (realm.query, query)))).geturl()
        headers = {"Authorization": login} if login else {}
        response = self._retry(lambda: self._send(url, headers, lambda request: request), where)
        try:
            answer = json.loads(read_body(response, MIB)) if response.status_code == 200 else {}
        except (OSError, ValueError, RecursionError):
            answer = {}
        finally:
            response.close()
        token = (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
        # Anything but printable ASCII could smuggle a header into later requests.
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise self._refused(401, where)
        self._authorization = f"Bearer {token}"

    def _refused(self, status: int, where: str) -> UnfitInputError:
        what, hint = {
            401: ("the registry requires a login", f"run `docker login {self.host}`"),
            403: (
                "the registry denies access",
                f"run `docker login {self.host}` with an account that may pull the image",
            ),
            404: (
                "the registry has no such image",
                ("check the name and the tag, and check that the image was pushed"),
            ),
            429: ("the registry has received too many requests", "try again later, or log in"),
        }.get(status, (f"the registry answers with status {status}", "check the log of the registry"))
        kind = NoSuchImageError if status == 404 else UnfitInputError
        return kind(what, where=where, hint=hint)

    def _unreachable(self, error: Exception | None, where: str) -> UnfitInputError:
        reason = _reason(error)
        why = getattr(reason, "strerror", None) or reason or "it returns server errors"
        if _bad_certificate(error):
            hint = f"put the CA certificate of the registry into /etc/docker/certs.d/{self.host}/ca.crt"
        elif "WRONG_VERSION_NUMBER" in str(error):
            hint = f"if the registry uses plain HTTP, write `registry: http://{self.host}/…`"
        else:
            hint = "check the host's name and port, the network and HTTPS_PROXY"
        return UnfitInputError(f"the registry {self.host} cannot be reached: {why}", where=where, hint=hint)


def _reason(error: BaseException | None) -> BaseException | None:
    """Return the error that requests and urllib3 have wrapped."""
    while error is not None:
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        if not isinstance(inner, BaseException):
            inner = error.__cause__
        if inner is None or getattr(error, "strerror", None):
            break
        error = inner
    return error


def _bad_certificate(error: BaseException | None) -> bool:
    return isinstance(_reason(error), ssl.SSLCertVerificationError)


def _session(host: str) -> Session:
    """Return a session that checks certificates against the system's store and honours HTTPS_PROXY."""
    import requests
    from requests.adapters import HTTPAdapter

    context = ssl.create_default_context()
    own = Path("/etc/docker/certs.d") / host / "ca.crt"
    if own.is_file():
        context.load_verify_locations(own)

    class SystemTrust(HTTPAdapter):
        """Checks certificates by the context alone; requests would add the authorities of certifi."""

        def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
            host_parameters, _ = super().build_connection_pool_key_attributes(*args, **kwargs)
            return host_parameters, {"ssl_context": context}

        def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
            """Leave the connection as the context has it."""

    session = requests.Session()
    session.mount("https://", SystemTrust())
    return session
