"""Images come from registries, a real one and one that lies, breaks off and leads astray."""

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
from bundler.image_sources.registry import RegistrySource
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Image
from installer.core.oci import documents
from tests.rig.imagebuild import Built, digest, dumps, index, layer
from tests.rig.lyingregistry import Lying, push
from tests.rig.memorysink import MemorySink
from tests.rig.registry import Registry

AMD64 = ("linux/amd64",)
AMD = Built("chat:1", [layer("base"), layer("amd", 300_000)], form="gzip")
ARM = Built("chat:1", [layer("base"), layer("arm")], "linux/arm64", form="zstd")
BOTH = index([AMD.platform_entry(), ARM.platform_entry()])


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lying]:
    registry = Lying(tags={"1": AMD.manifest, "all": BOTH})
    for image in (AMD, ARM):
        registry.blobs |= {digest(each): each for each in (*image.blobs, image.config, image.manifest)}
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(http.time, "sleep", lambda _: None)
    with registry.serve():
        yield registry


def pack(location: str, platforms: tuple[str, ...] = AMD64, name: str = "") -> tuple[list[Image], MemorySink]:
    sink = MemorySink()
    source = RegistrySource(location, platforms, name)
    resolved = source.resolve()
    images = source.pack(sink)
    assert [each.config for each in resolved] == [each.config for each in images]
    return images, sink


def test_an_image_comes_with_its_own_bytes(lying: Lying) -> None:
    images, sink = pack(f"{lying.name}/chat:1")
    assert (images[0].reference, images[0].manifest) == (f"{lying.name}/chat:1", digest(AMD.manifest))
    assert sink.blobs[images[0].manifest] == AMD.manifest
    assert [sink.blobs[each.digest] for each in images[0].layers] == AMD.blobs


def test_payload_is_fetched_once_and_only_when_packed(lying: Lying) -> None:
    source = RegistrySource(f"{lying.name}/chat:1", AMD64)
    source.resolve()
    assert [path.rpartition("/")[2] for path, _ in lying.seen] == ["1", digest(AMD.config)]
    source.pack(MemorySink())
    assert len(lying.seen) == 4


def test_the_platforms_of_the_bundle_are_taken(lying: Lying) -> None:
    images, _ = pack(f"{lying.name}/chat:all", ("linux/amd64", "linux/arm64"))
    assert [image.manifest for image in images] == [digest(AMD.manifest), digest(ARM.manifest)]
    with pytest.raises(UnfitInputError, match="not for linux/s390x"):
        pack(f"{lying.name}/chat:all", ("linux/s390x",))


def test_an_image_is_had_by_digest_and_named_by_the_bundle(lying: Lying) -> None:
    lying.blobs[digest(BOTH)] = BOTH
    pinned = f"{lying.name}/chat@{digest(BOTH)}"
    assert pack(pinned, name="chat:9")[0][0].reference == "chat:9"
    assert pack(f"{lying.name}/chat:7@{digest(BOTH)}")[0][0].reference == f"{lying.name}/chat:7"
    with pytest.raises(UnfitInputError, match="no tag to go by"):
        pack(pinned)


def test_a_tag_that_moves_between_looking_and_packing_changes_nothing(lying: Lying) -> None:
    source = RegistrySource(f"{lying.name}/chat:1", AMD64)
    source.resolve()
    lying.tags["1"] = ARM.manifest
    assert source.pack(MemorySink())[0].manifest == digest(AMD.manifest)


