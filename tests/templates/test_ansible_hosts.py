"""The collection of templates/ansible on three hosts behind sshd, with busybox and without Python.

The second lets in a user only, who becomes root by `su` with a password; the third has no sftp server.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from installer.core.trust.approval_sidecar import sidecar_path
from tests.rig.ansibled import Controller, Play
from tests.rig.chatreleases import MIB, approve
from tests.rig.executables import executables
from tests.rig.sshhosts import SshHost, ssh_hosts

pytestmark = pytest.mark.needs("ansible", "sshd", "unshare", "musl")
BUNDLES = "var/lib/waybill-bundles"
# The link breaks at the third piece.
BREAKS = """\
#!/bin/sh
echo . >>calls
[ "$(wc -l <calls)" -lt 3 ] || exit 255
exec sftp "$@"
"""
COPY = """\
- hosts: node1
  gather_facts: false
  vars: {{ansible_sftp_executable: {sftp}, ansible_ssh_transfer_method: sftp}}
  tasks:
    - name: copy
      waybill.release.bundle: {{src: lan-chat-1.4.0.tar, state: verified, piece: 1}}
"""
LATER = """\
- hosts: all
  gather_facts: false
  module_defaults:
    waybill.release.bundle: {piece: 1}
  tasks:
    - name: plan
      waybill.release.bundle: {src: lan-chat-1.5.0.tar, values: {port: 5222}}
      check_mode: true
      diff: true
      when: inventory_hostname == "node2"
    - name: upgrade
      waybill.release.bundle: {src: lan-chat-1.5.0.tar, values: {port: 5222}, keep_copy: false}
      when: inventory_hostname == "node2"
    - name: once more, without a copy
      waybill.release.bundle: {src: lan-chat-1.5.0.tar}
      when: inventory_hostname == "node2"
    - name: would roll back
      waybill.release.bundle: {state: rolled_back, product: lan-chat, version: "{{ item }}"}
      loop: [1.4.0, 1.3.0]
      check_mode: true
      ignore_errors: true
      when: inventory_hostname == "node2"
    - name: roll back
      waybill.release.bundle: &back {state: rolled_back, product: lan-chat, version: 1.4.0}
      when: inventory_hostname == "node2"
    - name: roll back again
      waybill.release.bundle: *back
      when: inventory_hostname == "node2"
    - name: would remove
      waybill.release.bundle: &away {state: absent, product: lan-chat}
      check_mode: true
      when: inventory_hostname == "node3"
    - name: remove
      waybill.release.bundle: *away
      when: inventory_hostname == "node3"
    - name: remove again
      waybill.release.bundle: *away
      when: inventory_hostname == "node3"
    - name: facts
      waybill.release.facts:
    - name: edit
      ansible.builtin.raw: echo more >> /opt/lan-chat/web/data
      when: inventory_hostname == "node1"
    - name: check
      waybill.release.facts: {check: true, health: true}
      when: inventory_hostname in ("node1", "node2")
