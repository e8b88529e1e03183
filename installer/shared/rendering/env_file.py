"""Environment files that fill in the variables of Compose files, read as strictly as all versions do alike.

Compose accepts more: values of several lines, `NAME: value`, names without a value that it takes from the
environment of whoever runs it, and variables in values. Each of these is refused here, with its remedy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from installer.core.errors import Problem
from installer.shared.rendering.env_values import COMPOSE, env_value

MAX_BYTES = 1024 * 1024
PROJECT = "COMPOSE_PROJECT_NAME"
_PROFILES = "COMPOSE_PROFILES"
"""The one variable of Compose that a release may set: it chooses services."""
_RESERVED = re.compile(r"(?:WAYBILL|COMPOSE|DOCKER)_.*|HOME|PATH|PWD")
"""What Waybill sets, and what Compose and Docker need of their environment, which wins over a file."""
_LINE = re.compile(r"(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)", re.DOTALL)
_SINGLE = re.compile(r"'((?:[^'\\]|\\(?!'))*)'[ \t]*(?:#.*)?")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"[ \t]*(?:#.*)?')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_FORM = 'write NAME={{ value | env("compose") }}, or NAME=text'
_QUOTE = 'write {{ value | env("compose") }}, which quotes the value'


@dataclass(slots=True)
class EnvFile:
    """What an environment file says.

    Attributes:
        values: The variables and their values.
        problems: Lines that Compose would read in another way, or not at all; values are not quoted in them.
    """

    values: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read(data: bytes, name: str, *, own: bool = False) -> EnvFile:
    """Read an environment file.

    Args:
        data: Its bytes, as rendered.
        name: What problems call it: the path of its template.
        own: Whether it may set what Waybill sets: it is complete.
    """
    result = EnvFile()
    if len(data) > MAX_BYTES:
        result.problems.append(Problem(name, "is larger than 1 MiB once rendered", "set fewer variables"))
        return result
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        result.problems.append(Problem(name, "is not UTF-8 once rendered", "use text only"))
        return result
    for number, line in enumerate(text.split("\n"), 1):
        if fault := _take(line.strip(" \t\r"), result.values, own=own):
            what = f"line {number} of what is rendered {fault[0]}"
            result.problems.append(Problem(name, what, fault[1]))
    return result


def is_reserved(name: str) -> bool:
    """Return whether a release cannot set a variable: Waybill, Compose or Docker does."""
    return _RESERVED.fullmatch(name) is not None and name != _PROFILES


def _take(line: str, values: dict[str, str], *, own: bool) -> tuple[str, str] | None:
    """Add the variable that a line sets; return what is wrong with it, and what to do about that."""
    if not line or line.startswith("#"):
        return None
    match = _LINE.fullmatch(line)
    if match is None:
        return "sets no variable", _FORM
    name = match["name"]
    if is_reserved(name) and not own:
        return f"sets {name}, which no release can set for Compose", "use another name"
    if name in values:
        return f"sets {name} a second time", "set each variable once"
    value, fault = _value(match["value"].strip(" \t"))
    if fault:
        return f"sets {name} to a value that {fault}", _QUOTE
    values[name] = value
    return None


def _value(text: str) -> tuple[str, str]:
    """Return the value that Compose reads, and what is wrong with how it is written."""
    if _CONTROL.search(text):
        return "", "contains a control character"
    if text.startswith("'"):
        single = _SINGLE.fullmatch(text)
        return (single[1], "") if single else ("", "has an unfinished single quote")
    if text.startswith('"'):
        double = _DOUBLE.fullmatch(text)
        if double is None:
            return "", "has an unfinished double quote"
        if "$" in _ESCAPE.sub("", double[1]):
            return "", "has a `$`, which Compose takes for a variable"
        if set(_ESCAPE.findall(double[1])) - _ESCAPES.keys():
            return "", "has an escape that not every version of Compose reads alike"
        return _ESCAPE.sub(lambda match: _ESCAPES[match[1]], double[1]), ""
    if "$" in text:
        return "", "has a `$`, which Compose takes for a variable"
    if text.startswith("#"):
        return "", "begins with `#`"
    return text.partition(" #")[0].rstrip(), ""


def assigned_in(template: bytes) -> frozenset[str] | None:
    """Return the variables that a template sets, as far as its text tells; None where a name is rendered."""
    names = set()
    for line in template.decode("utf-8", "replace").split("\n"):
        before = line.partition("=")[0]
        if ("{{" in before or "{%" in before) and not re.match(r"\s*\{[%#]", line):
            return None
        if match := _LINE.fullmatch(re.sub(r"\{%.*?%\}", "", line).strip()):
            names.add(match["name"])
    return frozenset(names)


def completed(data: bytes, values: Mapping[str, str]) -> bytes:
    """Return an environment file with the variables that Waybill sets, at its end."""
    rows = "".join(f"{name}={env_value(value, COMPOSE)}\n" for name, value in values.items())
    end = b"" if not data or data.endswith(b"\n") else b"\n"
    return data + end + b"# Set by Waybill:\n" + rows.encode()