def fixed(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Callable[[Any], Any]:
    return lambda _: (status, headers or {}, body)


TOP = digest(AMD.blobs[1])
BAD: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "no such image": ("manifests", fixed(404), "no such image"),
    "no such layer": (TOP, fixed(404), "no such image"),
    "a login wanted": ("manifests", fixed(401), "requires a login"),
    "not allowed": ("manifests", fixed(403), "denies access"),
    "too many requests": ("manifests", fixed(429), "too many requests"),
    "out of order": ("manifests", fixed(503), "status 503"),
    "a layer of wrong bytes": (TOP, fixed(200, {}, AMD.blobs[1][:-1] + b"x"), "broken|digest is"),
    "a layer with more bytes": (TOP, fixed(200, {}, AMD.blobs[1] + b"x"), "beyond|digest is"),
    "a layer with fewer bytes": (TOP, fixed(200, {}, AMD.blobs[1][:-1]), "ends the layer after"),
    "a layer that breaks off": (
        TOP,
        fixed(200, {"Content-Length": "999999"}, AMD.blobs[1][:100]),
        "ends the layer",
    ),
    "a manifest of other bytes": (
        "manifests",
        fixed(200, {"Content-Type": documents.MANIFEST, "Docker-Content-Digest": digest(b"x")}, AMD.manifest),
        "the manifest has the digest",
    ),
    "a configuration of other bytes": (digest(AMD.config), fixed(200, {}, b"{}"), "bytes, not"),
    "a page instead of a manifest": (
        "manifests",
        fixed(200, {"Content-Type": "text/html"}, b"<html>"),
        "not JSON",
    ),
    "a manifest called an index": (
        "manifests",
        fixed(200, {"Content-Type": documents.INDEX}, AMD.manifest),
        "is called",
    ),
    "a manifest without end": ("manifests", fixed(200, {}, b" " * (documents.MAX_DOCUMENT + 1)), "more than"),
    "a manifest of Docker 1.9": (
        "manifests",
        fixed(200, {}, dumps({"schemaVersion": 1})),
        "schema version 2",
    ),
    "a redirect to itself": (
        TOP,
        lambda request: (307, {"Location": request.path}, b""),
        "more than 5 times",
    ),
    "a redirect to a file": (TOP, fixed(307, {"Location": "file:///etc/passwd"}), "not safe to follow"),
    "a redirect to nowhere": (TOP, fixed(307, {"Location": "http://127.0.0.1:9/x"}), "cannot be reached"),
    "a login of an unknown kind": (
        "manifests",
        fixed(401, {"WWW-Authenticate": 'Negotiate realm="x"'}),
        "unknown kind of login",
    ),
    "a token from a file": (
        "manifests",
        fixed(401, {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}),
        "unknown kind of login",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_registry_that_lies_or_fails_is_a_clear_error(lying: Lying, fault: str) -> None:
    pattern, change, words = BAD[fault]
    lying.spoil[pattern] = change
    with pytest.raises(UnfitInputError, match=words) as raised:
        pack(f"{lying.name}/chat:1")
    assert lying.name in str(raised.value)
    assert raised.value.hint


def test_a_layer_goes_on_where_the_connection_broke(lying: Lying) -> None:
    breaks = iter([1000, 40_000])

    def short(request: Any) -> Any:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        length = next(breaks, None)
        body = AMD.blobs[1][start:]
        return (
            None
            if length is None
            else (206 if start else 200, {"Content-Length": str(len(body))}, body[:length])
        )

    lying.spoil[TOP] = short
    assert pack(f"{lying.name}/chat:1")[0][0].layers[1].digest == TOP
    ranges = [headers.get("Range") for path, headers in lying.seen if TOP in path]
    assert ranges == [None, "bytes=1000-", "bytes=41000-"]


def test_a_registry_without_ranges_is_read_from_the_start_again(lying: Lying) -> None:
    breaks = iter([1000])

    def short(_: Any) -> Any:
        length = next(breaks, len(AMD.blobs[1]))
        return 200, {"Content-Length": str(len(AMD.blobs[1]))}, AMD.blobs[1][:length]

    lying.spoil[TOP] = short
    assert pack(f"{lying.name}/chat:1")[0][0].layers[1].digest == TOP


def test_a_registry_that_is_out_of_order_for_a_moment_is_asked_again(lying: Lying) -> None:
    faults = iter([503, 502])
    lying.spoil["manifests"] = lambda _: (fault, {}, b"") if (fault := next(faults, 0)) else None
    assert pack(f"{lying.name}/chat:1")[0]


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


@pytest.mark.parametrize(
    "location", ["", "Chat:1", "registry.lan/chat:", "ftp://registry.lan/chat:1", "http://", "a/../b:1"]
)
def test_what_is_no_reference_is_refused(location: str) -> None:
    with pytest.raises(UnfitInputError):
        RegistrySource(location, AMD64).resolve()


def test_a_registry_that_is_not_there_is_named() -> None:
    with pytest.raises(UnfitInputError, match=r"127\.0\.0\.1:9 cannot be reached: Connection refused"):
        RegistrySource("127.0.0.1:9/chat:1", AMD64).resolve()


def test_a_real_registry_gives_what_was_pushed(registry: Registry) -> None:
    push(registry, "lan-chat/chat", AMD, ARM)
    images, sink = pack(f"{registry.name}/lan-chat/chat:all", ("linux/amd64", "linux/arm64"))
    assert [image.manifest for image in images] == [digest(AMD.manifest), digest(ARM.manifest)]
    assert sink.blobs[digest(ARM.manifest)] == ARM.manifest
    assert len(sink.read) == 4
    with pytest.raises(UnfitInputError, match="no such image"):
        pack(f"{registry.name}/lan-chat/chat:absent")


def test_a_real_registry_with_a_spoiled_blob_is_found_out(registry: Registry) -> None:
    spoiled = Built("chat:1", [layer("spoiled", 50_000)], form="gzip")
    push(registry, "lan-chat/spoiled", spoiled)
    path = registry.blob(digest(spoiled.blobs[0]))
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    with pytest.raises(UnfitInputError, match=r"broken|digest is"):
        pack(f"{registry.name}/lan-chat/spoiled:1")
