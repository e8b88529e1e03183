"""`bundle inspect`: from the head, whatever the size, and harmless whatever the bundle says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundler.archive import allowed_document
from bundler.commands.inspect import VIEWS, inspect_bundle
from bundler.config.secrets.allowances import Allowed
from installer.core.errors import TamperedError, UsageError
from installer.core.format.entries.config_file import OnChange
from installer.core.format.manifest import (
    ClusterNeeds,
    Deployment,
    DirectoryEntry,
    LinkEntry,
    ValuesLayer,
)
from installer.core.limits import LIMITS
from installer.shared.terminal.text import safe
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import Part, Plan


def write(directory: Path, plan: Plan) -> Path:
    path = directory / "b.tar"
    path.write_bytes(plan.tar())
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path, build.signed(build.plan(links=build.release_links())))


def test_the_overview_says_what_it_is_and_that_nothing_was_verified(path: Path) -> None:
    report = inspect_bundle(path)
    for word in ("lan-chat", "1.4.0", "linux/amd64", ".sigstore.json", "NOT VERIFIED", "were not checked"):
        assert word in report.text
    assert report.document["verified"] is False
    assert report.document["to"]["identity"] == build.read(path.read_bytes()).identity
    assert report.document["product"] == "lan-chat"


@pytest.mark.parametrize("view", ["", *VIEWS])
def test_every_view_has_a_text_and_a_document(path: Path, view: str) -> None:
    import json

    report = inspect_bundle(path, view)
    # Whatever is shown, nobody may take it for checked.
    command = f"run `bundle verify {path} --root root.json`"
    assert report.text.endswith(f"\n\nNOT VERIFIED: nobody has checked who made this bundle; {command}")
    assert report.document["verified"] is False
    json.dumps(report.document)


def test_what_hosts_make_of_a_step_is_shown_with_its_place(tmp_path: Path) -> None:
    files = {"docs/CHANGELOG.md": b"x", "deploy/compose.yaml": b"services: {}\n", "deploy/x.env.j2": b"A=1\n"}
    entries = {"deploy/compose.yaml": {"kind": "compose"}, "deploy/x.env.j2": {"kind": "template"}}
    options = {"file": "deploy/compose.yaml", "env": "deploy/x.env.j2", "override": "site.yaml"}
    plan = build.plan(files, entries=entries, deploy=(Deployment("compose", options),))
    text = inspect_bundle(write(tmp_path, build.signed(plan)), "deploy").text
    assert "env: deploy/x.env.j2  (hosts render it to deploy/.env in the directory of the release)" in text
    assert "override: site.yaml  (of the site, if it has one: /etc/waybill/lan-chat/site.yaml)" in text


def test_what_is_expected_of_a_cluster_is_shown_with_its_word(tmp_path: Path) -> None:
    needs = ClusterNeeds("cluster.peers", quorum="majority")
    report = inspect_bundle(write(tmp_path, build.signed(build.plan(cluster=needs))))
    assert "cluster     peers of cluster.peers, connect, quorum majority\n" in report.text
    assert "requires    cluster/1: hosts with an earlier installer refuse the bundle\n" in report.text
    assert report.document["manifest"]["cluster"] == {"peers": "cluster.peers", "quorum": "majority"}


def test_files_and_links_are_listed_with_their_places(path: Path) -> None:
    text = inspect_bundle(path, "files").text
    assert "trees/web/start.html -> index.html" in text
    assert [entry["path"] for entry in inspect_bundle(path, "files").document["files"]] == list(build.FILES)


def test_documents_are_shown_whole(path: Path) -> None:
    assert "# Changes\n\n## 1.4.0" in inspect_bundle(path, "docs").text
    assert "listen: {{ port }}" in inspect_bundle(path, "config").text


def test_values_are_shown_with_the_environment_or_cluster_that_they_are_for(tmp_path: Path) -> None:
    rows = [ValuesLayer("cluster", f"plant-{number:02}", "config/plants.yaml") for number in range(12)]
    rows.append(ValuesLayer("environment", "production", "config/production.yaml"))
    files = {"config/plants.yaml": b"a: 1\n", "config/production.yaml": b"a: 2\n"}
    entries = {name: {"kind": "values"} for name in files}
    path = write(tmp_path, build.plan(files, entries=entries, values_layers=tuple(rows)))
    overview = inspect_bundle(path)
    assert "\nvalues      for the environments production\n" in overview.text
    assert "plant-00, plant-01" in overview.text
    assert "plant-09, … 2 more: see `inspect config`" in overview.text
    assert len(overview.document["manifest"]["values_layers"]) == 13
    assert "requires    layers/1: hosts with an earlier installer refuse the bundle" in overview.text
    config = inspect_bundle(path, "config").text
    assert "=== config/production.yaml for environment production (5 B)\na: 2" in config
    assert "for cluster plant-00, cluster plant-01, " in config


def test_a_document_that_was_changed_is_not_shown(tmp_path: Path) -> None:
    data = build.FILES["docs/CHANGELOG.md"].replace(b"Faster", b"Slower")
    path = write(tmp_path, build.plan().changed("docs/CHANGELOG.md", data=data))
    with pytest.raises(TamperedError, match="does not match the signed list"):
        inspect_bundle(path, "docs")


@pytest.mark.parametrize(
    "data", [b"%PDF-1.7\n\xff\xfe\0", b"x" * (LIMITS.document_bytes + 1)], ids=["binary", "large"]
)
def test_a_document_that_is_no_text_or_too_large_is_listed_not_shown(tmp_path: Path, data: bytes) -> None:
    report = inspect_bundle(
        write(tmp_path, build.plan({"docs/GUIDE.pdf": data, "docs/z.md": b"shown"})), "docs"
    )
    assert "docs/GUIDE.pdf" in report.text
    assert "(not text, or too large to show)" in report.text
    assert "shown" in report.text
    assert report.document["documents"][0]["text"] is None


def test_terminal_escapes_of_a_document_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = write(tmp_path, build.plan({"docs/a.md": b"\x1b]0;owned\x07 \xe2\x80\xae"}))
    shown = safe(inspect_bundle(path, "docs").text)
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert "\\x1b]0;owned" in shown


def test_only_the_head_and_the_end_are_read(tmp_path: Path) -> None:
    """The payload may be damaged: inspecting does not look at it, and says so."""
    path = write(tmp_path, build.plan().changed("bin/linux-amd64/chatd", data=b"?" * 768))
    assert "list and manifest match" in inspect_bundle(path).text


def test_approvals_are_listed_and_called_unchecked(tmp_path: Path) -> None:
    parts = [
        Part("approvals/security-0a1b2c3d.json", b"{}"),
        Part("approvals/security-0a1b2c3d.json.sig", b"x"),
        Part("approvals/security-0a1b2c3d.json.sigstore.json", b"{}"),
    ]
    path = write(tmp_path, build.plan(approvals=parts))
    report = inspect_bundle(path)
    (line,) = [line for line in report.text.splitlines() if line.startswith("approvals ")]
    # Signatures of an approval are none, whatever their names end with.
    assert line.split()[1:] == ["approvals/security-0a1b2c3d.json"]
    assert [row["file"] for row in report.document["approvals"]] == ["approvals/security-0a1b2c3d.json"]
    assert "NOT VERIFIED: nobody has checked" in inspect_bundle(path, "approvals").text


def test_a_misspelt_view_is_told_with_the_one_that_was_meant(path: Path) -> None:
    for view, hint in (("rsks", "did you mean risks?"), ("x", f"use one of {', '.join(VIEWS)}")):
        with pytest.raises(UsageError, match=f"unknown view '{view}'") as caught:
            inspect_bundle(path, view)
        assert caught.value.hint == hint


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(b"x" * 4096)
    with pytest.raises(TamperedError):
        inspect_bundle(tmp_path / "b.tar")
    with pytest.raises(UsageError, match="no such bundle"):
        inspect_bundle(tmp_path / "none.tar")


def test_a_step_that_cannot_be_undone_is_seen_by_whoever_lets_the_release_pass(tmp_path: Path) -> None:
    options = {"apply": "deploy/apply.sh", "roll_forward_only": "the column nick is dropped"}
    files = {"docs/CHANGELOG.md": b"x", "deploy/apply.sh": b"#!/bin/sh\n"}
    entries = {"deploy/apply.sh": {"kind": "script", "mode": 0o755}}
    plan = build.plan(files, entries=entries, deploy=(Deployment("script", options),))
    path = write(tmp_path, build.signed(plan))
    assert "script (cannot be undone: the column nick is dropped)" in inspect_bundle(path).text


def test_sensitive_destinations_are_named_loudly(tmp_path: Path) -> None:
    entries = {"docs/CHANGELOG.md": {"install": "/etc/sudoers.d/chat"}}
    report = inspect_bundle(write(tmp_path, build.signed(build.plan(entries=entries))))
    assert "SENSITIVE   /etc/sudoers.d/chat: who may act as root\n" in report.text
    assert [each["path"] for each in report.document["sensitive"]] == ["/etc/sudoers.d/chat"]
    risks = inspect_bundle(tmp_path / "b.tar", "risks")
    assert "  /etc/sudoers.d/chat: who may act as root" in risks.text
    assert [each["path"] for each in risks.document["sensitive"]] == ["/etc/sudoers.d/chat"]


BAD = {
    "docs/a.md": b"# x\n",
    "deploy/apply.sh": b"#!/bin/sh\nuseradd eve\n",
    "deploy/compose.yaml": b"services: {web: {privileged: true, volumes: ['/:/host'], network_mode: host}}\n",
    "deploy/x.service": b"[Service]\nExecStartPre=rm -rf /\n",
    "trees/t/f": b"x",
}
BAD_ENTRIES = {
    "deploy/apply.sh": {"kind": "script", "mode": 0o755},
    "deploy/compose.yaml": {"kind": "compose"},
    "deploy/x.service": {"kind": "unit"},
    "trees/t/f": {"install": "/opt/t/f", "mode": 0o666},
}
BAD_STEPS = (
    Deployment("systemd", {"units": ["deploy/x.service"]}),
    Deployment("compose", {"file": "deploy/compose.yaml", "project": "chat"}),
    Deployment("script", {"apply": "deploy/apply.sh", "roll_forward_only": "adds a user for good"}),
)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    plan = build.plan(
        BAD, entries=BAD_ENTRIES, deploy=BAD_STEPS, links=(LinkEntry("trees/t/l", "f", "/opt/t/l"),),
        directories=(DirectoryEntry("trees/t/d", 0o777, "/opt/t/d"),),
    )  # fmt: skip
    return write(tmp_path, build.signed(plan))


def test_what_is_dangerous_is_in_a_view_of_its_own(bad: Path) -> None:
    text = inspect_bundle(bad, "risks").text
    for line in (
        "deploy/x.service: the service runs as root: no User= is set in this file",
        "deploy/apply.sh: runs as root (apply), 2 lines",
        "deploy/compose.yaml: service web: privileged: true",
        "deploy/compose.yaml: service web: network_mode: host",
        "deploy/compose.yaml: service web: mounts /: the whole file system of the host",
        "trees/t/f: every user may write to /opt/t/f (mode 0666)",
        "trees/t/d: every user may write into /opt/t/d (mode 0777)",
        "deploy/x.service:2: deletes the whole file system: ExecStartPre=rm -rf /",
        "deploy/apply.sh:2: changes who may log in or act as root: useradd eve",
    ):
        assert line in text
    assert "× runs as root" in inspect_bundle(bad).text
    assert inspect_bundle(bad).document["risk_counts"]["host"] == 3


def test_scripts_and_commands_are_shown_whole(bad: Path) -> None:
    report = inspect_bundle(bad, "scripts")
    assert "deploy/x.service:2 (as root): ExecStartPre=rm -rf /" in report.text
    assert "  | useradd eve" in report.text
    assert [each["user"] for each in report.document["programs"]] == ["root", "root"]


def test_steps_and_real_places_are_shown(bad: Path) -> None:
    report = inspect_bundle(bad, "deploy")
    for line in (
        "units: deploy/x.service -> /etc/systemd/system/x.service",
        "project: chat",
        "roll_forward_only: adds a user for good",
        "/opt/t/d",
        "-> f",
    ):
        assert line in report.text
    assert [each["install"] for each in report.document["links"]] == ["/opt/t/l"]
    assert report.document["directories"][0]["mode"] == "0777"


def test_what_configuration_files_run_and_reach_is_in_every_view_of_a_reviewer(tmp_path: Path) -> None:
    entries: dict[str, dict[str, Any]] = {
        "config/a": {
            "install": "/etc/a",
            "validate": ("sh", "-c", "useradd eve", "{file}"),
            "on_change": OnChange(reload="nginx.service"),
        },
        "config/b": {"install": "/etc/b", "on_change": OnChange(command=("/usr/bin/sync-b", "all"))},
    }
    plan = build.plan(dict.fromkeys(entries, b""), entries=entries)
    path = write(tmp_path, build.signed(plan))
    risks = inspect_bundle(path, "risks").text
    for line in (
        "config/a: validate: runs as root before /etc/a changes, to check it: sh -c 'useradd eve' {file}",
        "config/a: validate: changes who may log in or act as root: sh -c useradd eve {file}",
        "config/a: reload nginx.service whenever /etc/a changes",
        "config/b: on_change: runs as root whenever /etc/b changes: /usr/bin/sync-b all",
    ):
        assert line in risks
    assert "config/b: on_change (as root): /usr/bin/sync-b all" in inspect_bundle(path, "scripts").text
    deploy = inspect_bundle(path, "deploy")
    assert "/etc/a is checked before it changes; runs as root: sh -c 'useradd eve' {file}" in deploy.text
    assert "/etc/b has changed: run /usr/bin/sync-b all; as root" in deploy.text
    assert [each["install"] for each in deploy.document["configuration"]] == ["/etc/a", "/etc/b"]
    (one, _) = inspect_bundle(path, "files").document["files"]
    assert one["on_change"] == {"reload": "nginx.service", "restart": "", "command": ()}


def test_a_changed_script_is_not_shown_and_the_overview_says_so(tmp_path: Path) -> None:
    plan = build.plan(BAD, entries=BAD_ENTRIES, deploy=BAD_STEPS)
    path = write(tmp_path, build.signed(plan).changed("deploy/apply.sh", data=b"#!/bin/sh\nuseradd bob\n"))
    for view in ("risks", "scripts"):
        with pytest.raises(TamperedError, match="does not match the signed list"):
            inspect_bundle(path, view)
    assert "NOT EXAMINED: " in inspect_bundle(path).text


LET_THROUGH = Allowed("trees/t/demo.env", "a literal PASSWORD", "of the demo only")


def with_exceptions(data: bytes = b"") -> Plan:
    """A bundle that lists what was let through."""
    listed = data or allowed_document.make([LET_THROUGH])
    return build.signed(build.plan({allowed_document.NAME: listed, "trees/t/demo.env": b"x"}))


def test_what_was_let_through_is_in_the_overview(tmp_path: Path) -> None:
    report = inspect_bundle(write(tmp_path, with_exceptions()))
    assert (
        "ALLOWED     trees/t/demo.env: a literal PASSWORD; reason: of the demo only"
        in report.text.splitlines()
    )
    assert report.document["secrets_allowed"] == [LET_THROUGH._asdict()]


def test_a_changed_list_of_what_was_let_through_is_not_shown_and_the_overview_says_so(tmp_path: Path) -> None:
    data = allowed_document.make([LET_THROUGH]).replace(b"demo only", b"DEMO ONLY")
    path = write(tmp_path, with_exceptions().changed(allowed_document.NAME, data=data))
    report = inspect_bundle(path)
    (line,) = [each for each in report.text.splitlines() if each.startswith("ALLOWED")]
    assert line.startswith("ALLOWED     NOT SHOWN: ")
    assert line.endswith("docs/SECRETS-ALLOWED.md does not match the signed list")
    assert "product     lan-chat" in report.text
    # Unknown, which is not the same as none.
    assert report.document["secrets_allowed"] is None


def test_a_list_of_what_was_let_through_that_is_too_large_is_not_taken_for_an_empty_one(
    tmp_path: Path,
) -> None:
    report = inspect_bundle(write(tmp_path, with_exceptions(b"x" * (LIMITS.document_bytes + 1))))
    assert "ALLOWED     NOT SHOWN: " in report.text
    assert report.document["secrets_allowed"] is None
