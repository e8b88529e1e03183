"""What a user without rights of root sees: what is public, without secrets, and what is not shown."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands.history import Event
from installer.core.format.manifest_rules import section_rank
from installer.host.system import System
from installer.state.host_identity import host_name
from installer.state.public import AS_ROOT
from tests.rig import bundlebuild as build
from tests.rig.bench import CLOCK, Bench, environment
from tests.rig.trustworld import APPROVALS, FILES, NOW, World, root

pytestmark = pytest.mark.needs("root")
NOBODY = 65534
SECRET = "hunter22-of-the-site"
NOTES = "seen by the night shift"
NAME = host_name(System("/"))


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Run what is inside without rights of root."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def release(version: str, sequence: int) -> World:
    files = {
        **FILES,
        "docs/page.html": b"of %s\n" % version.encode(),
        "config/app.conf": b"p: {{ password }}\n",
    }
    files["config/values.yaml"] = b"password: default\n"
    files = dict(sorted(files.items(), key=lambda each: (section_rank(each[0]), each[0])))
    plan = build.plan(
        files, room=512, rollback="docs/ROLLBACK.md", version=version, sequence=sequence,
        values="config/values.yaml",
        entries={
            "docs/page.html": {"install": "/opt/web/page.html"},
            "config/app.conf": {"install": "/etc/app.conf", "kind": "template", "mode": 0o640},
            "config/values.yaml": {"kind": "values"},
        },
    )  # fmt: skip
    said = {"rollback_to": "none", "notes": NOTES, "targets": [NAME, "bastion-of-another-cell"]}
    back = tuple(replace(each, fields=said) for each in APPROVALS)
    return World(plan=plan, approvals=back)


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Bench]:
    """A host that every user can look at, with a release whose configuration has a secret of the site."""
    monkeypatch.setattr(CLOCK, lambda: NOW)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        host = Path(name, "host")
        (host / "etc/waybill/trust").mkdir(parents=True)
        bench = Bench(host, Path(name), capsys)
        bench.trust(root())
        environment(host, "production\n")
        values = host / "etc/waybill/lan-chat/values.yaml"
        values.parent.mkdir()
        values.write_text(f"password: {SECRET}\n")
        values.chmod(0o600)
        assert bench.run(str(bench.bundle(release("1.4.0", 1))), "--yes")[0] == 0
        yield bench


def state(bench: Bench, name: str) -> Path:
    return bench.host / "var/lib/waybill/lan-chat" / name


def test_status_shows_what_runs_and_says_what_it_does_not_show(public: Bench) -> None:
    with ordinary_user():
        code, text = public.text("status")
        document = public.run("status")[1]
    assert code == 0
    assert "lan-chat 1.4.0 is installed" in text
    assert "signed by" in text
    assert "not shown  whether configuration was edited" in text
    assert "run as root to see it" in text
    (product,) = document["products"]
    assert product["installed"]["version"] == "1.4.0"
    assert product["drift"] == []
    assert "whether configuration was edited" in product["hidden"]


def test_health_checks_cannot_be_asked_by_everybody(public: Bench) -> None:
    with ordinary_user():
        code, document, _ = public.run("status", "--health")
    assert (code, document["products"][0]["health"]) == (15, None)
    assert "cannot be read by this user" in document.what
    assert document.hint == "run the same command as root, for example with sudo"


def test_status_sees_drift_of_what_everybody_may_read(public: Bench) -> None:
    (public.host / "opt/web/page.html").write_text("edited\n")
    (public.host / "etc/app.conf").chmod(0o600)
    with ordinary_user():
        _, document, _ = public.run("status")
    (product,) = document["products"]
    assert sorted((each["where"], each["what"]) for each in product["drift"]) == [
        ("/etc/app.conf", "has mode 0600, not 0640"),
        ("/opt/web/page.html", "has different content"),
    ]


def test_an_open_transaction_is_no_drift(public: Bench) -> None:
    state(public, "state.json.new").write_bytes(b"\0")
    (public.host / "opt/web/page.html").write_text("half of an upgrade\n")
    with ordinary_user():
        code, text = public.text("status")
    assert code == 0
    assert "UNFINISHED a transaction is running, or was interrupted; run `install status --root " in text
    assert "` as root to see which" in text
    assert "DRIFT" not in text


def test_history_has_transactions_without_reasons(public: Bench) -> None:
    (public.stick / "bad.tar").write_bytes(b"no bundle")
    assert public.run(str(public.stick / "bad.tar"), "--yes")[0] != 0
    with ordinary_user():
        code, document, _ = public.run("history")
        text = public.text("history")[1]
    assert code == 0
    assert [(row["verb"], row["version"], row["outcome"]) for row in document["events"]] == [
        ("apply", "1.4.0", "done")
    ]
    assert document["events"][0]["health"] == {"passed": 0, "checks": None}
    assert document["refusals"] == []
    assert text.endswith("run as root to see it\n")


def test_history_says_that_the_reason_of_a_rollback_is_root_s_and_not_that_it_is_one() -> None:
    event = Event("000002", "apply", "rolled back", 0, 0, "1.5.0", "", AS_ROOT, product="lan-chat")
    assert event.text().endswith("rolled back (reason: run as root to see it)")
    assert replace(event, why="no database").text().endswith("rolled back: no database")


def test_audit_tells_the_head_of_the_log_and_that_the_records_are_root_s(public: Bench) -> None:
    number, digest = (public.host / "var/lib/waybill/audit.head").read_text().split()
    with ordinary_user():
        code, document, _ = public.run("audit")
    assert (code, document["code"]) == (15, "host-not-ready")
    assert document.what == f"only root may read its {number} records; the last one has the hash {digest}"
    assert document.hint == "run as root"


def test_plan_shows_what_would_change(public: Bench) -> None:
    newer = str(public.bundle(release("1.5.0", 2), "newer.tar"))
    (public.host / "mine").mkdir()
    os.chown(public.host / "mine", NOBODY, NOBODY)
    (public.host / "etc/app.conf").chmod(0o644)
    with ordinary_user():
        words = ("plan", newer, "--work-dir", str(public.host / "mine"))
        code, text = public.text(*words)
        document = public.run(*words)[1]
    assert "lan-chat: 1.4.0 → 1.5.0" in text, text
    assert "  ~ /opt/web/page.html" in text
    assert "note: not shown: whether configuration was edited" in text
    # What keeps this user from carrying it out is told, as before the first installation.
    assert code == 15
    assert {each["where"]: each["what"] for each in document["problems"]}.keys() >= {"/opt/web"}
    assert document["from"]["version"] == "1.4.0"


def test_plan_needs_no_right_to_write_below_the_root_directory(
    public: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = public.stick / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    monkeypatch.setattr("installer.staging.preview._TEMPORARY", str(temporary))
    newer = str(public.bundle(release("1.5.0", 2), "newer.tar"))
    before = sorted(public.host.rglob("*"))
    with ordinary_user():
        code, text = public.text("plan", newer)
    assert "lan-chat: 1.4.0 → 1.5.0" in text, text
    assert "  ~ /opt/web/page.html" in text
    assert "- /opt/web: is not writable by this user\n  hint: run as root" in text
    assert code == 15
    assert (sorted(public.host.rglob("*")), list(temporary.iterdir())) == (before, [])


def test_plan_keeps_documents_below_the_root_directory_where_it_can(
    public: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("installer.staging.preview._TEMPORARY", str(public.stick / "missing"))
    assert public.text("plan", str(public.bundle(release("1.5.0", 2), "newer.tar")))[0] == 0


def test_config_show_says_that_values_are_missing_which_this_user_may_not_read(public: Bench) -> None:
    with ordinary_user():
        code, document, said = public.run("config", "show")
    assert (code, [each["layer"] for each in document["layers"]]) == (15, ["defaults"])
    last = document["problems"][-1]
    assert (last["where"], last["hint"]) == ("/etc/waybill/lan-chat/values.yaml", "run as root")
    assert SECRET not in said + str(document)


@pytest.mark.parametrize("command", [("config", "validate"), ("config", "diff"), ("secrets", "check")])
def test_what_only_reads_a_bundle_names_no_option_that_it_does_not_have(
    public: Bench, command: tuple[str, str]
) -> None:
    newer = str(public.bundle(release("1.5.0", 2), "newer.tar"))
    with ordinary_user():
        code, document, _ = public.run(*command, newer)
    assert (code, document["code"]) == (15, "host-not-ready")
    assert document["problems"][-1]["where"] == "/etc/waybill/lan-chat/values.yaml"
    assert document["problems"][-1]["hint"] == "run as root"
    assert "--work-dir" not in str(document)


@pytest.mark.parametrize("command", [("config", "validate"), ("config", "diff"), ("secrets", "check")])
def test_what_only_reads_a_bundle_needs_space_and_names_no_option_that_it_does_not_have(
    public: Bench, command: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("installer.staging.preview._TEMPORARY", str(public.host / "etc"))
    newer = str(public.bundle(release("1.5.0", 2), "newer.tar"))
    with ordinary_user():
        code, document, _ = public.run(*command, newer)
    assert (code, document["code"]) == (15, "host-not-ready")
    assert document.what == "cannot write: Permission denied"
    assert "run as root" in document.hint
    assert "--work-dir" not in document.hint


def test_nothing_public_has_a_secret_or_a_reason(public: Bench) -> None:
    assert SECRET in (public.host / "etc/app.conf").read_text()
    for path in [public.host / "var/lib/waybill", *(public.host / "var/lib/waybill").rglob("*")]:
        if path.is_file() and path.stat().st_mode & 0o004 and readable(path, public.host):
            data = path.read_text("utf-8", "replace")
            assert SECRET not in data, path
            assert '"why"' not in data, path
            assert NOTES not in data, path
            assert "bastion-of-another-cell" not in data, path
    shown = state(public, "public.json").read_text()
    record = next(state(public, "rendered").glob("*/record.json")).read_text()
    digest = [line for line in record.split('"') if len(line) == 64]
    assert digest
    assert not any(each in shown for each in digest), "a digest of rendered configuration"


def readable(path: Path, below: Path) -> bool:
    """Return whether every user can reach a file."""
    return all(each.stat().st_mode & 0o001 for each in path.parents if each.is_relative_to(below))


def removed(path: Path) -> None:
    path.unlink()


def private(path: Path) -> None:
    path.chmod(0o600)


def damaged(path: Path) -> None:
    path.write_text("{")


@pytest.mark.parametrize("spoil", [removed, private, damaged])
def test_hosts_of_earlier_versions_get_it_with_the_next_change_and_never_by_a_look(
    public: Bench, spoil: Callable[[Path], None]
) -> None:
    path = state(public, "public.json")
    spoil(path)
    before = path.read_bytes() if path.exists() else None
    with ordinary_user():
        code, document, _ = public.run("status")
    assert (code, document.where) == (15, "/var/lib/waybill/lan-chat/state.json")
    assert document.hint == "run as root"
    assert public.run("status")[0] == 0
    assert (path.read_bytes() if path.exists() else None) == before
    assert public.run("recover")[0] == 0
    with ordinary_user():
        assert public.run("status")[0] == 0


def test_a_view_that_an_older_version_left_behind_is_not_shown(public: Bench) -> None:
    state(public, "current").unlink()
    state(public, "current").symlink_to("releases/3-0123456789ab")
    with ordinary_user():
        assert public.run("status")[0] == 15


def test_the_same_installation_again_writes_nothing(public: Bench) -> None:
    path = state(public, "public.json")
    before = path.stat()
    assert public.run(str(public.stick / "b.tar"), "--yes")[0] == 0
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
