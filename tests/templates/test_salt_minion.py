"""The states and functions of templates/salt on a minion without a master, with the Salt of the rig."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import typer

from installer.cli.app import app
from tests.rig.minions import TOP, Minion

pytestmark = pytest.mark.needs("salt")
CONFIGURATION = "root/etc/lan-chat/chatd.conf"
SKIPPED = (
    'health check "command /opt/lan-chat/bin/chatd" is skipped with --root; it runs only on a running host'
)
# The state of the template, without the executable: the minion has it already.
FIRST = """\
salt://root.json:
  waybill.trusted:
    - fingerprint: {fingerprint}
lan-chat:
  waybill.installed:
    - source: salt://lan-chat-1.4.0.tar
    - version: v1.4.0
    - require:
      - waybill: salt://root.json
"""
UPGRADE = """\
lan-chat:
  waybill.installed:
    - source: {files}/lan-chat-1.5.0.tar
    - values: {{port: 5222}}
    - wait: 10
verified:
  waybill.verified: [{{name: lan-chat}}, {{source: 'salt://lan-chat-1.5.0.tar'}}]
away:
  waybill.absent: [{{name: lan-chat}}]
back:
  waybill.rolled_back: [{{name: lan-chat}}, {{version: 1.4.0}}]
"""
WRONG = """\
another version:
  waybill.installed: [{name: lan-chat}, {source: 'salt://lan-chat-1.5.0.tar'}, {version: 1.6.0}]
no such file:
  waybill.installed: [{name: lan-chat}, {source: 'salt://lan-chat-9.tar'}]
no bundle:
  waybill.installed: [{name: lan-chat}, {source: 'salt://root.json'}]
no such option:
  waybill.installed: [{name: lan-chat}, {source: 'salt://lan-chat-1.5.0.tar'}, {onyl: files}]
no executable:
  waybill.absent: [{name: lan-chat}, {executable: /absent}]
another program:
  waybill.absent: [{name: lan-chat}, {executable: /bin/echo}]
another fingerprint:
  waybill.trusted: [{source: 'salt://root.json'}, {fingerprint: 00ff}]
none retained:
  waybill.rolled_back: [{name: lan-chat}, {version: 1.3.0}]
failing release:
  waybill.installed:
    - {name: lan-chat}
    - {source: 'salt://lan-chat-1.6.0.tar'}
    - {only: [files, script]}
