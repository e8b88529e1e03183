"""The strict reader of JSON objects: all problems at once, each with its place."""

from __future__ import annotations

import re
from typing import Any

import pytest

from installer.core.errors import TamperedError
from installer.core.fields import MAX_PROBLEMS, Document, Value


def read(value: Any, name: str = "x.json") -> list[str]:
    """Read a small document; return its problems in words."""
    document = Document(name)
    with Value(document, value).fields() as taken:
        taken.take("name").text()
        taken.take("count", 1).number(0, 9)
        taken.take("on", False).flag()
        taken.take("list", []).items(lambda each: each.number(0), 3)
        taken.take("set", []).names(re.compile("[a-z]"), "a letter")
        taken.take("map", {}).entries(lambda _name, each: each.flag())
        taken.take("when", "2030-01-31T00:00:00Z").time()
    return [f"{problem.where}: {problem.what}" for problem in document.problems]


GOOD = {"name": "a", "list": [1, 2], "set": ["a", "b"], "map": {"x": True}}


def test_a_valid_document_has_no_problem() -> None:
    assert read(GOOD) == []


def test_every_problem_is_found_at_once_and_names_its_place() -> None:
    wrong = {
        "count": 10,
        "on": 1,
        "list": [1, -1, "2"],
        "set": ["a", "a"],
        "map": {"x": 0},
        "when": "now",
        "z": 1,
    }
    assert read(wrong) == [
        "x.json: name: is missing",
        "x.json: count: is 10, but must be an integer from 0 to 9",
        "x.json: on: is 1, but must be true or false",
        "x.json: list[1]: is -1, but must be an integer from 0 to 9007199254740992",
        "x.json: list[2]: is '2', but must be an integer from 0 to 9007199254740992",
        "x.json: set: lists a value twice",
        "x.json: map.x: is 0, but must be true or false",
        "x.json: when: is 'now', but must be a time such as 2030-01-31T00:00:00Z",
        "x.json: z: is not a field of this version of the format",
    ]


@pytest.mark.parametrize("value", [[], None, "x", 1])
def test_what_is_no_object_is_one_problem(value: Any) -> None:
    assert len(read(value)) == 1
    assert "must be an object" in read(value)[0]


def test_a_boolean_is_no_number_and_no_list_is_too_long() -> None:
    assert read({**GOOD, "count": True}) == ["x.json: count: is True, but must be an integer from 0 to 9"]
    assert read({**GOOD, "list": [1] * 4}) == ["x.json: list: has 4 elements, at most 3 are allowed"]


def test_the_problems_of_a_hostile_document_are_bounded() -> None:
    assert len(read({**GOOD, **{f"k{number}": 0 for number in range(1000)}})) == MAX_PROBLEMS


def test_a_document_with_problems_is_refused_by_its_first() -> None:
    document = Document("x.json")
    document.require_valid()
    document.note("a", "is wrong", "do this")
    document.note("b", "is wrong too")
    with pytest.raises(TamperedError) as caught:
        document.require_valid()
    assert (caught.value.where, caught.value.what, caught.value.hint) == ("x.json: a", "is wrong", "do this")
    assert [problem.where for problem in caught.value.problems] == ["x.json: b"]


def test_a_field_of_a_broken_object_does_not_raise_half_way() -> None:
    document = Document("x.json")
    with pytest.raises(KeyError), Value(document, {"z": 1}).fields():
        raise KeyError
    assert document.problems == []
