"""The plan: read-only, complete, and honest about what stands in the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.core.errors import HostNotReadyError, UsageError
from installer.core.format.manifest import Deployment
from installer.host.context import Context
from installer.host.host import Space
from installer.host.system import System
from installer.planning import plan_text
from installer.planning.drift import Policy
from installer.planning.plan import Options, Plan, PlanNotReadyError
from installer.planning.planner import plan_apply
from installer.shared.secrecy.known import Secrets
from installer.shared.secrecy.notations import secrets_of
from installer.shared.secrecy.redaction import diff
from installer.shared.values import Layer
from tests.rig.faulty import FaultySystem, snapshot
from tests.rig.releases import Member, ReleaseSpec, context, install, planned, root, stage

pytestmark = pytest.mark.host(system=FaultySystem)

CHATD = Member(b"daemon", "/opt/chat/chatd", 0o755)
CONF = Member(b"port: {{ port }}\npassword: {{ password }}\n", "/etc/chat.conf", 0o600, "template")
VALUES = Member(b"port: 1\npassword: hunter1\n", kind="values")
ONE = ReleaseSpec(
    "1.0.0",
    1,
    {"bin/linux-amd64/chatd": CHATD, "config/chat.conf": CONF, "config/values.yaml": VALUES},
    values="config/values.yaml",
)
TWO = replace(
    ONE,
    version="2.0.0",
    sequence=2,
    members={**ONE.members, "config/values.yaml": Member(b"port: 2\npassword: hunter2\n", kind="values")},
)


def whats(plan: Plan) -> list[tuple[str, str]]:
    return [(problem.where, problem.what) for problem in plan.problems]


def test_planning_changes_nothing(host: Context) -> None:
    install(host, ONE)
    with exclusive(host) as (state, _):
        staged = stage(root(host), TWO)
        before = snapshot(root(host))
        assert isinstance(host.system, FaultySystem)
        effects = len(host.system.trace)
        plan = plan_apply(host, state, staged, Options())
        plan_text.plan_text(plan)
        assert snapshot(root(host)) == before
        assert len(host.system.trace) == effects


def test_the_same_release_with_the_same_configuration_is_nothing_to_do(host: Context) -> None:
    install(host, ONE)
    with planned(host, ONE) as plan:
        assert plan.nothing
        assert plan.operations == ()
        assert not execute_plan(host, plan).changed
        assert "nothing to do" in plan_text.plan_text(plan)


def test_new_site_values_are_something_to_do(host: Context) -> None:
    install(host, ONE)
    site = root(host) / "etc/waybill/lan-chat"
    site.mkdir(parents=True)
    (site / "values.yaml").write_text("port: 7\n")
    with planned(host, ONE) as plan:
        assert [change.path for change in plan.changes.changes] == ["/etc/chat.conf"]
        execute_plan(host, plan)
    assert (root(host) / "etc/chat.conf").read_text() == "port: 7\npassword: hunter1\n"
    with planned(host, ONE) as plan:
        assert plan.nothing


def test_values_of_the_command_line_are_the_strongest(host: Context) -> None:
    install(host, ONE, Options(values=(Layer("site.yaml", b"port: 9\n"),)))
    assert (root(host) / "etc/chat.conf").read_text().startswith("port: 9\n")


def test_secrets_do_not_show_in_diffs_but_their_change_does(host: Context) -> None:
    install(host, ONE)
    with planned(host, TWO) as plan:
        shown = plan_text.plan_text(plan) + str(plan.as_json()) + repr(plan)
    assert "hunter" not in shown
    assert "-password: ***\n+password: ***" in shown.replace("\n+port: 2", "").replace("-port: 1\n", "")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("api_key = abc", "api_key = ***"),
        ('  "token": "abc",', '  "token": ***'),
        ("db: postgres://chat:abc@db/chat", "db: postgres://chat:***@db/chat"),
        ("keyboard layout", "keyboard layout"),
        ("port: 8080", "port: 8080"),
    ],
)
def test_secrets_are_masked_in_a_difference(line: str, shown: str) -> None:
    assert diff("/x", b"", line.encode()).text.splitlines()[-1] == "+" + shown


def test_blocks_below_a_secret_and_private_keys_are_masked() -> None:
    text = b"secret: |\n  one\n  two\nnext: 1\n-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n"
    shown = diff("/x", b"", text).text
    assert all(word not in shown for word in ("one", "two", "abc"))
    assert "+next: 1" in shown


def test_a_file_that_is_not_ours_is_found_before_anything_is_done(host: Context) -> None:
    (root(host) / "etc").mkdir()
    (root(host) / "etc/chat.conf").write_text("mine")
    with planned(host, ONE) as plan:
        assert whats(plan) == [("/etc/chat.conf", "already exists and was not installed by Waybill")]
        with pytest.raises(HostNotReadyError):
            execute_plan(host, plan)
    assert (root(host) / "etc/chat.conf").read_text() == "mine"


def test_every_problem_is_listed_at_once(host: Context) -> None:
    (root(host) / "etc").mkdir()
    (root(host) / "etc/chat.conf").mkdir()
    (root(host) / "opt").write_text("a file")
    spec = replace(ONE, deploy=(Deployment("systemd", {"units": []}),))
    with planned(host, spec, Options(only=frozenset({"systemd"}))) as plan:
        assert [where for where, _ in whats(plan)] == ["systemd", "/etc/chat.conf", "/opt"]


def test_what_prevents_a_plan_is_listed_below_the_line_that_says_so(host: Context) -> None:
    (root(host) / "etc/chat.conf").mkdir(parents=True)
    with planned(host, ONE) as plan, pytest.raises(PlanNotReadyError) as caught:
        plan.require_ready()
    said = str(caught.value)
    assert "fix the problems listed below" in said
    assert "with the options that they name" in said
    assert said.index("listed below") < said.index("- /etc/chat.conf: ")


def test_an_edited_file_is_refused_and_replaced_only_when_told_so_with_a_copy_kept(host: Context) -> None:
    install(host, ONE)
    edited = root(host) / "etc/chat.conf"
    edited.write_text("edited")
    with planned(host, TWO) as plan:
        assert whats(plan) == [("/etc/chat.conf", "was changed on this host (has different content)")]
        assert "--on-drift replace" in plan.problems[0].hint
    install(host, TWO, Options(drift=Policy("replace")))
    assert edited.read_text() == "port: 2\npassword: hunter2\n"
    (kept,) = (root(host) / "var/lib/waybill/lan-chat/kept").rglob("chat.conf")
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("edited", 0o600)


def test_an_edited_file_that_the_new_release_lacks_is_removed_with_a_copy_kept(host: Context) -> None:
    install(host, ONE)
    (root(host) / "etc/chat.conf").write_text("edited")
    members = {path: member for path, member in TWO.members.items() if path != "config/chat.conf"}
    with planned(host, replace(TWO, members=members)) as plan:
        assert any("/etc/chat.conf" in note for note in plan.notes)
        execute_plan(host, plan)
    assert not (root(host) / "etc/chat.conf").exists()
    (kept,) = (root(host) / "var/lib/waybill/lan-chat/kept").rglob("chat.conf")
    assert kept.read_text() == "edited"


def test_a_file_that_somebody_removed_is_restored(host: Context) -> None:
    install(host, ONE)
    (root(host) / "opt/chat/chatd").unlink()
    with planned(host, ONE) as plan:
        assert [(change.verb, change.path) for change in plan.changes.changes] == [
            ("restore", "/opt/chat/chatd")
        ]
        execute_plan(host, plan)
    assert (root(host) / "opt/chat/chatd").read_bytes() == b"daemon"


def test_a_wrong_mode_counts_as_a_change(host: Context) -> None:
    install(host, ONE)
    (root(host) / "opt/chat/chatd").chmod(0o777)
    with planned(host, ONE) as plan:
        assert whats(plan)[0][1].endswith("(has mode 0777, not 0755)")


def test_a_directory_is_never_removed_for_a_file(host: Context) -> None:
    (root(host) / "opt/chat/chatd/precious").mkdir(parents=True)
    with planned(host, ONE, Options(drift=Policy("replace"))) as plan:
        assert whats(plan)[0][0] == "/opt/chat/chatd"
        assert "precious" in whats(plan)[0][1]


def test_directories_of_others_stay_and_ours_go_when_empty(host: Context) -> None:
    (root(host) / "opt").mkdir()
    install(host, ONE)
    members = {path: member for path, member in TWO.members.items() if not path.startswith("bin")}
    install(host, replace(TWO, members=members))
    assert (root(host) / "opt").is_dir()
    assert not (root(host) / "opt/chat").exists()


def test_too_little_room_is_said_with_numbers(tmp_path: Path) -> None:
    class Full(System):
        def space(self, path: str) -> Space:
            return Space(1, 1024 * 1024, 3, 4096, False, False)

    host = context(Full(tmp_path))
    with planned(host, ONE) as plan:
        text = " ".join(what for _, what in whats(plan))
    assert "1.0 MB free" in text
    assert "3 inodes free" in text


def test_a_read_only_or_noexec_place_is_found(tmp_path: Path) -> None:
    class Mounted(System):
        def space(self, path: str) -> Space:
            return replace(super().space(path), readonly=path.startswith("/etc"), noexec=True)

    (tmp_path / "etc").mkdir()
    host = context(Mounted(tmp_path))
    with planned(host, ONE) as plan:
        assert ("/etc", "is mounted read-only") in whats(plan)
        assert ("/", "is mounted noexec, and /opt/chat/chatd is a program") in whats(plan)


@pytest.mark.needs("root")
def test_a_missing_owner_is_named_with_the_command_that_makes_it(host: Context) -> None:
    members = {**ONE.members, "bin/linux-amd64/chatd": replace(CHATD, owner="chat:chat")}
    with planned(host, replace(ONE, members=members)) as plan:
        assert [what for _, what in whats(plan)] == [
            "its user chat does not exist on this host",
            "its group chat does not exist on this host",
        ]
        assert "useradd --system chat" in plan.problems[0].hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(only=frozenset({"helm"})), "no such method"),
        (Options(skip=frozenset({"compose"})), "no such method"),
        (Options(skip=frozenset({"files"})), "every release installs files"),
    ],
    ids=["only what is not there", "skip what is not there", "skip files"],
)
def test_a_choice_that_makes_no_sense_is_wrong_usage(host: Context, options: Options, message: str) -> None:
    with exclusive(host) as (state, _), pytest.raises(UsageError, match=message):
        plan_apply(host, state, stage(root(host), ONE), options)


def test_methods_of_a_live_system_are_left_out_below_a_root_and_named(host: Context) -> None:
    spec = replace(ONE, deploy=(Deployment("systemd", {"units": ["deploy/x.service"]}),))
    with planned(host, spec) as plan:
        sentence = 'step "systemd" is skipped with --root; it runs only on a running host'
        assert plan.skipped == {"systemd": sentence}
        assert sentence in plan.notes


def test_the_plan_is_one_json_object(host: Context) -> None:
    import json

    with planned(host, ONE) as plan:
        found = json.loads(json.dumps(plan.as_json()))
    assert found["verb"] == "apply"
    assert {
        "verb": "add",
        "path": "/opt/chat/chatd",
        "size": 6,
        "origin": "bin/linux-amd64/chatd",
        "kept": "",
        "before": "",
        "after": "",
    } in found["files"]


def test_the_diff_of_a_new_file_counts_lines_as_diff_does() -> None:
    assert diff("/etc/x", b"", b"a\nb\n").text.splitlines() == [
        "--- /dev/null",
        "+++ /etc/x",
        "@@ -0,0 +1,2 @@",
        "+a",
        "+b",
    ]
    assert diff("/etc/x", b"a\n", b"").text.splitlines()[2] == "@@ -1,1 +0,0 @@"


def test_secrets_of_configuration_are_concealed_wherever_they_come_up() -> None:
    config = [
        'password: "s3cret-one"  # of the database',
        "url: postgres://chat:s3cret-two@db/chat",
        "DB_TOKEN=s3cret-three",
        "private_key: |",
        "  s3cret-four",
        "key: on",
        "port: 4222",
    ]
    found = secrets_of(config)
    assert {"s3cret-one", "s3cret-two", "s3cret-three", "s3cret-four"} <= found
    said = ["4222 on: login s3cret-one refused", "s3cret-two s3cret-three s3cret-four", "api_key=unknown"]
    assert Secrets().also(found).hide_all(said) == [
        "4222 on: login *** refused",
        "*** *** ***",
        "api_key=***",
    ]


def test_what_runs_as_root_is_in_the_plan_with_its_text(host: Context) -> None:
    steps = (Deployment("script", {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh"}),)
    scripts = {
        "deploy/apply.sh": Member(b"#!/bin/sh\nuseradd eve\n", mode=0o755, kind="script"),
        "deploy/undo.sh": Member(b"#!/bin/sh\ntrue\n", mode=0o755, kind="script"),
    }
    members = {**ONE.members, **scripts, "bin/linux-amd64/chatd": replace(CHATD, mode=0o777)}
    spec = replace(ONE, members=members, deploy=steps)
    with planned(host, spec, Options(only=frozenset({"files", "script"}))) as plan:
        shown, document = plan_text.plan_text(plan), plan.as_json()
    assert "  deploy/apply.sh: runs as root (apply), 2 lines:\n    | #!/bin/sh\n    | useradd eve" in shown
    assert "every user may write to /opt/chat/chatd (mode 0777)" in shown
    assert {each["kind"] for each in document["risks"]} == {"root", "writable", "command"}
    texts = [each["text"] for each in document["programs"]]
    assert texts == ["#!/bin/sh\nuseradd eve\n", "#!/bin/sh\ntrue\n"]
    with planned(host, spec) as plan:
        # A step that is left out runs nothing.
        assert "deploy/apply.sh" not in plan_text.plan_text(plan)
