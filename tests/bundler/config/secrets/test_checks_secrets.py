"""Secrets are found, ordinary files are not suspected, and exceptions need a reason."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bundler.config.secrets.allowances import Allowance, Allowances, matches
from bundler.config.secrets.scanner import secrets_of
from tests.rig.hang import ends

ROOT = Path(__file__).parents[4]


def found(text: str | bytes, name: str = "a.txt", **options: bool) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    return [f"{p.where}: {p.what}" for p in secrets_of(data, name, Allowances(), **options)]


def pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


# Tokens are put together here, so that no scanner of repositories takes this file for a leak.
TOKENS = {
    "an AWS access key": "AKI" + "AQ3EGRIHXYZABCDE2",
    "a GitHub token": "gh" + "p_" + "a1B2" * 9,
    "a GitLab token": "glp" + "at-" + "a1B2c" * 4,
    "a Slack token": "xo" + "xb-123456789012-1234567890123-" + "a1B2c3D4" * 3,
    "a Google API key": "AI" + "za" + "a1B2c" * 7,
    "a Stripe key": "sk_" + "live_" + "a1B2c3" * 4,
    "an npm token": "np" + "m_" + "a1B2c3" * 6,
    "a Vault token": "hv" + "s." + "a1B2c3" * 5,
    "an age key": "AGE-SECRET-" + "KEY-1" + "QPZRY9X8GF2TVDW0S3JN" * 2 + "QPZRY9X8GF2TVDW0S3",
    "a JSON Web Token": part({"alg": "HS256", "typ": "JWT"})
    + "."
    + part({"sub": "12345678"})
    + "."
    + "a1B2c3" * 6,
}


@pytest.mark.parametrize("kind", TOKENS)
def test_tokens_are_found_and_never_shown(kind):
    text = f"first line\nX = '{TOKENS[kind]}'\n"
    assert found(text) == [f"a.txt:2: contains {kind}"]


def test_private_keys_are_found_also_inside_of_json():
    key = pem()
    assert found("# note\n" + key) == ["a.txt:2: contains a private key (Private Key)"]
    assert found(json.dumps({"key": key})) == ["a.txt:1: contains a private key (Private Key)"]
    cosign = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n" + "eyJrZGYi" * 20 + "\n-----END"
    assert "Encrypted Sigstore" in found(cosign)[0]


@pytest.mark.parametrize("name", ["keys/cosign.key", "id_ed25519", "home/.netrc"])
def test_key_files_are_found_by_name(name):
    assert found("x", name) == [f"{name}: contains a secret, according to its name"]


@pytest.mark.parametrize(
    "line",
    [
        "password: hunter22",
        'db_password = "S3cret!pass"',
        "export API_KEY=abcd1234efgh",
        "POSTGRES_PASSWORD=longenough1",
        "      - MYSQL_ROOT_PASSWORD=longenough1",
        '  "client_secret": "abc123def456"',
        'Environment="DB_PASSWORD=longenough1"',
        "url: postgres://app:hunter22@db/app",
    ],
)
def test_literal_passwords_in_configuration_are_found(line):
    assert len(found(f"a: 1\n{line}\n", is_config=True)) == 1
    assert found(f"a: 1\n{line}\n", is_config=True)[0].startswith("a.txt:2: ")
    assert found(f"a: 1\n{line}\n") == []


@pytest.mark.parametrize(
    "line",
    [
        "password: {{ db.password }}",
        "password: ${DB_PASSWORD}",
        "password: $DB_PASSWORD",
        "password: ''",
        "password:",
        "password: null",
        "password: changeme",
        "password: CHANGE_ME_PLEASE",
        "password: <your password>",
        "password: /run/secrets/db",
        "password: ********",
        "password_file: /run/secrets/db",
        "passwords: see the vault",
        "secret: chat-tls",
        "# password: hunter22",
        "The password: ask your administrator",
        "url: postgres://app:${PASSWORD}@db/app",
        "url: http://127.0.0.1:8080/a@b",
        "password: true",
        '"password": {"type": "string"}',
    ],
)
def test_what_is_no_secret_is_not_suspected(line):
    assert found(f"{line}\n", is_config=True) == []


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        '"-----BEGIN RSA PRIVATE KEY-----"',
        "-----BEGIN PUBLIC KEY-----\n" + "MFkwEwYH" * 20,
        "-----BEGIN CERTIFICATE-----\n" + "MFkwEwYH" * 20,
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOi.eyJzdWIiOi.short",
        "sha256:" + "ab12" * 16,
        "ghp_short",
    ],
)
def test_examples_public_keys_and_digests_are_not_suspected(text):
    assert found(text, is_config=True) == []


def test_our_own_sources_and_templates_are_clean():
    for top in ("bundler", "installer", "templates", "schemas", "docs"):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                shown = str(path.relative_to(ROOT))
                assert found(path.read_bytes(), shown, is_config=top == "templates") == []


def test_binaries_and_large_files_are_passed_over():
    assert found(b"\0\0" + pem().encode()) == []
    assert found(b" " * 2**20 + pem().encode()) == []


def test_an_allowance_lets_its_files_pass_and_is_reported_when_it_is_stale():
    allowances = Allowances(
        [Allowance("web/keys/*.pem", "bundle.yaml:9", "a demo"), Allowance("old/**", "bundle.yaml:10")]
    )
    assert secrets_of(pem().encode(), "web/keys/demo.pem", allowances) == []
    assert len(secrets_of(pem().encode(), "web/keys/more/demo.pem", allowances)) == 1
    assert [problem.where for problem in allowances.unused()] == ["bundle.yaml:10"]
    # What was let through is recorded, with the reason.
    assert allowances.allowed == [("web/keys/demo.pem", "a private key (Private Key)", "a demo")]


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("a.pem", "a.pem", True),
        ("a.pem", "b/a.pem", False),
        ("*.pem", "b/a.pem", False),
        ("**/*.pem", "b/c/a.pem", True),
        ("**/*.pem", "a.pem", True),
        ("b/**", "b/c/a.pem", True),
        ("b/?.pem", "b/a.pem", True),
        ("a.pem", "aXpem", False),
    ],
)
def test_globs_stay_in_their_directory(pattern, path, covered):
    assert matches(pattern, path) is covered


def test_a_token_whose_header_is_nested_without_end_is_none():
    header = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 9001).rstrip(b"=")
    assert found(header + b".eyJhbGciOiJub25lIn0." + b"A" * 24) == []


@pytest.mark.parametrize("unit", ["a", "password", "A1 ", "-----BEGIN ", "eyJ", "x=", "://a:", "\n"])
def test_a_megabyte_of_anything_is_scanned_soon(unit):
    with ends():
        found((unit * 2**20)[: 2**20], is_config=True)
