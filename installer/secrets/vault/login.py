"""Logins to a Vault: one for all references of a run."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass

from installer.core.errors import Problem
from installer.core.limits import KIB
from installer.secrets.private_file import PRIVATE, read_private
from installer.secrets.store import StoreError
from installer.secrets.vault import faults
from installer.secrets.vault.client import Answer, VaultClient
from installer.secrets.vault.settings import SETTINGS, Auth

_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
"""What can stand in a header: anything else could smuggle another one in."""
_OTHERS_WRITE = 0o022


@dataclass(frozen=True, slots=True)
class Login:
    """A login.

    Attributes:
        own: Whether the token is of this run, and is revoked at its end.
        seconds: How long it is valid; 0 for not known.
    """

    own: bool
    seconds: int = 0


def log_in(client: VaultClient) -> Login:
    """Log in as the settings say; the client has the token then.

    Raises:
        StoreError: The login failed.
    """
    auth = client.settings.auth
    texts = {name: _read(client, auth, name) for name in auth.files if name not in ("cert_file", "key_file")}
    if auth.method == "token_file":
        _take(client, texts["token_file"], f"{auth.files['token_file']} holds no token")
        return Login(own=False)
    if auth.method == "cert":
        _present(client, auth)
    answer = client.context.system.effect("vault.login", lambda: _request(client, auth, texts))
    if not answer.ok:
        raise _refused(client, auth, answer)
    found = answer.part("auth") or {}
    token, seconds = found.get("client_token"), found.get("lease_duration")
    _take(client, token if isinstance(token, str) else "", "")
    return Login(own=True, seconds=seconds if isinstance(seconds, int) and seconds > 0 else 0)


def _request(client: VaultClient, auth: Auth, texts: dict[str, str]) -> Answer:
    if auth.method == "approle":
        return client.ask(
            lambda api: api.auth.approle.login(
                texts["role_id_file"], texts.get("secret_id_file"), use_token=False, mount_point=auth.mount
            )
        )
    if auth.method == "kubernetes":
        return client.ask(
            lambda api: api.auth.kubernetes.login(
                auth.role, texts["token_file"], use_token=False, mount_point=auth.mount
            )
        )
    # Not by hvac's own method, which reads the files again and lets the server have any certificate.
    body = {"name": auth.role} if auth.role else {}
    return client.ask(lambda api: api.adapter.post(f"/v1/auth/{auth.mount}/login", json=body))


def _read(client: VaultClient, auth: Auth, name: str) -> str:
    path = auth.files[name]
    # Kubernetes itself gives the token of a pod to all users in it.
    refused = _OTHERS_WRITE if auth.method == "kubernetes" else PRIVATE
    data = read_private(client.context.system, path, refused=refused)
    if isinstance(data, Problem):
        raise StoreError(f"{name} {data.where}: {data.what}", data.hint)
    text = data.decode("utf-8", "replace").strip()
    # Before it is used for anything, and whatever it is.
    client.context.secrets.add([text])
    if not text or "\ufffd" in text or len(text.split()) != 1:
        raise StoreError(f"{name} {path} does not hold one word", "write nothing but the value into it")
    return text


def _present(client: VaultClient, auth: Auth) -> None:
    """Let the connection present the certificate of this host."""
    system = client.context.system
    for name, refused in (("cert_file", _OTHERS_WRITE), ("key_file", PRIVATE)):
        data = read_private(system, auth.files[name], refused=refused, limit=256 * KIB)
        if isinstance(data, Problem):
            raise StoreError(f"{name} {data.where}: {data.what}", data.hint)
    try:
        # The empty password: OpenSSL would ask for one at the terminal.
        client.tls.load_cert_chain(
            system.real(auth.files["cert_file"]), system.real(auth.files["key_file"]), password=lambda: b""
        )
    except (ssl.SSLError, OSError, ValueError):
        what = f"cert_file {auth.files['cert_file']} and key_file are no pair of certificate and key in PEM"
        raise StoreError(
            what, "check both with openssl x509 and openssl pkey; the key has no password"
        ) from None


def _take(client: VaultClient, token: str, otherwise: str) -> None:
    client.context.secrets.add([token])
    if not _TOKEN.fullmatch(token):
        if otherwise:
            raise StoreError(otherwise, "write the token into it, and nothing else")
        raise faults.lying(client.settings, "is a login without a token")
    client.api.token = token


def _refused(client: VaultClient, auth: Auth, answer: Answer) -> StoreError:
    name, said = f"the Vault {client.settings.address}", answer.errors()
    if "namespace not found" in said:
        return StoreError(*faults.NO_NAMESPACE)
    # To a client without a token a Vault does not even say what there is.
    if answer.status == 404 or (answer.status == 403 and auth.method != "kubernetes"):
        what = f"{name} has no login at auth/{auth.mount}, or refuses this host before it looks at it"
        return StoreError(
            what, f"check mount in {SETTINGS}; see `bao auth list`, and token_bound_cidrs of the role"
        )
    if auth.method == "approle":
        what = f"{name} refuses the login at auth/{auth.mount}: the role id or the secret id is wrong"
        hint = "the secret id may have expired or been used up: write a new one into secret_id_file"
        return StoreError(f"{what} (status {answer.status})", hint)
    if auth.method == "kubernetes":
        what = f"{name} refuses the service account as the role {auth.role!r} (status {answer.status})"
        return StoreError(what, "check which service accounts and namespaces the role is bound to")
    what = f"{name} refuses the certificate of this host (status {answer.status})"
    return StoreError(what, f"check which certificates auth/{auth.mount} accepts, and role in {SETTINGS}")
