"""The ranks of folders: a module imports its own folder or a lower rank. No import goes round in a circle.

The architecture page draws them as the code has them: the map and the table.
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_MODULES = 16
MOST_LEVELS = 11

# From the lowest. Folders on one line are of one rank and never import each other.
RANKS: dict[str, tuple[str, ...]] = {
    "installer": (
        "core",
        "shared",
        "host",
        "state secrets",
        "staging deploy",
        "images",
        "transaction",
        "planning",
        "audit",
        "commands fleet",
        "cli",
    ),
    "bundler": (
        "image_sources",
        "config",
        "archive",
        "signing",
        "provenance trust freeze",
        "approvals",
        "commands",
        "cli",
    ),
    "installer.core": (
        "errors limits",
        "remedies exact_numbers",
        "digest document_file semver schema_errors timestamps",
        "jsonio",
        "json_stream fields risk",
        "format",
        "oci intoto",
        "trust",
        "vsa readmission",
        "verify",
    ),
}


def modules() -> dict[str, Path]:
    """Every module of the product by its dotted name; a package is its `__init__`."""
    found = {}
    for package in ("installer", "bundler"):
        for path in sorted((ROOT / package).rglob("*.py")):
            found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


def imports(source: str, known: Iterable[str]) -> Iterator[str]:
    """Every module of the product that a source imports: inside functions and for types, too."""
    known = set(known)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                full = f"{node.module}.{name.name}"
                if full in known:
                    yield full
                elif node.module in known:
                    yield node.module


def graph() -> dict[str, set[str]]:
    found = modules()
    return {name: set(imports(path.read_text(), found)) - {name} for name, path in found.items()}


def places(package: str) -> dict[str, int]:
    return {name: rank for rank, names in enumerate(RANKS[package]) for name in names.split()}


def part_of(package: str, module: str) -> str:
    """The folder (or module) directly below a package that a module belongs to; empty for others."""
    inside = module.removeprefix(f"{package}.")
    return "" if inside == module else inside.partition(".")[0]


def offences(package: str, edges: Mapping[str, Iterable[str]]) -> list[str]:
    """Imports inside a package that do not go down."""
    rank, found = places(package), []
    for module, targets in edges.items():
        for target in targets:
            own, other = part_of(package, module), part_of(package, target)
            if own and other and own != other and not rank[own] > rank[other]:
                found.append(f"{module} -> {target}")
    return sorted(found)


@pytest.mark.parametrize("package", RANKS)
def test_every_folder_has_a_rank(package: str) -> None:
    here = {part_of(package, module) for module in modules()} - {""}
    if package == "installer.core":
        here = {name for name in here if not name.startswith("__")}
    assert here <= set(places(package))


@pytest.mark.parametrize("package", RANKS)
def test_imports_go_down(package: str) -> None:
    assert offences(package, graph()) == []


def test_an_import_that_goes_up_or_sideways_is_found() -> None:
    edges = {
        "installer.state.state": {"installer.planning.plan", "installer.core.errors"},
        "installer.deploy.files": {"installer.staging.stage", "installer.deploy.method"},
    }
    assert offences("installer", edges) == [
        "installer.deploy.files -> installer.staging.stage",
        "installer.state.state -> installer.planning.plan",
    ]


def test_imports_for_types_and_inside_functions_count() -> None:
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from a.b import Thing\n"
        "def f():\n    from a import c\n    import a.d\n"
    )
    assert sorted(imports(source, {"a", "a.b", "a.c", "a.d"})) == ["a.b", "a.c", "a.d"]


def circles(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """One circle of a graph; empty where there is none."""
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def folders(edges: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """The same imports between folders: `installer.core`, `bundler.config` …"""

    def folder(module: str) -> str:
        return ".".join(module.split(".")[:2])

    found: dict[str, set[str]] = {}
    for module, targets in edges.items():
        found.setdefault(folder(module), set()).update(map(folder, targets))
    return {name: targets - {name} for name, targets in found.items()}


def levels(edges: Mapping[str, set[str]]) -> int:
    """How many folders stand one above the other on the longest way down."""
    height: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(edges).static_order():
        height[name] = 1 + max((height[below] for below in edges.get(name, ())), default=0)
    return max(height.values())


def test_no_module_imports_itself_in_a_circle() -> None:
    assert circles(graph()) == []


def test_no_folder_imports_itself_in_a_circle() -> None:
    assert circles(folders(graph())) == []


def test_a_circle_is_found() -> None:
    assert set(circles({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}


def test_the_tree_is_not_deeper_than_its_ranks() -> None:
    assert levels(folders(graph())) <= MOST_LEVELS


def test_no_folder_is_too_wide() -> None:
    wide = {}
    for package in ("installer", "bundler"):
        for folder in [ROOT / package, *(ROOT / package).rglob("*/")]:
            count = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
            if count > MOST_MODULES:
                wide[folder.relative_to(ROOT).as_posix()] = count
    assert wide == {}


PAGE = ROOT / "docs" / "concepts" / "architecture.md"
PACKAGES = ("installer", "bundler")  # the core has a sentence, not a table


def of_code(package: str) -> list[set[str]]:
    """The folders that exist, from the lowest rank; RANKS has future ones, too."""
    ranks = [{name for name in names.split() if (ROOT / package / name).is_dir()} for names in RANKS[package]]
    return [names for names in ranks if names]


def table() -> dict[str, list[set[str]]]:
    """The rows of the table of ranks, from the lowest."""
    section = PAGE.read_text(encoding="utf-8").split("## Import ranks", 1)[1].split("\n## ", 1)[0]
    lines = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")]
    cells = [row for row in lines if row[0].strip().isdigit()]
    assert [int(row[0]) for row in cells] == list(range(len(cells) - 1, -1, -1))
    found: dict[str, list[set[str]]] = {}
    for column, package in enumerate(PACKAGES, start=1):
        found[package] = [set(re.findall(r"`([a-z_]+)`", row[column])) for row in reversed(cells)]
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_table_has_the_ranks_of_the_code(package: str) -> None:
    assert [names for names in table()[package] if names] == of_code(package)


def drawn() -> set[tuple[str, str]]:
    """The arrows of the map, by the names of folders: `installer.cli` and so on."""
    text = PAGE.read_text(encoding="utf-8").split("## The source tree", 1)[1]
    text = re.findall(r"^```mermaid\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0]
    full: dict[str, str] = {}
    arrows, package = [], ""
    for line in text.splitlines():
        if inside := re.match(r" *subgraph (\w+)", line):
            package = inside[1]
        elif line.strip() == "end":
            package = ""
        elif arrow := re.match(
            r" *(\w+)(?:\[(\w+)\])? (?:-->|-\.->(?:\|[^|]*\|)?) (\w+)(?:\[(\w+)\])?$", line
        ):
            ends = ((arrow[1], arrow[2] or arrow[1]), (arrow[3], arrow[4] or arrow[3]))
            for key, name in ends:
                if package:
                    full.setdefault(key, f"{package}.{name}")
            arrows.append((arrow[1], arrow[3]))
    return {(full[above], full[below]) for above, below in arrows}


def reached(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Every pair of which the second is further down in the map."""
    found = set(arrows)
    while more := {(a, d) for a, b in found for c, d in arrows if b == c} - found:
        found |= more
    return found


def test_the_map_has_every_folder_and_its_arrows_go_down() -> None:
    arrows = drawn()
    names = {name for arrow in arrows for name in arrow}
    assert names == {
        f"{package}.{name}" for package in PACKAGES for rank in of_code(package) for name in rank
    }
    rank = {f"{p}.{name}": at for p in PACKAGES for at, names in enumerate(of_code(p)) for name in names}
    inside = [(above, below) for above, below in arrows if above.partition(".")[0] == below.partition(".")[0]]
    assert all(rank[above] > rank[below] for above, below in inside)
    assert {below for above, below in arrows if (above, below) not in inside} == {
        "installer.core",
        "installer.shared",
    }


def test_every_import_between_folders_is_a_way_down_in_the_map() -> None:
    ways = reached(drawn())
    real = {(above, below) for above, targets in folders(graph()).items() for below in targets}
    real = {(above, below) for above, below in real if above not in PACKAGES and below not in PACKAGES}
    assert len(real) > 50
    assert real - ways == set()
