"""How registries are spoken to: logins, redirects, certificates, proxies; nothing secret goes astray."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bundler.image_sources import http
from bundler.image_sources.http import stored_login
from installer.core.errors import UnfitInputError
from tests.rig.imagebuild import digest
from tests.rig.lyingregistry import Lying
from tests.rig.registryimages import AMD, pack


def fixed(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Callable[[Any], Any]:
    return lambda _: (status, headers or {}, body)


TOP = digest(AMD.blobs[1])


def log_in(lying: Lying, tmp_path: Path, **config: Any) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text(json.dumps(config))


def test_a_token_is_fetched_with_the_stored_login(lying: Lying, tmp_path: Path) -> None:
    auth = base64.b64encode(b"me:secret").decode()
    log_in(lying, tmp_path, auths={lying.name: {"auth": auth}})
    challenge = f'Bearer realm="http://{lying.name}/token",service="chat",scope="repository:chat:pull"'

    def guard(request: Any) -> Any:
        ok = request.headers.get("Authorization") == "Bearer t0ken"
        return None if ok else (401, {"WWW-Authenticate": challenge}, b"")

    lying.spoil["^/v2/"] = guard
    lying.spoil["^/token"] = fixed(200, {}, b'{"token":"t0ken"}')
    assert pack(f"{lying.name}/chat:1")[0]
    path, headers = next(each for each in lying.seen if each[0].startswith("/token"))
    assert path == "/token?service=chat&scope=repository%3Achat%3Apull"
    assert headers["Authorization"] == f"Basic {auth}"


def test_a_token_that_is_nested_without_end_is_none(lying: Lying) -> None:
    lying.spoil["^/v2/"] = fixed(401, {"WWW-Authenticate": f'Bearer realm="http://{lying.name}/token"'})
    lying.spoil["^/token"] = fixed(200, {}, b"[" * 9000)
    with pytest.raises(UnfitInputError, match="requires a login"):
        pack(f"{lying.name}/chat:1")


def test_a_registry_may_want_name_and_password(lying: Lying, tmp_path: Path) -> None:
    auth = base64.b64encode(b"me:secret").decode()
    log_in(lying, tmp_path, auths={f"https://{lying.name}": {"auth": auth}})

    def guard(request: Any) -> Any:
        ok = request.headers.get("Authorization") == f"Basic {auth}"
        return None if ok else (401, {"WWW-Authenticate": 'Basic realm="chat"'}, b"")

    lying.spoil["^/v2/"] = guard
    assert pack(f"{lying.name}/chat:1")[0]


def test_a_login_that_is_refused_is_tried_once(lying: Lying) -> None:
    lying.spoil["^/v2/"] = fixed(401, {"WWW-Authenticate": f'Bearer realm="http://{lying.name}/token"'})
    lying.spoil["^/token"] = fixed(200, {}, b'{"token":"t0ken"}')
    with pytest.raises(UnfitInputError, match="requires a login") as raised:
        pack(f"{lying.name}/chat:1")
    assert raised.value.hint == f"run `docker login {lying.name}`"
    assert len(lying.seen) == 3


def test_the_login_does_not_follow_a_redirect_to_another_host(lying: Lying, tmp_path: Path) -> None:
    auth = base64.b64encode(b"me:secret").decode()
    log_in(lying, tmp_path, auths={lying.name: {"auth": auth}})
    other = lying.name.replace("127.0.0.1", "localhost")

    def guard(request: Any) -> Any:
        if request.headers.get("Host") == other:
            return None
        if request.headers.get("Authorization") != f"Basic {auth}":
            return 401, {"WWW-Authenticate": 'Basic realm="chat"'}, b""
        return (
            (307, {"Location": f"http://{other}{request.path}"}, b"") if "/blobs/" in request.path else None
        )

    lying.spoil["^/v2/"] = guard
    assert pack(f"{lying.name}/chat:1")[0]
    abroad = [headers for _, headers in lying.seen if headers["Host"] == other]
    assert len(abroad) == 3
    assert not any("Authorization" in headers for headers in abroad)


def test_a_helper_is_asked_for_the_login(
    monkeypatch: pytest.MonkeyPatch, lying: Lying, tmp_path: Path
) -> None:
    log_in(lying, tmp_path, credHelpers={"registry.lan": "desk"})
    helper = tmp_path / "docker-credential-desk"
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\":\\"me\\",\\"Secret\\":\\"of $host\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert stored_login("registry.lan") == "Basic " + base64.b64encode(b"me:of registry.lan").decode()
    assert stored_login("other.lan") == ""


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"auths": 7}', '{"auths": {"r": {"auth": "a\\nb"}}}', '{"credsStore": "../x"}']
)
def test_a_configuration_of_docker_that_is_none_gives_no_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert stored_login("r") == ""


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("127.0.0.1:5000", True),
        ("localhost", True),
        ("localhost:5000", True),
        ("[::1]:5000", True),
        ("registry.lan:5000", False),
        ("10.0.0.1", False),
        ("127.0.0.1.example.org", False),
        ("lab.lan:5000", True),
        ("lab.lan", False),
    ],
)
def test_only_loopback_and_listed_hosts_are_spoken_to_plainly(
    monkeypatch: pytest.MonkeyPatch, host: str, plain: bool
) -> None:
    monkeypatch.setenv("WAYBILL_INSECURE_REGISTRIES", "lab.lan:5000, x")
    assert http.uses_plain_http(host) is plain


@pytest.fixture
def over_tls(lying: Lying, tmp_path: Path) -> Iterator[tuple[Lying, Path]]:
    """The same registry with TLS, and the file that has its certificate, signed by nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "registry")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    file = tmp_path / "tls.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    safe = Lying(blobs=lying.blobs, tags=lying.tags)
    with safe.serve(context):
        yield safe, file