"""


@dataclass(frozen=True)
class Story:
    """What happened, run by run.

    Attributes:
        checked: The role in check mode on fresh hosts, and what they had then next to the shell.
        cut: A copy that was cut.
        first: The role on three fresh hosts.
        second: The same again.
        stopped: The role with a release that is not healthy.
        later: Single tasks.
        approvals: Those next to the first release on the controller.
        beside: Those next to its copies after the second run, by the names of hosts.
    """

    hosts: dict[str, SshHost]
    size: int
    checked: tuple[Play, list[Path]]
    cut: Play
    first: Play
    second: Play
    stopped: Play
    later: Play
    approvals: Path
    beside: dict[str, dict[str, bytes]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    controller = Controller.set_up(tmp_path_factory.mktemp("ansible"))
    shutil.copy(executables().install, controller.directory / "install")
    bundle = controller.release("1.4.0")
    size = bundle.stat().st_size
    approve(bundle, "security", "plant")
    controller.release("1.5.0")
    controller.release("1.6.0", health=1)
    site = (controller.directory / "site.yml").read_text()
    controller.write("site.yml", site.replace("lan-chat-0.1.0.tar", "lan-chat-1.4.0.tar"))
    sftp = controller.write("sftp", BREAKS)
    sftp.chmod(0o755)
    controller.write("copy.yml", COPY.format(sftp=sftp))
    controller.write("later.yml", LATER)
    with ssh_hosts(tmp_path_factory.mktemp("hosts"), 3, without_sftp=(3,), without_root=(2,)) as hosts:
        # Nobody listens at the fourth.
        lines = [each.line() for each in hosts] + [hosts[0].line().replace("127.0.1.1", "127.0.1.9")]
        lines[2] += " ansible_ssh_transfer_method=piped"
        lines[3] = lines[3].replace("node1", "gone", 1)
        controller.write("inventory.ini", "\n".join(["[lan_chat]", *lines[:3], "[others]", lines[3]]))
        checked = controller.play("site.yml", "--check")
        written = [path for host in hosts for path in host.root.glob("opt/*")]
        written += [path for host in hosts for path in host.root.glob("var/lib/*")]
        cut = controller.play("copy.yml")
        wrong = hosts[1].root / BUNDLES
        wrong.mkdir(mode=0o700)
        (wrong / "lan-chat-1.4.0.tar.partial").write_bytes(b"x" * MIB)
        first = controller.play("site.yml", "--diff")
        second = controller.play("site.yml", "--diff")
        beside = {
            each.name: {path.name: path.read_bytes() for path in each.root.glob(f"{BUNDLES}/*.approvals/*")}
            for each in hosts
        }
        stopped = controller.play("site.yml", "-e", "waybill_bundle=lan-chat-1.6.0.tar")
        later = controller.play("later.yml")
        named = {each.name: each for each in hosts}
        approvals = sidecar_path(bundle)
        yield Story(named, size, (checked, written), cut, first, second, stopped, later, approvals, beside)


def read(host: SshHost, path: str) -> str:
    return (host.root / path).read_text()


def test_check_mode_of_a_host_without_the_executable_says_so_and_changes_nothing(story: Story) -> None:
    checked, written = story.checked
    assert checked.exit == 0, checked.output
    assert checked.changed() == [(name, "Copy the executable") for name in story.hosts]
    assert written == []


def test_a_copy_that_was_cut_is_resumed_and_only_the_rest_is_sent(story: Story) -> None:
    assert [each.status for each in story.cut.told] == ["unreachable"], story.cut.output
    assert story.first.exit == 0, story.first.output
    copied = story.first.of("Verify the bundle", "node1").result
    assert (copied["resumed"], copied["copied"]) == (2 * MIB, story.size - 2 * MIB)


def test_a_partial_copy_of_another_file_is_sent_anew(story: Story) -> None:
    copied = story.first.of("Verify the bundle", "node2").result
    assert (copied["resumed"], copied["copied"]) == (0, story.size)


def test_hosts_without_python_without_sftp_and_without_a_login_of_root_get_the_release(story: Story) -> None:
    for name, host in story.hosts.items():
        assert not [path for path in host.root.rglob("python*") if "waybill" not in str(path)]
        done = story.first.of("Apply it", name)
        assert (done.status, done.result["changed"], done.result["to"]["version"]) == ("ok", True, "1.4.0")
        assert done.result["copied"] == 0


def test_approvals_next_to_the_bundle_are_next_to_its_copy(story: Story) -> None:
    wanted = {path.name: path.read_bytes() for path in story.approvals.iterdir()}
    assert wanted
    for name in ("node1", "node3"):
        assert story.beside[name] == wanted


def test_the_plan_is_shown_as_a_difference_before_it_is_carried_out(story: Story) -> None:
    shown = story.first.output.partition("Show the plan")[2].partition("Apply it")[0]
    assert "+ /opt/lan-chat/bin/chatd (add)" in shown
    assert "+port 4222" in shown


def test_a_second_run_changes_nothing_and_says_so(story: Story) -> None:
    assert story.second.exit == 0, story.second.output
    assert story.second.changed() == []
    for name in story.hosts:
        assert f"{name:<26} : ok=7    changed=0    unreachable=0    failed=0" in story.second.output
        assert story.second.of("Apply it", name).result["copied"] == 0


def test_a_rolling_upgrade_stops_at_the_first_host_that_fails(story: Story) -> None:
    assert story.stopped.exit != 0
    assert {each.host for each in story.stopped.told} == {"node1"}
    failed = story.stopped.of("Apply it")
    assert failed.status == "failed"
    result = failed.result
    assert (result["exit"], result["code"], result["cause"]) == (20, "rolled-back", "health")
    assert result["msg"].startswith("exit 20 (rolled-back): ")
    assert result["problems"]
    assert all(each["what"] in result["msg"] for each in result["problems"])
    assert read(story.hosts["node1"], "etc/lan-chat/chatd.conf") == "version 1.4.0\nport 4222\n"


def test_check_mode_gives_the_plan_and_diff_mode_the_differences(story: Story) -> None:
    planned = story.later.of("plan", "node2").result
    assert (planned["changed"], planned["exit"], planned["plan"]["verb"]) == (True, 0, "apply")
    files = {(each["verb"], each["path"]) for each in planned["plan"]["files"]}
    assert ("replace", "/etc/lan-chat/chatd.conf") in files
    texts = "".join(each["prepared"] for each in planned["diff"])
    assert "~ /etc/lan-chat/chatd.conf (replace)" in texts
    assert "-version 1.4.0\n-port 4222\n+version 1.5.0\n+port 5222\n" in texts
    # It is the upgrade that changed the host, with the same values; the copy was there.
    upgraded = story.later.of("upgrade", "node2").result
    assert (upgraded["copied"], upgraded["from"]["version"], upgraded["to"]["version"]) == (
        *(0, "1.4.0", "1.5.0"),
    )


def test_a_host_without_a_copy_is_left_alone_if_its_status_says_that_the_release_is_installed(
    story: Story,
) -> None:
    again = story.later.of("once more, without a copy", "node2").result
    assert (again["changed"], again["copied"]) == (False, 0)
    assert again["msg"] == "lan-chat 1.5.0 is installed; the bundle was not copied"


def test_a_rollback_changes_a_host_once_and_check_mode_says_so_before(story: Story) -> None:
    would = story.later.of("would roll back", "node2").result["results"]
    assert [(each["changed"], each["failed"], each["msg"]) for each in would] == [
        (True, False, "lan-chat 1.4.0 is retained"),
        (False, True, "1.3.0 is none of 1.5.0, 1.4.0"),
    ]
    back, again = (story.later.of(name, "node2").result for name in ("roll back", "roll back again"))
    assert (back["changed"], back["to"]["version"]) == (True, "1.4.0")
    assert (again["changed"], again["msg"]) == (False, "lan-chat 1.4.0 is installed")
    assert read(story.hosts["node2"], "etc/lan-chat/chatd.conf") == "version 1.4.0\nport 4222\n"


def test_a_removal_changes_a_host_once_and_check_mode_says_so_before(story: Story) -> None:
    names = ("would remove", "remove", "remove again")
    assert [story.later.of(name, "node3").result["changed"] for name in names] == [True, True, False]
    assert not (story.hosts["node3"].root / "opt/lan-chat").exists()
    # The copy of its bundle, with the approvals, goes with it.
    assert list((story.hosts["node3"].root / BUNDLES).iterdir()) == []


def test_facts_are_the_status_of_a_host(story: Story) -> None:
    facts = story.later.of("facts", "node2").result["ansible_facts"]["waybill"]
    assert facts["schema"] == "waybill/cli/status/v1"
    assert facts["by_name"]["lan-chat"] == facts["products"][0]
    assert facts["by_name"]["lan-chat"]["installed"]["version"] == "1.4.0"
    assert [each["version"] for each in facts["products"][0]["retained"]] == ["1.4.0", "1.5.0"]


def test_a_host_that_drifted_fails_a_check_of_the_facts_and_says_why(story: Story) -> None:
    assert story.later.of("check", "node2").status == "ok"
    drifted = story.later.of("check", "node1")
    assert (drifted.status, drifted.result["exit"], drifted.result["code"]) == ("failed", 3, "differs")
    assert drifted.result["msg"].splitlines()[1:] == [
        "lan-chat: /opt/lan-chat/web/data: has different content"
    ]


def test_a_host_that_does_not_answer_is_named(story: Story) -> None:
    assert story.later.exit == 4
    assert [each.host for each in story.later.told if each.status == "unreachable"] == ["gone"]


def test_a_host_has_the_bundle_of_one_release_and_nothing_of_the_copying(story: Story) -> None:
    node1 = story.hosts["node1"].root
    assert sorted(path.name for path in (node1 / BUNDLES).iterdir()) == [
        *(".lan-chat.installed", "lan-chat-1.4.0.tar", "lan-chat-1.4.0.tar.approvals", "lan-chat-1.6.0.tar"),
    ]
    for host in story.hosts.values():
        assert not [*host.root.glob("root/.ansible/tmp/*"), *host.root.glob("home/ops/.ansible/tmp/*")]
        assert not list(Path(host.root, "tmp").iterdir())
