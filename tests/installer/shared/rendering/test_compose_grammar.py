"""Variables of Compose files are read as Compose reads them."""

from __future__ import annotations

import pytest

from installer.shared.rendering.variables import (
    MAX_DEPTH,
    Filler,
    InterpolationError,
    faults,
    missing,
    parse,
    texts,
)


def lacking(text: str, *names: str) -> list[str]:
    return list(missing(parse(text), names))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("plain", []),
        ("$$A $${B}", []),
        ("$A ${B}", ["A", "B"]),
        ("${A?why} ${B:?why}", ["A", "B"]),
        ("${A-x} ${B:-x} ${A+x} ${B:+x}", []),
        ("${A:-${B}} ${A:-$C}", ["B", "C"]),
        ("${A-${B:-${C}}}", ["C"]),
        ("${A:+${B}}", []),
        ("${SET:+${B}} ${SET+$C}", ["B", "C"]),
        ("${SET-${B}}", []),
        # What is set may be empty.
        ("${SET:-${B}}", ["B"]),
        ('{"a": "${A:-{}}", "b": {}}', []),
        ("$SET ${SET} ${SET:?why}", []),
    ],
)
def test_a_variable_needs_a_value_or_a_default(text: str, names: list[str]) -> None:
    assert lacking(text, "SET") == names


@pytest.mark.parametrize("text", ["$", "a $5", "${", "${A", "${A:-x", "${}", "${A!x}", "${A:x}", "$-"])
def test_a_dollar_sign_that_compose_refuses_is_refused(text: str) -> None:
    with pytest.raises(InterpolationError):
        parse(text)


def test_variables_are_nested_to_a_bound() -> None:
    text = "${A:-" * MAX_DEPTH + "x" + "}" * MAX_DEPTH
    assert lacking(text) == []
    with pytest.raises(InterpolationError, match="nests"):
        parse(f"${{A:-{text}}}")


def test_keys_and_aliases_are_not_filled_in() -> None:
    document = b"a: &x $A\n$k: [$B, {$k: $C}]\n? {$D: $E}\n: $F\ng: *x\n"
    assert list(texts(document)) == [(1, "$A"), (2, "$B"), (2, "$C"), (3, "$E"), (4, "$F")]


def test_what_follows_a_syntax_error_is_left_out() -> None:
    assert [each.name for each in faults(b"a: $A\nb: [\n", ())] == ["A"]
    assert list(faults(b"\xff$A", ())) == []


def test_faults_have_their_lines() -> None:
    found = list(faults(b"a: $A $A $SET\nb: |\n  x $5\n", ("SET",)))
    assert [(each.line, each.name) for each in found] == [(1, "A"), (2, "")]


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("$A-${A}", "1$$-1$$"),
        ("$EMPTY.${EMPTY:-x}.${EMPTY-y}.${EMPTY:+z}.${EMPTY+w}", ".x...w"),
        ("$UNSET.${UNSET:-$A}.${UNSET-y}.${UNSET+z}", ".1$$.y."),
        ("${A:+$EMPTY}${A+2}", "2"),
        ("$$A", "$$A"),
        ("$5", "$5"),
    ],
)
def test_known_values_are_filled_in_so_that_the_text_means_the_same(text: str, filled: str) -> None:
    assert Filler({"A": "1$", "EMPTY": ""}).fill({"k": [text, 5]}) == {"k": [filled, 5]}


def test_without_values_a_variable_stays_and_its_default_does_not_look_like_its_value() -> None:
    assert Filler(None).fill("${DATA:-/safe}/x$$") == "${DATA}/x$$"


def test_values_add_no_more_than_a_bound() -> None:
    filler = Filler({"A": "x" * 10}, left=25)
    assert filler.fill(["$A", "$A", "$A", "${A:-y}"]) == ["x" * 10, "x" * 10, "${A}", "${A}"]
