"""Secrets of a site are hidden in every notation, and by their value wherever it occurs."""

from __future__ import annotations

import base64

import pytest

from installer.core.errors import HostNotReadyError, Problem
from installer.shared.redaction import diff
from installer.shared.secrecy.known import Secrets, secret_values
from installer.shared.secrecy.names import names_secret
from installer.shared.secrecy.notations import mask, secrets_of

S = "Zq7-hunter.22"

NOTATIONS = {
    "ini": "db_pass={}",
    "spaced": "db_password = {}",
    "environment file": "APP_SECRET={}",
    "export": "export X_PASSWORD={}",
    "export, quoted": "export X_PASSWORD='{}'",
    "set in a shell": "set -a; PGPASSWORD={} pg_dump chat",
    "redis": "requirepass {}",
    "redis, replica": "masterauth {}",
    "redis, commented out": "# requirepass {}",
    "keepalived": "    auth_pass {}",
    "systemd": "Environment=DB_PASSWORD={}",
    "systemd, quoted": 'Environment="DB_PASSWORD={} x" "PORT=1"',
    "systemd credential": "SetCredential=db.password:{}",
    "XML element": "<password>{}</password>",
    "XML attribute": '<db user="u" password="{}"/>',
    "XML property": '<property name="javax.persistence.jdbc.password" value="{}"/>',
    "XML property, value first": '<add value="{}" key="ApiToken"/>',
    "XML entry": '<entry key="db.password">{}</entry>',
    "option": "ExecStart=/opt/chatd --token {} --port 1",
    "option with =": "ExecStart=/opt/chatd --db-password={} --port 1",
    "curl": "curl -u admin:{} https://x/",
    "JDBC parameter": "url=jdbc:postgresql://db/chat?user=u&password={}&ssl=true",
    "JDBC of SQL Server": "url=jdbc:sqlserver://db;user=u;password={};encrypt=true",
    "JDBC of Oracle": "url=jdbc:oracle:thin:scott/{}@//db:1521/x",
    "URL": "dsn: amqp://chat:{}@mq:5672/",
    "libpq": "conninfo = 'host=db user=u password={} port=1'",
    "YAML": "password: {}",
    "YAML, quoted": 'password: "{}"  # of the database',
    "YAML, flow": "db: {{user: u, password: {}, port: 1}}",
    "YAML, list of variables": "  - DB_PASSWORD={}",
    "JSON": '  "password": "{}",',
    "JSON, one line": '{{"user":"u","password":"{}","port":1}}',
    "TOML": 'client_secret = "{}"',
    "Java properties": "spring.datasource.password={}",
    "camelCase": "dbPassword: {}",
    "PHP array": "'password' => '{}',",
    "PHP constant": "define('DB_PASSWORD', '{}');",
    "PHP variable": "$db_password = '{}';",
    "Python call": "connect(user='u', password='{}')",
    "Erlang": '{{default_pass, <<"{}">>}}.',
    "Apache": "SetEnv DB_PASSWORD {}",
    "Dockerfile": "ENV DB_PASSWORD {}",
    "nginx": "proxy_set_header X-Api-Key {};",
    "HTTP header": "Authorization: Bearer {}",
    "HTTP header in nginx": 'proxy_set_header Authorization "Bearer {}";',
    "netrc": "machine db login u password {}",
    "SQL": "CREATE USER u WITH PASSWORD '{}';",
    "SQL of Oracle": "ALTER USER u IDENTIFIED BY '{}';",
    "WireGuard": "PresharedKey = {}",
}


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_secret_is_hidden_in_every_notation(notation: str) -> None:
    line = NOTATIONS[notation].format(S)
    # As the new content, and as what stands on the host and is replaced.
    for shown in (diff("/x", b"", line.encode()).text, diff("/x", line.encode(), b"").text):
        assert S not in shown
        assert "***" in shown


@pytest.mark.parametrize("notation", NOTATIONS)
def test_what_a_notation_names_is_hidden_elsewhere_too(notation: str) -> None:
    line = NOTATIONS[notation].format(S)
    assert S not in diff("/x", f"{line}\n".encode(), f"now {S} stands alone\n".encode()).text


LINES = {
    "a block": ["secret: |", "  {}", "  more", "next: 1"],
    "variables of Kubernetes": ["  - name: DB_PASSWORD", "    value: {}"],
    "a private key": ["-----BEGIN PRIVATE KEY-----", "{}", "-----END PRIVATE KEY-----"],
}


@pytest.mark.parametrize("notation", LINES)
def test_notations_of_several_lines(notation: str) -> None:
    lines = [line.format(S) for line in LINES[notation]]
    assert S not in "\n".join(mask(lines))
    assert next(mask(["next: 1"])) == "next: 1"


