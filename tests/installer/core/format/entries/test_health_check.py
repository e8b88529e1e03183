"""What a probe may say: two readers agree on it, and the word `health/1` is required where it is used."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from installer.core.errors import TamperedError
from installer.core.format import manifest_json
from installer.core.format.entries.health_check import (
    from_rows,
    in_words,
    is_number,
    rows,
    text_fault,
    texts,
    with_texts,
)
from installer.core.format.manifest import HealthCheck
from tests.rig.independent import verifier
from tests.rig.manifests import BASE

SCHEMA = json.loads((Path(__file__).parents[5] / "schemas/v1/bundle.schema.json").read_text())
WEB, TLS, PROM = "http://127.0.0.1:8080/health", "https://chat.lan:8443/", "http://127.0.0.1:9090"
GOOD = [
    HealthCheck("http", WEB, statuses=("200", "204", "300-399")),
    HealthCheck("http", WEB, body='"status":"ok"'),
    HealthCheck("http", WEB, headers=("Content-Type: application/json", "X-Version: {{ version }}")),
    HealthCheck("http", TLS, ca="/etc/lan-chat/ca.pem"),
    HealthCheck("http", TLS, ca="{{ tls.ca }}"),
    HealthCheck("http", WEB, unix="/run/lan-chat/http.sock"),
    HealthCheck("http", WEB, unix="/" + "é" * 53),
    HealthCheck("unit", "chatd.service"),
    HealthCheck("unit", "{{ name }}@1.socket"),
    HealthCheck("prometheus", PROM, query='up{job="chatd"}', min="1"),
    HealthCheck("prometheus", PROM, query="x", min="-0.5", max="99.75"),
    HealthCheck("prometheus", TLS, query="x", equals="0", ca="/etc/ca.pem"),
    HealthCheck("tcp", "127.0.0.1:5432", start_period=30),
    HealthCheck("command", "", ("/opt/chatd", "check"), start_period=86400),
    HealthCheck("container", "chat", start_period=1),
]
# Fields of a probe as JSON, and the beginning of where the reader sees the fault.
BAD: list[tuple[dict[str, Any], str]] = [
    ({"kind": "http", "target": WEB, "statuses": ["2xx"]}, "statuses[0]"),
    ({"kind": "http", "target": WEB, "statuses": [200]}, "statuses[0]"),
    ({"kind": "http", "target": WEB, "statuses": ["299-200"]}, "statuses[0]"),
    ({"kind": "http", "target": WEB, "statuses": ["600"]}, "statuses[0]"),
    ({"kind": "http", "target": WEB, "statuses": ["200"] * 17}, "statuses"),
    ({"kind": "http", "target": WEB, "statuses": ["200"], "status": 204}, ""),
    ({"kind": "http", "target": WEB, "headers": ["X-Version:1"]}, "headers[0]"),
    ({"kind": "http", "target": WEB, "headers": ["X Version: 1"]}, "headers[0]"),
    ({"kind": "http", "target": WEB, "headers": ["X-Version: "]}, "headers[0]"),
    ({"kind": "http", "target": WEB, "headers": [f"A: {'x' * 1025}"]}, "headers[0]"),
    ({"kind": "http", "target": WEB, "headers": ["A: b"] * 17}, "headers"),
    ({"kind": "http", "target": WEB, "body": "a\nb"}, "body"),
    ({"kind": "http", "target": WEB, "body": "x" * 4097}, "body"),
    ({"kind": "http", "target": WEB, "body": 5}, "body"),
    ({"kind": "http", "target": WEB, "ca": "/etc/ca.pem"}, ""),
    ({"kind": "http", "target": TLS, "ca": "ca.pem"}, "ca"),
    ({"kind": "http", "target": TLS, "ca": "/etc/../ca.pem"}, "ca"),
    ({"kind": "http", "target": WEB, "unix": "run/x.sock"}, "unix"),
    ({"kind": "http", "target": WEB, "unix": "/" + "é" * 54}, "unix"),
    ({"kind": "http", "target": WEB, "query": "up"}, ""),
    ({"kind": "http", "target": WEB, "min": "1"}, ""),
    ({"kind": "http", "target": WEB, "start_period": -1}, "start_period"),
    ({"kind": "http", "target": WEB, "start_period": 86401}, "start_period"),
    ({"kind": "tcp", "target": "h:1", "body": "x"}, ""),
    ({"kind": "tcp", "target": "h:1", "unix": "/run/x"}, ""),
    ({"kind": "command", "command": ["x"], "statuses": ["200"]}, ""),
    ({"kind": "container", "target": "x", "headers": ["A: b"]}, ""),
    ({"kind": "unit", "target": "chatd"}, "target"),
    ({"kind": "unit", "target": "-x.service"}, "target"),
    ({"kind": "unit", "target": "{{ unit }}"}, "target"),
    ({"kind": "unit", "target": "a.service", "ca": "/x"}, ""),
    ({"kind": "unit"}, ""),
    ({"kind": "prometheus", "target": PROM, "min": "1"}, ""),
    ({"kind": "prometheus", "target": PROM, "query": "up"}, ""),
    ({"kind": "prometheus", "target": PROM, "query": "up", "min": "1e3"}, "min"),
    ({"kind": "prometheus", "target": PROM, "query": "up", "min": 1}, "min"),
    ({"kind": "prometheus", "target": PROM, "query": "up", "min": "NaN"}, "min"),
    ({"kind": "prometheus", "target": PROM, "query": "up", "max": "1" * 16}, "max"),
    ({"kind": "prometheus", "target": PROM, "query": "up", "min": "2", "max": "1"}, ""),
    ({"kind": "prometheus", "target": PROM, "query": "up", "equals": "1", "max": "1"}, ""),
    ({"kind": "prometheus", "target": f"{PROM}/?x=1", "query": "up", "min": "1"}, ""),
    ({"kind": "prometheus", "target": "http://u:p@h/", "query": "up", "min": "1"}, "target"),
    ({"kind": "prometheus", "target": PROM, "query": "up", "min": "1", "body": "x"}, ""),
    ({"kind": "ping", "target": "h"}, "kind"),
]


def with_probe(**probe: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(manifest_json.dump(BASE))
    document["health"] = [probe]
    document["requires"] = sorted({*document.get("requires", []), "health/1"})
    return document


def independent(document: dict[str, Any]) -> None:
    """Ask the verifier of the documents."""
    main: Any = verifier()
    main.check_manifest(document)


@pytest.mark.parametrize("check", GOOD, ids=lambda check: check.kind)
def test_what_a_probe_says_is_read_as_it_was_written_and_requires_its_word(check: HealthCheck) -> None:
    data = manifest_json.dump(replace(BASE, health=(check,)))
    document = json.loads(data)
    assert "health/1" in document["requires"]
    assert manifest_json.parse(data).health == (check,)
    Draft202012Validator(SCHEMA).validate(document)
    independent(document)


def test_a_probe_without_them_keeps_its_bytes_and_requires_nothing() -> None:
    old = HealthCheck("http", WEB, within=5, stable=1, status=204)
    document = json.loads(manifest_json.dump(replace(BASE, health=(old,))))
    assert "health/1" not in document.get("requires", [])
    row = {"kind": "http", "target": WEB, "within": 5, "stable": 1, "status": 204}
    assert document["health"] == [row]


@pytest.mark.parametrize(("probe", "where"), BAD)
def test_what_no_probe_can_use_is_refused_by_both_readers_at_its_place(
    probe: dict[str, Any], where: str
) -> None:
    document = with_probe(**probe)
    with pytest.raises(TamperedError) as caught:
        manifest_json.parse(json.dumps(document).encode())
    assert caught.value.where == f"bundle.json: health[0]{f'.{where}' if where else ''}"
    with pytest.raises(verifier().Refused):
        independent(document)


def test_a_word_too_many_or_too_few_is_refused_by_both_readers() -> None:
    plain = with_probe(kind="tcp", target="h:1")
    bare = with_probe(kind="unit", target="a.service")
    bare["requires"].remove("health/1")
    for document in (plain, bare):
        with pytest.raises(TamperedError, match="requires"):
            manifest_json.parse(json.dumps(document).encode())
        with pytest.raises(verifier().Refused):
            independent(document)


def test_a_record_of_a_release_has_new_fields_only_where_they_are_set() -> None:
    old = HealthCheck("command", "", ("x", "y"))
    names = ["kind", "target", "command", "within", "stable", "status", "when"]
    assert {key: [list(row) for row in found] for key, found in rows([old]).items()} == {"health": [names]}
    for checks in ((), (old,), (old, *GOOD)):
        written = json.loads(json.dumps(rows(checks)))
        # An installer from before reads these rows, and then refuses the manifest with exit code 19.
        assert all(list(row) == names for row in written["health"])
        assert from_rows(written) == tuple(checks)


def test_every_text_of_a_probe_can_be_rendered() -> None:
    check = HealthCheck(
        "http", "t", ("c", "d"), body="b", headers=("H: 1", "I: 2"), ca="/c", unix="/u", query="q"
    )
    found = dict(texts(check))
    assert len(found) == 9
    changed = with_texts(check, {name: f"{text}!" for name, text in found.items()})
    assert dict(texts(changed)) == {name: f"{text}!" for name, text in found.items()}
    assert {f.name for f in fields(check) if getattr(check, f.name) != getattr(changed, f.name)} == {
        "target", "command", "body", "headers", "ca", "unix", "query",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("ca", "", "an absolute path"), ("unix", "", "an absolute path"), ("body", "", "text"),
        ("query", "", "text"), ("headers[0]", "A: ", "the name of a header"), ("command[0]", "", "a program"),
        ("command[1]", "", ""), ("ca", "/etc/ca.pem", ""),
    ],
)  # fmt: skip
def test_a_text_that_values_spoil_is_named(name: str, text: str, form: str) -> None:
    fault = text_fault("http", name, text)
    assert form in fault
    assert bool(fault) == bool(form)


@pytest.mark.parametrize(("text", "valid"), [("0", True), ("-1.5", True), ("1e3", False), ("", False)])
def test_a_number_has_one_written_form(text: str, valid: bool) -> None:
    assert is_number(text) is valid


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (HealthCheck("http", WEB), f"http {WEB}"),
        (
            HealthCheck("http", WEB, statuses=("200", "300-399"), body="ok", unix="/run/x", start_period=5),
            f"http {WEB} (answers 200 or 300-399, body contains 'ok', socket /run/x, start period 5 s)",
        ),
        (
            HealthCheck("http", TLS, status=204, headers=("A: b",), ca="/c"),
            f"http {TLS} (answers 204, header A: b, CA /c)",
        ),
        (
            HealthCheck("prometheus", PROM, query="up", min="1", max="2"),
            f"prometheus {PROM} (query up, at least 1, at most 2)",
        ),
        (HealthCheck("command", "", ("a", "b")), "command a b"),
    ],
)
def test_a_reviewer_sees_what_is_asked_and_what_is_expected(check: HealthCheck, words: str) -> None:
    assert in_words(check) == words
