"""`bundle inspect` and `diff` of a bundle with everything in it: documents in the form of their schemas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bundler.archive import allowed_document
from bundler.cli.main import app
from bundler.cli.options import console
from bundler.config.secrets.allowances import Allowed
from bundler.trust.root_files import root_bytes
from installer.core.format.entries.config_file import OnChange
from installer.core.format.manifest import (
    Deployment,
    DirectoryEntry,
    HealthCheck,
    LinkEntry,
    Source,
    ValuesLayer,
)
from installer.core.format.manifest_rules import section_rank
from installer.shared.command.command_line import run_app
from tests.rig import bundlebuild as build
from tests.rig.answers import Document
from tests.rig.approvaldesk import LATER
from tests.rig.imagebuild import Built, layer
from tests.rig.imageplan import section
from tests.rig.trustworld import APPROVALS, World, root

LET_THROUGH = Allowed("trees/t/demo.env", "a literal PASSWORD", "of the demo only")
FILES = {
    "docs/ROLLBACK.md": b"Go back.\n",
    "docs/SECRETS-ALLOWED.md": allowed_document.make([LET_THROUGH]),
    "config/a": b"a: {{ a }}\n",
    "config/production.yaml": b"a: 2\n",
    "deploy/apply.sh": b"#!/bin/sh\nuseradd eve\n",
    "deploy/compose.yaml": b"services: {web: {image: 'x:1', privileged: true}}\n",
    "trees/t/demo.env": b"x",
}
ENTRIES: dict[str, dict[str, Any]] = {
    "config/a": {
        "install": "/etc/sudoers.d/chat", "kind": "template", "validate": ("sh", "-n", "{file}"),
        "on_change": OnChange(reload="nginx.service"), "timeout": 60,
    },
    "config/production.yaml": {"kind": "values"},
    "deploy/apply.sh": {"kind": "script", "mode": 0o755},
    "deploy/compose.yaml": {"kind": "compose"},
    "trees/t/demo.env": {"install": "/opt/t/demo.env", "mode": 0o666},
}  # fmt: skip
STEPS = (
    Deployment("compose", {"file": "deploy/compose.yaml", "project": "chat"}),
    Deployment("script", {"apply": "deploy/apply.sh", "roll_forward_only": "adds a user"}),
)


def everything(version: str = "1.4.0", sequence: int = 100_040_000_999) -> World:
    """A release with something in each part of a manifest, and with approvals."""
    images = section([Built("x:1", [layer(f"x{version}", 1000)])]).plan()
    changed = {"deploy/apply.sh": f"#!/bin/sh\nuseradd eve{version}\n".encode(), "config/a": version.encode()}
    files = dict(sorted((FILES | changed).items(), key=lambda item: (section_rank(item[0]), item[0])))
    plan = build.plan(
        files, room=16384, rollback="docs/ROLLBACK.md", entries=ENTRIES, deploy=STEPS, version=version,
        sequence=sequence, expires=int(LATER.timestamp()), source=Source("c" * 40, f"v{version}"),
        links=(LinkEntry("trees/t/l", "demo.env", "/opt/t/l"),),
        directories=(DirectoryEntry("trees/t/d", 0o777, "/opt/t/d"),),
        health=(HealthCheck("command", "", ("/bin/true",), when="script"),),
        values_layers=(ValuesLayer("environment", "production", "config/production.yaml"),),
    )  # fmt: skip
    stored = tuple(each for each in images.manifest.files if each.kind == "image")
    parts = tuple(each for each in images.payload if each.name in {entry.path for entry in stored})
    plan = replace(plan, payload=(*plan.payload, *parts)).resealed(
        replace(plan.manifest, files=(*plan.manifest.files, *stored), images=images.manifest.images)
    )
    now = datetime.now(UTC).replace(microsecond=0)
    valid = {"not_before": now - timedelta(days=1), "expires": now + timedelta(days=5)}
    approvals = tuple(replace(each, fields={**each.fields, **valid}) for each in APPROVALS)
    return World(plan=plan, approvals=approvals)


Run = Callable[..., Document]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`bundle … --json` in a directory with two such bundles and a root; gives the document."""
    monkeypatch.chdir(tmp_path)
    Path("old.tar").write_bytes(everything("1.3.0", 100_030_000_999).tar())
    Path("new.tar").write_bytes(everything().tar())
    Path("root.json").write_bytes(root_bytes(root(expires=LATER)))

    def run(*words: str) -> Document:
        assert run_app(console, app, [*words, "--json"]) == 0
        return Document.read(capsys.readouterr().out)

    return run


@pytest.mark.parametrize(
    ("view", "fields"),
    [
        ("", "risk_counts sensitive secrets_allowed signatures approvals requires"),
        ("deploy", "deploy configuration health links directories"),
        ("scripts", "programs"),
        ("risks", "risks programs sensitive"),
        ("files", "files links directories"),
        ("images", "images"),
        ("config", "documents"),
        ("approvals", "approvals"),
        ("docs", "documents"),
    ],
)
def test_every_view_has_its_fields_in_the_form_that_the_schema_says(run: Run, view: str, fields: str) -> None:
    found = run("inspect", "new.tar", *([view] if view else []))
    assert [name for name in fields.split() if not found[name]] == []


def test_a_difference_has_images_texts_and_risks(run: Run) -> None:
    found = run("diff", "old.tar", "new.tar")
    assert [name for name in ("files", "images", "texts", "risk_changes") if not found[name]] == []
    assert [each["change"] for each in found["images"]] == ["changed"]


def test_a_verification_has_approvals_policy_source_and_sensitive_places(run: Run) -> None:
    found = run("verify", "new.tar", "--root", "root.json", "--env", "production")
    assert [name for name in ("signatures", "approvals", "policy", "sensitive") if not found[name]] == []
    assert found["source"] == {"commit": "c" * 40, "tag": "v1.4.0", "dirty": False}