@pytest.mark.parametrize(
    "line",
    [
        "port: 8080",
        "keyboard layout",
        "the password expired",
        "listen 0.0.0.0:80;",
        "ExecStart=/opt/chatd --port 1 --log-level debug",
        "<host>db</host>",
        "url=jdbc:postgresql://db/chat?user=u&ssl=true",
        "https://docs.example/a?b=c",
        "compass: north",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert list(mask([line])) == [line]
    assert not secrets_of([line])


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASS", "dbPassword", "api-key", "requirepass", "x.token", "clientSecret", "PGPASS"],
)
def test_names_of_secrets(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize(
    "name",
    ["port", "password_file", "token_ttl", "secretName", "key", "compass", "AWS_ACCESS_KEY_ID"],
)
def test_names_of_what_is_no_secret(name: str) -> None:
    assert not names_secret(name)


def test_references_are_no_secrets() -> None:
    lines = [
        "password: ${DB_PASSWORD}",
        "token: secret://vault/x",
        "secret: {{ db.secret }}",
        "password: true",
    ]
    assert not secrets_of(lines)


VALUES = {
    "port": 5432,
    "db": {"user": "chat", "password": "one-secret", "password_file": "/run/x"},
    "secrets": {"user": "chat", "mq": "two-secret", "list": ["three-secret"]},
    "license": {"code": "four-secret"},
    "pin": 123456,
    "tokens": ["five-secret"],
    "reference": {"password": "secret://vault/x"},
}
SCHEMA = {
    "properties": {
        "license": {"$ref": "#/$defs/license"},
        "pin": {"allOf": [{"type": "integer"}, {"writeOnly": True}]},
    },
    "$defs": {"license": {"properties": {"code": {"type": "string", "writeOnly": True}}}},
}


def test_values_of_a_site_are_secret_by_key_and_by_schema() -> None:
    assert secret_values(VALUES, SCHEMA) == {
        ("db", "password"): "one-secret",
        ("secrets", "mq"): "two-secret",
        ("secrets", "list", 0): "three-secret",
        ("license", "code"): "four-secret",
        ("pin",): "123456",
        ("tokens", 0): "five-secret",
    }


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"$ref": "#", "allOf": [{"$ref": "#"}, {"$ref": "#"}], "properties": {"a": {"$ref": "#"}}}
    assert secret_values({"a": {"a": {"a": "x"}}}, schema) == {}


def known(*values: str, public: frozenset[str] = frozenset()) -> Secrets:
    secrets = Secrets(public)
    secrets.add(values)
    return secrets


def test_a_value_is_hidden_in_every_spelling() -> None:
    secret = 'p<a"s s/+&1'
    shown = known(secret).hide(
        f'{secret} p&lt;a&quot;s s/+&amp;1 p%3Ca%22s%20s%2F%2B%261 "p<a\\"s s/+&1" '
        f"{base64.b64encode(secret.encode()).decode()}"
    )
    assert shown == '*** *** *** "***" ***'


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("1", "port 1 of 11, version 1.0", "port 1 of 11, version 1.0"),
        ("abc", "abc", "abc"),
        ("data", "data database /var/lib/data", "*** database /var/lib/***"),
        ("hunter22", "xhunter22y", "x***y"),
    ],
)
def test_short_and_common_values_blank_no_other_text(secret: str, text: str, shown: str) -> None:
    assert known(secret).hide(text) == shown


def test_a_short_secret_is_hidden_where_its_name_stands() -> None:
    assert known("1").hide_all(["password: 1", "port: 1"]) == ["password: ***", "port: 1"]


def test_a_longer_secret_is_hidden_before_one_within_it() -> None:
    assert known("hunter22", "hunter22-and-more").hide("hunter22-and-more hunter22") == "*** ***"


def test_the_name_of_the_product_is_never_hidden() -> None:
    assert known("lan-chat", public=frozenset({"lan-chat"})).hide("lan-chat 1.4.0") == "lan-chat 1.4.0"


def test_lines_of_a_secret_key_are_hidden_one_by_one() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----"
    assert known(key).hide("read MIGHAgEAMBMGByqGSM49\n") == "read ***\n"


def test_documents_keep_their_form() -> None:
    document = {"password hunter22": ["hunter22", 1, {"a": "x hunter22"}], "ok": True, "no": None}
    hidden = {"password hunter22": ["***", 1, {"a": "x ***"}], "ok": True, "no": None}
    assert known("hunter22").hide_in(document) == hidden


def test_errors_are_hidden_in_all_their_parts() -> None:
    error = HostNotReadyError(
        "ended with hunter22",
        where="/x/hunter22",
        hint="not hunter22",
        problems=[Problem("a", "hunter22", "hunter22")],
    )
    error.output = ("said hunter22", "and --token xyz-1")
    known("hunter22").hide_error(error)
    assert error.output == ("said ***", "and --token ***")
    assert "hunter22" not in f"{error} {error.as_json()} {error.args}"


def test_sources_are_asked_once_and_only_when_something_is_hidden() -> None:
    asked = []
    secrets = Secrets()
    secrets.add_source(lambda: asked.append(1) or ["hunter22"])  # type: ignore[func-returns-value]
    assert not asked
    assert [secrets.hide("hunter22"), secrets.hide("a hunter22")] == ["***", "a ***"]
    assert asked == [1]


@pytest.mark.parametrize(
    "text", ["a" * 200_000, "'x" * 100_000, "<a " * 70_000, "password " * 20_000, "-=" * 100_000]
)
def test_long_lines_do_not_take_long(text: str) -> None:
    # Patterns that try every way would not end here.
    assert "password=x" not in "".join(mask([f"{text} password=x", "password=x"]))[-20:]