def test_a_certificate_that_the_system_does_not_know_is_refused(
    over_tls: tuple[Lying, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, certificate = over_tls
    # a variable of requests: it must not widen what the system trusts
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with pytest.raises(UnfitInputError, match="cannot be reached") as raised:
        pack(f"https://{registry.name}/chat:1")
    assert f"/etc/docker/certs.d/{registry.name}/ca.crt" in raised.value.hint
    assert registry.seen == []


def test_a_certificate_of_the_system_store_is_accepted(
    over_tls: tuple[Lying, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, certificate = over_tls
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert pack(f"https://{registry.name}/chat:1")[0]


def test_a_registry_with_tls_cannot_lead_to_plain_http(
    over_tls: tuple[Lying, Path], lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, certificate = over_tls
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    registry.spoil["/blobs/"] = lambda request: (307, {"Location": f"http://{lying.name}{request.path}"}, b"")
    with pytest.raises(UnfitInputError, match="not safe to follow"):
        pack(f"https://{registry.name}/chat:1")
    assert lying.seen == []


def test_a_login_of_netrc_is_not_sent(lying: Lying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert pack(f"{lying.name}/chat:1")[0]
    assert not any("Authorization" in headers for _, headers in lying.seen)


def test_a_proxy_of_the_environment_is_used(lying: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://{lying.name}")
    monkeypatch.setenv("no_proxy", "")
    assert pack("http://registry.invalid/chat:1")[0]
    assert all(path.startswith("http://registry.invalid/v2/") for path, _ in lying.seen)


def test_a_redirect_is_followed_without_reading_what_comes_with_it(lying: Lying) -> None:
    endless = 1 << 40
    turned = iter([True])

    def turn(request: Any) -> Any:
        if next(turned, False):
            return 307, {"Location": request.path, "Content-Length": str(endless)}, b"x"
        return None

    lying.spoil[TOP] = turn
    assert pack(f"{lying.name}/chat:1")[0]


def test_a_host_that_does_not_speak_tls_gets_no_plain_words(lying: Lying) -> None:
    with pytest.raises(UnfitInputError, match="cannot be reached") as raised:
        pack(f"https://{lying.name}/chat:1")
    assert f"http://{lying.name}" in raised.value.hint
    assert lying.seen == []
