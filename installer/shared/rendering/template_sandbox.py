"""The Jinja2 environment of `template.py`: what a template may do, and how much of it.

The sandbox of Jinja2 hides attributes and methods that reach beyond the values. It does not limit time and
memory. That is done here: iterations and calls are counted, texts of expressions are measured, and large
repetitions, paddings and powers are refused before they are computed.

Import this inside functions only: Jinja2 takes 40 ms to load.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.filters import FILTERS
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from installer.core.limits import LIMITS
from installer.shared.configuration.merge import DEFAULTS
from installer.shared.rendering.env_values import ENV_HINT, env_value

MAX_STEPS = 1_000_000
MAX_INDENT = 64
_MAX_PRODUCT = 16 * LIMITS.document_bytes
_MAX_BITS = 4096
_LEFT_OUT = frozenset(("random", "urlize", "xmlattr", "pprint"))
_GROWING = frozenset((
    "batch", "center", "expandtabs", "indent", "join", "ljust", "replace", "rjust", "slice", "wordwrap",
    "zfill",
))  # fmt: skip
_TEXTS = frozenset((
    "capitalize", "center", "e", "escape", "forceescape", "format", "indent", "join", "lower", "replace",
    "string", "striptags", "title", "trim", "truncate", "upper", "urlencode", "wordwrap",
))  # fmt: skip
"""Filters that make a text of whatever they are given."""
_WIDE_FIELD = re.compile(r"[0-9]{5,}|\*")
_PRINTABLE = (str, int, float, list, tuple, dict)


class TemplateRefusedError(TemplateError):
    """A template exceeds a limit, or prints a value that has no text."""

    def __init__(
        self,
        what: str,
        hint: str = "simplify the template, or ship the file as it is",
        *,
        is_null: bool = False,
    ) -> None:
        super().__init__(what)
        self.hint, self.is_null = hint, is_null


class _Undefined(StrictUndefined):
    """A value that is not there: an error in every use, also where it is an element of a printed list."""

    # The text of a list is made of the `repr` of its elements; Jinja2's has the text "Undefined" there.
    __repr__ = StrictUndefined.__str__


class Budget:
    """The resources that one rendering has used."""

    def __init__(self) -> None:
        self.steps = 0
        self.text = 0
        self.output = 0

    def step(self) -> None:
        """Count one round of a loop or one call.

        Raises:
            TemplateRefusedError: There were too many.
        """
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise TemplateRefusedError(f"needs more than {MAX_STEPS} loop iterations and calls")

    def written(self, count: int) -> None:
        """Count bytes of the result.

        Raises:
            TemplateRefusedError: There were too many.
        """
        self.output += count
        if self.output > LIMITS.document_bytes:
            raise TemplateRefusedError(f"produces more than {LIMITS.document_bytes // 1024**2} MiB")

    def rounds(self, iterable: Any) -> Iterator[Any]:
        """Pass an iterable on, counting its rounds."""
        for item in iterable:
            self.step()
            yield item

    def measure(self, value: Any) -> Any:
        """Pass a value on that an operation made.

        Raises:
            TemplateRefusedError: It is too large.
        """
        if isinstance(value, str | bytes | list | tuple) and len(value) > LIMITS.document_bytes:
            raise TemplateRefusedError("produces a value that is too large")
        return value

    def printed(self, value: Any) -> Any:
        """Return the text of a value that is printed, and count it.

        Raises:
            TemplateRefusedError: The value is null or a function, or all texts together are too large.
        """
        if isinstance(value, Undefined):
            return value
        if value is None:
            hint = "set it, or test it first: {% if … is not none %}"
            raise TemplateRefusedError("prints a value that is null", hint, is_null=True)
        if not isinstance(value, _PRINTABLE):
            kind = "a function" if callable(value) else f"a {type(value).__name__}"
            raise TemplateRefusedError(
                f"prints {kind}", "call it with (), or convert it to text with | join or | list"
            )
        self.inspect(value)
        text = str(value)
        self.text += len(text)
        if self.text > 4 * LIMITS.document_bytes:
            raise TemplateRefusedError("produces too much text")
        return text

    def inspect(self, value: Any) -> Any:
        """Pass a value on of which a text is made; refuse a list or mapping without one, or with a huge one.

        Raises:
            TemplateRefusedError: It has a function or a generator in it, or is too large.
        """
        waiting: list[Any] = [value] if isinstance(value, list | tuple | dict) else []
        size = 0
        while waiting:
            each = waiting.pop()
            # Each element is one character or more. A list in a list in a list, each twice in the next, is
            # small and has an endless text.
            size += 1
            if isinstance(each, dict):
                waiting += [*each.keys(), *each.values()]
            elif isinstance(each, list | tuple):
                waiting += each
            elif isinstance(each, str):
                size += len(each)
            elif each is not None and not isinstance(each, (int, float, Undefined)):
                what = f"prints a list or mapping with a {type(each).__name__} in it"
                raise TemplateRefusedError(what, "convert its elements with | map(…) | list")
            if size > LIMITS.document_bytes:
                raise TemplateRefusedError("produces a value that is too large")
        return value


def bind(tree: nodes.Template) -> None:
    """Put counters into a syntax tree: around what loops run over and around joined texts."""
    for loop in list(tree.find_all(nodes.For)):
        loop.iter = _filtered(loop.iter, "_rounds")
    for concat in list(tree.find_all(nodes.Concat)):
        concat.nodes = [_filtered(part, "_inspect") for part in concat.nodes]
    for parent in list(tree.find_all(nodes.Node)):
        for field, value in parent.iter_fields():
            if isinstance(value, nodes.Concat):
                setattr(parent, field, _filtered(value, "_measure"))
            elif isinstance(value, list):
                value[:] = [_filtered(v, "_measure") if isinstance(v, nodes.Concat) else v for v in value]


def sandbox(budget: Budget, origin: Callable[[str], str] | None = None) -> ImmutableSandboxedEnvironment:
    """Return the environment of one rendering, whose use is counted by `budget`.

    Args:
        budget: Counts.
        origin: Returns where the value of a key comes from; None where only the defaults are known.
    """
    return _Sandbox(budget, origin or (lambda _key: DEFAULTS))


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno, environment=node.environment)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, budget: Budget, origin: Callable[[str], str]) -> None:
        # There is no loader, so include, import and extends find nothing.
        super().__init__(
            undefined=_Undefined,
            autoescape=False,
            keep_trailing_newline=True,
            finalize=budget.printed,
            cache_size=0,
        )
        self._budget = budget
        for name in ("lipsum", "cycler", "joiner"):
            self.globals.pop(name, None)
        kept = {name: make for name, make in FILTERS.items() if name not in _LEFT_OUT}
        self.filters = {name: self._bounded(name, make) for name, make in kept.items()}
        self.filters |= {"tojson": _tojson, "_rounds": budget.rounds}
        self.filters |= {"_measure": budget.measure, "_inspect": budget.inspect}
        # Filters, not names: an existing template cannot have used them, nor asked whether they are defined.
        own: dict[str, Callable[..., Any]] = {"env": _env, "origin": functools.partial(_origin, origin)}
        self.filters |= {name: self._bounded(name, make) for name, make in own.items()}

    def _bounded(self, name: str, make: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(make)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            self._budget.step()
            if name in _GROWING:
                plain = [arg for arg in args if not isinstance(arg, Context | ImmutableSandboxedEnvironment)]
                _refuse_growth([getattr(arg, "eval_ctx", arg) for arg in plain], kwargs)
            if name in _TEXTS:
                for arg in args:
                    self._budget.inspect(arg)
            if name == "format":
                _refuse_wide(str(args[0]))
            return self._budget.measure(make(*args, **kwargs))

        return bounded

    def getattr(self, obj: Any, attribute: str) -> Any:
        # A key named `items` or `keys` is the value, not the mapping's method.
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self._budget.step()
        if isinstance(obj, LoopContext) and args:
            args = (self._budget.rounds(args[0]), *args[1:])
        method = getattr(obj, "__wrapped__", obj)
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, str):
            if name in _GROWING:
                _refuse_growth([owner, *args], kwargs)
            if name in ("format", "format_map"):
                _refuse_wide(owner)
        return self._budget.measure(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            _refuse_repetition(left, right)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * max(right, 0) > _MAX_BITS:
                raise TemplateRefusedError("computes a power that is too large")
        elif operator == "%" and isinstance(left, str):
            _refuse_wide(left)
        return self._budget.measure(super().call_binop(context, operator, left, right))


def _env(value: Any, form: str) -> str:
    """Write a value into an environment file; see `env_values`."""
    if isinstance(value, Undefined):
        return str(value)  # raises, and names the value
    try:
        return env_value(value, form)
    except ValueError as error:
        raise TemplateRefusedError(
            f"cannot write a value into an environment file: {error}", ENV_HINT
        ) from None


def _origin(origin: Callable[[str], str], key: Any) -> str:
    """Return where the value of a key comes from; all sources of a group."""
    if not isinstance(key, str):
        hint = 'write the key in quotes: {{ "ports.client" | origin }}'
        raise TemplateRefusedError("asks for the origin of a value, not of a key", hint)
    return origin(key)


def _extent(value: Any) -> int:
    if isinstance(value, str | bytes | list | tuple | dict):
        return len(value)
    return abs(value) if isinstance(value, int) else 1


def _refuse_repetition(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        too_large = left.bit_length() + right.bit_length() > _MAX_BITS
    elif isinstance(left, float) or isinstance(right, float):
        too_large = False
    else:
        too_large = _extent(left) * _extent(right) > LIMITS.document_bytes
    if too_large:
        raise TemplateRefusedError("computes a product that is too large")


def _refuse_growth(args: list[Any], kwargs: dict[str, Any]) -> None:
    first, *others = args
    widest = max((_extent(value) for value in [*others, *kwargs.values()]), default=1)
    if (_extent(first) + 1) * widest > _MAX_PRODUCT:
        raise TemplateRefusedError("pads or repeats text to a size that is too large")


def _refuse_wide(text: str) -> None:
    if _WIDE_FIELD.search(text):
        raise TemplateRefusedError("formats with a width that is too large")


def _tojson(value: Any, indent: int | None = None) -> str:
    """Like Jinja2's filter, without the escapes that are for HTML."""
    if isinstance(value, Undefined):
        return str(value)
    if isinstance(indent, int) and indent > MAX_INDENT:
        raise TemplateRefusedError(f"indents by more than {MAX_INDENT} characters")
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_no_json)


def _no_json(value: Any) -> Any:
    if isinstance(value, Undefined):
        return str(value)  # raises, and names the value
    raise TemplateRefusedError(f"turns a {type(value).__name__} into JSON", "use plain values, or | list")