"""
SAYS = {
    "another version": "salt://lan-chat-1.5.0.tar has lan-chat 1.5.0, and the state asks for lan-chat 1.6.0",
    "no such file": "salt://lan-chat-9.tar: cannot be had from the file server\nhint: ",
    "no bundle": "exit 11 (tampered)\n",
    "no such option": "unknown option onyl\nhint: the options are allow_quorum_loss, approvals, environment",
    "no executable": "/absent: is no executable of this minion\nhint: ",
    "another program": "exit 0: no document of /bin/echo came: nothing\nhint: ",
    "another fingerprint": "exit 10 (untrusted)\n",
    "none retained": "exit 13 (refused)\nlan-chat 1.3.0 is not a retained release of this host\n  hint: ",
}
LATER = """\
killed:
  waybill.installed: [{name: lan-chat}, {source: 'salt://lan-chat-1.7.0.tar'}, {only: [files, script]}]
{% for time in "", " again" %}
upgrade{{ time }}:
  waybill.installed: [{name: lan-chat}, {source: 'salt://lan-chat-1.5.0.tar'}, {values: {port: 5222}}]
{% endfor %}
installed:
  test.nop: [{name: {{ salt['waybill.status']().by_name['lan-chat'].installed.version }}}]
{% for time in "", " again" %}
roll back{{ time }}:
  waybill.rolled_back: [{name: lan-chat}, {version: 1.4.0}]
{% endfor %}
{% for time in "", " again" %}
remove{{ time }}:
  waybill.absent: [{name: lan-chat}]
{% endfor %}
"""
Told = Mapping[str, Any]


@dataclass(frozen=True)
class Story:
    """What states said, run after run, and the configuration of the product after each."""

    minion: Minion
    before: Told
    untrusted: Told
    first: Told
    second: Told
    upgrade: Told
    planned: str
    wrong: Told
    left: str
    later: Told


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    minion = Minion.set_up(tmp_path_factory.mktemp("salt"))
    minion.release("1.4.0")
    minion.release("1.5.0")
    minion.release("1.6.0", script="echo no database >&2; exit 3")
    minion.release("1.7.0", script="kill -9 $PPID")
    known = {"files": minion.files, "fingerprint": minion.fingerprint}
    first, written = FIRST.format(**known), minion.directory / CONFIGURATION
    (minion.files / "install").write_text("an executable")
    template = (minion.files / "lan-chat/init.sls").read_text().replace("0.1.0", "1.4.0")
    before = minion.apply("lan-chat/init", template, "test=True")
    minion.put_executable()
    untrusted = minion.apply("first", first, "test=True")
    assert not list((minion.directory / "root").iterdir())
    done = [minion.apply("first", first) for _ in range(2)]
    upgrade = minion.apply("upgrade", UPGRADE.format(**known), "test=True")
    planned = written.read_text()
    wrong = minion.apply("wrong", WRONG)
    left = written.read_text()
    later = minion.apply("later", LATER)
    return Story(minion, before, untrusted, done[0], done[1], upgrade, planned, wrong, left, later)


def test_a_test_of_a_fresh_minion_fails_nothing_and_says_what_lacks(story: Story) -> None:
    assert story.before.keys() == {"/var/lib/waybill-bundles/install", "salt://root.json", "lan-chat"}
    assert {each["result"] for each in story.before.values()} == {None}
    for name in ("salt://root.json", "lan-chat"):
        assert story.before[name]["changes"] == {}
        assert "install: is no executable of this minion" in story.before[name]["comment"]


def test_a_test_without_trust_tells_what_would_be_trusted(story: Story) -> None:
    trusted, installed = story.untrusted["salt://root.json"], story.untrusted["lan-chat"]
    assert (trusted["result"], trusted["changes"]) == (None, {"trust": {"old": None, "new": "1"}})
    assert installed["result"] is None
    assert "nothing can be planned yet: no trust is set up on this host" in installed["comment"]


# The second one after the first: without a bound it would remove files everywhere.
@pytest.mark.parametrize("updates", ["salt://..", "salt://"])
def test_what_is_above_a_directory_of_the_file_server_is_refused_and_nothing_is_removed(
    story: Story, updates: str
) -> None:
    kept = story.minion.directory / "conf/var/cache/salt/minion/files/kept"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.touch()
    words = f"{{source: 'salt://root.json'}}, {{updates: '{updates}'}}, {{fingerprint: a}}"
    state = f"x:\n  waybill.trusted: [{words}]\n"
    comment = story.minion.apply("above", state)["x"]["comment"]
    assert f"{updates}: is no directory of the file server\nhint: write salt://NAME" in comment
    assert kept.exists()


def test_a_release_is_installed_after_its_root_is_trusted(story: Story) -> None:
    assert story.first["salt://root.json"]["changes"] == {"trust": {"old": None, "new": "1"}}
    done = story.first["lan-chat"]
    assert (done["result"], done["comment"]) == (True, "lan-chat 1.4.0 is installed")
    assert done["changes"]["version"] == {"old": None, "new": "1.4.0"}
    assert done["changes"]["files"]["/opt/lan-chat/bin/chatd"] == "add"


def test_a_second_run_changes_nothing_and_says_so(story: Story) -> None:
    assert [(each["result"], each["changes"]) for each in story.second.values()] == [(True, {})] * 2
    assert (
        story.second["lan-chat"]["comment"] == f"lan-chat 1.4.0 is installed, as it was released\n{SKIPPED}"
    )


def test_a_test_shows_the_plan_and_changes_nothing(story: Story) -> None:
    plan = story.upgrade["lan-chat"]
    assert (plan["result"], plan["comment"]) == (None, f"lan-chat 1.5.0 would be installed\n{SKIPPED}")
    assert plan["changes"]["version"] == {"old": "1.4.0", "new": "1.5.0"}
    assert plan["changes"]["files"]["/etc/lan-chat/chatd.conf"] == "replace"
    assert plan["changes"]["diff"].endswith("-port 4222\n+version 1.5.0\n+port 5222")
    assert (story.upgrade["away"]["result"], story.upgrade["back"]["result"]) == (None, True)
    assert story.upgrade["away"]["changes"] == {"version": {"old": "1.4.0", "new": None}}
    said = "salt://lan-chat-1.5.0.tar has lan-chat 1.5.0, which is verified"
    assert story.upgrade["verified"]["comment"] == said
    assert story.planned == "version 1.4.0\nport 4222\n"


@pytest.mark.parametrize("name", SAYS)
def test_a_state_that_fails_says_why_and_what_to_do(story: Story, name: str) -> None:
    told = story.wrong[name]
    assert (told["result"], told["changes"]) == (False, {})
    assert SAYS[name] in told["comment"], told["comment"]


def test_an_upgrade_that_fails_is_rolled_back_and_the_comment_has_the_steps(story: Story) -> None:
    told = story.wrong["failing release"]
    assert (told["result"], told["changes"]) == (False, {})
    lines = told["comment"].splitlines()
    assert lines[0] == "exit 20 (rolled-back)"
    assert "apply failed and was rolled back" in lines[1]
    assert "exit status 3: no database" in lines[1]
    assert "undo: install files: done" in lines
    assert story.left == "version 1.4.0\nport 4222\n"


def test_a_state_after_one_that_was_killed_ends_the_transaction_and_upgrades(story: Story) -> None:
    assert "exit -9: no document" in story.later["killed"]["comment"]
    assert story.later["upgrade"]["comment"].startswith("lan-chat 1.5.0 is installed")


def test_later_states_upgrade_roll_back_and_remove_and_each_changes_nothing_again(story: Story) -> None:
    expected = {
        "upgrade": {"old": "1.4.0", "new": "1.5.0"},
        "upgrade again": None,
        "roll back": {"old": "1.5.0", "new": "1.4.0"},
        "roll back again": None,
        "remove": {"old": "1.4.0", "new": None},
        "remove again": None,
    }
    said = {name: story.later[name]["changes"].get("version") for name in expected}
    assert said == expected
    assert [name for name, each in story.later.items() if not each["result"]] == ["killed"]
    # A template is rendered before any state is applied.
    assert story.later["installed"]["name"] == "1.4.0"
    assert not (story.minion.directory / "root/opt").exists()


def test_values_leave_no_file_behind(story: Story) -> None:
    assert not list((story.minion.directory / "tmp").rglob("*.yaml"))


def test_every_argument_that_becomes_an_option_is_an_option_of_that_command() -> None:
    tree = ast.parse((TOP / "templates/salt/_modules/waybill.py").read_text())
    constants = [node for node in tree.body if isinstance(node, ast.Assign)]
    known: dict[str, Any] = {}
    exec(compile(ast.Module(constants, []), "waybill.py", "exec"), known)
    for words, arguments in known["OPTIONS"].items():
        command: Any = typer.main.get_command(app)
        for word in words.split():
            command = command.commands[word]
        options = {option for parameter in command.params for option in parameter.opts}
        renamed = {known["_NAMES"].get(name, f"--{name.replace('_', '-')}") for name in arguments}
        assert renamed <= options, words
