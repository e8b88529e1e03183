"""Make the health checks of a release from bundle.yaml, and check what the schema cannot say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from typing import Any

from bundler.config.durations import seconds
from installer.core import schema_errors
from installer.core.errors import Problem
from installer.core.format.entries.health_check import (
    NUMBER_FORM,
    faults,
    is_number,
    status_fault,
    text_fault,
    texts,
)
from installer.core.format.health_target import MAX_WATCH, without_secrets
from installer.core.format.manifest import HealthCheck
from installer.shared import strict_yaml

AS_WRITTEN = ("body", "query")
"""Keys in which an unknown placeholder is no mistake: in JSON and in queries, braces are usual."""
DURATIONS = {"within": "60s", "stable": "0s", "start_period": "0s"}
"""Keys with a duration, and their defaults."""
KEYS = ("http", "tcp", "command", "container", "unit", "prometheus")
"""The kinds of probes: each is a key of its entry."""
_COMPARED = ("min", "max", "equals")


def when(entry: Mapping[str, Any], methods: Collection[str], where: str) -> Iterator[Problem]:
    """Yield that the step of `when` is not in deploy.

    Args:
        entry: The probe.
        methods: Of the steps, and those that every release has.
        where: `bundle.yaml:LINE`.
    """
    named = entry.get("when", "")
    if named and named not in methods:
        what = f"the probe has when: {named}, which is not a step in deploy"
        yield Problem(where, what, f"use one of {', '.join(sorted(methods))}")


def times(
    entry: Mapping[str, Any], path: strict_yaml.Path, where: Callable[[strict_yaml.Path], str]
) -> tuple[dict[str, int], list[Problem]]:
    """Return the seconds of the durations of a probe, which hosts limit; arguments as for `probe`."""
    found = {key: seconds(entry.get(key, default)) for key, default in DURATIONS.items()}
    problems = [
        Problem(
            where((*path, key)),
            f"{schema_errors.dotted((*path, key))} is {entry[key]}, but a probe is watched for at most 1d",
            "use a shorter time",
        )
        for key, count in found.items()
        if count > MAX_WATCH
    ]
    return {key: min(count, MAX_WATCH) for key, count in found.items()}, problems


def probe(
    entry: Mapping[str, Any], path: strict_yaml.Path, where: Callable[[strict_yaml.Path], str]
) -> tuple[HealthCheck, list[Problem]]:
    """Return a probe, and what is wrong with it.

    Args:
        entry: Its entry, valid by the schema; placeholders are filled in, durations are seconds.
        path: Of the entry in bundle.yaml.
        where: Returns the place of a path in bundle.yaml.
    """
    kind = next(word for word in KEYS if word in entry)
    problems: list[Problem] = []

    def note(key: str, what: str) -> None:
        problems.append(Problem(where((*path, key) if key else path), what, "correct it there"))

    def must_be(key: str, value: object, form: str) -> None:
        shown = without_secrets(value) if isinstance(value, str) else value
        note(key, f"{schema_errors.dotted((*path, key))} is {shown!r:.80}, but must be {form}")

    numbers = {key: _decimal(entry[key]) for key in _COMPARED if key in entry}
    for key in [key for key, text in numbers.items() if not is_number(text)]:
        must_be(key, entry[key], NUMBER_FORM)
        del numbers[key]
    status = entry.get("status", 200)
    statuses = tuple(map(str, status)) if isinstance(status, list) else ()
    for text in statuses:
        if form := status_fault(text):
            must_be("status", text, form)
    check = HealthCheck(
        kind=kind,  # type: ignore[arg-type]
        target="" if kind == "command" else entry[kind],
        command=tuple(entry[kind]) if kind == "command" else (),
        status=200 if statuses else status,
        when=entry.get("when", ""),
        statuses=statuses,
        headers=tuple(f"{name}: {text}" for name, text in entry.get("header", {}).items()),
        within=entry["within"],
        stable=entry["stable"],
        start_period=entry["start_period"],
        **{key: entry.get(key, "") for key in ("body", "ca", "unix", "query")},
        **numbers,
    )
    # The schema has the form; what a port or a host name is, it cannot say.
    for name, text in texts(check):
        if not name.startswith("command[") and (form := text_fault(kind, name, text)):
            must_be({"target": kind}.get(name, "header" if name.startswith("headers[") else name), text, form)
    if not problems:
        for fault in faults(check):
            note("", f"{schema_errors.dotted(path)} {fault}")
    return check, problems


def _decimal(value: float) -> str:
    """Return a number of bundle.yaml as bundle.json has it."""
    # `str` of a small or large float has an exponent, which is not the one written form.
    return format(Decimal(str(value)), "f")
