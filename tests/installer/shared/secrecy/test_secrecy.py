"""Secrets of a site are hidden in every notation, and by their value wherever it occurs."""

from __future__ import annotations

import pytest

from installer.shared.secrecy.names import names_secret
from installer.shared.secrecy.notations import mask, secrets_of
from installer.shared.secrecy.redaction import diff

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
    "LDAP": "bindpw {}",
    "OpenLDAP": "rootpw  {}",
    "Erlang cookie": "RABBITMQ_ERLANG_COOKIE={}",
    "sshpass": "sshpass -p {} ssh db true",
    "mysql": "mysql -u root -p{} chat",
    "mysqldump, quoted": "mysqldump -p'{}' chat",
    "redis-cli": "redis-cli -h db -a {} ping",
    "HAProxy user": "  user admin insecure-password {}",
    "HAProxy statistics": "  stats auth admin:{}",
    "pgpass": "db.lan:5432:chat:u:{}",
    "pgpass, any port": "*:*:*:u:{}",
    "SNMP, read": "rocommunity {} 10.0.0.0/8",
    "SNMP, write, IPv6": "rwcommunity6 '{}' default",
    "SNMP, security name": "com2sec -Cn ctx readonly 10.0.0.0/8 {}",
    "SNMP, traps": "trap2sink monitor.lan {}",
    "SNMP, informs": "informsink monitor.lan {} 162",
    "SNMP, user": "createUser admin SHA-256 {} AES",
    "SNMP, privacy": 'createUser -e 0x80 admin SHA "one two" AES "{}"',
    "SNMP of a switch": "snmp-server community {} RO",
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


def test_the_key_in_the_address_of_an_error_collector_is_hidden() -> None:
    assert list(mask([f"SENTRY_DSN=https://{'0f' * 16}@sentry.lan/4"])) == [
        "SENTRY_DSN=https://***@sentry.lan/4"
    ]


LINES = {
    "a block": ["secret: |", "  {}", "  more", "next: 1"],
    "variables of Kubernetes": ["  - name: DB_PASSWORD", "    value: {}"],
    "variables of Kubernetes, in a block": ["  - name: DB_PASSWORD", "    value: |", "      {}"],
    "a private key": ["-----BEGIN PRIVATE KEY-----", "{}", "-----END PRIVATE KEY-----"],
    "a private key of GnuPG": [
        *("-----BEGIN PGP PRIVATE KEY BLOCK-----", "", "{}"),
        "-----END PGP PRIVATE KEY BLOCK-----",
    ],
    "a private key of SSH2": [
        *("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----", "{}"),
        "---- END SSH2 ENCRYPTED PRIVATE KEY ----",
    ],
    "a key of OpenVPN": [
        *("-----BEGIN OpenVPN Static key V1-----", "{}"),
        "-----END OpenVPN Static key V1-----",
    ],
    "a private key in source code": [
        *('KEY = ("-----BEGIN PRIVATE KEY-----\\n"', '    "{}\\n"'),
        '    "-----END PRIVATE KEY-----")',
    ],
    "a private key whose end is on its last line": [
        *("-----BEGIN PRIVATE KEY-----", "{}-----END PRIVATE KEY-----"),
    ],
    "two keys that touch": [
        *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY----------BEGIN PRIVATE KEY-----", "{}"),
        "-----END PRIVATE KEY-----",
    ],
}


@pytest.mark.parametrize("notation", LINES)
def test_notations_of_several_lines_are_hidden(notation: str) -> None:
    lines = [line.format(S) for line in LINES[notation]]
    assert S not in "\n".join(mask(lines))
    assert next(mask(["next: 1"])) == "next: 1"


def test_a_secret_far_behind_in_a_long_line_is_hidden() -> None:
    line = '{"items": "' + "x " * 20_000 + f'", "password": "{S}"}}'
    assert S not in "".join(mask([line]))


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
        "mysql -h db -u chat < schema.sql",
        "redis-cli -h db ping",
        "user chat; stats enable",
        "stats auth-realm Restricted",
        "cookie SRV insert indirect nocache",
        "root:x:0:0:root:/root:/bin/bash",
        "00:16:3e:5e:6c:00",
        "fe80:1234:5678:9abc:def0::1",
        "2026-11-30T13:15:01 started",
        "127.0.0.1:8080:80/tcp",
        "community: welcome",
        "kitchen sink included",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert list(mask([line])) == [line]
    assert not secrets_of([line])


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASS", "dbPassword", "api-key", "requirepass", "x.token", "clientSecret", "PGPASS"],
)
def test_names_of_secrets_are_recognised(name: str) -> None:
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
        "COSIGN_PASSWORD = credentials('cosign-password')",
    ]
    assert not secrets_of(lines)


@pytest.mark.parametrize(
    "text",
    [
        *("a" * 200_000, "'x" * 100_000, "<a " * 70_000, "password " * 20_000, "-=" * 100_000),
        *("mysql -" * 30_000, "redis-cli " * 20_000, "user x " * 30_000, "stats auth " * 20_000),
        *("createUser " * 20_000, "com2sec a " * 20_000, "trap2sink " * 20_000, "a:1:b:" * 30_000),
    ],
)
def test_long_lines_do_not_take_long(text: str) -> None:
    # Patterns that try every way would not end here.
    assert "password=x" not in "".join(mask([f"{text} password=x", "password=x"]))[-20:]
