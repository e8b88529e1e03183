"""Logins of the store `vault` to a real OpenBao server: each method, and how each is refused."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from installer.host.context import Context
from installer.secrets.resolve import examine
from installer.secrets.vault import client as module
from tests.rig.openbao import OpenBao, RefusedError
from tests.rig.vaulthosts import APPROLE, DB, TOKEN, configure, put, told, value, vault

KUBERNETES = "auth: {method: kubernetes, role: app, token_file: /etc/jwt}\n"
CERT = "auth: {method: cert, cert_file: /etc/own.crt, key_file: /etc/own.key}\n"


@contextlib.contextmanager
def cluster(account: str) -> Iterator[str]:
    """What OpenBao asks of a Kubernetes cluster: whose token it is."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = review["spec"]["token"] == JWT
            user = {"username": f"system:serviceaccount:chat:{account}", "uid": "u1", "groups": []}
            review["status"] = {"authenticated": known, "user": user if known else {}}
            data = json.dumps(review).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def jwt() -> str:
    """Return a token of a service account, as OpenBao looks at it before it asks the cluster."""
    import base64

    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    about = {
        "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:chat:app",
        "kubernetes.io/serviceaccount/namespace": "chat", "kubernetes.io/serviceaccount/secret.name": "t",
        "kubernetes.io/serviceaccount/service-account.name": "app",
        "kubernetes.io/serviceaccount/service-account.uid": "u1",
    }  # fmt: skip
    head = f"{part(json.dumps({'alg': 'RS256', 'kid': 'k'}).encode())}.{part(json.dumps(about).encode())}"
    key = rsa.generate_private_key(65537, 2048)
    return f"{head}.{part(key.sign(head.encode(), PKCS1v15(), SHA256()))}"


JWT = jwt()


@pytest.fixture
def kubernetes(known: Path, bao: OpenBao) -> Callable[[str], None]:
    """Let the server know a cluster."""

    def introduced(address: str) -> None:
        with contextlib.suppress(RefusedError):
            bao.api("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
        config = {"kubernetes_host": address, "kubernetes_ca_cert": bao.authority.pem}
        bao.api("POST", "auth/kubernetes/config", {**config, "disable_local_ca_jwt": True})
        role = {"bound_service_account_names": "app", "bound_service_account_namespaces": "chat"}
        bao.api("POST", "auth/kubernetes/role/app", {**role, "token_policies": "app", "audience": ""})
        configure(known, bao, KUBERNETES)

    return introduced


def test_the_service_account_of_a_pod_logs_in(host: Context, known: Path, kubernetes: Any) -> None:
    # As Kubernetes has it: a link into a directory of its own, which all users of the pod can read.
    put(known / "..data/jwt", JWT, 0o644)
    (known / "jwt").symlink_to("..data/jwt")
    with cluster("app") as address:
        kubernetes(address)
        assert value(host, DB) == "of-version-two"


def test_a_service_account_that_is_not_bound_is_told(host: Context, known: Path, kubernetes: Any) -> None:
    put(known / "jwt", JWT.replace(JWT[-8:], "AAAAAAAA"), 0o644)
    with cluster("app") as address:
        kubernetes(address)
        found = told(host, DB)
    assert "refuses the service account as the role 'app' (status 403)" in found.what
    assert JWT[:40] not in str(found)


@pytest.fixture
def own_cert(known: Path, bao: OpenBao) -> None:
    """Let the server know the certificate of this host."""
    bao.authority.issue("chat-1.lan", known / "own.crt", known / "own.key")
    (known / "own.crt").chmod(0o644)
    with contextlib.suppress(RefusedError):
        bao.api("POST", "sys/auth/cert", {"type": "cert"})
    role = {"certificate": bao.authority.pem, "allowed_dns_sans": "chat-*.lan", "token_policies": "app"}
    bao.api("POST", "auth/cert/certs/hosts", role)
    configure(known, bao, CERT)


def test_a_certificate_of_the_host_logs_in(host: Context, known: Path, own_cert: None) -> None:
    assert value(host, DB) == "of-version-two"


def test_a_certificate_that_is_not_accepted_is_told(
    host: Context, known: Path, bao: OpenBao, own_cert: None
) -> None:
    for name in ("own.crt", "own.key"):
        (known / name).unlink()
    bao.authority.issue("foreign.lan", known / "own.crt", known / "own.key")
    found = told(host, DB)
    assert "refuses the certificate of this host (status 400)" in found.what


def test_a_key_that_is_of_another_certificate_is_told(
    host: Context, known: Path, bao: OpenBao, own_cert: None, tmp_path: Path
) -> None:
    (known / "own.key").unlink()
    bao.authority.issue("x", tmp_path / "x.crt", known / "own.key")
    assert "are no pair of certificate and key in PEM" in told(host, DB).what


def test_a_key_with_a_password_is_told_and_not_asked_for(
    host: Context, known: Path, bao: OpenBao, own_cert: None
) -> None:
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key((known / "own.key").read_bytes(), None)
    locked = form.BestAvailableEncryption(b"hunter22")
    (known / "own.key").write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, locked))
    assert "the key has no password" in told(host, DB).hint


