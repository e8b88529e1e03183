"""The map of the rig names every helper that is there, and nothing that is not."""

from __future__ import annotations

import re
from pathlib import Path

from tests.rig.fixtures import __file__ as fixtures
from tests.rig.needs import COMPONENTS

RIG = Path(__file__).parent
TEXT = (RIG / "README.md").read_text()


def test_every_module_is_on_the_map() -> None:
    modules = {path.name for path in RIG.glob("*.py") if not path.name.startswith("test_")}
    assert modules - set(re.findall(r"`(\w+\.py)`", TEXT)) == set()


def test_every_module_on_the_map_is_there() -> None:
    named = set(re.findall(r"`((?:tests/)?[\w/]+\.py)`", TEXT))
    top = RIG.parents[1]
    assert {name for name in named if not (RIG / name).exists() and not (top / name).exists()} == set()


def test_every_fixture_of_the_rig_is_on_the_map() -> None:
    found = set(re.findall(r"@pytest\.fixture.*\ndef (\w+)\(", Path(fixtures).read_text()))
    assert found - {"engines"} - set(re.findall(r"`(\w+)`", TEXT)) == set()


def test_every_component_in_the_examples_is_known() -> None:
    asked = re.findall(r'needs\("([^)]+)"\)', TEXT)
    assert asked
    assert {name for words in asked for name in re.split(r'", "', words)} <= set(COMPONENTS)
