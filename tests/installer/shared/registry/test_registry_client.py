"""The client of registries against a real one, and against one that fails, lies, or leads elsewhere."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from installer.core.digest import oci_digest
from installer.core.oci import documents
from installer.shared.http.faults import Server
from installer.shared.http.session import client_tls, new_session
from installer.shared.registry.connection import Connection, Login
from installer.shared.registry.errors import RegistryError
from installer.shared.registry.repository import CHUNK, Document, Repository
from tests.rig.registry import PASSWORD, USER, Registry
from tests.rig.registrygate import Gate, answers, breaks_off, drips, tls_of
from tests.rig.tlscerts import Authority

pytestmark = pytest.mark.needs("registry")
BLOB = os.urandom(CHUNK + 5000)
SMALL = b"{}"


def repository(
    address: str, *, login: Login | None = None, certificates: str | None = None, timeout: float = 20
) -> Repository:
    """Return the repository `team/app` of a registry."""
    server = Server(
        "registry", address, "127.0.0.1", "address in registry.yaml", "give ca_file in registry.yaml"
    )
    session = new_session(client_tls(certificates), timeout)
    return Repository(Connection(server, session, login or Login(), timeout), "team/app")


@pytest.fixture(scope="module")
def guarded() -> Iterator[Registry]:
    """A registry that wants a login."""
    running = Registry.launch(login=True)
    yield running
    running.stop()


def upload(into: Repository, data: bytes, digest: str = "") -> list[int]:
    """Send a blob, and return the bytes that were reported."""
    told: list[int] = []
    into.upload(digest or oci_digest(data), len(data), lambda: io.BytesIO(data), told.append)
    return told


def manifest(*layers: bytes) -> Document:
    rows = [
        {"mediaType": documents.LAYER_TAR, "digest": oci_digest(each), "size": len(each)} for each in layers
    ]
    config = {"mediaType": documents.CONFIG, "digest": oci_digest(SMALL), "size": len(SMALL)}
    found = {"schemaVersion": 2, "mediaType": documents.MANIFEST, "config": config, "layers": rows}
    return Document(documents.dumps_compact(found), documents.MANIFEST)


def fault(call: Any) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        call()
    return caught.value


def fresh() -> bytes:
    return os.urandom(3000)


def test_a_blob_goes_in_pieces_and_is_there_then(gate: Gate, registry: Registry) -> None:
    into = repository(f"http://{gate.name}")
    assert not into.has_blob(oci_digest(BLOB))
    assert upload(into, BLOB) == [CHUNK, 5000]
    assert into.has_blob(oci_digest(BLOB))
    assert registry.blob(oci_digest(BLOB)).read_bytes() == BLOB
    assert [size for method, _, size in gate.seen if method == "PATCH"] == [CHUNK, 5000]


def test_an_upload_goes_on_where_the_connection_broke(gate: Gate, registry: Registry) -> None:
    data, broken = os.urandom(2 * CHUNK), []

    def spoil(request: Any) -> bool:
        if request.command == "PATCH" and gate.count("PATCH") == 2 and not broken:
            broken.append(request.path)
            return breaks_off(request, 1000)
        return False

    gate.spoil = spoil
    upload(repository(f"http://{gate.name}"), data)
    assert broken
    assert registry.blob(oci_digest(data)).read_bytes() == data
    # The first piece went once: what the registry has is asked for.
    assert [size for method, _, size in gate.seen if method == "PATCH"] == [CHUNK] * 3
    assert any(method == "GET" and "/uploads/" in path for method, path, _ in gate.seen)


def test_an_upload_that_the_registry_forgot_starts_again(gate: Gate, registry: Registry) -> None:
    data, once = fresh(), []

    def spoil(request: Any) -> bool:
        if request.command == "PATCH" and not once:
            once.append(1)
            return breaks_off(request, 10)
        if request.command == "GET" and "/uploads/" in request.path:
            return answers(request, 404)
        return False

    gate.spoil = spoil
    upload(repository(f"http://{gate.name}"), data)
    assert registry.blob(oci_digest(data)).read_bytes() == data


def test_a_registry_that_dies_in_the_middle_is_named_and_the_upload_taken_back(gate: Gate) -> None:
    gate.spoil = lambda request: request.command == "PATCH" and breaks_off(request, 100)
    error = fault(lambda: upload(repository(f"http://{gate.name}"), fresh()))
    assert "broke off the connection" in error.what
    assert gate.count("PATCH") == 3
    assert gate.count("DELETE") == 1


@pytest.mark.parametrize(
    ("status", "body", "what"),
    [
        (507, b"", "the registry is full"),
        (500, b'{"errors":[{"detail":"write /x: no space left on device"}]}', "the registry is full"),
        (503, b"", "status 503"),
        (413, b"", "refuses a request of that size"),
        (403, b"", "does not permit that to this login"),
        (401, b"", "refuses the login, or wants one"),
    ],
)
def test_a_registry_that_refuses_an_upload_is_named_with_why(
    status: int, body: bytes, what: str, gate: Gate
) -> None:
    def spoil(request: Any) -> bool:
        if request.command != "PATCH":
            return False
        request.rfile.read(int(request.headers["Content-Length"]))
        return answers(request, status, {}, body)

    gate.spoil = spoil
    error = fault(lambda: upload(repository(f"http://{gate.name}"), fresh()))
    assert what in error.what
    assert error.hint
    assert gate.count("DELETE") == 1


def test_bytes_that_are_not_what_was_signed_are_not_completed(gate: Gate) -> None:
    data = fresh()
    error = fault(lambda: upload(repository(f"http://{gate.name}"), data, oci_digest(b"else")))
    assert error.what == "does not match its digest"
    assert gate.count("PUT") == 0


def test_a_registry_that_claims_more_than_it_was_sent_is_refused(gate: Gate) -> None:
    def spoil(request: Any) -> bool:
        if request.command != "PATCH":
            return False
        request.rfile.read(int(request.headers["Content-Length"]))
        return answers(request, 202, {"Location": request.path, "Range": "0-999999999"})

    gate.spoil = spoil
    assert (
        "has more of an upload than was sent"
        in fault(lambda: upload(repository(f"http://{gate.name}"), fresh())).what
    )


@pytest.mark.parametrize(
    "place",
    ["http://elsewhere.lan/v2/x", "//elsewhere.lan/x", "file:///etc/passwd", "http://[x", "https://{name}/x"],
)
def test_no_upload_goes_to_another_server(place: str, gate: Gate) -> None:
    def spoil(request: Any) -> bool:
        found = {"Location": place.format(name=gate.name)}
        return request.command == "POST" and answers(request, 202, found)

    gate.spoil = spoil
    error = fault(lambda: upload(repository(f"http://{gate.name}"), fresh()))
    assert error.what == "the registry sends its client to another server, which is never followed"
    assert gate.count("PATCH") == 0


def test_no_redirect_leads_to_another_server(gate: Gate, registry: Registry) -> None:
    gate.spoil = lambda request: answers(request, 307, {"Location": f"{registry.url}{request.path}"})
    into = repository(f"http://{gate.name}")
    assert "another server" in fault(lambda: into.has_blob(oci_digest(b"x"))).what


def test_redirects_in_a_circle_end(gate: Gate) -> None:
    gate.spoil = lambda request: answers(request, 307, {"Location": request.path})
    into = repository(f"http://{gate.name}")
    assert "redirects more than 5 times" in fault(lambda: into.has_blob(oci_digest(b"x"))).what


def test_a_manifest_that_comes_back_changed_is_a_lie(gate: Gate) -> None:
    into = repository(f"http://{gate.name}")
    upload(into, SMALL)
    document = manifest()
    gate.spoil = lambda request: (
        request.command == "GET" and answers(request, 200, {}, b'{"schemaVersion":2}')
    )
    assert "does not return it as it was sent" in fault(lambda: into.put("1", document)).what
    assert "sends a manifest with the digest" in fault(lambda: into.manifest(document.digest)).what


def test_an_answer_without_end_is_bounded(gate: Gate) -> None:
    gate.spoil = lambda request: answers(request, 200, {}, bytes(5 << 20))
    error = fault(lambda: repository(f"http://{gate.name}").manifest("1"))
    assert "larger than any has reason to be" in error.what


def test_an_answer_that_drips_is_bounded_in_time(gate: Gate) -> None:
    gate.spoil = lambda request: drips(request, 20)
    into = repository(f"http://{gate.name}", timeout=0.4)
    assert "did not answer within 0 s" in fault(lambda: into.manifest("1")).what


def test_only_the_tag_goes_that_is_removed(gate: Gate, registry: Registry) -> None:
    into = repository(f"http://{gate.name}")
    upload(into, SMALL)
    for tag in ("a", "b"):
        into.put(tag, manifest())
    into.delete_tag("a")
    assert "a" not in registry.tags("team/app")
    assert registry.tags("team/app")["b"] == manifest().digest
    into.delete_tag("a")


def test_a_name_and_a_password_open_a_guarded_registry(guarded: Registry) -> None:
    into = repository(guarded.url, login=Login(USER, PASSWORD))
    into.require_push()
    upload(into, SMALL)
    assert into.has_blob(oci_digest(SMALL))


@pytest.mark.parametrize("login", [Login(), Login(USER, "wrong-horse"), Login(token="token")])
def test_a_login_that_is_missing_or_wrong_is_named(login: Login, guarded: Registry) -> None:
    error = fault(repository(guarded.url, login=login).require_push)
    assert error.what == "the registry refuses the login, or wants one"
    assert "wrong-horse" not in str(error)


def challenge(request: Any, realm: str) -> bool:
    scope = 'service="r",scope="repository:team/app:pull,push"'
    return answers(request, 401, {"WWW-Authenticate": f'Bearer realm="{realm}",{scope}'})


def test_a_token_is_fetched_from_the_registry_itself_and_sent(gate: Gate) -> None:
    headers = []

    def spoil(request: Any) -> bool:
        headers.append(request.headers.get("Authorization"))
        if request.path.startswith("/token?service=r&scope=repository"):
            return answers(request, 200, {}, json.dumps({"token": "abc"}).encode())
        if request.headers.get("Authorization") != "Bearer abc":
            return challenge(request, f"http://{gate.name}/token")
        return False

    gate.spoil = spoil
    repository(f"http://{gate.name}", login=Login(USER, PASSWORD)).require_push()
    assert headers[:3] == [None, Login(USER, PASSWORD).basic, "Bearer abc"]


def test_the_password_is_sent_to_no_token_server_that_was_not_named(gate: Gate, registry: Registry) -> None:
    with Gate(registry.name).open() as other:
        gate.spoil = lambda request: challenge(request, f"http://{other.name}/token")
        error = fault(repository(f"http://{gate.name}", login=Login(USER, PASSWORD)).require_push)
        assert "wants the login to be sent to another server" in error.what
        assert other.seen == []
        named = Login(USER, PASSWORD, realm=f"http://{other.name}")
        fault(repository(f"http://{gate.name}", login=named).require_push)
        assert [path.partition("?")[0] for _, path, _ in other.seen] == ["/token"]


@pytest.mark.parametrize("token", ["a\r\nHost: evil", "", 7, None])
def test_a_token_that_is_none_is_not_sent(token: object, gate: Gate) -> None:
    def spoil(request: Any) -> bool:
        if request.path.startswith("/token"):
            return answers(request, 200, {}, json.dumps({"token": token}).encode())
        return challenge(request, f"http://{gate.name}/token")

    gate.spoil = spoil
    assert "refuses the login" in fault(repository(f"http://{gate.name}").require_push).what


def test_a_registry_with_a_certificate_of_the_site_is_trusted(registry: Registry, tmp_path: Path) -> None:
    authority = Authority("site")
    with Gate(registry.name).open(tls_of(authority, tmp_path)) as gate:
        into = repository(f"https://{gate.name}", certificates=authority.pem)
        data = fresh()
        upload(into, data)
        assert into.has_blob(oci_digest(data))


def test_a_registry_with_another_certificate_is_not_and_is_asked_once(
    registry: Registry, tmp_path: Path
) -> None:
    with Gate(registry.name).open(tls_of(Authority("other"), tmp_path)) as gate:
        error = fault(repository(f"https://{gate.name}", certificates=Authority("site").pem).require_push)
        assert "was not issued by a CA that this host trusts" in error.what
        assert error.hint == "give ca_file in registry.yaml"
        assert gate.seen == []


def test_a_registry_that_is_not_there_is_named() -> None:
    error = fault(repository("http://127.0.0.1:9").require_push)
    assert error.what == "the registry http://127.0.0.1:9 cannot be reached: Connection refused"
