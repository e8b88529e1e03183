"""Requests to a Vault, by hvac, and what its answers mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from installer.host.context import Context
from installer.secrets.site_settings import tls_context
from installer.secrets.store import StoreError
from installer.secrets.vault import faults
from installer.secrets.vault.settings import SETTINGS, Settings
from installer.shared.http.session import LargeError, LateError, new_session

if TYPE_CHECKING:
    from hvac import Client

Json = dict[str, Any]
_ERRORS = 5


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """An answer of the server.

    Attributes:
        status: Its HTTP status.
        body: The JSON object in it; empty where there is none.
    """

    status: int
    body: Json

    @property
    def ok(self) -> bool:
        """Whether the server did what it was asked."""
        return 200 <= self.status < 300

    def errors(self) -> str:
        """Return what the server says is wrong, in small letters; to look for words in, not to show."""
        found = self.body.get("errors")
        texts = [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
        return " ".join(texts[:_ERRORS])[:1000].lower()

    def part(self, *names: str) -> Json | None:
        """Return an object inside of the body; None where there is none."""
        found: Any = self.body
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else None


class VaultClient:
    """A connection to a Vault.

    Args:
        context: The host, and what is hidden.
        settings: How it is reached.
    """

    def __init__(self, context: Context, settings: Settings) -> None:
        self.context, self.settings = context, settings
        self.tls = tls_context(context.system, settings.address, settings.ca_file, SETTINGS)
        self.api = self._api()
        self.requests = 0

    def _api(self) -> Client:
        from hvac import Client
        from hvac.adapters import RawAdapter

        # Everything is given: for what is missing hvac reads VAULT_ADDR, VAULT_TOKEN, ~/.vault-token,
        # VAULT_CACERT and VAULT_CLIENT_CERT. Answers come back as they are: its errors contain them.
        return Client(
            url=self.settings.address,
            token="",
            cert=(),
            verify=True,
            timeout=self.settings.timeout,
            allow_redirects=False,
            session=new_session(self.tls, self.settings.timeout, self.settings.proxy),
            adapter=RawAdapter,
            namespace=self.settings.namespace,
            ignore_exceptions=True,
        )

    def __repr__(self) -> str:
        return f"<Vault {self.settings.address}>"

    def ask(self, call: Callable[[Client], Any]) -> Answer:
        """Send a request, and return the answer that only its path is responsible for.

        Args:
            call: Makes the request by hvac.

        Raises:
            StoreError: No request to this server would do better.
        """
        answer = self._exchange(call)
        if 300 <= answer.status < 400:
            raise faults.redirected(self.settings)
        if answer.status in (429, 472, 473) or answer.status >= 500:
            raise self._why_not(answer)
        return answer

    def _exchange(self, call: Callable[[Client], Any]) -> Answer:
        import requests
        import urllib3

        self.requests += 1
        fault: StoreError | None = None
        response = None
        try:
            response = call(self.api)
        except LateError:
            fault = faults.slow(self.settings)
        except LargeError:
            fault = faults.lying(self.settings, "is larger than any answer of a Vault")
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            fault = faults.unreachable(self.settings, error)
        # Outside of the handler: what the libraries raise holds requests and answers, with tokens in them.
        if fault is not None:
            raise fault
        return self._read(response)

    def _read(self, response: Any) -> Answer:
        status, data = int(response.status_code), bytes(response.content)
        if status == 204 or not data or 300 <= status < 400:
            return Answer(status, {})
        try:
            body = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError):
            body = None
        if isinstance(body, dict):
            return Answer(status, body)
        # A proxy or load balancer in front of the server has pages of its own for its errors.
        if status >= 400:
            return Answer(status, {})
        raise faults.lying(self.settings, "is not a JSON object")

    def _why_not(self, answer: Answer) -> StoreError:
        """Return why the server cannot answer: it knows best itself, and says so without a login."""
        try:
            health = self._exchange(lambda api: api.sys.read_health_status(method="GET")).body
        except StoreError:
            health = {}
        return faults.unable(self.settings, answer.status, health)

    def close(self) -> None:
        """Forget the token, and close the connection."""
        self.api.token = ""
        self.api.adapter.close()
