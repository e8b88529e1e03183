"""What the tests of faults have tried: operations × faults, how often, and what broke. Printed at the end."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Row:
    """One story under one fault."""

    operations: int = 0
    runs: int = 0
    broken: list[str] = field(default_factory=list)


ROWS: dict[tuple[str, str], Row] = {}


def row(story: str, fault: str, operations: int) -> Row:
    """Gives the row of a story and a fault."""
    found = ROWS.setdefault((story, fault), Row())
    found.operations = operations
    return found


def lines() -> list[str]:
    """Gives the table."""
    if not ROWS:
        return []
    head = ("story", "fault", "operations", "runs", "violations")
    rows = [(s, f, str(r.operations), str(r.runs), str(len(r.broken))) for (s, f), r in ROWS.items()]
    total = (
        "all",
        "",
        "",
        str(sum(r.runs for r in ROWS.values())),
        str(sum(len(r.broken) for r in ROWS.values())),
    )
    table = [head, *rows, total]
    widths = [max(len(cells[place]) for cells in table) for place in range(5)]
    made = []
    for cells in table:
        words = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        made.append("  ".join(words))
    return made
