"""`/etc/waybill/vault.yaml`: every fault told with its line, and no secret in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from installer.host.context import Context
from installer.secrets.store import StoreError
from installer.secrets.vault.settings import Auth, Settings, read_settings
from tests.rig.releases import root

SCHEMA = Path(__file__).resolve().parents[4] / "schemas/v1/vault-yaml.schema.json"
TOKEN = "auth: {method: token_file, token_file: /etc/waybill/vault.token}\n"


@pytest.fixture
def file(host: Context) -> Path:
    """The file of a host."""
    path = root(host) / "etc/waybill/vault.yaml"
    path.parent.mkdir(parents=True)
    return path


def settings(host: Context, file: Path, text: str) -> Settings:
    file.write_text(text)
    file.chmod(0o644)
    return read_settings(host.system)


def fault(host: Context, file: Path, text: str) -> tuple[str, str]:
    with pytest.raises(StoreError) as error:
        settings(host, file, text)
    return error.value.problem.what, error.value.problem.hint


def test_the_schema_is_one_and_has_a_good_example_of_everything() -> None:
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)


def test_everything_can_be_set(host: Context, file: Path) -> None:
    text = (
        "address: https://vault.lan:8200/\nnamespace: team/a\nca_file: /etc/waybill/ca.crt\ntimeout: 5\n"
        "proxy: http://proxy.lan:3128\nmounts: {secret: 2, team/old: 1}\n"
        "auth: {method: approle, role_id_file: /etc/r, secret_id_file: /etc/s, mount: hosts}\n"
    )
    assert settings(host, file, text) == Settings(
        "https://vault.lan:8200",
        Auth("approle", "hosts", "", {"role_id_file": "/etc/r", "secret_id_file": "/etc/s"}),
        "team/a", "/etc/waybill/ca.crt", 5, "http://proxy.lan:3128", {"secret": 2, "team/old": 1},
    )  # fmt: skip


def test_address_and_login_are_enough(host: Context, file: Path) -> None:
    found = settings(host, file, f"address: https://vault.lan\n{TOKEN}")
    assert (found.timeout, found.namespace, found.proxy, found.mounts) == (10, "", "", {})
    assert found.auth.files == {"token_file": "/etc/waybill/vault.token"}


def test_a_pod_has_its_token_at_the_usual_place(host: Context, file: Path) -> None:
    found = settings(host, file, "address: https://v\nauth: {method: kubernetes, role: app}\n")
    assert found.auth == Auth(
        "kubernetes",
        "kubernetes",
        "app",
        {"token_file": "/var/run/secrets/kubernetes.io/serviceaccount/token"},
    )


def test_a_missing_file_is_told_with_where_it_is_described(host: Context) -> None:
    with pytest.raises(StoreError) as error:
        read_settings(host.system)
    assert error.value.problem.what.startswith("/etc/waybill/vault.yaml does not exist")
    assert "docs/how-to/use-secret-stores.md" in error.value.problem.hint


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        (
            f"address: http://vault.lan\n{TOKEN}",
            "vault.yaml:1: address is http:// to another machine",
            "https://",
        ),
        (f"address: http://127.0.0.1.evil\n{TOKEN}", "address is http:// to another machine", "https://"),
        (f"address: http://[::2]\n{TOKEN}", "address is http:// to another machine", "https://"),
        (
            f"address: http://127.0.0.1:8200\nproxy: http://p:1\n{TOKEN}",
            "address is http:// through a proxy",
            "leave out proxy",
        ),
        (
            f"address: https://v:99999\n{TOKEN}",
            "vault.yaml:1: address has no host, or a port that is none",
            "PORT",
        ),
        (f"address: https://v/v1\n{TOKEN}", "vault.yaml:1: ", ""),
        (f"address: ftp://v\n{TOKEN}", "vault.yaml:1: ", ""),
        (f"address: https://v\ntimeout: 0\n{TOKEN}", "vault.yaml:2: ", ""),
        (f"address: https://v\ntimeout: soon\n{TOKEN}", "vault.yaml:2: ", ""),
        (f"address: https://v\nmounts: {{secret: 3}}\n{TOKEN}", "vault.yaml:2: ", ""),
        (f"address: https://v\nadress: https://v\n{TOKEN}", "vault.yaml:2: ", ""),
        (
            f"address: https://v\nca_file: ../ca.crt\n{TOKEN}",
            "vault.yaml:2: ca_file is not an absolute path",
            "",
        ),
        (f"address: https://v\nca_file: /etc/../ca.crt\n{TOKEN}", "vault.yaml:2: ", ""),
        ("address: https://v\nauth: {method: ldap}\n", "vault.yaml:2: ", ""),
        ("address: https://v\nauth: {method: approle}\n", "vault.yaml:2: ", ""),
        ("address: https://v\n", "vault.yaml:1: ", ""),
        ("- a\n", "vault.yaml:1: ", ""),
        ("", "vault.yaml", ""),
        ("address: [\n", "is not YAML", ""),
    ],
)
def test_each_fault_has_its_line(host: Context, file: Path, text: str, what: str, hint: str) -> None:
    told, remedy = fault(host, file, text)
    assert told.startswith("/etc/waybill/vault.yaml is not valid: ")
    assert what in told
    assert hint in remedy


def test_all_faults_are_told_at_once_each_with_its_own_hint(host: Context, file: Path) -> None:
    with pytest.raises(StoreError, match="is not valid: 3 problems") as error:
        settings(host, file, "address: https://v\nproxi: x\ntimeout: x\nauth: {method: aprole}\n")
    assert [(each.where[-1:], each.what, each.hint) for each in error.value.faults] == [
        ("2", "unknown key proxi", "did you mean proxy?"),
        ("3", "timeout must be a whole number, but is 'x'", "Seconds for each request, as a whole"),
        ("4", "auth.method is 'aprole'", "did you mean approle?"),
    ]


@pytest.mark.parametrize(
    ("auth", "what"),
    [("{method: ldap}", "auth.method is 'ldap'"), ("{role: x}", "method is missing in auth")],
)
def test_every_method_that_is_allowed_is_named(host: Context, file: Path, auth: str, what: str) -> None:
    told, hint = fault(host, file, f"address: https://v\nauth: {auth}\n")
    assert told.endswith(what)
    assert hint == "allowed: token_file, approle, kubernetes, cert"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"token: hunter22\naddress: https://v\n{TOKEN}", "token"),
        ("address: https://v\nauth: {method: approle, role_id: r, secret_id: hunter22}\n", "secret_id"),
        ("address: https://v\nauth: {method: userpass, password: hunter22}\n", "password"),
    ],
)
def test_a_secret_in_it_is_refused_and_not_quoted(host: Context, file: Path, text: str, key: str) -> None:
    with pytest.raises(StoreError) as error:
        settings(host, file, text)
    problems = error.value.faults or (error.value.problem,)
    told = next(
        each for each in problems if f"has {key} itself in it, which belongs into a file" in each.what
    )
    assert "put it into a file, mode 0600" in told.hint
    assert "hunter22" not in f"{error.value.problem}{problems}"


@pytest.mark.parametrize(
    "text",
    [
        f"address: https://user:hunter22@v\n{TOKEN}",
        f"address: https://v\nproxy: http://user:hunter22@p\n{TOKEN}",
        "address: https://v\nauth: {method: token_file, token_file: s.hunter22}\n",
        "address: https://v\nauth: {method: approle, role_id_file: hunter22}\n",
    ],
)
def test_a_secret_in_a_place_of_something_else_is_not_quoted(host: Context, file: Path, text: str) -> None:
    told, hint = fault(host, file, text)
    assert "vault.yaml:" in told
    assert "hunter22" not in told + hint


def test_a_file_that_others_can_change_is_refused(host: Context, file: Path) -> None:
    settings(host, file, f"address: https://v\n{TOKEN}")
    file.chmod(0o666)
    with pytest.raises(StoreError, match=r"is not safe: .* can be written by everybody"):
        read_settings(host.system)


@pytest.mark.needs("root")
def test_a_file_of_another_user_is_refused(host: Context, file: Path) -> None:
    settings(host, file, f"address: https://v\n{TOKEN}")
    os.chown(file, 12345, 0)
    with pytest.raises(StoreError, match=r"is not safe: .* belongs to user 12345"):
        read_settings(host.system)


def test_a_huge_file_is_not_read(host: Context, file: Path) -> None:
    told, _ = fault(host, file, "# " + "x" * 70_000)
    assert "cannot be read: is larger than the 65536 bytes allowed" in told


def test_the_examples_of_the_how_to_are_valid(host: Context, file: Path) -> None:
    page = SCHEMA.parents[2] / "docs/how-to/use-secret-stores.md"
    blocks = page.read_text().split("```yaml\n")[1:]
    shown = [block.split("```")[0] for block in blocks if "address:" in block.split("```")[0]]
    assert len(shown) >= 4
    for text in shown:
        assert yaml.safe_load(text)["auth"]
        settings(host, file, text)
