"""Fields of documents are added, never renamed or removed: scripts rely on each that was there once.

`json_fields.txt` lists them, a line for each schema. `python -m tests.docs.test_json_fields` adds what is
new, and takes nothing away.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.rig import answers

LIST = Path(__file__).with_name("json_fields.txt")


def fields(
    value: Any, shared: dict[str, Any], place: str = "", within: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield the fields of a schema with what they are below.

    Args:
        value: The schema, or a part of it.
        shared: The definitions that it may refer to.
        place: The fields above.
        within: The definitions that it is a part of: one may refer to itself.
    """
    if isinstance(value, list):
        for each in value:
            yield from fields(each, shared, place, within)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if key == "properties":
            for name, each in inner.items():
                own = f"{place}.{name}".lstrip(".")
                yield own
                yield from fields(each, shared, own, within)
        elif key == "$ref":
            name = inner.rpartition("/")[2]
            if name not in within:
                yield from fields(shared[name], shared, place, (*within, name))
        else:
            yield from fields(inner, shared, place, within)


def present() -> dict[str, set[str]]:
    """The fields of every document; what all have in common is told once."""
    shared = answers.schema(answers.COMMON)["$defs"]
    found = {name: set(fields(answers.schema(name), shared)) for name in answers.names()}
    common = set.intersection(*found.values())
    return {answers.COMMON: common} | {name: own - common for name, own in found.items()}


def listed() -> dict[str, set[str]]:
    """The fields that there have been."""
    lines = (line.partition(":") for line in LIST.read_text(encoding="utf-8").splitlines())
    return {name: set(words.split()) for name, _, words in lines}


def test_no_field_was_renamed_or_removed() -> None:
    there = present()
    # A field that only some documents had may be in all of them by now.
    everywhere = there[answers.COMMON]
    lost = {name: known - there.get(name, set()) - everywhere for name, known in listed().items()}
    assert {name: words for name, words in lost.items() if words} == {}, "scripts rely on these fields"


def test_every_field_is_on_the_list() -> None:
    known = listed()
    new = {name: found - known.get(name, set()) for name, found in present().items()}
    assert {name: words for name, words in new.items() if words} == {}, (
        "run `python -m tests.docs.test_json_fields`"
    )


def test_fields_of_definitions_and_of_lists_are_found() -> None:
    shared = {"row": {"properties": {"a": {"items": {"properties": {"b": {}, "c": {"$ref": "#/row"}}}}}}}
    schema = {"allOf": [{"$ref": "x#/$defs/row"}, {"properties": {"c": {"$ref": "x#/$defs/row"}}}]}
    assert list(fields(schema, shared)) == ["a", "a.b", "a.c", "c", "c.a", "c.a.b", "c.a.c"]


if __name__ == "__main__":
    every = listed() if LIST.exists() else {}
    for document, words in present().items():
        every[document] = every.get(document, set()) | words
    LIST.write_text(
        "".join(" ".join([f"{name}:", *sorted(words)]) + "\n" for name, words in sorted(every.items())),
        encoding="utf-8",
    )
