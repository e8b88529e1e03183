"""The threat model promises nothing that is not there: its tests exist, and its steps are the real ones."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from installer.core.trust.steps import STEPS

TOP = Path(__file__).parents[2]
PAGES = {name: (TOP / name).read_text(encoding="utf-8") for name in ("docs/threat-model.md", "SECURITY.md")}
TEST = re.compile(r"`(test_\w+\.py)::(\w+)`")
ACTORS = (
    "A malicious stick", "Insider at the transfer desk", "Thief of a key", "Compromised CI",
    "Hostile bundle on a good host", "Evil maid: the installer or the host is touched",
)  # fmt: skip


def named_in(path: Path) -> set[str]:
    """Gives the names of the tests of a module, those of its classes too."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {
        node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


KNOWN = {path.name: named_in(path) for path in (TOP / "tests").rglob("test_*.py")}


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_exists(page: str) -> None:
    named = TEST.findall(PAGES[page])
    assert [f"{file}::{name}" for file, name in named if name not in KNOWN.get(file, set())] == []


def test_links_of_the_security_policy_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", PAGES["SECURITY.md"])
    assert links
    assert [link for link in links if not (TOP / link).exists()] == []


def test_the_threat_model_names_tests_in_every_row_of_its_tables() -> None:
    bare = []
    for section in re.split(r"^## ", PAGES["docs/threat-model.md"], flags=re.MULTILINE):
        if section.split("\n", 1)[0] in ACTORS[:2] + ACTORS[3:]:
            rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
            bare += [row for row in rows if not TEST.search(row)]
            assert len(rows) > 4
    assert bare == []


def test_every_actor_has_a_section_that_says_what_is_not_stopped() -> None:
    text = PAGES["docs/threat-model.md"]
    for actor in ACTORS:
        section = text.split(f"## {actor}\n", 1)[1].split("\n## ", 1)[0]
        assert "**Not stopped**" in section or "everything" in section


def test_every_step_of_the_verification_stops_something() -> None:
    numbers: set[int] = set()
    for row in PAGES["docs/threat-model.md"].splitlines():
        for cell in row.split("|")[2:4] if row.startswith("| ") else ():
            numbers |= {int(number) for number in re.findall(r"\b[0-9]{1,2}\b", re.sub("`.*`", "", cell))}
    assert numbers == set(STEPS)
