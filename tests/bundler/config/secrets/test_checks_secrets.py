"""Secrets are found, ordinary files are not suspected, and exceptions need a reason."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bundler.config.secrets.allowances import Allowance, Allowances, matches
from bundler.config.secrets.patterns import secrets_in
from bundler.config.secrets.scanner import secrets_of
from installer.shared.secrecy.tokens import token_rules
from tests.rig.hang import ends
from tests.rig.tokens import token

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


JWT = ".".join([part({"alg": "HS256", "typ": "JWT"}), part({"sub": "12345678"}), "a1B2c3" * 6])
NAMED = {rule.name: rule for rule in token_rules().rules}


@pytest.mark.parametrize(
    "name", ["github-pat", "aws-access-token", "gcp-api-key", "vault-root-token", "gitlab-pat"]
)
def test_tokens_are_found_and_never_shown(name):
    text = f"first line\nX = '{token(NAMED[name]).decode()}'\n"
    assert found(text) == [f"a.txt:2: contains a credential (rule {name})"]


def test_json_web_tokens_are_found_and_never_shown():
    assert found(f"first line\nX = '{JWT}'\n") == ["a.txt:2: contains a JSON Web Token"]


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


def test_binaries_are_passed_over():
    assert found(b"\0\0" + pem().encode()) == []


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


def lines_found(data: bytes) -> int:
    return sum(1 for _ in secrets_in(data, is_config=True))


# Each is far above what a file may have: only work that grows with the size, and not with its square, ends.
@pytest.mark.parametrize(
    ("unit", "count"),
    [
        (b"pwd=abcd1\n", 800_000),
        (b"A: -----BEGIN PRIVATE KEY-----\n", 0),
        (b"-----BEGIN PRIVATE KEY-----\nA: b\n", 0),
        (b"-----BEGIN PRIVATE KEY-----" + b" " * 47 + b"!", 0),
        (b"-----BEGIN A ", 0),
    ],
    ids=["findings", "keys in headers", "keys with headers", "keys of spaces", "beginnings"],
)
def test_many_findings_take_no_longer_than_their_text(unit: bytes, count: int) -> None:
    with ends():
        assert lines_found(unit * (2**23 // len(unit))) >= count


def test_many_registries_take_no_longer_than_their_text() -> None:
    # A name with an escape is not found again in the text as JSON writes it.
    entries = ",\n".join(f'"r\\u0061{n}.lan": {{"auth": "dXNlcjpw"}}' for n in range(150_000))
    with ends():
        assert lines_found(f'{{"auths": {{{entries}}}}}'.encode()) == 150_000


def test_a_credential_of_docker_has_the_line_of_its_registry() -> None:
    entries = {name: {"auth": "dXNlcjpw"} for name in ("a.lan", "b.lan")}
    text = json.dumps({"auths": entries}, indent=1)
    assert found(text) == [
        "a.txt:3: contains a credential of Docker",
        "a.txt:6: contains a credential of Docker",
    ]


def test_at_most_25_findings_of_a_file_are_listed_and_the_others_are_counted() -> None:
    listed = found("".join(f"password: hunter{n:04}\n" for n in range(1025)), is_config=True)
    assert listed[24:] == ["a.txt:25: contains a literal password", "a.txt: contains 1,000 more such secrets"]


def test_what_is_only_counted_is_let_through_and_recorded_too() -> None:
    allowances = Allowances([Allowance("a.txt", "bundle.yaml:9", "a demo")])
    text = "password: hunter22\n" * 30 + "client_secret: abc123def456\n"
    assert secrets_of(text.encode(), "a.txt", allowances, is_config=True) == []
    assert [row.what for row in allowances.allowed] == ["a literal password", "a literal client_secret"]
