"""Strict reading of parsed JSON: every field is taken once, every problem is collected, nothing is left over.

The manifest, the root, approvals and the host's state are read with it. A reader notes what is wrong and goes
on with a harmless value, so that a person sees all problems of a document at once; `Document.require_valid`
must be called before anything read is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from installer.core.errors import Problem, TamperedError
from installer.core.limits import LIMITS
from installer.core.timestamps import parse_time

T = TypeVar("T")
MAX_PROBLEMS = 50
"""Problems kept of one document: a hostile one has as many as it has values."""
PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]{0,4096}")
PRINTABLE_FORM = "text of at most 4096 characters without control characters"
ANY_TEXT = re.compile(r".*", re.DOTALL)
_ABSENT = object()
_FOREIGN = "is not a field of this version of the format"


class Document:
    """One JSON document and the problems found in it.

    Args:
        name: How errors name the document.
        hint: What to do about a problem that has no hint of its own; empty for the remedy of TamperedError.
    """

    def __init__(self, name: str, hint: str = "") -> None:
        self.name, self.hint = name, hint
        self.problems: list[Problem] = []

    def note(self, path: str, what: str, hint: str = "") -> None:
        """Note a problem of the value at `path`, such as `files[3].mode`; the document itself where empty."""
        # The first ones are enough to act on.
        if len(self.problems) < MAX_PROBLEMS:
            where = f"{self.name}: {path}" if self.name and path else self.name or path
            self.problems.append(Problem(where, what, hint))

    def require_valid(self) -> None:
        """Refuse the document if it has a problem.

        Raises:
            TamperedError: It names the first problem; `problems` has the others.
        """
        if self.problems:
            first, *others = self.problems
            raise TamperedError(first.what, where=first.where, hint=first.hint or self.hint, problems=others)


class Value:
    """One value of a document.

    Args:
        document: The document, which collects the problems.
        raw: What the JSON parser returned.
        path: Where the value is, such as `files[3]`; empty for the document itself.
    """

    __slots__ = ("document", "path", "raw")

    def __init__(self, document: Document, raw: Any, path: str = "") -> None:
        self.document, self.raw, self.path = document, raw, path

    def note(self, what: str, hint: str = "") -> None:
        """Note a problem of this value."""
        self.document.note(self.path, what, hint)

    def expected(self, form: str, fallback: T) -> T:
        """Note that this value should be `form`; return `fallback`."""
        self.note("is missing" if self.raw is _ABSENT else (f"is {self.raw!r:.80}, but must be {form}"))
        return fallback

    def at(self, key: str) -> str:
        """Return the path of a field of this value."""
        return f"{self.path}.{key}" if self.path else key

    def fields(self) -> Fields:
        """Return this object's fields; to be used in a `with` statement."""
        return Fields(self)

    def text(
        self,
        pattern: re.Pattern[str] = PRINTABLE,
        form: str = PRINTABLE_FORM,
    ) -> str:
        """Return a text that matches `pattern` as a whole."""
        if isinstance(self.raw, str) and pattern.fullmatch(self.raw):
            return self.raw
        return self.expected(form, "")

    def choice(self, allowed: tuple[str, ...]) -> str:
        """Return one of some texts; an empty one where the value is none of them."""
        if isinstance(self.raw, str) and self.raw in allowed:
            return self.raw
        return self.expected(allowed[0] if len(allowed) == 1 else f"one of {', '.join(allowed)}", "")

    def number(self, low: int, high: int = LIMITS.json_integer) -> int:
        """Return an integer from `low` to `high`."""
        # bool is a subclass of int: `true` would count as 1
        if type(self.raw) is int and low <= self.raw <= high:
            return self.raw
        return self.expected(f"an integer from {low} to {high}", max(low, 0))

    def flag(self) -> bool:
        """Return a boolean."""
        return self.raw if isinstance(self.raw, bool) else self.expected("true or false", False)

    def time(self) -> datetime:
        """Return a time in RFC 3339 form, UTC."""
        moment = parse_time(self.raw)
        return moment or self.expected(
            "a time such as 2030-01-31T00:00:00Z", datetime.max.replace(tzinfo=UTC)
        )

    def seconds(self) -> int:
        """Return a time as seconds since 1970 that a tar header can hold."""
        moment = parse_time(self.raw)
        seconds = int(moment.timestamp()) if moment else -1
        if 0 <= seconds < 8**11:
            return seconds
        return self.expected("a time from 1970-01-01T00:00:00Z to 2242-03-16T12:56:31Z", 0)

    def mapping(self) -> dict[str, Any]:
        """Return an object as it is; whoever uses it checks its fields."""
        return self.raw if isinstance(self.raw, dict) else self.expected("an object", {})

    def items(self, read: Callable[[Value], T], most: int = LIMITS.members) -> tuple[T, ...]:
        """Return a list of at most `most` elements, each read by `read`."""
        if isinstance(self.raw, tuple):  # `json_stream.load_object` has called the reader already
            return self.raw
        if not isinstance(self.raw, list):
            return self.expected("a list", ())
        if len(self.raw) > most:
            self.note(f"has {len(self.raw)} elements, at most {most} are allowed")
            return ()
        return tuple(
            read(Value(self.document, item, f"{self.path}[{index}]")) for index, item in enumerate(self.raw)
        )

    def names(self, pattern: re.Pattern[str], form: str, most: int = LIMITS.members) -> tuple[str, ...]:
        """Return a list of different texts that match `pattern`."""
        # Duplicates would count twice, or hide that an entry was meant to be another one.
        found = self.items(lambda each: each.text(pattern, form), most)
        if len(set(found)) != len(found):
            self.note("lists a value twice")
        return found

    def entries(
        self, read: Callable[[str, Value], T | None], *, most: int = LIMITS.members, empty: bool = True
    ) -> dict[str, T]:
        """Return an object whose keys are names, each value read by `read`; it leaves out what that refused.

        Args:
            read: Takes the name and the value.
            most: Largest number of entries.
            empty: Whether the object may be empty.
        """
        if not isinstance(self.raw, dict):
            return self.expected("an object", {})
        if len(self.raw) > most or not (self.raw or empty):
            least = "" if empty else "at least one and "
            self.note(f"has {len(self.raw)} entries, {least}at most {most} are allowed")
            return {}
        found = {}
        for name, item in self.raw.items():
            value = read(name, Value(self.document, item, self.at(name[:64])))
            if value is not None:
                found[name] = value
        return found


