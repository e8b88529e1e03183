"""Reads docs/reference/mutants.md: the changes that no test notices, and why none has to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = "docs/reference/mutants.md"
_MODULE = re.compile(r"### `(installer/\S+\.py)`")
_ROW = re.compile(r"- `([\w.]+)`: `([^`]+)`: (\S.*)")


@dataclass(frozen=True, slots=True)
class Expected:
    """One change that is known to survive.

    Attributes:
        module: The file, below the checkout.
        function: `function` or `Class.method`.
        change: As `make mutants` prints it.
        why: Why no test has to notice it.
    """

    module: str
    function: str
    change: str
    why: str


def read(top: Path) -> list[Expected]:
    """Gives what the page lists.

    Raises:
        ValueError: A line of the list has another form.
    """
    found, module = [], ""
    for number, line in enumerate((top / PAGE).read_text(encoding="utf-8").splitlines(), 1):
        if heading := _MODULE.fullmatch(line):
            module = heading[1]
        elif line.startswith("#"):
            module = ""
        elif module and line:
            row = _ROW.fullmatch(line)
            if row is None:
                raise ValueError(f"{PAGE}:{number}: is not '- `function`: `change`: why'")
            found.append(Expected(module, row[1], row[2], row[3]))
    return found
