"""The store `vault` where the right server cannot be reached, or another one answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from installer.host.context import Context
from installer.secrets.store import Secret
from tests.rig.hang import ends
from tests.rig.lyingvault import LyingVault
from tests.rig.tlscerts import Authority
from tests.rig.vaulthosts import LIAR, outcome, told_by_liar


def test_a_server_of_another_authority_is_not_trusted(ask: Any) -> None:
    found = told_by_liar(ask(authority=Authority("foreign")))
    assert found.what.endswith("was not issued by a CA in /etc/ca.crt")
    assert ask.vault.seen == []


def test_without_ca_file_the_certificates_of_the_host_count(ask: Any, etc: Path) -> None:
    (etc / "ssl/certs").mkdir(parents=True)
    (etc / "ssl/certs/ca-certificates.crt").write_text(Authority("of-the-host").pem)
    found = told_by_liar(ask(settings=LIAR.replace("ca_file: /etc/ca.crt\n", "")))
    assert found.what.endswith("was not issued by a CA that this host trusts")
    assert "give ca_file in /etc/waybill/vault.yaml" in found.hint


def test_a_host_without_certificates_is_told(ask: Any) -> None:
    found = told_by_liar(ask(settings=LIAR.replace("ca_file: /etc/ca.crt\n", "")))
    assert found.what == "this host has no list of certificates to trust"


@pytest.mark.parametrize(
    ("data", "what"), [(None, "does not exist"), ("no pem", "has no certificate in PEM")]
)
def test_a_ca_file_that_is_none_is_told(ask: Any, etc: Path, data: str | None, what: str) -> None:
    if data is not None:
        (etc / "own.crt").write_text(data)
    found = told_by_liar(ask(settings=LIAR.replace("/etc/ca.crt", "/etc/own.crt")))
    assert found.what.endswith(f"/etc/own.crt {what}")


def test_an_expired_certificate_is_told_apart(host: Context, etc: Path) -> None:
    class Past(Authority):
        def issue(self, host: str, cert: Path, key: Path, *, age: timedelta = timedelta(days=-1)) -> None:
            super().issue(host, cert, key, age=age)

    past, vault = Past("past"), LyingVault()
    with vault.serve(etc, authority=past):
        (etc / "ca.crt").write_text(past.pem)
        (etc / "waybill/vault.yaml").write_text(LIAR.format(address=vault.address))
        found = told_by_liar(outcome(host))
    assert found.what == f"the certificate of the Vault {vault.address} has expired"
    assert "check the clock of this host" in found.hint


def test_a_certificate_of_another_name_is_told_apart(host: Context, etc: Path) -> None:
    vault = LyingVault()
    with vault.serve(etc):
        address = vault.address.replace("127.0.0.1", "localhost")
        (etc / "waybill/vault.yaml").write_text(LIAR.format(address=address))
        found = told_by_liar(outcome(host))
    assert found.what == f"the certificate of the Vault {address} is not for localhost"


def test_a_server_without_tls_is_told_apart(host: Context, etc: Path) -> None:
    vault = LyingVault()
    with vault.serve(etc, tls=False), ends():
        address = vault.address.replace("http:", "https:")
        (etc / "waybill/vault.yaml").write_text(LIAR.format(address=address))
        found = told_by_liar(outcome(host))
    assert found.what == f"{address} does not speak TLS"


def test_nobody_there_is_told(host: Context, etc: Path) -> None:
    Path(etc / "ca.crt").write_text(Authority("x").pem)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"https://127.0.0.1:{probe.getsockname()[1]}"
    (etc / "waybill/vault.yaml").write_text(LIAR.format(address=address))
    found = told_by_liar(outcome(host))
    assert found.what == f"the Vault {address} cannot be reached: Connection refused"
    assert "check address in /etc/waybill/vault.yaml, whether the server runs, and firewalls" in found.hint


def test_an_unknown_name_is_told(host: Context, etc: Path) -> None:
    Path(etc / "ca.crt").write_text(Authority("x").pem)
    (etc / "waybill/vault.yaml").write_text(LIAR.format(address="https://vault.invalid:8200"))
    found = told_by_liar(outcome(host))
    assert found.what.startswith("the Vault https://vault.invalid:8200 ")


@contextmanager
def hanging_up() -> Iterator[str]:
    """A server that accepts a connection and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=work, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_breaks_off_is_told(host: Context, etc: Path, scheme: str) -> None:
    Path(etc / "ca.crt").write_text(Authority("x").pem)
    with hanging_up() as place, ends():
        (etc / "waybill/vault.yaml").write_text(LIAR.format(address=f"{scheme}://{place}"))
        found = told_by_liar(outcome(host))
    assert f"the Vault {scheme}://{place}" in found.what


def test_the_environment_decides_nothing(
    ask: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, etc: Path
) -> None:
    (tmp_path / ".vault-token").write_text("s.of-the-home")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password of-the-netrc\n")
    for name, value in {
        "VAULT_TOKEN": "s.of-the-environment", "VAULT_ADDR": "https://192.0.2.1", "VAULT_NAMESPACE": "evil",
        "VAULT_CACERT": "/nonexistent", "VAULT_CAPATH": "/nonexistent", "VAULT_CLIENT_CERT": "/nonexistent",
        "VAULT_SKIP_VERIFY": "1", "HTTPS_PROXY": "http://192.0.2.1:1", "ALL_PROXY": "http://192.0.2.1:1",
        "https_proxy": "http://192.0.2.1:1", "REQUESTS_CA_BUNDLE": "/nonexistent",
        "CURL_CA_BUNDLE": "/nonexistent",
        "SSL_CERT_FILE": "/nonexistent", "SSLKEYLOGFILE": str(tmp_path / "keys"), "HOME": str(tmp_path),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert isinstance(ask(), Secret)
    first, *later = [headers for _, _, headers in ask.vault.seen]
    assert "X-Vault-Token" not in first
    assert {headers["X-Vault-Token"] for headers in later} == {"s.of-the-liar"}
    assert all("Authorization" not in each and "X-Vault-Namespace" not in each for each in (first, *later))
    assert not (tmp_path / "keys").exists()


def test_a_proxy_is_used_only_if_it_is_set(ask: Any) -> None:
    with hanging_up() as place:
        found = told_by_liar(ask(settings=f"proxy: http://{place}\n{LIAR}"))
    assert f"through the proxy http://{place}" in found.what
    assert ask.vault.seen == []
