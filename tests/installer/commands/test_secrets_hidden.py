"""A secret of a site is in no plan, log, document or record of this host, whoever says it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from installer.core.format.manifest import Deployment
from installer.core.format.manifest_rules import section_rank
from tests.rig import bundlebuild as build
from tests.rig.bench import Bench, environment
from tests.rig.trustworld import APPROVALS, FILES, World

PASSWORD, LICENCE = "tr0ub4dor&3", "WXYZ-four-words"
VALUES = f"db: {{password: '{PASSWORD}'}}\nlicence: {LICENCE}\npin: 7\n"
SCHEMA = {"properties": {"licence": {"type": "string", "writeOnly": True}, "pin": {"type": "integer"}}}
# Neither stands where its name is: only the value can be found.
TEMPLATE = b"[{{ db.password }}]\nfor {{ licence }}\nurl {{ db.password|urlencode }}\npins {{ pin }}\n"
# The second is in no file: only the notation in what is printed says that it is one.
FAILING = (
    f"#!/bin/sh\nset -x\necho 'login with {PASSWORD} and --token '"
    "$(printf unknown; printf -- -token) >&2\nexit 3\n"
)


def world(script: str = FAILING) -> World:
    files = FILES | {
        "config/chat.conf": TEMPLATE,
        "config/values.yaml": b"db: {password: ''}\nlicence: none\npin: 0\n",
        "config/values.schema.json": json.dumps(SCHEMA).encode(),
        "deploy/apply.sh": script.encode(),
        "deploy/undo.sh": b"#!/bin/sh\n",
    }
    entries = {
        "config/chat.conf": {"install": "/etc/chat.conf", "kind": "template"},
        "config/values.yaml": {"kind": "values"},
        "config/values.schema.json": {"kind": "schema"},
        "deploy/apply.sh": {"kind": "script", "mode": 0o755},
        "deploy/undo.sh": {"kind": "script", "mode": 0o755},
    }
    ordered = sorted(files, key=lambda path: (section_rank(path), path))
    plan = build.plan(
        {path: files[path] for path in ordered}, room=512, rollback="docs/ROLLBACK.md", entries=entries,
        values="config/values.yaml",
        values_schema="config/values.schema.json",
        deploy=(Deployment("script", {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh"}),),
    )  # fmt: skip
    return World(plan=plan, approvals=APPROVALS)


@pytest.fixture
def site(bench: Bench) -> Bench:
    """A host with values of its own that everybody can read."""
    environment(bench.host, "production\n")
    values = bench.host / "etc/waybill/lan-chat/values.yaml"
    values.parent.mkdir()
    values.write_text(VALUES)
    values.chmod(0o644)
    return bench


def everything(bench: Bench) -> Iterator[tuple[str, bytes]]:
    """The records of the host, and what a support archive would have."""
    for path in (bench.host / "var/lib/waybill").rglob("*"):
        # The rendered file itself and what the bundle carried are what is protected, by their modes.
        own = {"rendered", "releases", "staging"} & {*path.parts}
        if path.is_file() and not path.is_symlink() and not own:
            yield str(path), path.read_bytes()


def test_plan_and_documents_show_no_secret(site: Bench) -> None:
    bundle = str(site.bundle(world()))
    code, document, said = site.run("plan", bundle, "--only", "files,script")
    assert code == 0
    shown = json.dumps(document) + said + site.text("plan", bundle, "--only", "files,script")[1]
    assert "+[***]" in shown
    assert "+for ***" in shown
    assert "+url ***" in shown
    assert "+pins 7" in shown
    for secret in (PASSWORD, LICENCE, "tr0ub4dor%263"):
        at = shown.find(secret)
        assert at < 0, shown[max(0, at - 200) : at + 100]


def test_secrets_of_old_content_that_is_replaced_are_hidden(site: Bench) -> None:
    (site.host / "etc/chat.conf").write_text("requirepass old-hunter\n# old-hunter, again\n")
    code, text = site.text("plan", str(site.bundle(world())), "--only", "files", "--on-drift", "replace")
    assert (code, "old-hunter" in text, "-requirepass ***" in text) == (0, False, True)


@contextmanager
def json_log(bench: Bench) -> Iterator[list[str]]:
    from installer.cli.options import console

    try:
        yield ["--log-format", "json"]
    finally:
        console.log_format = "text"


def test_a_script_that_prints_it_reaches_no_log_and_no_record(site: Bench) -> None:
    bundle = str(site.bundle(world()))
    with json_log(site) as options:
        code, document, said = site.run(bundle, "--yes", "--only", "files,script", *options)
    assert code == 20
    failure: dict[str, Any] = document
    assert "login with *** and --token ***" in json.dumps(failure)
    code, text = site.text("audit")
    shown = json.dumps(document) + said + text + json.dumps(site.run("history")[1])
    for secret in (PASSWORD, LICENCE, "unknown-token"):
        at = shown.find(secret)
        assert at < 0, shown[max(0, at - 200) : at + 100]
        assert [path for path, data in everything(site) if secret.encode() in data] == []
    archive = site.stick / "support.tar"
    assert site.run("support", str(archive))[0] == 0
    assert PASSWORD.encode() not in archive.read_bytes()


def test_a_wrong_value_is_not_quoted(site: Bench) -> None:
    values = site.host / "etc/waybill/lan-chat/values.yaml"
    values.write_text(f"licence: [{LICENCE}]\ndb: {{password: x}}\n")
    code, text = site.text("plan", str(site.bundle(world())), "--only", "files")
    assert (code, LICENCE in text) == (15, False)


def test_a_values_file_that_everybody_can_read_is_warned_of(site: Bench, tmp_path: Path) -> None:
    bundle = str(site.bundle(world()))
    path = "/etc/waybill/lan-chat/values.yaml"
    warning = f"{path} contains secrets (db.password, licence) and can be read by every user of this host"
    code, text = site.text("plan", bundle, "--only", "files")
    assert (code, warning in text, f"run `chmod 0600 {path}`" in text) == (0, True, True)
    (site.host / path[1:]).chmod(0o640)
    assert "every user" not in site.text("plan", bundle, "--only", "files")[1]
    more = tmp_path / "more.yaml"
    more.write_text("db: {password: another-one}\n")
    more.chmod(0o644)
    code, text = site.text("plan", bundle, "--only", "files", "--values", str(more))
    assert (f"{more} contains secrets (db.password)" in text, "another-one" in text) == (True, False)


def test_a_values_file_without_secrets_may_be_public(site: Bench) -> None:
    (site.host / "etc/waybill/lan-chat/values.yaml").write_text("pin: 8\n")
    assert "every user" not in site.text("plan", str(site.bundle(world())), "--only", "files")[1]


def test_a_short_secret_is_named(site: Bench) -> None:
    (site.host / "etc/waybill/lan-chat/values.yaml").write_text("db: {password: '7'}\npin: 7\n")
    code, text = site.text("plan", str(site.bundle(world())), "--only", "files")
    assert (code, "+pins 7" in text) == (0, True)
    assert "db.password is shorter than 4 characters: it is hidden only where its name stands" in text
