"""What a reviewer sees of files that set up a host."""

from __future__ import annotations

import pytest

from installer.core.risk import host_settings
from installer.core.risk.risk import Examine, Program, Risk
from installer.core.risk.setting_lines import fixed_numbers, settings, tmpfiles
from installer.core.risk.units import examine_unit

CASES: list[tuple[Examine, str, str, str]] = [
    (host_settings.examine_users, "u chat -", "host", "creates the user chat"),
    (host_settings.examine_users, "u toor 0", "root", "with the number 0: root"),
    (host_settings.examine_users, "m chat docker", "root", "member of the group docker: its members have"),
    (host_settings.examine_users, "m chat video", "host", "member of the group video"),
    (host_settings.examine_tmpfiles, "d /run/chat 0750 chat", "host", "creates or changes /run/chat as root"),
    (host_settings.examine_tmpfiles, "d /run/chat 0777", "writable", "every user may write to /run/chat"),
    (host_settings.examine_tmpfiles, "f /bin/x 4755", "root", "has the rights of its owner"),
    (host_settings.examine_tmpfiles, "R /var/lib/x", "host", "removes /var/lib/x as root"),
    (host_settings.examine_settings, "vm.x=1", "host", "sets vm.x of the kernel to 1"),
    (
        host_settings.examine_settings,
        "kernel.core_pattern=|/bin/x %p",
        "root",
        "the kernel runs as root: /bin/x %p",
    ),
    (host_settings.examine_modules, "br_netfilter", "root", "loads the kernel module br_netfilter"),
    (host_settings.examine_rules, 'KERNEL=="x", RUN+="/bin/x"', "root", "runs as root when a device appears"),
    (host_settings.examine_rules, 'KERNEL=="x", MODE="0666"', "host", "decides over devices"),
]


@pytest.mark.parametrize(("examine", "text", "kind", "what"), CASES, ids=[case[1] for case in CASES])
def test_a_line_is_shown_with_its_place(examine: Examine, text: str, kind: str, what: str) -> None:
    found = [each for each in examine("deploy/x.conf", f"# why\n{text}\n") if isinstance(each, Risk)]
    assert any((each.kind, each.where) == (kind, "deploy/x.conf:2") and what in each.what for each in found)


@pytest.mark.parametrize(
    ("examine", "line"),
    [
        (host_settings.examine_rules, 'KERNEL=="x", PROGRAM="/bin/x"'),
        (host_settings.examine_settings, "kernel/core_pattern = |/bin/x"),
    ],
)
def test_a_program_that_root_runs_is_among_the_programs(examine: Examine, line: str) -> None:
    (program,) = [each for each in examine("x", line) if isinstance(each, Program)]
    assert program.user == "root"
    assert "/bin/x" in program.text


@pytest.mark.parametrize("hidden", ["\r", "\0"])
def test_a_line_that_an_editor_does_not_show_is_read_first(hidden: str) -> None:
    found = [*host_settings.examine_users("x", f"g chat -{hidden}m chat docker\n")]
    assert any(isinstance(each, Risk) and (each.kind, each.where) == ("command", "x:1") for each in found)


def test_more_findings_than_anybody_reads_are_counted_as_not_examined() -> None:
    found = [*host_settings.examine_settings("x", "a.b=1\n" * 5000)]
    assert len(found) == 1001
    assert isinstance(found[-1], Risk)
    assert found[-1].kind == "unread"


def test_a_drop_in_does_not_say_that_its_unit_runs_as_root() -> None:
    found = [*examine_unit("deploy/a.service.d/x.conf", "[Service]\nExecStartPost=/bin/x\n")]
    assert [each.user for each in found if isinstance(each, Program)] == ["the user of its unit"]
    assert not any(isinstance(each, Risk) and each.kind == "root" for each in found)
    asked = [*examine_unit("deploy/a.service.d/x.conf", "[Service]\nUser=root\n")]
    assert any(isinstance(each, Risk) and each.kind == "root" for each in asked)


def test_keys_with_slashes_and_with_dots_are_the_same_setting() -> None:
    dots, slashes = settings("net.ipv4.conf.eth0/1.forwarding=1\n-net/ipv4/conf/eth0.1/forwarding = 1\n")
    assert dots.path == slashes.path == "/proc/sys/net/ipv4/conf/eth0.1/forwarding"


def test_a_path_with_a_pattern_or_a_specifier_is_not_exact() -> None:
    text = 'd "/run/a b"\nd /run/%H\nz /run/*\n'
    assert [(each.path, each.is_exact) for each in tmpfiles(text)] == [
        ("/run/a b", True), ("/run/%H", False), ("/run/*", False),
    ]  # fmt: skip


def test_numbers_of_users_and_groups_are_those_that_the_file_says() -> None:
    found = fixed_numbers("u a 10\nu b 11:12\nu c 13:video\nu d -\ng e 14\nu! f 15\n")
    assert found.users == {"a": 10, "b": 11, "c": 13, "f": 15}
    assert found.groups == {"a": 10, "b": 12, "e": 14, "f": 15}
