"""The list of changes that no test notices fits the code, as far as that can be seen without trying them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.mutants.expected import PAGE, Expected, read
from tests.mutants.modules import MODULES

TOP = Path(__file__).resolve().parents[2]
LISTED = read(TOP)


def bare(code: str) -> str:
    """Code without what depends on where its lines end."""
    return re.sub(r"[\s,()\[\]]", "", code)


def functions(module: str) -> dict[str, str]:
    """The functions of a module, and what stands in them: see `bare`."""
    text = (TOP / module).read_text()
    tree = ast.parse(text)
    holders = [("", tree), *((f"{node.name}.", node) for node in tree.body if isinstance(node, ast.ClassDef))]
    return {
        before + node.name: bare(ast.get_source_segment(text, node) or "")
        for before, holder in holders
        for node in holder.body
        if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize("module", MODULES)
def test_every_module_that_is_changed_is_there_and_has_tests(module: str) -> None:
    assert functions(module)
    tests = [path.relative_to(TOP).as_posix() for path in (TOP / "tests").rglob("test_*.py")]
    lacking = [start for start in MODULES[module] if not any(path.startswith(start) for path in tests)]
    assert lacking == []


@pytest.mark.parametrize("row", LISTED, ids=lambda row: f"{row.function}: {row.change}")
def test_what_is_listed_is_in_the_code(row: Expected) -> None:
    assert row.module in MODULES
    known = functions(row.module)
    assert row.function in known
    assert "→" in row.change
    # what stands before the change and what is replaced; sentences and the beginning may be left out
    before = row.change.rpartition(" → ")[0].removeprefix("…")
    assert [piece for piece in before.split('"…"') if bare(piece) not in known[row.function]] == []


def test_nothing_is_listed_twice() -> None:
    assert len(LISTED) == len({(row.module, row.function, row.change) for row in LISTED})


def test_every_line_of_the_list_says_why() -> None:
    assert [row for row in LISTED if len(row.why) < 20] == []


def test_a_line_of_another_form_is_refused(tmp_path: Path) -> None:
    page = tmp_path / PAGE
    page.parent.mkdir(parents=True)
    page.write_text("### `installer/x.py`\n\n- `f`: no change\n")
    with pytest.raises(ValueError, match=r"mutants\.md:3: is not"):
        read(tmp_path)
