"""Variables of a Compose file: which ones a text uses, and the text with them filled in.

The grammar is that of Compose: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:+other}`,
`${NAME+other}`, `${NAME:?error}`, `${NAME?error}`, nested, and `$$` for a dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 32
MAX_ADDED = 4 * 1024 * 1024
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_TOKEN = re.compile(
    rf"(?P<escaped>\$\$)|\$\{{(?P<name>{_NAME})(?P<how>:?[-+?]|\}})|\$(?P<bare>{_NAME})"
    r"|(?P<wrong>\$)|(?P<open>\{)|(?P<close>\})"
)


class InterpolationError(ValueError):
    """A text has a `$` that Compose refuses."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable in a text.

    Attributes:
        name: Its name.
        how: Its operator, such as `:-`; empty for none.
        other: The parts of what follows the operator.
    """

    name: str
    how: str = ""
    other: tuple[str | Variable, ...] = ()


Part = str | Variable


@dataclass(slots=True)
class _Open:
    """A variable whose brace is not closed yet; the first one stands for the text itself."""

    name: str
    how: str
    parts: list[Part]
    braces: int = 0


def parse(text: str) -> tuple[Part, ...]:
    """Return the parts of a text: literal texts, and variables.

    Raises:
        InterpolationError: A `$` is neither a variable nor doubled, or variables are nested too deeply.
    """
    frames, at = [_Open("", "", [])], 0
    for match in _TOKEN.finditer(text):
        top = frames[-1]
        top.parts.append(text[at : match.start()])
        at = match.end()
        if match["wrong"]:
            raise InterpolationError("has a `$` that begins no variable")
        if match["bare"] or match["how"] == "}":
            top.parts.append(Variable(match["bare"] or match["name"]))
        elif match["how"]:
            if len(frames) > MAX_DEPTH:
                raise InterpolationError(f"nests variables deeper than {MAX_DEPTH} levels")
            frames.append(_Open(match["name"], match["how"], []))
        elif match["close"] and len(frames) > 1 and not top.braces:
            frames.pop()
            frames[-1].parts.append(Variable(top.name, top.how, tuple(top.parts)))
        else:
            top.braces += bool(match["open"]) - bool(match["close"] and top.braces)
            top.parts.append("$" if match["escaped"] else match[0])
    if len(frames) > 1:
        raise InterpolationError("has a `${` that is not closed")
    return (*(part for part in frames[0].parts if part != ""), *([text[at:]] if text[at:] else []))


def missing(parts: tuple[Part, ...], names: Container[str]) -> Iterator[str]:
    """Yield the variables that have no value and no default, where only `names` are set.

    A default counts only where it is used; one that stands behind `:-` may always be, since a variable that
    is set may be empty.
    """
    for part in parts:
        if isinstance(part, str):
            continue
        is_set = part.name in names
        if part.how in ("", "?", ":?"):
            yield from () if is_set else (part.name,)
        elif part.how == ":-" or is_set == (part.how != "-"):
            yield from missing(part.other, names)


@dataclass(slots=True)
class Filler:
    """Fills in the variables of a document, for readers that know no values.

    Attributes:
        values: The values that are known; None where none is, and each variable may have any.
        left: Characters that values may still add. A variable that would add more stays as `${NAME}`.
    """

    values: Mapping[str, str] | None
    left: int = MAX_ADDED

    def fill(self, value: Any) -> Any:
        """Return a scalar, list or mapping with its variables replaced, as texts that can be parsed again.

        A variable whose value is not known stays as `${NAME}`, without its default.
        """
        if isinstance(value, str):
            try:
                return self._text(parse(value)) if "$" in value else value
            except InterpolationError:
                return value  # Compose refuses it; nothing of it may look harmless
        if isinstance(value, list):
            return [self.fill(each) for each in value]
        if isinstance(value, Mapping):
            return {name: self.fill(each) for name, each in value.items()}
        return value

    def _text(self, parts: tuple[Part, ...]) -> str:
        return "".join(
            part.replace("$", "$$") if isinstance(part, str) else self._value(part) for part in parts
        )

    def _value(self, part: Variable) -> str:
        value = None if self.values is None else self.values.get(part.name, "")
        if value is None or self.values is None or len(value) > self.left:
            return f"${{{part.name}}}"
        has_text = bool(value) if part.how.startswith(":") else part.name in self.values
        if part.how in ("-", ":-", "+", ":+") and has_text == part.how.endswith("+"):
            return self._text(part.other)
        if part.how.endswith("+"):
            return ""
        self.left -= len(value)
        return value.replace("$", "$$")


def texts(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield the texts of a YAML document in which Compose fills in variables, each with its line.

    Keys are none of them. What follows a syntax error is left out: whoever reads the document reports it.
    """
    import yaml

    # For each open collection: whether a key comes next; None in a list.
    stack: list[bool | None] = []
    try:
        for event in yaml.parse(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.CollectionEndEvent):
                stack.pop()
            elif isinstance(event, yaml.NodeEvent):
                is_key = bool(stack and stack[-1])
                if stack and stack[-1] is not None:
                    stack[-1] = not stack[-1]
                if isinstance(event, yaml.MappingStartEvent):
                    stack.append(True)
                elif isinstance(event, yaml.SequenceStartEvent):
                    stack.append(None)
                elif isinstance(event, yaml.ScalarEvent) and not is_key:
                    yield (event.start_mark.line if event.start_mark else 0) + 1, event.value
    except (yaml.YAMLError, UnicodeDecodeError):
        return


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a variable.

    Attributes:
        line: The line.
        what: What is wrong, in words.
        name: The variable without a value; empty where it is no variable.
    """

    line: int
    what: str
    name: str = ""


def faults(data: bytes, names: Container[str]) -> Iterator[Fault]:
    """Yield what is wrong with the variables of a Compose file.

    Args:
        data: The Compose file.
        names: The variables that are set.
    """
    for line, text in texts(data) if b"$" in data else ():
        try:
            for name in dict.fromkeys(missing(parse(text), names)):
                yield Fault(line, f"uses ${name}, which has no value and no default", name)
        except InterpolationError as error:
            yield Fault(line, str(error))
