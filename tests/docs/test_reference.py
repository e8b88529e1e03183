"""The reference pages say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.reference import generate
from installer.core import errors
from installer.core.format import manifest_json
from installer.core.format.manifest import SECTIONS, Manifest
from installer.shared.command.run_record import CODES

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def rows(page: str) -> list[list[str]]:
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]


def error_classes(of: type[errors.WaybillError] = errors.WaybillError) -> list[type[errors.WaybillError]]:
    return [cls for direct in of.__subclasses__() for cls in (direct, *error_classes(direct))]


def test_every_exit_code_is_listed_with_its_name() -> None:
    listed = {
        int(row[0]): set(re.findall(r"`([^`]+)`", row[1]))
        for row in rows("exit-codes.md")
        if row[0].isdigit()
    }
    # 3 is an answer, not an error.
    coded: dict[int, set[str]] = {0: set(), 1: set(), 3: {CODES[3]}}
    for cls in error_classes():
        if cls.__module__ == errors.__name__:
            coded.setdefault(cls.exit_code, set()).add(cls.code)
    assert listed == coded


def test_every_section_of_a_bundle_is_listed_in_its_order() -> None:
    paths = re.findall(r"^\| `([a-z]+)/", (REFERENCE / "format.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(paths) == (*SECTIONS, "approvals")


@pytest.mark.parametrize("field", ["schema", *Manifest.__dataclass_fields__])
def test_every_field_of_the_manifest_is_described(field: str) -> None:
    described = {name for row in rows("format.md") for name in re.findall(r"`([a-z_]+)`", row[0])}
    assert field in described
    assert manifest_json.SCHEMA in (REFERENCE / "format.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", generate.PAGES)
def test_generated_pages_are_current(page: str) -> None:
    assert (REFERENCE / page).read_text(encoding="utf-8") == generate.PAGES[page](), (
        "run `python -m docs.reference.generate`"
    )
