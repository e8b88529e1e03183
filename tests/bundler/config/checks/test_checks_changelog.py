"""Changelogs as people and release tools write them: the section of the version is found, and only that."""

from __future__ import annotations

import pytest

from bundler.config.checks.changelog import section
from installer.core.semver import parse

HEADINGS = {
    "Keep a Changelog": "## [1.1.0] - 2026-01-02",
    "plain": "## 1.1.0",
    "with v": "## v1.1.0",
    "with a capital V": "## V1.1.0",
    "semantic-release, minor": "# [1.1.0](https://git.example/compare/v1.0.0...v1.1.0) (2026-01-02)",
    "standard-version, patch": "### [1.1.0](https://git.example/x) (2026-01-02)",
    "release-please": "## [1.1.0](https://git.example/compare/demo-v1.0.0...demo-v1.1.0) (2026-01-02)",
    "reference link": "## [1.1.0][tag] - 2026-01-02",
    "conventional-changelog with anchor": '## <a name="1.1.0"></a>1.1.0 (2026-01-02)',
    "conventional-changelog, named release": "## 1.1.0 jaracimrman-existence (2026-01-02)",
    "git-extras": "1.1.0 / 2026-01-02\n==================",
    "git-extras with v": "v1.1.0 / 2026-01-02\n==================",
    "underlined with dashes": "Version 1.1.0\n-------------",
    "Version before": "## Version 1.1.0",
    "Release before": "## Release 1.1.0 (2026-01-02)",
    "sentence before": "## What's new in version 1.1.0?",
    "product before": "## demo 1.1.0",
    "product with v": "## Demo v1.1.0 - 2026-01-02",
    "product and at sign": "# @acme/demo@1.1.0",
    "tag of a monorepo": "## demo-v1.1.0",
    "date before": "## 2026-01-02: Version 1.1.0",
    "date before in brackets": "## (2026-01-02) 1.1.0",
    "bold": "## **1.1.0**",
    "bold link": "## **[1.1.0](https://git.example/x)**",
    "code": "## `1.1.0`",
    "closed": "## 1.1.0 ##",
    "escaped brackets": r"## \[1.1.0\] - 2026-01-02",
    "with colon": "## 1.1.0: the one with ports",
    "yanked": "## [1.1.0] - 2026-01-02 [YANKED]",
    "deepest": "###### 1.1.0",
    "indented": "  ## 1.1.0",
}


@pytest.mark.parametrize("heading", HEADINGS.values(), ids=HEADINGS.keys())
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("title", ["", "# Changelog\n\nAll changes.\n\n"])
def test_the_section_of_the_version_is_found(heading: str, mark: str, title: str) -> None:
    older = heading.replace("1.1.0", "1.0.0")
    text = f"{mark}{title}{heading}\n\n- new\n\n{older}\n\n- old\n"
    assert section(text.encode(), "C.md", parse("1.1.0"), "demo") == ("- new\n", [])
    assert section(text.encode(), "C.md", parse("1.0.0"), "demo") == ("- old\n", [])


def test_windows_line_endings_change_nothing() -> None:
    text = b"\xef\xbb\xbf1.1.0\r\n=====\r\n\r\n- x\r\n"
    assert section(text, "C.md", parse("1.1.0")) == ("- x\n", [])


@pytest.mark.parametrize(
    "heading",
    [
        "## Upgrade from 1.1.0",
        "## Changes since 1.1.0",
        "## Other 1.1.0",
        "## 1.1.0.1",
        "## 11.1.0",
        "## 1.1.0-rc.1",
        "## 1.1",
        "##1.1.0",
        "#######  1.1.0",
        "    # 1.1.0",
        "1.1.0",
        "- 1.1.0\n---",
        "1.1.0\n\n---",
        "```\n# 1.1.0\n```",
        "~~~~\n```\n# 1.1.0\n~~~~",
        "<!--\n## 1.1.0\n-->",
        "## demonstration 1.1.0",
    ],
)
def test_what_is_no_heading_of_the_version_is_not_its_section(heading: str) -> None:
    problems = section(f"{heading}\n\n- x\n".encode(), "C.md", parse("1.1.0"), "demo")[1]
    assert [problem.what for problem in problems] == ["has no section for 1.1.0"]


def test_headings_inside_of_a_section_belong_to_it() -> None:
    text = """\
# [1.1.0](x) (2026-01-02)

### Features

- a

### Upgrade from 1.0.0

- b

### [1.0.1](x) (2026-01-01)


### Bug Fixes

- c

# 1.0.0
- d
"""
    body, problems = section(text.encode(), "C.md", parse("1.1.0"))
    assert not problems
    assert body == "### Features\n\n- a\n\n### Upgrade from 1.0.0\n\n- b\n"
    # The heading of a patch has the level of the groups in it.
    assert section(text.encode(), "C.md", parse("1.0.1")) == ("### Bug Fixes\n\n- c\n", [])
    assert section(text.encode(), "C.md", parse("1.0.0")) == ("- d\n", [])


def test_a_heading_of_the_same_or_a_higher_level_ends_a_section() -> None:
    text = "## 1.1.0\n- a\n## Support\n- b\n### 1.0.1\n- c\n# Other\n- d\n[1.1.0]: https://git.example\n"
    assert section(text.encode(), "C.md", parse("1.1.0")) == ("- a\n", [])
    assert section(text.encode(), "C.md", parse("1.0.1")) == ("- c\n", [])


def test_a_code_block_and_a_rule_in_a_section_stay_in_it() -> None:
    text = "## 1.1.0\n\n```sh\n# 1.0.0\n```\n\n- a\n\n---\n\n- b\n\n## 1.0.0\n- c\n"
    body, _ = section(text.encode(), "C.md", parse("1.1.0"))
    assert body == "```sh\n# 1.0.0\n```\n\n- a\n\n---\n\n- b\n"


@pytest.mark.parametrize("heading", ["## [Unreleased]", "# Unreleased changes", "Unreleased\n=========="])
def test_the_unreleased_section_is_named_as_the_remedy(heading: str) -> None:
    (problem,) = section(f"{heading}\n- x\n".encode(), "C.md", parse("1.1.0"))[1]
    assert problem.hint == "rename the heading [Unreleased] in line 1 to [1.1.0] - DATE, or add a section"


def test_the_closest_heading_is_named() -> None:
    (problem,) = section(b"# 1.0.9\n- x\n# 0.1.0\n- x\n", "C.md", parse("1.0.8"))[1]
    assert problem.hint == "add a heading ## [1.0.8] - DATE; the closest heading is 1.0.9"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("## 1.1.0\n- a\n# Version 1.1.0\n- b\n", "has two sections for 1.1.0; the other is in line 3"),
        ("1.1.0\n=====\n\n### Fixes\n\n## 1.0.0\n- a\n", "has an empty section for 1.1.0"),
        ("## 1.1.0\n\n- \u00e4\n".encode("utf-16").decode("latin-1"), "is not UTF-8"),
    ],
)
def test_a_section_that_cannot_be_used_is_refused(text: str, what: str) -> None:
    data = text.encode("latin-1") if what == "is not UTF-8" else text.encode()
    (problem,) = section(data, "C.md", parse("1.1.0"))[1]
    assert problem.what == what


def test_a_line_without_end_takes_no_time() -> None:
    text = "# " + "[" * 200_000 + "\n## 1.1.0\n- a\n" + "# " + "version " * 50_000 + "\n"
    assert section(text.encode(), "C.md", parse("1.1.0")) == ("- a\n", [])
