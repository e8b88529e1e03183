"""What only looks like a secret is not suspected, and each real one next to it still is."""

from __future__ import annotations

import base64
import json

import pytest

from bundler.config.secrets.patterns import secrets_in
from tests.rig.hang import ends


def kinds(text: str) -> list[str]:
    return [what for _, what in secrets_in(text.encode(), is_config=True)]


def docker(**entry: str) -> str:
    return json.dumps({"auths": {"registry.lan": entry}})


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


NPM = "//registry.example.org/:"

# A false alarm, and real secrets that differ from it as little as possible.
ROWS = [
    (f"{NPM}_authToken=MYTOKEN", [f"{NPM}_authToken=hunter22", f"{NPM}_authToken=MYTOKEN12345"]),
    (f"{NPM}_authToken=MYTOKEN1", [f"{NPM}_authToken=a81bc81b-dead-4e5d-abff-90865d1e13b1"]),
    (f"{NPM}_authToken=your-token-here", [f"{NPM}_authToken=NpmToken.a81bc81b"]),
    (f"{NPM}_authToken=NPM_TOKEN", [f"{NPM}_authToken=eyJ0eXAiOiJKV1Qi"]),
    (f"{NPM}_password=YOUR_BASE64_PASSWORD", [f"{NPM}_password={encoded('hunter22')}"]),
    (f"{NPM}_auth=base64-auth", [f"{NPM}_auth={encoded('user:hunter22')}"]),
    ("pass: 1234", ['pass: "1234"', "pass=1234", "pass: 123456", "pass: hunter22", "password: 1234"]),
    ("  pass: 12345,", ["  pass: 1234a", "db_pass: 1234"]),
    ("pwd = ../build", ["pwd = hunter22", "pwd = ..hunter22", "db_pwd = ../build"]),
    ("pwd = ./build", ["pwd=Build"]),
    ("pwd: ~/build", ["pwd: ~build1"]),
    ('pwd = "C:\\\\build"', ['pwd = "C:build"']),
    ("pwd = os.getcwd()", ["pwd = getcwd(x)", "password = getcwd()"]),
    ('{"api.lan": {"auth": "basic"}}', [f'{{"api.lan": {{"auth": "{encoded("user:x")}"}}}}']),
    (docker(auth="basic"), [docker(auth=encoded("user:hunter22")), docker(auth="user:hunter22")]),
    (docker(auth="oauth2"), [docker(auth="hunter22"), docker(auth=encoded("a:b").rstrip("="))]),
    (docker(auth="Bearer token"), [docker(identitytoken="basic")]),
    (docker(auth="${AUTH}"), [docker(auth="", registrytoken="abc")]),
    (docker(auth=encoded("user:")), [docker(auth=encoded("user: "))]),
    ("--secret=mySecret", ["--secret=hunter22", "--secret=myHorse", "--client-secret=mySecret"]),
    ("--secret=MY_SECRET", ["--secret=MY_SECRET_a1B2"]),
    ("--secret=my-tls-1", ["--secret=tls1234", "--secret=my-a1b2c3", "client_secret: my-tls-1"]),
    ("  --secret=id=npm,src=.npmrc", ["  --secret=npm1=abc"]),
    ("COSIGN_PASSWORD = credentials('cosign-password')", ["COSIGN_PASSWORD = 'credentials-of-1'"]),
    ("  - --secret=source=tls-2,target=cert", ["  - --secret=a1B2c3D4"]),
]  # fmt: skip


@pytest.mark.parametrize("text", [false for false, _ in ROWS])
def test_what_only_looks_like_a_secret_is_not_suspected(text: str) -> None:
    assert kinds(f"{text}\n") == []


@pytest.mark.parametrize("text", [real for _, near in ROWS for real in near])
def test_a_real_secret_next_to_it_is_found(text: str) -> None:
    assert len(kinds(f"{text}\n")) == 1


@pytest.mark.parametrize("size", [100, 1_000_000])
def test_no_value_takes_long_to_be_looked_at(size: int) -> None:
    with ends():
        for start in ("--secret=my-", "--secret=", f"{NPM}_auth=", "pwd: ", "pass: 1"):
            for unit in ("a", "a-", "secret-", "-", "1", "a.", "a_"):
                kinds(f"{start}{unit * (size // len(unit))}!\n")
