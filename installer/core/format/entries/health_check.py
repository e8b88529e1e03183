"""What a health check may say: how it is read, and which of its keys go together.

`bundle create` checks bundle.yaml with the rules here, and hosts check the manifest with the same rules. A
text of a probe may be a template: it is checked as far as it is known, and again when it is rendered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from installer.core.fields import Value
from installer.core.format.health_target import FORMS, MAX_WATCH, is_template, target_fault, without_secrets
from installer.core.format.manifest import HealthCheck
from installer.core.format.methods import NAMES

KINDS = (*FORMS, "command")
MOST_STATUSES = 16
MOST_HEADERS = 16
_STATUS = re.compile(r"[1-5][0-9]{2}(-[1-5][0-9]{2})?")
STATUS_FORM = "a status such as 204, or a range such as 200-299"
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_|~-]{1,64}: [^\x00-\x1f\x7f]{1,1024}")
HEADER_FORM = "the name of a header, and text that it contains, such as `Content-Type: application/json`"
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
NUMBER_FORM = "a decimal number with at most 15 digits before the point and 9 after it"
UNIX_LENGTH = 107
"""Bytes of the path of a socket: the kernel has room for no more."""
PATH_FORM = "an absolute path without `..`"
UNIX_FORM = f"{PATH_FORM}, of at most {UNIX_LENGTH} bytes"
_STATUS_DEFAULT = 200
_TEXTS = ("target", "body", "ca", "unix", "query")
"""Fields that are rendered, besides the words of a command and the headers."""
_EXTRA = (*("statuses", "body", "headers", "ca", "unix", "query", "min", "max", "equals", "start_period"),)
"""Fields that a reader knows who knows the feature `health/1`; at its default each is absent."""
_HTTP = ("statuses", "body", "headers")
_SERVER = ("ca", "unix")
_QUERY = ("query", "min", "max", "equals")


def needs_feature(check: HealthCheck) -> bool:
    """Return whether only a reader understands a probe that knows the feature `health/1`."""
    return check.kind in ("unit", "prometheus") or any(getattr(check, name) for name in _EXTRA)


def rows(checks: Sequence[HealthCheck]) -> dict[str, list[dict[str, Any]]]:
    """Return probes as the record of a release has them."""
    names = [name for name in HealthCheck.__slots__ if name not in _EXTRA]
    found = {"health": [{name: getattr(check, name) for name in names} for check in checks]}
    more = [{name: value for name in _EXTRA if (value := getattr(check, name))} for check in checks]
    # Apart from the rows: an installer that does not know them reads the record before it refuses the
    # manifest. A record without them keeps its bytes.
    return found | ({"health_more": more} if any(more) else {})


def from_rows(record: Mapping[str, Any]) -> tuple[HealthCheck, ...]:
    """Return the probes of a record that `rows` wrote."""
    more = record.get("health_more", ({},) * len(record["health"]))
    return tuple(_from_row({**row, **each}) for row, each in zip(record["health"], more, strict=True))


def _from_row(row: Mapping[str, Any]) -> HealthCheck:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
    }
    return HealthCheck(**values)


def texts(check: HealthCheck) -> Iterator[tuple[str, str]]:
    """Yield the fields that may be templates, by the names that messages use, such as `command[1]`."""
    for name in _TEXTS:
        if text := getattr(check, name):
            yield name, text
    for name in ("command", "headers"):
        yield from ((f"{name}[{number}]", text) for number, text in enumerate(getattr(check, name)))


def with_texts(check: HealthCheck, filled: dict[str, str]) -> HealthCheck:
    """Return a probe with some of its texts replaced, by the names of `texts`."""
    if not filled:
        return check
    simple = {name: text for name, text in filled.items() if name in _TEXTS}
    lists = {
        name: tuple(filled.get(f"{name}[{number}]", text) for number, text in enumerate(getattr(check, name)))
        for name in ("command", "headers")
    }
    return replace(check, **simple, **lists)  # type: ignore[arg-type]


def text_fault(kind: str, name: str, text: str) -> str:
    """Return what a field of a probe has to be instead, in words; empty where it is right.

    Args:
        kind: The kind of the probe.
        name: The name of the field, as `texts` has it.
        text: As in bundle.json, or rendered.
    """
    if name == "target":
        return target_fault(kind, text)
    if is_template(text):
        return ""
    if name == "ca":
        return "" if _is_path(text) else PATH_FORM
    if name == "unix":
        return "" if _is_path(text) and len(text.encode()) <= UNIX_LENGTH else UNIX_FORM
    if name.startswith("headers["):
        return "" if _HEADER.fullmatch(text) else HEADER_FORM
    if name == "command[0]" and not text:
        return "the name of a program"
    return "" if text or name.startswith("command[") else "text"


def status_fault(text: str) -> str:
    """Return what an element of `statuses` has to be instead; empty where it is right."""
    if not _STATUS.fullmatch(text):
        return STATUS_FORM
    first, _, last = text.partition("-")
    return "a range whose end is not below its start" if last and last < first else ""


def faults(check: HealthCheck) -> Iterator[str]:
    """Yield which fields of a probe do not go together, in words."""
    if (check.kind == "command") != bool(check.command):
        yield "must have a `command` if its kind is command, and must not have one otherwise"
        return
    if (check.kind == "command") == bool(check.target):
        yield "must have a `target` unless its kind is command"
        return
    allowed = {"http": (*_HTTP, *_SERVER), "prometheus": (*_SERVER, *_QUERY)}.get(check.kind, ())
    for name in (*_HTTP, *_SERVER, *_QUERY):
        if getattr(check, name) and name not in allowed:
            yield f"must not have `{name}`, since its kind is {check.kind}"
    if check.statuses and check.status != _STATUS_DEFAULT:
        yield "must not have both `status` and `statuses`"
    if check.ca and not check.target.startswith("https:"):
        yield "must not have `ca`, since its URL does not begin with https:"
    if check.kind == "prometheus":
        yield from _query_faults(check)


def _query_faults(check: HealthCheck) -> Iterator[str]:
    if not check.query:
        yield "must have a `query`, since its kind is prometheus"
    if "?" in check.target or "#" in check.target:
        yield "must have the URL of the server as its target, without a query in it"
    if not (check.min or check.max or check.equals):
        yield "must have `min`, `max` or `equals`: what the result of the query is compared with"
    if check.equals and (check.min or check.max):
        yield "must not have `equals` together with `min` or `max`"
    if check.min and check.max and float(check.min) > float(check.max):
        yield "must not have a `min` above its `max`"


def in_words(check: HealthCheck) -> str:
    """Return what is asked and what is expected, for reviewers, such as `http URL (answers 204)`."""
    asked = f"{check.kind} {check.target or ' '.join(check.command)}"
    status = "" if check.status == _STATUS_DEFAULT else str(check.status)
    parts = [
        ("query", check.query),
        ("answers", " or ".join(check.statuses) or status),
        ("body contains", repr(check.body) if check.body else ""),
        ("header", " and ".join(check.headers)),
        ("at least", check.min),
        ("at most", check.max),
        ("equals", check.equals),
        ("socket", check.unix),
        ("CA", check.ca),
        ("start period", f"{check.start_period} s" if check.start_period else ""),
    ]
    said = ", ".join(f"{name} {text}" for name, text in parts if text)
    return f"{asked} ({said})" if said else asked


def read_health(value: Value, *, retained: bool) -> HealthCheck:
    """Return a probe of a manifest.

    Args:
        value: Its entry.
        retained: Whether an older version accepted it; see `manifest_json.parse`.
    """
    document = value.document
    known = len(document.problems)
    with value.fields() as taken:
        when = taken.take("when", "")
        check = HealthCheck(
            kind=taken.take("kind").choice(KINDS),  # type: ignore[arg-type]
            target=taken.optional_text("target"),
            command=taken.take("command", []).items(lambda each: _word(each, retained), 256),
            within=taken.take("within", 60).number(0, MAX_WATCH),
            stable=taken.take("stable", 0).number(0, MAX_WATCH),
            status=taken.take("status", 200).number(100, 599),
            when=when.text() if retained or when.raw == "" else when.choice(NAMES),
            statuses=taken.take("statuses", []).items(_status, MOST_STATUSES),
            body=taken.optional_text("body"),
            headers=taken.take("headers", []).items(Value.text, MOST_HEADERS),
            ca=taken.optional_text("ca"),
            unix=taken.optional_text("unix"),
            query=taken.optional_text("query"),
            min=taken.optional_text("min", _NUMBER, NUMBER_FORM),
            max=taken.optional_text("max", _NUMBER, NUMBER_FORM),
            equals=taken.optional_text("equals", _NUMBER, NUMBER_FORM),
            start_period=taken.take("start_period", 0).number(0, MAX_WATCH),
        )
    # A field that could not be read has a harmless value, of which nothing is to be said.
    if len(document.problems) > known:
        return check
    for fault in faults(check):
        value.note(fault)
    if len(document.problems) == known and not retained:
        for name, text in texts(check):
            if not name.startswith("command[") and (form := text_fault(check.kind, name, text)):
                shown = without_secrets(text) if name == "target" else text
                Value(document, shown, value.at(name)).expected(form, None)
    return check


def _word(value: Value, retained: bool) -> str:
    if value.raw == "" and not retained:
        value.note("is an empty word")
    return value.text()


def _status(value: Value) -> str:
    text = value.text()
    if isinstance(value.raw, str) and (form := status_fault(text)):
        return value.expected(form, "")
    return text


def _is_path(text: str) -> bool:
    return text.startswith("/") and ".." not in text.split("/") and text.isprintable()


def is_number(text: str) -> bool:
    """Return whether a text is a number that the result of a query may be compared with."""
    return _NUMBER.fullmatch(text) is not None
