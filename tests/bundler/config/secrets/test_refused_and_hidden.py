"""Whatever `bundle create` refuses as a secret in an input, `install` hides where it shows text.

The two searches differ on purpose, see ADR 0662. This holds them together.
"""

from __future__ import annotations

import base64
import json

import pytest

from bundler.config.secrets.patterns import secrets_in
from installer.shared.secrecy.notations import mask
from installer.shared.secrecy.rules import Rule
from installer.shared.secrecy.tokens import token_rules, tokens_in
from tests.rig.tokens import token

S = "Zq7hunter22x"
BODY = "MIGHAgEAMBMGByqGSM49AwEHBG0wawIBAQQgx7Kd9Qm2Rt5Vw8Yz" * 2
# Put together here, so that no scanner of repositories takes this file for a leak.
NAMES = [
    *("password", "passwd", "passphrase", "secret", "api_key", "api-key", "apikey", "access_key"),
    *("private_key", "privatekey", "auth_token", "access-token", "accesstoken", "db_pass", "db-pwd", "pass"),
    *("pwd", "DB_PASSWORD", "spring.datasource.password", "clientSecret", "AWS_SECRET_ACCESS_KEY"),
]
FORMS = [
    "{name}: {value}",
    "{name} = {value}",
    "{name}='{value}'",
    '"{name}": "{value}",',
    "- {name}={value}",
    "export {name}={value}",
    'Environment="{name}={value}"',
    "db: {{user: u, {name}: {value}}}",
    '{{"user": "u", "{name}": "{value}"}}',
]
LINES = [
    "requirepass {value}",
    "masterauth {value}",
    "<password>{value}</password>",
    "<db.passwd>{value}</db.passwd>",
    "<ns:client-secret>{value}</ns:client-secret>",
    "ExecStart=/opt/chatd --token {value}",
    "ExecStart=/opt/chatd --db-password={value}",
    'command: ["chatd", "--api-key", "{value}"]',
    "command: ['chatd', '--passphrase', '{value}']",
    "url: https://x/?user=u&password={value}&x=1",
    "url: jdbc:x;pwd={value};x=1",
    "url: postgres://app:{value}@db/app",
    "//registry.lan/:_authToken={value}",
    "//registry.lan/:_auth={value}",
    "//registry.lan/:_password={value}",
]


def is_refused(text: str) -> bool:
    return bool(list(secrets_in(text.encode(), is_config=True)))


def hidden(text: str) -> str:
    return "\n".join(mask(text.split("\n")))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", FORMS)
def test_an_assignment_is_refused_and_hidden(name: str, form: str) -> None:
    line = form.format(name=name, value=S)
    assert is_refused(line)
    assert S not in hidden(line)


@pytest.mark.parametrize("form", LINES)
def test_a_line_is_refused_and_hidden(form: str) -> None:
    line = form.format(value=S)
    assert is_refused(line)
    assert S not in hidden(line)


def jwt() -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "12345678"})
    shown = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*shown, "a1B2c3" * 6])


@pytest.mark.parametrize("rule", token_rules().rules, ids=lambda rule: rule.name)
def test_a_token_of_each_rule(rule: Rule) -> None:
    # A signature of a pattern may end in what ends the text.
    text = "é said " + token(rule).decode()
    (found,) = tokens_in(text.encode())
    assert is_refused(text)
    secret = text.encode()[found.start : found.end].decode()
    assert len(secret) >= 8
    assert secret not in hidden(text)


def test_a_json_web_token() -> None:
    text = f"é said {jwt()}, twice"
    assert [each.what for each in tokens_in(text.encode())] == ["a JSON Web Token"]
    assert is_refused(text)
    assert hidden(text) == "é said ***, twice"


@pytest.mark.parametrize("more", ["", "a1B2"])
def test_a_token_longer_than_its_rule_says_is_hidden_to_its_end(more: str) -> None:
    assert hidden(f"é said {'gh' + 'p_' + 'a1B2c3D4e' * 4}{more}, twice") == "é said ***, twice"


DOCUMENTS = {
    "a private key": f"-----BEGIN PRIVATE KEY-----\n{BODY}\n-----END PRIVATE KEY-----",
    "a private key on one line": f'{{"k": "-----BEGIN EC PRIVATE KEY-----\\n{BODY}\\n"}}',
    "a private key of GnuPG": f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{BODY}\n",
    "an encrypted key": f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{BODY}\n",
    "PuTTY": f"PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n{BODY}\nPrivate-MAC: 1",
    "SSH2": f"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n{BODY}\n---- END SSH2 ENCRYPTED PRIVATE KEY ----",
    "OpenVPN": f"-----BEGIN OpenVPN Static key V1-----\n{'0a1b' * 8}{BODY}\n",
    "WireGuard": f"PrivateKey = {BODY[:43]}=",
    "minisign": f"untrusted comment: minisign encrypted secret key\n{BODY}{BODY}",
    "GnuPG, in its own form": f"Key: (private-key (ecc (curve Ed25519)\n  (d #{BODY}#)))",
    "Docker": json.dumps({"auths": {"registry.lan": {"auth": BODY, "identitytoken": BODY}}}, indent=1),
    "kubeconfig": f"kind: Config\nclusters: []\nusers:\n- user:\n    client-key-data: {BODY}\n",
    "AWS": f'aws_secret_access_key="{BODY[:40]}"',
}


@pytest.mark.parametrize("form", DOCUMENTS)
def test_a_document_is_refused_and_hidden(form: str) -> None:
    text = DOCUMENTS[form]
    assert is_refused(text)
    assert BODY[:40] not in hidden(text)