def test_a_key_that_others_can_read_is_refused(host: Context, known: Path, own_cert: None) -> None:
    (known / "own.key").chmod(0o640)
    assert "key_file /etc/own.key: can be read or changed by others (mode 0640)" in told(host, DB).what


def test_a_wrong_secret_id_is_told(host: Context, known: Path, bao: OpenBao) -> None:
    put(known / "secret_id", "00000000-1111-2222-3333-444444444444")
    found = told(host, DB)
    assert found.what == (
        f"the Vault {bao.address} refuses the login at auth/approle: the role id or the secret id is wrong "
        "(status 400)"
    )
    assert "write a new one into secret_id_file" in found.hint
    assert "4444" not in str(found)


def test_a_login_that_is_not_there_is_told(host: Context, known: Path, bao: OpenBao) -> None:
    configure(known, bao, APPROLE.replace("}", ", mount: nosuch}"))
    found = told(host, DB)
    assert f"the Vault {bao.address} has no login at auth/nosuch" in found.what


def test_the_token_of_the_run_is_revoked(
    host: Context, known: Path, bao: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = []
    real = module.VaultClient.close

    def close(self: Any) -> None:
        tokens.append(self.api.token)
        real(self)
        assert self.api.token == ""

    monkeypatch.setattr(module.VaultClient, "close", close)
    value(host, DB)
    with pytest.raises(RefusedError) as error:
        bao.api("GET", "auth/token/lookup-self", token=tokens[0])
    assert error.value.args[0] == 403
    assert host.secrets.hide(tokens[0]) == "***"


def test_a_token_from_a_file_is_used_without_a_login_and_stays(
    host: Context, known: Path, bao: OpenBao
) -> None:
    token = bao.token(policies=["app"])
    put(known / "token", f"{token}\n")
    configure(known, bao, TOKEN)
    before = len(bao.requests())
    assert value(host, DB) == "of-version-two"
    assert not any("login" in path or "revoke" in path for _, path in bao.requests()[before:])
    assert bao.api("GET", "auth/token/lookup-self", token=token)


def test_a_token_that_was_revoked_is_told(host: Context, known: Path, bao: OpenBao) -> None:
    token = bao.token(policies=["app"])
    bao.api("POST", "auth/token/revoke-self", token=token)
    put(known / "token", token)
    configure(known, bao, TOKEN)
    found = told(host, DB)
    assert found.what == (
        f"the Vault {bao.address} does not accept the token in /etc/token: it has expired or was revoked"
    )
    assert found.hint == "write a new token into that file, or let an agent renew it"
    assert token not in str(found)


def test_a_lease_that_ends_during_the_run_is_told(host: Context, known: Path, bao: OpenBao) -> None:
    # As if it had run out: one request, and no more.
    bao.api(
        "POST", "auth/approle/role/brief", {"token_policies": "app", "token_num_uses": 1, "token_ttl": "7m"}
    )
    put(known / "role_id", bao.role_id("brief"))
    put(known / "secret_id", bao.secret_id("brief"))
    bao.put("app/second", {"password": "of-second-22"})
    found = examine(host, [DB, vault("secret/app/second")])
    assert list(found.secrets) == [DB]
    (problem,) = found.problems()
    assert problem.what == (
        f"the Vault {bao.address} does not accept the token any more: its lease ended after 420 s, "
        "or its uses are used up"
    )
    assert problem.hint.startswith("raise token_ttl and token_num_uses of the role")


def test_a_token_from_a_file_that_ends_during_the_run_is_told(
    host: Context, known: Path, bao: OpenBao
) -> None:
    put(known / "token", bao.token(policies=["app"], num_uses=1))
    configure(known, bao, TOKEN, "mounts: {secret: 2}\n")
    bao.put("app/second", {"password": "of-second-22"})
    found = examine(host, [DB, vault("secret/app/second")])
    assert list(found.secrets) == [DB]
    (problem,) = found.problems()
    # How long it would have been valid is known of an own login only.
    assert problem.what == (
        f"the Vault {bao.address} does not accept the token any more: its lease ended, or its uses are "
        "used up"
    )
