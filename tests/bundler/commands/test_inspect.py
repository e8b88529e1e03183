"""`bundle inspect`: from the head, whatever the size, and harmless whatever the bundle says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.commands.inspect import VIEWS, inspect_bundle
from installer.core.errors import TamperedError, UsageError
from installer.core.format.manifest import Deployment, DirectoryEntry, LinkEntry
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


def test_files_and_links_are_listed_with_their_places(path: Path) -> None:
    text = inspect_bundle(path, "files").text
    assert "trees/web/start.html -> index.html" in text
    assert [entry["path"] for entry in inspect_bundle(path, "files").document["files"]] == list(build.FILES)


def test_documents_are_shown_whole(path: Path) -> None:
    assert "# Changes\n\n## 1.4.0" in inspect_bundle(path, "docs").text
    assert "listen: {{ port }}" in inspect_bundle(path, "config").text


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
    ]
    path = write(tmp_path, build.plan(approvals=parts))
    assert "approvals/security-0a1b2c3d.json" in inspect_bundle(path).text
    assert "NOT VERIFIED: nobody has checked" in inspect_bundle(path, "approvals").text


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
        "deploy/x.service: the service runs as root: no User= is set",
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


def test_a_changed_script_is_not_shown_and_the_overview_says_so(tmp_path: Path) -> None:
    plan = build.plan(BAD, entries=BAD_ENTRIES, deploy=BAD_STEPS)
    path = write(tmp_path, build.signed(plan).changed("deploy/apply.sh", data=b"#!/bin/sh\nuseradd bob\n"))
    for view in ("risks", "scripts"):
        with pytest.raises(TamperedError, match="does not match the signed list"):
            inspect_bundle(path, view)
    assert "NOT EXAMINED: " in inspect_bundle(path).text
