"""`install oci://…` and `install https://…`: verified like any stick, from the server that was named."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from bundler.commands.published.publish import publish_bundle
from installer.shared.progress import Progress
from tests.rig.bench import Bench, newer, release
from tests.rig.filestore import FileStore
from tests.rig.registry import PASSWORD, USER, Registry
from tests.rig.registrygate import Gate, answers

pytestmark = pytest.mark.needs("registry")
SERIAL = itertools.count()


@pytest.fixture
def source(gate: Gate, bench: Bench) -> str:
    """The address of a release that is published."""
    address = f"oci://{gate.name}/site{next(SERIAL)}/lan-chat:1.4.0"
    publish_bundle(bench.bundle(release()), address, Progress())
    gate.seen.clear()
    return address


def test_a_published_release_is_verified_and_installed(source: str, bench: Bench) -> None:
    code, document, _ = bench.run("verify", source)
    assert (code, document["product"]) == (0, "lan-chat")
    assert bench.run("apply", source, "--yes")[0] == 0
    code, text = bench.text("status")
    assert code == 0
    assert "1.4.0" in text


def test_every_byte_of_it_is_fetched_once(source: str, gate: Gate, bench: Bench) -> None:
    assert bench.run("verify", source)[0] == 0
    paths = [path for _, path, _ in gate.seen]
    assert len(paths) == len(set(paths))


def test_a_release_that_the_registry_changed_is_refused_and_nothing_is_installed(
    source: str, gate: Gate, bench: Bench
) -> None:
    def spoil(request: Any) -> bool:
        if request.command != "GET" or "/blobs/" not in request.path:
            return False
        data = bytearray(gate_blob(gate, request.path))
        data[len(data) // 2] ^= 1
        return answers(request, 200, {}, bytes(data))

    gate.spoil = spoil
    code, document, _ = bench.run("apply", source, "--yes")
    assert code in (11, 18)
    assert document["changed"] is False
    assert not (bench.host / "opt/a").exists()


def gate_blob(gate: Gate, path: str) -> bytes:
    import urllib.request

    with urllib.request.urlopen(f"http://{gate.behind}{path}", timeout=30) as reply:
        return bytes(reply.read())


def test_a_release_that_nobody_approved_is_refused_as_from_a_stick(gate: Gate, bench: Bench) -> None:
    from dataclasses import replace

    address = f"oci://{gate.name}/site{next(SERIAL)}/lan-chat:1.4.0"
    publish_bundle(bench.bundle(replace(release(), approvals=())), address, Progress())
    assert bench.run("apply", address, "--yes")[0] == 14


@pytest.mark.parametrize(
    ("address", "code", "what"),
    [
        ("oci://127.0.0.1:9/a:1", 18, "Connection refused"),
        ("oci://registry.lan/a", 2, "a repository and a tag"),
        ("http://store.lan/a.tar", 2, "http:// to another machine"),
        ("https://u:secret@store.lan/a.tar", 2, "no user and no password"),
    ],
)
def test_an_address_that_leads_nowhere_is_named(address: str, code: int, what: str, bench: Bench) -> None:
    found = bench.run("verify", address)
    assert found[0] == code
    assert what in str(found[1].value if hasattr(found[1], "value") else found[1]) + found[2]
    assert "secret@" not in found[2]


def test_a_fault_of_a_typed_address_leads_to_what_was_typed(bench: Bench) -> None:
    settings = "etc/waybill/registry.yaml"
    typed = "oci://127.0.0.1:9/a:1"
    said = bench.run("verify", typed)[2]
    assert f"check the address {typed}, whether the server runs" in said
    assert settings not in said
    # What stands in the settings of the site is looked for there.
    (bench.host / settings).write_text("address: http://127.0.0.1:9\n")
    (bench.host / settings).chmod(0o644)
    said = bench.run("verify", typed)[2]
    assert f"check address in {bench.host / settings}" in said


def test_a_login_for_a_typed_address_is_asked_for_where_it_counts(bench: Bench) -> None:
    with FileStore().serve() as store:
        store.spoil = lambda request: answers(request, 401)
        said = bench.run("verify", f"http://{store.name}/a.tar")[2]
    place = bench.host / "etc/waybill/registry.yaml"
    assert f"give a login that it knows, in {place}, with http://{store.name} as address" in said


def test_a_bundle_that_is_not_there_is_named(source: str, bench: Bench) -> None:
    code, _, said = bench.run("verify", source.replace(":1.4.0", ":9"))
    assert code == 18
    assert "there is no such bundle" in said


def test_the_login_is_that_of_the_registry_of_the_site(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry.launch(login=True)
    try:
        import base64
        import json

        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.name: {"auth": pair}}}))
        address = f"oci://{registry.name}/lan-chat:1.4.0"
        publish_bundle(bench.bundle(release()), address, Progress())
        # Docker's login is of the connected side: a host has its own.
        assert bench.run("verify", address)[0] == 18
        settings, secret = bench.host / "etc/waybill/registry.yaml", bench.host / "etc/waybill/password"
        secret.write_text(PASSWORD)
        secret.chmod(0o600)
        auth = f"auth: {{method: basic, username: {USER}, password_file: /etc/waybill/password}}\n"
        settings.write_text(f"address: http://{registry.name}\n{auth}")
        settings.chmod(0o644)
        assert bench.run("verify", address)[0] == 0
    finally:
        registry.stop()


def test_a_release_on_a_web_server_is_installed(bench: Bench) -> None:
    with FileStore().serve() as store:
        address = f"http://{store.name}/releases/lan-chat.tar"
        publish_bundle(Path(newer(bench)), address, Progress())
        assert bench.run("apply", address, "--yes")[0] == 0
        code, _, said = bench.run("verify", f"{address}.gz")
        assert (code, "the web server does not know that" in said) == (18, True)


def test_a_password_in_an_address_is_in_no_record(bench: Bench) -> None:
    code, document, said = bench.run("apply", "oci://me:hunter22@registry.lan/a:1", "--yes")
    assert code == 2
    records = [path.read_bytes() for path in bench.host.rglob("*") if path.is_file()]
    assert records
    assert not [each for each in records if b"hunter22" in each]
    assert "hunter22" not in said
    assert "hunter22" not in str(document["problems"])
