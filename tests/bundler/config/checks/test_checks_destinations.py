"""Destinations are safe and free; changelogs have their section."""

from __future__ import annotations

import pytest

from bundler.config.checks import changelog
from bundler.config.checks.destinations import InstallPath, check
from installer.core.semver import parse


def place(install: str, line: int = 1, **more) -> InstallPath:
    return InstallPath(install, f"input{line}", f"bundle.yaml:{line}", **more)


@pytest.mark.parametrize(
    ("install", "what"),
    [
        ("/", "names a directory, not a file"),
        ("/etc", "system directory"),
        ("/usr/bin", "system directory"),
        ("/usr/local/bin", "system directory"),
        ("/etc/systemd/system", "system directory"),
        ("/opt/../etc/passwd", "`..` component"),
        ("/opt//x", "empty"),
        ("/opt/a\u200bb", "U+200B"),
        ("/opt/a\u0378b", "U+0378, which this version"),
        ("/opt/x/", "names a directory, not a file"),
        ("/var/lib/waybill/x", "Waybill"),
        ("/etc/waybill/trust/root.json", "Waybill"),
        ("/opt/waybill", "Waybill"),
        ("/proc/sys/x", "kernel"),
        ("/dev/sda", "kernel"),
        ("/tmp/x", "survive a reboot"),
        ("/run/x", "survive a reboot"),
    ],
)
def test_an_unsafe_place_is_refused(install, what):
    assert [what in problem.what for problem in check([place(install)])] == [True]


@pytest.mark.parametrize(
    "install", ["/opt/lan-chat/bin/chatd", "/etc/lan-chat/chatd.yaml", "/etc/motd", "/usr/bin/chatd"]
)
def test_an_ordinary_place_is_fine(install):
    assert check([place(install)]) == []


def test_two_inputs_for_one_place_are_named_with_both_lines():
    problem = check([place("/opt/x", 7), place("/opt/x", 3)])[0]
    assert problem.where == "bundle.yaml:7"
    assert problem.what == "input7 and input3 (bundle.yaml:3) both install to /opt/x"


def test_one_place_for_two_platforms_is_fine():
    assert (
        check([place("/opt/x", 1, platform="linux/amd64"), place("/opt/x", 2, platform="linux/arm64")]) == []
    )
    assert len(check([place("/opt/x", 1, platform="linux/amd64"), place("/opt/x", 2)])) == 1


def test_a_file_cannot_be_a_directory_for_another():
    assert "is a file" in check([place("/opt/x", 1), place("/opt/x/y", 2)])[0].what
    assert check([place("/opt/x", 1), place("/opt/x-y", 2), place("/opt/x.y/z", 3)]) == []


def test_nothing_is_put_inside_of_a_tree():
    assert "inside the tree" in check([place("/opt/web", 1, is_tree=True), place("/opt/web/a", 2)])[0].what


def section(text: str, version: str = "1.4.0") -> tuple[str, list[str]]:
    body, problems = changelog.section(text.encode(), "CHANGELOG.md", parse(version))
    return body, [str(problem) for problem in problems]


@pytest.mark.parametrize(
    "heading",
    [
        "## [1.4.0] - 2026-01-01",
        "## 1.4.0",
        "## v1.4.0",
        "## [v1.4.0]",
        "## 1.4.0 (2026-01-01)",
        "## [1.4.0] - 2026 [YANKED]",
    ],
)
def test_the_headings_people_use_are_understood(heading):
    assert section(f"# Changelog\n\n{heading}\n\n### Fixed\n\n- x\n\n## [1.3.0]\n- y\n") == (
        "### Fixed\n\n- x\n",
        [],
    )


def test_line_ends_of_other_systems_and_links_at_the_end_are_no_matter():
    assert section("## [1.4.0]\r\n\r\n- x\r\n\r\n[1.4.0]: https://example.com\r\n") == ("- x\n", [])


def test_headings_inside_of_code_do_not_count():
    assert section("## [1.4.0]\n\n```\n## [1.3.0]\n```\n- x\n")[0] == "```\n## [1.3.0]\n```\n- x\n"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("## [Unreleased]\n- x\n", "rename the heading [Unreleased] in line 1"),
        ("## [1.4.1]\n- x\n", "the closest heading is 1.4.1"),
        ("# Changelog\n", "add a heading ## [1.4.0]"),
        ("## [1.4.0-rc.1]\n- x\n", "no section for 1.4.0"),
        ("## [1.4.0]\n\n### Added\n\n## [1.3.0]\n- x\n", "has an empty section for 1.4.0"),
        ("## [1.4.0]\n- x\n## 1.4.0\n- y\n", "two sections for 1.4.0; the other is in line 3"),
    ],
)
def test_a_version_without_a_section_of_its_own_is_refused(text, what):
    assert what in section(text)[1][0]


def test_a_changelog_that_is_not_text_is_named():
    assert changelog.section(b"## \xff", "CHANGELOG.md", parse("1.4.0"))[1][0].where == "CHANGELOG.md@3"
