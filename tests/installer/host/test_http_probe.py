"""The request of a probe: TLS with the CA that is named, sockets, and an end whatever the server does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from installer.host.http_probe import BODY_LIMIT, TlsError, http_get, trust
from installer.host.system import System
from tests.rig.hang import ends
from tests.rig.httpservers import Page, saying, serving
from tests.rig.tlscerts import Authority

Issue = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("site")


@pytest.fixture
def issue(authority: Authority, tmp_path: Path) -> Issue:
    def issued(host: str = "127.0.0.1", age: timedelta = timedelta(days=1)) -> tuple[Path, Path]:
        files = (tmp_path / "server.crt", tmp_path / "server.key")
        authority.issue(host, *files, age=age)
        return files

    return issued


def test_an_answer_has_its_status_headers_and_body() -> None:
    page = Page(503, {"X-Version": "1.4.0", "Content-Type": "text/plain"}, b"starting")
    with serving(page) as port:
        answer = http_get(f"http://127.0.0.1:{port}/health?full=1", 5)
    assert (answer.status, answer.body, answer.is_cut) == (503, b"starting", False)
    assert answer.headers["x-version"] == ("1.4.0",)
    assert page.asked == ["/health?full=1"]


def test_no_more_of_a_body_is_read_than_is_looked_at() -> None:
    with serving(Page(body=b"x" * (BODY_LIMIT + 5))) as port:
        answer = http_get(f"http://127.0.0.1:{port}/", 5)
    assert (len(answer.body), answer.is_cut) == (BODY_LIMIT, True)
    with serving(Page(body=b"x" * BODY_LIMIT)) as port:
        assert http_get(f"http://127.0.0.1:{port}/", 5).is_cut is False


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    page = Page(302, {"Location": "/elsewhere"})
    with serving(page) as port:
        assert http_get(f"http://127.0.0.1:{port}/", 5).headers["location"] == ("/elsewhere",)
    assert page.asked == ["/"]


def test_a_server_that_sends_a_byte_now_and_then_has_an_end() -> None:
    # All of it would take hours.
    with (
        ends(),
        serving(Page(body=b"x" * 100_000, pause=0.1)) as port,
        pytest.raises(TimeoutError, match=r"no complete answer within 0\.4 s"),
    ):
        http_get(f"http://127.0.0.1:{port}/", 0.4)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nA: b\r\n"], ids=["nothing", "half a header"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_says_nothing_more_has_an_end(scheme: str, data: bytes) -> None:
    with saying(b"" if scheme == "https" else data) as port, pytest.raises(TimeoutError, match="no complete"):
        http_get(f"{scheme}://127.0.0.1:{port}/", 0.3)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    ],
    ids=["another protocol", "no status", "too many headers"],
)
def test_what_is_not_http_is_said(data: bytes) -> None:
    with saying(data) as port, pytest.raises(OSError, match="the answer is not HTTP"):
        http_get(f"http://127.0.0.1:{port}/", 5)


def test_a_server_of_the_named_ca_is_trusted(authority: Authority, issue: Issue) -> None:
    with serving(Page(204), tls=issue()) as port:
        url = f"https://127.0.0.1:{port}/"
        assert http_get(url, 5, trust(authority.pem)).status == 204
        with pytest.raises(TlsError, match="unknown CA: name a file with the CA's certificate in `ca`"):
            http_get(url, 5)
        with pytest.raises(TlsError, match="the server is not trusted"):
            http_get(url, 5, trust(Authority("other").pem))


def test_a_certificate_that_is_named_itself_is_trusted(issue: Issue) -> None:
    files = issue()
    with serving(Page(), tls=files) as port:
        assert http_get(f"https://127.0.0.1:{port}/", 5, trust(files[0].read_text())).status == 200


@pytest.mark.parametrize(
    ("host", "age", "why"),
    [
        ("127.0.0.1", timedelta(days=-1), "its certificate has expired: renew it"),
        ("other.lan", timedelta(days=1), "its certificate is not for 127.0.0.1: use a name in the URL"),
    ],
    ids=["expired", "of another host"],
)
def test_a_certificate_that_is_not_valid_is_explained(
    authority: Authority, issue: Issue, host: str, age: timedelta, why: str
) -> None:
    with serving(Page(), tls=issue(host, age)) as port, pytest.raises(TlsError, match=why):
        http_get(f"https://127.0.0.1:{port}/", 5, trust(authority.pem))


def test_a_server_without_tls_is_explained() -> None:
    with serving(Page()) as port, pytest.raises(TlsError, match="does not speak TLS: use http://"):
        http_get(f"https://127.0.0.1:{port}/", 5)


@pytest.mark.parametrize("text", ["\n", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_a_certificate_is_no_ca(text: str) -> None:
    with pytest.raises(TlsError, match="it has no certificate in PEM form"):
        trust(text)


def test_a_socket_below_the_root_of_the_host_is_asked(authority: Authority, tmp_path: Path) -> None:
    root = tmp_path / "host"
    (root / "run").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/ca.pem").write_text(authority.pem)
    (root / "etc/big.pem").write_bytes(b"x" * (1024 * 1024 + 1))
    system = System(root)
    with serving(Page(200, body=b"ready"), unix=root / "run/http.sock"):
        assert system.http_get("http://chat/health", 5, unix="/run/http.sock").body == b"ready"
    with pytest.raises(FileNotFoundError):
        system.http_get("http://chat/health", 5, unix="/run/none.sock")
    with pytest.raises(OSError, match="is larger than the 1048576 bytes allowed"):
        system.http_get("https://127.0.0.1:1/", 5, ca="/etc/big.pem")
    assert system.certificates("/etc/ca.pem") == authority.pem
