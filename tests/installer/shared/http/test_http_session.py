"""Sessions to servers of a site: nothing from the environment, only the given certificates, no long wait."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest
import requests

from installer.shared.http.session import LateError, client_tls, in_time, new_session
from tests.rig.filestore import FileStore
from tests.rig.tlscerts import Authority


def test_a_client_trusts_the_certificates_it_was_given_and_no_others() -> None:
    context = client_tls(Authority("site").pem)
    assert [dict(row[0] for row in each["subject"])["commonName"] for each in context.get_ca_certs()] == [
        "site CA"
    ]
    assert client_tls().get_ca_certs() == []
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_a_file_without_a_certificate_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        client_tls(text)


def test_proxies_and_logins_of_the_environment_decide_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    seen = []
    with FileStore({"/a": b"1"}).serve() as store:
        store.spoil = lambda request: seen.append(request.headers.get("Authorization")) is not None
        session = new_session(client_tls(), 20)
        assert session.get(f"http://{store.name}/a").content == b"1"
        assert session.get(f"http://{store.name}/a", auth=lambda request: request).content == b"1"
    assert seen[-1] is None


def test_a_request_takes_no_longer_than_it_may() -> None:
    with FileStore({"/a": b"1"}).serve() as store:
        store.spoil = lambda _request: time.sleep(2) is not None
        with pytest.raises((LateError, requests.Timeout)):
            new_session(client_tls(), 20).get(f"http://{store.name}/a", timeout=0.2)


def test_what_a_call_returns_or_raises_comes_through_and_what_hangs_does_not() -> None:
    assert in_time(lambda: 7, 20) == 7
    with pytest.raises(KeyError):
        in_time(lambda: {}["x"], 20)
    with pytest.raises(LateError):
        in_time(lambda: time.sleep(2), 0.05)
