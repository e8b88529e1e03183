"""The parts of the suite in `.ci/run`: together they are the whole suite, and no test is in two of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

TOP = Path(__file__).parents[2]
RUN = TOP / ".ci/run"


def parts() -> dict[str, list[str]]:
    """Return the paths of each part."""
    text = RUN.read_text()
    listed = text[text.index("suites=(") : text.index("\n)\n", text.index("suites=("))]
    return {words[0]: words[1:] for words in map(str.split, re.findall(r'"([^"]+)"', listed))}


def left_out(paths: list[str]) -> list[str]:
    """Return what `.ci/run` leaves out of a part, because another one has it."""
    text = RUN.read_text()
    listed, function = (
        text[text.index(begin) : text.index(end, text.index(begin)) + len(end)]
        for begin, end in (("suites=(", "\n)\n"), ("others_below() {", "\n}\n"))
    )
    command = ["bash", "-euc", f'{listed}{function}others_below "$@"', "bash", *paths]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [word.removeprefix("--ignore=") for word in said.split()]


def modules(paths: list[str]) -> set[Path]:
    found = set[Path]()
    for path in map(TOP.joinpath, paths):
        assert path.exists(), path
        found |= {*path.rglob("test_*.py")} if path.is_dir() else {path}
    return found


def test_each_module_of_tests_is_in_one_part() -> None:
    of_parts = {name: modules(paths) - modules(left_out(paths)) for name, paths in parts().items()}
    assert len(of_parts) > 1
    for name, own in of_parts.items():
        assert own, name
    everything = [module for own in of_parts.values() for module in own]
    assert len(everything) == len(set(everything))
    assert set(everything) == modules(["tests"])