class Fields:
    """The fields of one object: each is taken once, and what nobody takes is a problem.

    Args:
        value: The object.
    """

    def __init__(self, value: Value) -> None:
        self._left = dict(value.raw) if isinstance(value.raw, dict) else {}
        self._value = value
        if not isinstance(value.raw, dict):
            value.expected("an object", None)
            # One problem is enough: that every single field is missing goes to nobody.
            self._value = Value(Document(""), {}, value.path)

    def __enter__(self) -> Fields:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            # An unknown field may be a newer rule: ignoring it would mean not obeying it.
            for key in sorted(self._left):
                Value(self._value.document, None, self._value.at(key[:64])).note(_FOREIGN)

    def take(self, key: str, default: Any = _ABSENT) -> Value:
        """Return the value of a field, `default` where it is absent."""
        return Value(self._value.document, self._left.pop(key, default), self._value.at(key))

    def optional_text(
        self, key: str, pattern: re.Pattern[str] = PRINTABLE, form: str = PRINTABLE_FORM
    ) -> str:
        """Return a text that matches `pattern`; an empty one where the field is absent or empty."""
        value = self.take(key, "")
        return value.text(pattern, form) if value.raw != "" else ""

    def has(self, key: str) -> bool:
        """Return whether the object has a field that was not taken yet."""
        return key in self._left
