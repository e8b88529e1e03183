"""The values of a Compose file as Compose gets them: with variables filled in, as far as a reader can know.

Compose gets no variables from an operator's shell and no `.env` file, so nearly every variable of a file is
set on no host, and its default is what counts. What only the host knows stays a `${NAME}` in the text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

LONGEST = 4096
"""Characters of one value that are examined."""
SHOWN = 300
"""Characters of one value that are shown."""
SET = frozenset(
    (
        "COMPOSE_PROJECT_NAME", "DOCKER_HOST", "HOME", "LOGNAME", "PATH", "SHELL", "USER", "WAYBILL_PRODUCT",
        "WAYBILL_RELEASE", "WAYBILL_VERSION",
    )
)  # fmt: skip
"""Variables that have a value on every host."""
PERHAPS = re.compile(r"LANG|LANGUAGE|TERM|TZ|NO_COLOR|TMPDIR|(?:LC|COMPOSE|DOCKER)_.*")
"""Variables that have a value on some hosts."""
_ROOT = "WAYBILL_ROOT"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_TOKEN = re.compile(
    rf"\$\$|\$\{{(?P<name>{_NAME})(?P<how>:?[-+?]|\}})|\$(?P<bare>{_NAME})|(?P<open>\{{)|(?P<close>\}})"
)


def resolved(value: Any) -> tuple[Any, bool]:
    """Return a value with its variables filled in, and whether something in it was cut at `LONGEST`."""
    if isinstance(value, str):
        return filled(value[:LONGEST]), len(value) > LONGEST
    if isinstance(value, list):
        made = [resolved(each) for each in value]
        return [each for each, _ in made], any(cut for _, cut in made)
    if isinstance(value, Mapping):
        pairs = {name: resolved(each) for name, each in value.items()}
        return {name: each for name, (each, _) in pairs.items()}, any(cut for _, cut in pairs.values())
    return value, False


@functools.lru_cache(maxsize=1024)
def filled(text: str) -> str:
    """Return a text with its variables filled in; `${NAME}` stays where only the host knows the value.

    Args:
        text: At most `LONGEST` characters. What is no variable for Compose, either, stays as it is.
    """
    # Of each variable that is not closed yet: where it begins, its name, its operator, the parts of its
    # default, and the braces in that which are open. The first is the text itself.
    frames: list[tuple[int, str, str, list[str], list[int]]] = [(0, "", "", [], [0])]
    at = 0
    for match in _TOKEN.finditer(text):
        _, name, how, parts, braces = frames[-1]
        parts.append(text[at : match.start()])
        at = match.end()
        if match["bare"] or match["how"] == "}":
            parts.append(_value(match["bare"] or match["name"], "", ""))
        elif match["how"]:
            frames.append((match.start(), match["name"], match["how"], [], [0]))
        elif match["close"] and len(frames) > 1 and not braces[0]:
            frames.pop()
            frames[-1][3].append(_value(name, how, "".join(parts)))
        else:
            braces[0] += bool(match["open"]) - bool(match["close"] and braces[0])
            parts.append("$" if match[0] == "$$" else match[0])
    if len(frames) > 1:
        # Compose refuses what is not closed; nothing of it may look harmless.
        return "".join(frames[0][3]) + text[frames[1][0] :]
    return "".join([*frames[0][3], text[at:]])


def _value(name: str, how: str, other: str) -> str:
    """Return what a variable stands for; `how` and `other` are the operator and what follows it."""
    unknown = f"${{{name}}}"
    if name == _ROOT:
        # Set and empty, but below `--root`.
        return {"": "", "-": "", ":-": other, "?": "", "+": other}.get(how, unknown)
    if how in ("-", ":-"):
        return unknown if name in SET or PERHAPS.fullmatch(name) else other
    if how in ("+", ":+"):
        return other if name in SET else unknown if PERHAPS.fullmatch(name) else ""
    return unknown


def has_variable(value: Any) -> bool:
    """Return whether something in a value is decided by a variable that only the host knows."""
    if isinstance(value, Mapping):
        return any(map(has_variable, value.values()))
    return any(map(has_variable, value)) if isinstance(value, list) else "$" in text_of(value)


def text_of(value: Any) -> str:
    """Return a scalar as text; empty for anything else."""
    return "" if value is None or isinstance(value, Mapping | list) else str(value)


def shown(value: Any) -> str:
    """Return a short text for a value: a scalar, or what is in a list or mapping."""
    if isinstance(value, Mapping):
        words = [f"{str(name)[:SHOWN]}={shown(each)}" for name, each in islice(value.items(), SHOWN)]
    elif isinstance(value, list):
        words = [shown(each) for each in value[:SHOWN]]
    else:
        return text_of(value)[:SHOWN]
    return ", ".join(words)[:SHOWN]


def is_true(value: Any) -> bool:
    """Return whether Compose takes a value for true."""
    return value is True or text_of(value).lower() in ("true", "yes", "y", "on", "1", "t")


def items(value: Any) -> list[Any]:
    """Return the items of a list; one that is not in a list is a list of its own."""
    return value if isinstance(value, list) else [] if value is None else [value]


def entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a mapping with short names; nothing of anything else."""
    if isinstance(value, Mapping):
        yield from ((str(name)[:SHOWN], each) for name, each in value.items())
