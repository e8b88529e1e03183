"""Requests to one registry or web server: login, tries, limits. No request leaves the host that was named."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from installer.core.limits import MIB
from installer.shared.http.faults import Server, SlowError, unreachable
from installer.shared.http.session import LargeError, LateError
from installer.shared.registry.errors import RegistryError, elsewhere, lying, refused
from installer.shared.terminal import interrupts

if TYPE_CHECKING:
    from requests import Response, Session

T = TypeVar("T")
TRIES = 3
"""Times that a request is sent which got no answer, or one that promises better."""
MAX_REDIRECTS = 5
SLOWEST = MIB
"""Bytes per second; what is slower than that is aborted."""
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
"""What can stand in a header: anything else could smuggle another one in."""


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """A login; without anything for a registry that asks for none.

    Attributes:
        user: The name of the account.
        password: Its password.
        token: A token that is sent as it is, instead of a name and a password.
        realm: The token server (`https://HOST[:PORT]`), where it is not the registry itself.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    realm: str = ""

    @property
    def basic(self) -> str:
        """The header of HTTP's basic authentication; empty without a name."""
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return f"Basic {pair}" if self.user else ""


def _at_once(_name: str, call: Callable[[], T]) -> T:
    return call()


class Connection:
    """One registry.

    Args:
        server: How texts name it; `address` is its URL, `https://HOST[:PORT]`.
        session: From `new_session`.
        login: The login.
        timeout: Seconds for a request as a whole that moves little.
        effect: Carries out a request that changes the registry; `System.effect` where a host is installed.
    """

    def __init__(
        self,
        server: Server,
        session: Session,
        login: Login,
        timeout: float,
        effect: Callable[[str, Callable[[], Any]], Any] = _at_once,
    ) -> None:
        self.server, self._session, self._login, self._timeout = server, session, login, timeout
        self._effect = effect
        self._authorizations: dict[str, str] = {}
        self.host = urlsplit(server.address).netloc

    def __repr__(self) -> str:
        return f"<registry {self.host}>"

    def close(self) -> None:
        """Forget the login, and close the connections."""
        # A connection may live on in a traceback: it must not hold a password then.
        self._login = Login()
        self._authorizations.clear()
        self._session.close()

    def changing(self, name: str, call: Callable[[], T], *, visible: bool = False) -> T:
        """Carry out what changes the registry: `registry.NAME` in traces.

        Args:
            name: Its name.
            call: Sends the requests.
            visible: Whether others see what it does. Then no signal ends it: the registry would go on, and
                change something after an undo has looked.
        """
        with ExitStack() as part:
            if visible:
                part.enter_context(interrupts.deferred()).shield()
            done: T = self._effect(f"registry.{name}", call)
        return done

    def ask(
        self,
        method: str,
        path: str,
        where: str,
        *,
        ok: tuple[int, ...] = (200,),
        known: tuple[int, ...] = (),
        headers: Mapping[str, str] | None = None,
        data: bytes | _Body = b"",
        tries: int = TRIES,
        stream: bool = False,
    ) -> Response:
        """Send a request, log in where the registry wants it, and return an answer that was expected.

        Args:
            method: Of HTTP.
            path: Path and query on the registry, or what it has given as the place of an upload.
            where: What is asked for, for errors.
            ok: Statuses that are expected.
            known: Further statuses that the caller has an answer to.
            headers: Of the request.
            data: Its body.
            tries: How often it is sent if there is no answer; 1 where a second one is not the same.
            stream: Whether the caller reads the body itself.

        Raises:
            RegistryError: The registry cannot be reached, refuses, or sends its client elsewhere.
        """
        url = self._own(path, where)
        for attempt in range(2):
            answer = self._answered(method, url, where, dict(headers or {}), data, tries, stream)
            status = int(answer.status_code)
            if status in ok or status in known:
                return answer
            challenge = answer.headers.get("WWW-Authenticate", "")
            body = b"" if stream else bytes(answer.content)
            answer.close()
            # One login only: a second challenge means that the login was refused.
            if status != 401 or attempt or not self._log_in(challenge, url, where):
                raise refused(self.server, where, status, body)
        raise AssertionError

    def send_file(self, path: str, where: str, source: Callable[[], BinaryIO], size: int) -> None:
        """Store a file on a web server, in one request.

        Args:
            path: Its path there.
            where: For errors.
            source: Opens it; it may be sent a second time, after a login.
            size: Its size in bytes.

        Raises:
            RegistryError: The server cannot be reached, or refuses.
        """
        body = _Body(source, size)
        try:
            self.ask("PUT", path, where, ok=(200, 201, 204), data=body, tries=1)
        finally:
            body.close()

    def _own(self, path: str, where: str, base: str = "") -> str:
        """Return the URL of a path, relative to another one, which has to be on this very server."""
        try:
            url = urljoin(base or f"{self.server.address}/", path)
        except ValueError:
            # What the registry has sent is not even the form of an address.
            raise elsewhere(where, self.server.kind) from None
        if _origin(url) != _origin(self.server.address):
            raise elsewhere(where, self.server.kind)
        return url

    def _answered(
        self,
        method: str,
        url: str,
        where: str,
        headers: dict[str, str],
        data: bytes | _Body,
        tries: int,
        stream: bool,
    ) -> Response:
        """Send a request, several times if need be, and follow redirects on the same server."""
        redirects, attempt = 0, 0
        while True:
            attempt += 1
            try:
                answer = self._sent(method, url, where, headers, data, stream)
            except RegistryError as error:
                # A certificate gets no better by itself.
                if attempt >= tries or error.status < 0:
                    raise
            else:
                status = int(answer.status_code)
                if status in (301, 302, 303, 307, 308) and method in ("GET", "HEAD"):
                    # Followed here, not by the library, which reads the whole body and follows anywhere.
                    redirects, attempt = redirects + 1, 0
                    answer.close()
                    if redirects > MAX_REDIRECTS:
                        raise lying(where, f"redirects more than {MAX_REDIRECTS} times", self.server.kind)
                    url = self._own(answer.headers.get("Location", ""), where, url)
                    continue
                if status not in _AGAIN or attempt >= tries:
                    return answer
                answer.close()
            # A restart behind a load balancer takes a second; everything longer is for the person.
            time.sleep(0.3 * attempt)

    def _sent(
        self, method: str, url: str, where: str, headers: dict[str, str], data: bytes | _Body, stream: bool
    ) -> Response:
        import requests
        import urllib3

        repository = _repository(url)
        # A token is for one repository; a name and a password are for all of them.
        known = self._authorizations.get(repository) or self._authorizations.get("")
        if self._login.token:
            known = f"Bearer {self._login.token}"
        seconds = self._timeout + len(data) / SLOWEST

        def authorize(request: Any) -> Any:
            # With a function, requests does not look for a login of its own.
            if known:
                request.headers["Authorization"] = known
            return request

        try:
            return self._session.request(
                method,
                url,
                data=data if isinstance(data, bytes) else data.begin(),
                headers=headers,
                auth=authorize,
                timeout=seconds,
                allow_redirects=False,
                stream=stream,
            )
        except LateError:
            fault = self._slow(where, seconds)
        except LargeError:
            what = "sends an answer that is larger than any has reason to be"
            fault = lying(where, what, self.server.kind)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            fault = self._unreachable(where, error, seconds)
        # Outside of the handler: what the libraries raise holds requests, with logins in them.
        raise fault

    def _unreachable(self, where: str, error: BaseException, seconds: float) -> RegistryError:
        try:
            what, hint = unreachable(self.server, error)
        except SlowError:
            return self._slow(where, seconds)
        final = -1 if "certificate" in what or "TLS" in what else 0
        fault = RegistryError(what, where=where, hint=hint).with_status(final)
        fault.lost = not final
        return fault

    def _slow(self, where: str, seconds: float) -> RegistryError:
        what = f"{self.server.name} did not answer within {seconds:.0f} s"
        fault = RegistryError(what, where=where, hint="check its load and the network; then try again")
        fault.lost = True
        return fault

    def _log_in(self, challenge: str, url: str, where: str) -> bool:
        """Answer a challenge, `Basic` or `Bearer` as Docker's token protocol has it; False: it cannot be."""
        from requests.utils import parse_dict_header

        scheme, _, rest = challenge.partition(" ")
        if self._login.token:
            return False
        if scheme.lower() == "basic":
            self._authorizations[""] = self._login.basic
            return bool(self._login.basic)
        if scheme.lower() != "bearer":
            return False
        given = parse_dict_header(rest)  # type: ignore[no-untyped-call]
        realm = given.get("realm") or ""
        query = urlencode({key: given[key] for key in ("service", "scope") if given.get(key)})
        token = self._token(realm, query, where)
        # Without a name the registry may still answer: it gives tokens for reading to everybody.
        self._authorizations[_repository(url)] = f"Bearer {token}"
        return True

    def _token(self, realm: str, query: str, where: str) -> str:
        # Whoever answers in place of the registry could name a server of his own here.
        if _origin(realm) != _origin(self._login.realm or self.server.address):
            what = f"the {self.server.kind} wants the login to be sent to another server, {realm[:100]!r}"
            hint = f"if that is its token server, name it: token_server, {self.server.by_login}"
            raise RegistryError(what, where=where, hint=hint)
        asked = urlsplit(realm)
        url = asked._replace(query="&".join(filter(None, (asked.query, query)))).geturl()
        asker = Connection(
            replace(self.server, address=f"{asked.scheme}://{asked.netloc}"),
            self._session,
            Login(),
            self._timeout,
        )
        headers = {"Authorization": self._login.basic} if self._login.basic else {}
        answer = asker._answered("GET", url, where, headers, b"", TRIES, stream=False)
        try:
            found = json.loads(answer.content) if answer.status_code == 200 else {}
        except (ValueError, RecursionError):
            found = {}
        token = (found.get("token") or found.get("access_token")) if isinstance(found, dict) else None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise refused(self.server, where, 401, b"")
        return token


class _Body:
    """A file as the body of a request."""

    def __init__(self, source: Callable[[], BinaryIO], size: int) -> None:
        self._source, self._size = source, size
        self._file: BinaryIO | None = None

    def __len__(self) -> int:
        return self._size

    def begin(self) -> BinaryIO:
        """Return it from its start."""
        self.close()
        self._file = self._source()
        return self._file

    def close(self) -> None:
        """Close it."""
        if self._file is not None:
            self._file.close()


def _origin(url: str) -> tuple[str, str]:
    """Return scheme, and host with port, of a URL; empty where it has not even the form of one."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.scheme, parts.netloc.lower()


def _repository(url: str) -> str:
    found = re.match(r"/v2/(.+?)/(?:blobs|manifests|tags|referrers)/", urlsplit(url).path)
    return found[1] if found else "/"
