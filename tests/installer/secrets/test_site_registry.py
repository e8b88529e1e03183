"""`/etc/waybill/registry.yaml`: every fault told with its line, and no secret in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from installer.host.context import Context
from installer.secrets.site_registry import SiteRegistry, connect, read_site_registry
from installer.secrets.store import StoreError
from tests.rig.releases import root

SCHEMA = Path(__file__).resolve().parents[3] / "schemas/v1/registry-yaml.schema.json"
LAN = "address: https://registry.lan:5000\n"
BASIC = "auth: {method: basic, username: waybill, password_file: /etc/waybill/password}\n"


def read(host: Context, text: str) -> SiteRegistry | None:
    path = root(host) / "etc/waybill/registry.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
    return read_site_registry(host.system)


def fault(host: Context, text: str) -> tuple[str, str]:
    with pytest.raises(StoreError) as error:
        read(host, text)
    return error.value.problem.what, error.value.problem.hint


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


def test_a_site_without_the_file_has_no_registry(host: Context) -> None:
    assert read_site_registry(host.system) is None


def test_an_address_is_enough(host: Context) -> None:
    assert read(host, LAN) == SiteRegistry("https://registry.lan:5000")


def test_everything_can_be_set(host: Context) -> None:
    found = read(host, f"{LAN}prefix: airgap/team\nca_file: /etc/waybill/ca.pem\ntimeout: 5\n{BASIC}")
    assert found is not None
    assert found.place == "registry.lan:5000/airgap/team"
    assert (found.ca_file, found.timeout, found.auth["username"]) == ("/etc/waybill/ca.pem", 5, "waybill")


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("prefix: a\n", "address is missing", "registry"),
        ("address: registry.lan\n", "address", "https://HOST"),
        ("address: http://registry.lan\n", "everybody on the way sees the images", "allow_http: true"),
        (f"address: http://registry.lan\nallow_http: true\n{BASIC}", "has a login and http://", "use https://"),
        ("address: https://me:secret@registry.lan\n", "has a user or a password in it", "https://HOST"),
        ("address: https://registry.lan:0\n", "a port that is none", "https://HOST:PORT"),
        (f"{LAN}auth: {{method: basic, username: a, password: hunter22}}\n", "password itself in it", "0600"),
        (f"{LAN}auth: {{method: token, token: abcdef}}\n", "has token itself in it", "token_file"),
        (f"{LAN}auth: {{method: basic, username: a, password_file: hunter22}}\n", "not an absolute", "path"),
        (f"{LAN}auth: {{method: basic, username: a}}\n", "needs password_file or password", "password_file"),
        (f"{LAN}auth: {{method: token}}\n", "needs token_file or token", "token_file"),
        (
            f"{LAN}auth: {{method: token, token_file: /a, token: secret://file/b}}\n",
            "needs token_file or token, and one of them only",
            "token_file",
        ),
        (f"{LAN}auth: {{method: oauth}}\n", "auth.method", "basic, token"),
        (f"{LAN}prefix: Air/gap\n", "prefix", ""),
        (f"{LAN}insecure: true\n", "insecure", ""),
        (
            f"{LAN}auth: {{method: basic, username: a, password_file: /p, token_server: 'http://t.lan'}}\n",
            "has a login and http://",
            "use https://",
        ),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_its_remedy(text: str, what: str, hint: str, host: Context) -> None:
    found = fault(host, text)
    assert what in found[0]
    assert hint in found[1]
    assert "hunter22" not in " ".join(found)


def test_http_to_this_machine_and_http_that_is_allowed_are_read(host: Context) -> None:
    assert read(host, "address: http://127.0.0.1:5000\n") is not None
    assert read(host, "address: http://registry.lan\nallow_http: true\n") is not None


def test_a_file_that_others_can_change_is_not_used(host: Context) -> None:
    read(host, LAN)
    (root(host) / "etc/waybill/registry.yaml").chmod(0o666)
    with pytest.raises(StoreError, match=r"registry\.yaml is not safe"):
        read_site_registry(host.system)


def password(host: Context, text: str, mode: int = 0o600) -> SiteRegistry:
    file = root(host) / "etc/waybill/password"
    found = read(host, f"address: http://127.0.0.1:1\n{BASIC}")
    file.write_text(text)
    file.chmod(mode)
    assert found is not None
    return found


def test_a_password_is_read_from_its_file_and_hidden(host: Context) -> None:
    site = password(host, "correct-horse\n")
    connect(host, site).close()
    assert host.secrets.hide("it was correct-horse") == "it was ***"


@pytest.mark.parametrize(
    ("text", "mode", "what"),
    [("x", 0o644, "can be read or changed by others"), ("", 0o600, "one line"), ("a\nb", 0o600, "one line")],
)
def test_a_password_file_that_is_not_private_or_holds_no_password_is_refused(
    text: str, mode: int, what: str, host: Context
) -> None:
    site = password(host, text, mode)
    with pytest.raises(StoreError, match=what):
        connect(host, site)


def test_a_password_comes_from_a_store_of_secrets(host: Context) -> None:
    text = "auth: {method: basic, username: a, password: 'secret://file/registry'}\n"
    site = read(host, f"address: http://127.0.0.1:1\n{text}")
    assert site is not None
    with pytest.raises(StoreError, match=r"password in /etc/waybill/registry\.yaml: .*does not exist"):
        connect(host, site)
    file = root(host) / host.layout.secrets[1:] / "registry"
    file.parent.mkdir(parents=True)
    file.write_text("from-the-store")
    file.chmod(0o600)
    connect(host, site).close()
    assert host.secrets.hide("from-the-store") == "***"
