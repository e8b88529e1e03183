"""Long lists for people: how many in which directories, then the first ten; `--all` shows every line.

A list of two thousand files scrolls away what an operator has to see. JSON always has every entry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from installer.core.errors import Problem, WaybillError

FIRST = 10
"""How many entries of a long list are shown."""
SHORT = 20
"""A list of up to so many entries is shown as a whole: a summary would not be shorter."""
DIRECTORIES = 10
"""How many directories a summary names; deeper ones are counted with the directory that holds them."""
ALL = "--all"


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a list.

    Attributes:
        path: The file that it is about.
        text: Its line.
        word: What is counted: `added`, `refused`; empty for no word.
    """

    path: str
    text: str
    word: str = ""


def listed(rows: Sequence[Row], what: str = "files", *, everything: bool = False) -> Iterator[str]:
    """Yield the lines of a list, or for a long one its directories and its first entries.

    Args:
        rows: The entries, the most important ones first.
        what: What they are, as a plural.
        everything: Whether every entry is shown, however many there are.
    """
    if everything or len(rows) <= SHORT:
        yield from (row.text for row in rows)
        return
    yield from by_directory(rows)
    yield f"the first {FIRST} of {len(rows)}:"
    yield from (row.text for row in rows[:FIRST])
    yield more(len(rows) - FIRST, what)


def more(count: int, what: str) -> str:
    """Return the line that follows a list of which `count` entries are not shown."""
    return f"… and {count} more {what}; {ALL} shows all of them"


def limited(lines: Sequence[str], what: str, *, everything: bool = False) -> Iterator[str]:
    """Yield the lines of a list that has no paths, or the first ones of a long one."""
    if everything or len(lines) <= SHORT:
        yield from lines
        return
    yield from lines[:FIRST]
    yield more(len(lines) - FIRST, what)


def by_directory(rows: Iterable[Row]) -> Iterator[str]:
    """Yield a line per directory: how many entries of which kind are in it."""
    counts = Counter((_directory(row.path), row.word) for row in rows)
    while len(directories := {directory for directory, _ in counts}) > DIRECTORIES:
        deepest = max(_depth(directory) for directory in directories)
        merged = Counter[tuple[str, str]]()
        for (directory, word), count in counts.items():
            merged[_directory(directory) if _depth(directory) == deepest else directory, word] += count
        counts = merged
    width = max((len(directory) for directory in directories), default=0)
    for directory in sorted(directories):
        words = [
            f"{count} {word}".rstrip()
            for (there, word), count in sorted(counts.items())
            if there == directory
        ]
        yield f"{directory:<{width}}  {', '.join(words)}"


def _directory(path: str) -> str:
    above, slash, _ = path.rstrip("/").rpartition("/")
    # `bundle.yaml:7` is in the current directory, not in that of the system.
    return f"{above}/" if slash else "./" if not path.startswith("/") else "/"


def _depth(directory: str) -> int:
    return directory.count("/")


def error_text(error: WaybillError, *, everything: bool = False) -> str:
    """Return an error with its problems; of more than 20 that say the same a summary.

    Problems that say different things are never shortened: each of them has a remedy of its own.

    Args:
        error: The error.
        everything: Whether every problem is shown, however many there are.
    """
    kinds: dict[str, list[Problem]] = {}
    for problem in error.problems:
        kinds.setdefault(problem.what, []).append(problem)
    long = {what for what, of in kinds.items() if len(of) > SHORT}
    if everything or not long:
        return str(error)
    lines = [str(Problem(error.where, error.what, error.hint))]
    for what in (each for each in kinds if each in long):
        lines += _kind(what, kinds[what])
    lines += [f"- {problem}" for problem in error.problems if problem.what not in long]
    return "\n".join(lines)


def _kind(what: str, problems: Sequence[Problem]) -> Iterator[str]:
    """Yield the lines of several problems that say the same of different places."""
    yield f"- {len(problems)} × {what}:"
    rows = [Row(each.where, each.where) for each in problems]
    yield from (f"  {line}" for line in listed(rows, "places"))
    hints = dict.fromkeys(each.hint for each in problems if each.hint)
    if hints:
        first = next(iter(hints))
        yield f"  hint: {first}" if len(hints) == 1 else f"  hint: the first one: {first}"
