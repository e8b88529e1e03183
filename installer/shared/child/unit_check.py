"""`systemd-analyze verify`: how it is asked about units that are not installed, and what it says of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

# No generator may run: the units of this machine are not asked about.
WORDS = ("verify", "--man=no", "--generators=no")
"""What the program is told besides the paths of the units."""
ENVIRONMENT = {"SYSTEMD_LOG_COLOR": "0", "SYSTEMD_LOG_LEVEL": "info", "SYSTEMD_LOG_TARGET": "console"}
"""How it writes what it says."""
# It says many things about the machine, such as programs that are missing. A line about the text of a unit
# has its path and number.
_ABOUT_TEXT = re.compile(
    r"^(?:(?P<path>/[^:\n]+):(?P<line>[0-9]+): (?P<what>[^\n]{1,300})"
    r"|(?P<unit>[^:\n /]+): (?P<refused>[^\n]{1,300} Refusing\.))$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class UnitFinding:
    """One thing that systemd says of a unit.

    Attributes:
        where: The unit, as whoever asked names it, and the line.
        what: What it says.
        is_refusal: Whether it would not start the unit.
    """

    where: str
    what: str
    is_refusal: bool = False


def search_path(files: Iterable[str]) -> str:
    """Return where systemd has to look for units and for the directories of their drop-ins.

    Args:
        files: Paths of units and of drop-ins.
    """
    folders = (path.rpartition("/")[0] for path in files)
    return ":".join(
        dict.fromkeys(each.rpartition("/")[0] if each.endswith(".d") else each for each in folders)
    )


def findings(said: str, names: Mapping[str, str]) -> Iterator[UnitFinding]:
    """Yield what is said of the text of units, each thing once.

    Args:
        said: What the program wrote to standard error.
        names: The names of files in messages, by their paths.
    """
    by_unit = {path.rpartition("/")[2]: name for path, name in names.items()}
    found: dict[UnitFinding, None] = {}
    for match in _ABOUT_TEXT.finditer(said):
        is_refusal = match["refused"] is not None
        # A template is looked at as an instance that its author does not know.
        unit = re.sub(r"@[^@.]+\.", "@.", match["unit"] or "")
        name = by_unit.get(match["unit"] or "") or by_unit.get(unit)
        name = name if is_refusal else names.get(match["path"] or "")
        if name is not None:
            where = name if is_refusal else f"{name}:{match['line']}"
            found[UnitFinding(where, (match["what"] or match["refused"]).rstrip("."), is_refusal)] = None
    yield from found
