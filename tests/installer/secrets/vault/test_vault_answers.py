"""The store `vault` against servers that lie, dribble, or cannot serve."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from installer.host.context import Context
from installer.secrets.references import Reference
from installer.secrets.store import Secret
from installer.secrets.vault.store import VaultStore
from tests.rig.hang import ends
from tests.rig.lyingvault import MOUNT, LyingVault, dribble
from tests.rig.vaulthosts import LIAR, SENT, told_by_liar


def test_the_same_server_without_a_lie_gives_the_secret(ask: Any) -> None:
    found = ask()
    assert isinstance(found, Secret)
    assert found.reveal() == "of-the-liar"
    assert [path for _, path, _ in ask.vault.seen] == [
        "/v1/auth/approle/login",
        "/v1/sys/internal/ui/mounts/secret/app/db",
        "/v1/secret/data/app/db",
        "/v1/auth/token/revoke-self",
    ]


READ = r"/v1/secret/data/app/db$"
LOGIN = r"/v1/auth/approle/login$"
MOUNTS = r"/v1/sys/internal/ui/mounts/"


@pytest.mark.parametrize(
    ("path", "answer", "what"),
    [
        (READ, b"<html>hunter22</html>", "is not a JSON object"),
        (READ, b"[1]", "is not a JSON object"),
        (READ, b'{"data": ', "is not a JSON object"),
        (READ, b"\xff\xfe", "is not a JSON object"),
        (READ, b"[" * 100_000, "is not a JSON object"),
        (READ, b"1" * 10_000, "is not a JSON object"),
        (READ, b"{}", "is not a secret of a key-value engine"),
        (READ, b"", "is not a secret of a key-value engine"),
        (READ, (200, {"data": []}), "is not a secret of a key-value engine"),
        (READ, (200, {"data": {"data": "text"}}), "is not a secret of a key-value engine"),
        (READ, b" " * (5 * 1024 * 1024), "is larger than any answer of a Vault"),
        (LOGIN, (200, {"auth": None}), "is a login without a token"),
        (LOGIN, (200, {"auth": {"client_token": 5}}), "is a login without a token"),
        (LOGIN, (200, {"auth": {"client_token": "a\r\nX-Evil: b"}}), "is a login without a token"),
        (LOGIN, (200, {"auth": {"client_token": "x" * 5000}}), "is a login without a token"),
        (
            MOUNTS,
            (200, {"data": {"path": "other/", "type": "kv"}}),
            "names another mount than it was asked for",
        ),
        (MOUNTS, (200, {"data": {"type": "kv"}}), "names another mount than it was asked for"),
    ],
)
def test_an_answer_that_no_vault_gives_is_told(ask: Any, path: str, answer: Any, what: str) -> None:
    found = told_by_liar(ask({path: answer}))
    assert found.what == f"what {ask.vault.address} answers {what}"
    assert "something else than a Vault may answer there" in found.hint


def test_a_compressed_answer_is_not_asked_for_and_not_unpacked(ask: Any) -> None:
    packed = gzip.compress(json.dumps(MOUNT).encode())

    def bomb(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Encoding", "gzip")
        request.send_header("Content-Length", str(len(packed)))
        request.end_headers()
        request.wfile.write(packed)

    assert "is not a JSON object" in told_by_liar(ask({MOUNTS: bomb})).what
    assert all(headers["Accept-Encoding"] == "identity" for _, _, headers in ask.vault.seen)


@pytest.mark.parametrize("path", [LOGIN, MOUNTS, READ])
def test_an_answer_that_never_ends_is_given_up_in_time(ask: Any, path: str) -> None:
    pause = threading.Event()
    try:
        found = told_by_liar(ask({path: dribble(b" ", pause)}))
    finally:
        pause.set()
    assert found.what == f"the Vault {ask.vault.address} did not answer within 2 s"
    assert "timeout in /etc/waybill/vault.yaml" in found.hint


def test_what_is_slow_once_is_not_asked_for_the_rest(host: Context, etc: Path) -> None:
    pause, vault = threading.Event(), LyingVault()
    vault.spoil[r"/v1/secret/data/"] = dribble(b" ", pause)
    references = [Reference("vault", f"secret/app/{number}", "k") for number in range(50)]
    with vault.serve(etc), ends():
        (etc / "waybill/vault.yaml").write_text(LIAR.format(address=vault.address))
        found = VaultStore(host).resolve(references)
        pause.set()
    assert len({str(each) for each in found.values()}) == 1
    assert len([path for _, path, _ in vault.seen if path.startswith("/v1/secret/data/")]) == 1


def test_a_server_that_is_slow_for_each_is_given_up_in_the_end(
    host: Context, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = iter(range(0, 10_000, 100))
    monkeypatch.setattr(host.system, "monotonic", lambda: float(next(passed)))
    vault = LyingVault()
    references = [Reference("vault", f"secret/app/db/{number}", "password") for number in range(10)]
    vault.spoil[r"/v1/secret/data/app/db/"] = (200, {"data": {"data": {"password": "of-the-liar"}}})
    with vault.serve(etc), ends():
        (etc / "waybill/vault.yaml").write_text(LIAR.format(address=vault.address))
        found = list(VaultStore(host).resolve(references).values())
    assert [isinstance(each, Secret) for each in found] == [True] * 3 + [False] * 7
    assert "took more than 300 s for the secrets before this one" in told_by_liar(found[-1]).what
    assert vault.seen[-1][1] == "/v1/auth/token/revoke-self"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(ask: Any, tmp_path: Path, status: int) -> None:
    elsewhere = LyingVault()
    place = tmp_path / "elsewhere"
    place.mkdir()
    with elsewhere.serve(place, tls=False):
        answer = (status, None, {"Location": f"{elsewhere.address}/v1/secret/data/app/db"})
        found = told_by_liar(ask({READ: answer}))
    assert "is a standby, or no Vault: it sends its clients to another server" in found.what
    assert elsewhere.seen == []


@pytest.mark.parametrize(
    ("status", "health", "what", "hint"),
    [
        (503, {"initialized": True, "sealed": True}, "is sealed", "bao operator unseal"),
        (503, {"initialized": False, "sealed": True}, "is not initialised", "bao operator init"),
        (501, {}, "is not initialised", "bao operator init"),
        (
            500,
            {"standby": True},
            "is a standby and cannot reach its active server",
            "address of the active server",
        ),
        (473, {}, "is a standby and cannot reach its active server", "address of the active server"),
        (429, {"standby": False}, "refuses: too many requests", "try again later"),
        (500, {"sealed": False}, "failed (status 500)", "read the log of the server"),
        (502, {}, "failed (status 502)", "read the log of the server"),
    ],
)
def test_a_server_that_cannot_serve_is_asked_why(
    ask: Any, status: int, health: dict[str, Any], what: str, hint: str
) -> None:
    found = told_by_liar(ask({READ: (status, {"errors": ["of-the-liar"]}), r"/v1/sys/health": (200, health)}))
    assert found.what == f"the Vault {ask.vault.address} {what}"
    assert hint in found.hint


def test_a_page_of_a_load_balancer_is_a_failure_not_a_lie(ask: Any) -> None:
    def page(request: Any) -> None:
        request.send_response(502)
        request.send_header("Content-Length", "12")
        request.end_headers()
        request.wfile.write(b"<html>of-the")

    found = told_by_liar(ask({READ: page, r"/v1/sys/health": page}))
    assert found.what.endswith("failed (status 502)")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(5, "a number"), (1.5, "a number"), (True, "true or false"), (None, "nothing (null)"), ([], "a list"),
     ({"a": "of-the-liar"}, "a group of values")],
)  # fmt: skip
def test_a_value_that_is_no_text_is_told_and_not_shown(ask: Any, value: Any, kind: str) -> None:
    found = told_by_liar(
        ask({READ: (200, {"data": {"data": {"password": value}, "metadata": {"version": 1}}})})
    )
    assert found.what == f"is {kind}, not text"


def test_a_lone_surrogate_is_no_text(ask: Any) -> None:
    answer = b'{"data": {"data": {"password": "\\ud800"}, "metadata": {"version": 1}}}'
    assert told_by_liar(ask({READ: answer})).what == "is not text in UTF-8"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("", "is empty"),
        ("x" * 65_537, "is larger than the 64 KiB"),
        ("secret://vault/secret/app/db#password", "is a reference to a secret, not a secret"),
    ],
)
def test_a_value_that_is_no_usable_secret_is_told(ask: Any, value: str, what: str) -> None:
    found = told_by_liar(ask({READ: (200, {"data": {"data": {"password": value}}})}))
    assert what in found.what


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        (
            {"version": 3, "deletion_time": "2026-01-01T00:00:00Z", "destroyed": False},
            "was deleted: version 3",
        ),
        ({"version": 3, "deletion_time": "", "destroyed": True}, "was destroyed: version 3 is gone for good"),
        ({"version": 3, "deletion_time": "", "destroyed": False}, "there is nothing at this path"),
    ],
)
def test_a_version_without_values_is_told_whatever_the_status(
    ask: Any, metadata: dict[str, Any], what: str, status: int
) -> None:
    answer = (status, {"data": {"data": None, "metadata": metadata}})
    assert told_by_liar(ask({READ: answer})).what == what


def test_an_engine_that_makes_new_secrets_is_refused(ask: Any) -> None:
    found = told_by_liar(ask({MOUNTS: (200, {"data": {"path": "secret/", "type": "database"}})}))
    assert found.what == "the mount secret is of the type 'database', not kv"


@pytest.mark.parametrize("answer", [(200, {}), (200, {"data": None}), (404, {"errors": []}), (204, None)])
def test_a_server_that_says_nothing_of_a_mount_has_none(ask: Any, answer: Any) -> None:
    found = told_by_liar(ask({MOUNTS: answer}))
    assert found.what == "there is no mount 'secret'"
    assert "mounts in /etc/waybill/vault.yaml" in found.hint


def test_a_version_of_the_future_is_refused(ask: Any) -> None:
    mount = {"data": {"path": "secret/", "type": "kv", "options": {"version": "3"}}}
    assert "has version '3' of the key-value engine" in told_by_liar(ask({MOUNTS: (200, mount)})).what


def test_the_token_is_revoked_after_a_failure_too(ask: Any) -> None:
    told_by_liar(ask({READ: b"[]"}))
    assert ask.vault.seen[-1][1] == "/v1/auth/token/revoke-self"


def test_a_token_that_cannot_be_revoked_changes_nothing(ask: Any) -> None:
    assert isinstance(ask({r"revoke-self$": (500, {})}), Secret)


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("secret_id", b"", "does not hold one word"),
        ("secret_id", b"two words", "does not hold one word"),
        ("role_id", b"\xff\xff", "does not hold one word"),
        ("role_id", b"x" * 70_000, "is larger than the 64 KiB"),
    ],
)
def test_a_file_of_the_login_that_is_none_is_told(
    ask: Any, etc: Path, name: str, data: bytes, what: str
) -> None:
    (etc / name).write_bytes(data)
    found = told_by_liar(ask())
    assert f"{name}_file /etc/{name}" in found.what
    assert what in found.what
    assert ask.vault.seen == []


def test_a_file_of_the_login_that_others_can_read_is_refused(ask: Any, etc: Path) -> None:
    (etc / "secret_id").chmod(0o644)
    found = told_by_liar(ask())
    assert found.what == "secret_id_file /etc/secret_id: can be read or changed by others (mode 0644)"
    assert found.hint == "run `chmod 0600 /etc/secret_id`"


def test_what_was_sent_is_hidden_everywhere(ask: Any, host: Context) -> None:
    ask()
    assert host.secrets.hide(" ".join(SENT)) == "*** *** *** ***"
    assert os.environ.get("VAULT_TOKEN") is None
