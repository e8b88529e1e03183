"""A real OpenBao server on loopback: one node, an audit log, and everything else as a test wants it."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.rig.needs import needs
from tests.rig.process import Daemon
from tests.rig.tlscerts import Authority

CONFIG = """\
storage "raft" {{
  path = "{home}/data"
  node_id = "rig"
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  {tls}
}}
audit "file" "counted" {{
  options {{
    file_path = "{home}/audit.log"
  }}
}}
api_addr = "{address}"
cluster_addr = "https://127.0.0.1:{cluster}"
disable_mlock = true
ui = false
"""
TLS = 'tls_cert_file = "{home}/server.crt"\n  tls_key_file = "{home}/server.key"'
POLICY = 'path "secret/data/app/*" {capabilities=["read"]}\npath "kv1/app/*" {capabilities=["read"]}'


class RefusedError(Exception):
    """The server refused; the arguments are its status and its answer."""


class OpenBao:
    """A running server.

    Attributes:
        address: Where it listens.
        home: Its directory: data, certificates, audit log.
        authority: What issued its certificate.
        root: The token that may do everything; empty as long as the server is not initialised.
    """

    def __init__(self, home: Path, *, tls: bool = True) -> None:
        self.home, self.authority = home, Authority("rig")
        port, cluster = _port(), _port()
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        self.root, self._unseal_key = "", ""
        self.authority.issue("127.0.0.1", home / "server.crt", home / "server.key")
        (home / "ca.crt").write_text(self.authority.pem)
        (home / "data").mkdir()
        self._context = ssl.create_default_context(cadata=self.authority.pem)
        listener = TLS.format(home=home) if tls else "tls_disable = true"
        config = home / "bao.hcl"
        config.write_text(
            CONFIG.format(home=home, port=port, cluster=cluster, tls=listener, address=self.address)
        )
        self._daemon = Daemon([needs("bao"), "server", f"-config={config}"], home / "log")
        self._daemon.wait_until(lambda: self._answers("sys/seal-status"))

    @classmethod
    def launch(cls, *, tls: bool = True, ready: bool = True) -> Self:
        """Start a server; `ready`: it serves, with `secret` (version 2), `kv1` and an AppRole `app`."""
        needs("bao")
        server = cls(Path(tempfile.mkdtemp(prefix="waybill-bao-")), tls=tls)
        if ready:
            server.initialise()
            server.furnish()
        return server

    def initialise(self) -> None:
        """Initialise and unseal it."""
        made = self.api("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self.root, self._unseal_key = made["root_token"], made["keys"][0]
        self.unseal()

    def unseal(self) -> None:
        """Unseal it, and wait until it serves."""
        self.api("PUT", "sys/unseal", {"key": self._unseal_key})
        self._daemon.wait_until(lambda: self._answers("sys/health"))

    def seal(self) -> None:
        """Seal it."""
        self.api("PUT", "sys/seal")

    def furnish(self) -> None:
        """Mount what most tests use."""
        self.api("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        self.api("POST", "sys/mounts/kv1", {"type": "kv", "options": {"version": "1"}})
        self.api("POST", "sys/auth/approle", {"type": "approle"})
        self.api("PUT", "sys/policies/acl/app", {"policy": POLICY})
        self.api("POST", "auth/approle/role/app", {"token_policies": "app", "token_ttl": "10m"})
        # A mount of version 2 prepares itself for a moment.
        self._daemon.wait_until(self._writes)

    def _writes(self) -> bool:
        with contextlib.suppress(RefusedError):
            self.put("app/ready", {"yes": "ready"})
            return True
        return False

    def put(self, path: str, values: dict[str, Any], *, mount: str = "secret") -> None:
        """Write a secret into a mount of version 2."""
        self.api("POST", f"{mount}/data/{path}", {"data": values})

    def role_id(self, role: str = "app") -> str:
        """Return the id of a role."""
        return str(self.api("GET", f"auth/approle/role/{role}/role-id")["data"]["role_id"])

    def secret_id(self, role: str = "app") -> str:
        """Return a new secret id of a role."""
        return str(self.api("POST", f"auth/approle/role/{role}/secret-id")["data"]["secret_id"])

    def token(self, **options: Any) -> str:
        """Return a new token."""
        return str(self.api("POST", "auth/token/create", options)["auth"]["client_token"])

    def requests(self) -> list[tuple[str, str]]:
        """Return the operation and path of every request so far that the audit log has."""
        lines = (self.home / "audit.log").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        found = [row["request"] for row in rows if row["type"] == "request"]
        return [(request["operation"], request["path"]) for request in found]

    def api(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, namespace: str = ""
    ) -> Any:
        """Send a request as root, or with another token; return the JSON of the answer."""
        headers = {"X-Vault-Token": self.root if token is None else token, "X-Vault-Namespace": namespace}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.address}/v1/{path}", data, {k: v for k, v in headers.items() if v}, method=method
        )
        context = self._context if self.address.startswith("https") else None
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise RefusedError(error.code, error.read().decode()) from None
        return json.loads(text) if text else None

    def _answers(self, path: str) -> bool:
        try:
            self.api("GET", path)
        except (RefusedError, OSError):
            return False
        return True

    def stop(self) -> None:
        """End it, and remove its directory."""
        self._daemon.stop()
        shutil.rmtree(self.home, ignore_errors=True)


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
