"""A fingerprint is typed over several lines, with mistakes, and only a whole one that differs is an alarm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from installer.core.trust.root import differing_groups, display_fingerprint, fingerprint, same_fingerprint
from installer.state.typed_fingerprint import ask_fingerprint, fingerprint_error

DIGITS = fingerprint(b"root")
GROUPS = display_fingerprint(DIGITS)
FIRST, SECOND = GROUPS[:39], GROUPS[40:]
ROOT = Path("root.json")


def answers(*lines: str) -> tuple[Callable[[str, str], str], list[str]]:
    """Answers each question with the next line, and remembers the questions."""
    asked, left = list[str](), list(lines)

    def ask(question: str, flag: str) -> str:
        assert flag == "--fingerprint"
        asked.append(question)
        return left.pop(0)

    return ask, asked


def test_two_lines_of_the_sheet_are_one_fingerprint() -> None:
    ask, asked = answers(FIRST, SECOND)
    assert ask_fingerprint("root.json is a root.\n", ask, ask) == DIGITS
    assert asked[0].startswith("root.json is a root.\nType the fingerprint on the trust sheet, all 16 groups")
    assert asked[1] == "32 of 64 digits so far; go on: "


@pytest.mark.parametrize(
    "lines",
    [
        (DIGITS,),
        (f"{DIGITS}  root.json",),
        (f"{DIGITS} */media/usb/root.json",),
        (GROUPS.replace(" ", "\t"),),
        (GROUPS.replace(" ", "\u00a0").upper(),),
        (GROUPS.replace(" ", "-"),),
        tuple(GROUPS.split(" ")),
        (f"sha256:{FIRST}", f"  {SECOND}  "),
    ],
    ids=["plain", "sha256sum", "sha256sum -b", "tabs", "upper", "dashes", "a group a line", "prefix"],
)
def test_any_white_space_and_the_line_of_sha256sum_are_accepted(lines: tuple[str, ...]) -> None:
    ask, _ = answers(*lines)
    assert same_fingerprint(ask_fingerprint("", ask, ask), DIGITS)


def test_a_character_that_is_none_is_named_and_what_was_right_stays() -> None:
    ask, asked = answers(FIRST, "12g4", SECOND[2:])
    wrong = ask_fingerprint("", ask, ask)
    assert asked[2] == "'g' is no digit of a fingerprint (0-9, a-f); 34 of 64 digits so far; go on: "
    assert len(wrong) == 64


def test_an_empty_line_ends_it_without_an_alarm() -> None:
    ask, _ = answers(FIRST, "")
    typed = ask_fingerprint("", ask, ask)
    error = fingerprint_error(ROOT, typed, DIGITS)
    assert error.what == "32 of 64 digits of the fingerprint were given; nothing was changed"
    assert "from both of its lines" in error.hint
    assert "security team" not in error.hint
    assert error.exit_code == 10


def test_a_fingerprint_is_not_asked_for_without_end() -> None:
    assert len(ask_fingerprint("", lambda _question, _flag: "1", lambda _question, _flag: "1")) < 64


@pytest.mark.parametrize(
    ("at", "words", "look"),
    [
        ((5,), "group 5 of 16 differs", "look at group 5 of the trust sheet again"),
        ((1, 16), "groups 1, 16 of 16 differ", "look at groups 1, 16 of the trust sheet again"),
        (tuple(range(1, 17)), "16 of 16 groups differ", "compare it with the trust sheet"),
    ],
)
def test_the_groups_that_differ_are_named(at: tuple[int, ...], words: str, look: str) -> None:
    groups = GROUPS.split(" ")
    for number in at:
        groups[number - 1] = "zzzz"
    error = fingerprint_error(ROOT, "".join(groups), DIGITS)
    assert differing_groups("".join(groups), DIGITS) == list(at)
    assert error.what == f"the fingerprint does not match this file; nothing was changed: {words}"
    assert error.hint.startswith(look)
    assert error.hint.endswith("do not use this media and tell the security team")
    # What it should be is on the sheet and nowhere else.
    assert groups[at[0] - 1] not in error.what
    assert DIGITS[:4] not in f"{error.what}{error.hint}"
