"""The secrets that are known, and how they are hidden: by their value, wherever it occurs.

A value is known as a secret because its key or the schema of the values says so (`declared`), or because
configuration has it in a notation of a secret (`notations`). It is replaced by `***` as it is and in the
spellings that templates and messages make of it: JSON, XML, URL, shell, Base64.

A password may be a common word or a single digit, which must not blank every other one:

- shorter than `SHORTEST` characters: hidden only where its name stands next to it;
- shorter than `ANYWHERE` characters: hidden only as a word of its own, not as a part of a longer one;
- otherwise: hidden everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from installer.core.errors import Problem, WaybillError
from installer.shared.secrecy import MASK
from installer.shared.secrecy.index import ANYWHERE, SHORTEST, Index, Span, without

MOST = 100_000
"""Values that are looked for. Of a host that has more nothing is shown: what it has is far below."""
MESSAGE = 4000
"""Characters of one message that are shown; programs and libraries quote what they were given."""
EARLIER = 400
"""Lines before the end of an output that are looked at, too: more than any private key has."""
_LINE_ENDS = re.compile(r"(?:\r)?\n|\\r\\n|\\n")
Source = Callable[[], Iterable[str]]


@dataclass(slots=True)
class Secrets:
    """The secrets that a command knows by now.

    Attributes:
        public: What is no secret although a value equals it, such as the name of the product.
        withheld: Why nothing at all is shown; empty where all secrets are known.
    """

    public: frozenset[str] = frozenset()
    withheld: str = ""
    _values: set[str] = field(default_factory=set)
    _sources: list[Source] = field(default_factory=list)
    _index: Index | None = None
    _base: Secrets | None = None

    def add(self, values: Iterable[str]) -> None:
        """Remember values as secret; if they are more than can be looked for, nothing is shown any more."""
        new = {each for value in values for each in _parts(value)} - self._values
        if len(self._values) + len(new) > MOST:
            # Which of them could be left out? Dropped in silence, they would be shown.
            self.withheld = f"more than {MOST} values of this host are secret"
            return
        self._values |= new
        if self._index is not None:
            self._index.add(_words(new - self.public))

    def allow(self, words: Iterable[str]) -> None:
        """Remember words as public although a secret may equal one of them."""
        new = frozenset(words) - self.public
        self.public |= new
        if not new.isdisjoint(self._values):
            self._index = None

    def add_source(self, source: Source) -> None:
        """Remember where to look for more secrets, once something has to be hidden."""
        self._sources.append(source)

    def also(self, values: Iterable[str]) -> Secrets:
        """Return these secrets and further ones, which only what is hidden with the result has."""
        more = Secrets(self.public, _base=self)
        more.add(values)
        return more

    def why_withheld(self) -> str:
        """Return why nothing at all is shown; empty where what is not secret is shown."""
        self._any()
        return self.withheld or (self._base.why_withheld() if self._base is not None else "")

    def has_lines(self) -> bool:
        """Return whether one of the secrets has several lines: it is recognised as a whole only."""
        own = self._any() and any("\n" in value for value in self._values)
        return own or (self._base is not None and self._base.has_lines())

    def spans(self, text: str) -> list[Span]:
        """Return where secrets stand in a text, in any of their spellings; they may overlap."""
        return self._spans(text) if self._any() else []

    def hide(self, text: str) -> str:
        """Return text without what is known to be secret."""
        if not text or not self._any():
            return text
        if why := self.why_withheld():
            return f"{MASK} (not shown: {why})"
        return without(text, self._spans(text), MASK)

    def hide_all(self, lines: Iterable[str]) -> list[str]:
        """Return lines without what is known to be secret, and without values in a notation of one.

        Args:
            lines: Of one text: a secret may go over several of them. Each stays a line.
        """
        # Patterns take long to compile: every command starts, and few have something to hide.
        from installer.shared.secrecy.notations import mask

        shown = list(lines)
        if self._any():
            if self.why_withheld():
                return [MASK if line.strip() else line for line in shown]
            text = "\n".join(shown)
            shown = without(text, _in_lines(text, self._spans(text)), MASK).split("\n") if shown else []
        return list(mask(shown))

    def _any(self) -> bool:
        """Return whether there may be something to hide; ask the sources, if they were not asked yet."""
        # Whoever asks first asks the sources; one that a source itself causes is not asked again.
        asked, self._sources = self._sources, []
        try:
            while asked:
                self.add(asked[0]())
                del asked[0]
        except Exception as error:
            # A failure here must not stop a transaction, and must not show what could not be looked up.
            del asked[0]
            self.withheld = f"the secrets of this host cannot be read: {type(error).__name__}"
        finally:
            # Also after a signal: the next one asks those that were not asked, and the one that was stopped.
            self._sources = [*asked, *self._sources]
        return bool(self._values or self.withheld) or (self._base is not None and self._base._any())

    def _spans(self, text: str) -> list[Span]:
        if self._index is None:
            self._index = Index()
            self._index.add(_words(self._values - self.public))
        return self._index.spans(text) + (self._base._spans(text) if self._base is not None else [])

    def last_lines(self, text: str, count: int, width: int) -> list[str]:
        """Return the end of an output without secrets: hidden first, then cut.

        Half of a secret is not recognised, nor is the end of a private key without its beginning.

        Args:
            text: What a program has written.
            count: Lines at most.
            width: Characters of a line at most.
        """
        lines = self.hide_all(text.splitlines()[-(count + EARLIER) :])
        return [shortened(line, width) for line in lines[-count:]]

    def hide_in(self, value: Any) -> Any:
        """Return a JSON value with its texts hidden; keys and numbers stay, so that it keeps its form."""
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, Mapping):
            return {key: self.hide_in(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide_in(each) for each in value]
        return value

    def hide_problem(self, problem: Problem) -> Problem:
        """Return a problem without secrets."""
        where, what, hint = (self.hide(text) for text in (problem.where, problem.what, problem.hint))
        return replace(problem, where=where, what=shortened(what, MESSAGE), hint=hint)

    def hide_error(self, error: BaseException) -> None:
        """Remove secrets from an error, which a program or a values file may have caused."""
        if isinstance(error, WaybillError):
            error.what, error.where, error.hint = map(self.hide, (error.what, error.where, error.hint))
            # Whoever raised it could not know what is secret, and so has not cut it.
            error.what = shortened(error.what, MESSAGE)
            error.problems = tuple(self.hide_problem(each) for each in error.problems)
            # A program has notations of its own; messages of ours would be mauled by them.
            error.output = tuple(self.hide_all(error.output))
        # Libraries quote what they were given, too.
        error.args = tuple(self.hide(each) if isinstance(each, str) else each for each in error.args)
        if isinstance(error, OSError):
            # Kept apart from the arguments, and what `str` returns.
            for name in ("strerror", "filename", "filename2"):
                if isinstance(text := getattr(error, name), str):
                    setattr(error, name, self.hide(text))


def shortened(text: str, most: int) -> str:
    """Return text of at most so many characters, visibly cut: only of what has no secret any more."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _in_lines(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Yield spans that stay within a line: each line of a secret is replaced by itself."""
    for start, end in spans:
        at = start
        for part in text[start:end].split("\n"):
            if part:
                yield at, at + len(part)
            at += len(part) + 1


def _words(values: Iterable[str]) -> set[str]:
    return {each for value in values for each in _spellings(value)}


def _parts(value: str) -> Iterator[str]:
    """Yield what is hidden of a value: itself, and of one with several lines each long line."""
    value = value.strip()
    # A key on one line has its line ends written out, and where it is used they are real ones.
    lines = _LINE_ENDS.split(value)
    whole = {value, *(_long(line.strip() for line in lines) if len(lines) > 1 else ())}
    yield from (each for each in whole if len(each) >= SHORTEST)


def _long(lines: Iterable[str]) -> Iterator[str]:
    # Lines of a private key; not `-----BEGIN …`, which stands in every other key.
    yield from (line for line in lines if len(line) >= 2 * ANYWHERE and not line.startswith("-----"))


def _spellings(value: str) -> Iterator[str]:
    import base64
    import html
    import shlex
    from urllib.parse import quote, quote_plus

    yield value
    if not (value.isascii() and value.isalnum()):
        in_json = json.dumps(value)[1:-1]
        yield in_json
        # JSON in JSON: an object of Kubernetes in an annotation, a setting of a container.
        yield json.dumps(in_json)[1:-1]
        # Programs in Go escape these, too.
        yield "".join(f"\\u{ord(letter):04x}" if letter in "<>&" else letter for letter in in_json)
        yield json.dumps(value, ensure_ascii=False)[1:-1]
        # Messages quote values like Python, and in one line.
        yield repr(value)[1:-1]
        yield " ".join(value.split())
        yield " ".join(repr(value)[1:-1].split())
        yield html.escape(value)
        yield html.escape(value, quote=False)
        # YAML can have half of a surrogate pair, which no encoding of bytes has.
        yield quote(value, errors="replace")
        yield quote(value, safe="", errors="replace")
        yield quote_plus(value, errors="replace")
        yield shlex.quote(value).strip("'")
    if len(value) >= ANYWHERE:
        for data in (value.encode("utf-8", "replace"), value.encode("utf-8", "replace") + b"\n"):
            yield base64.b64encode(data).decode()
            yield base64.urlsafe_b64encode(data).decode()
            yield base64.b64encode(data).decode().rstrip("=")
            yield base64.urlsafe_b64encode(data).decode().rstrip("=")
