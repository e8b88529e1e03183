"""The values of the site for scripts: a JSON file in memory, and variables for what is no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from installer.core.errors import Problem, WaybillError
from installer.deploy.method import Target
from installer.deploy.operation import Json
from installer.deploy.site.rendered_values import (
    has_values,
    recorded_values,
    values_with_references,
    values_with_secrets,
)
from installer.deploy.site.step_memory import memory_problems, step_memory
from installer.host.context import Context
from installer.shared import strict_yaml

PREFIX = "WAYBILL_VALUE_"
FILE = "WAYBILL_VALUES"
_LONGEST = 4096
"""Bytes of a variable. The kernel bounds all of them together; what is longer is in the file."""
_MOST = 500
"""Variables."""
_NOT_IN_NAMES = re.compile(r"[^A-Z0-9_]")


@contextmanager
def script_values(context: Context, recorded: Json | None) -> Iterator[dict[str, str]]:
    """Yield the variables of a script that gets values; the file that one of them names goes afterwards.

    Args:
        context: The host.
        recorded: What `recorded_values` returned; None for a script without values.

    Raises:
        StepError: They cannot be read, a secret cannot be had, or there is no file system in memory.
    """
    if not recorded:
        yield {}
        return
    whole = values_with_secrets(context, recorded, None)
    # A secret in a variable is inherited by all that a script starts: those are in the file only.
    public = variables(values_with_references(context, recorded, None), whole)
    files = {"values.json": json.dumps(whole).encode()}
    with step_memory(lambda _: files) as top:
        yield {**public, FILE: f"{top}/values.json"}


def variables(public: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables for values that are the same with and without secrets.

    Args:
        public: The values with references in place of secrets.
        whole: The values with their secrets.
    """
    secrets = dict(_leaves(whole))
    found = dict[str, str]()
    for path, value in _leaves(public):
        text = value if isinstance(value, str) else json.dumps(value) if value is not None else ""
        fits = len(text.encode()) <= _LONGEST and "\0" not in text and len(found) < _MOST
        if fits and secrets.get(path, value) == value:
            found[_name(path)] = text
    return found


def _leaves(values: Mapping[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value that is no mapping and no list, with its path."""
    for key, value in values.items():
        path = (*before, str(key))
        if isinstance(value, dict):
            yield from _leaves(value, path)
        elif not isinstance(value, list):
            yield path, value


def _name(path: tuple[str, ...]) -> str:
    return PREFIX + _NOT_IN_NAMES.sub("_", "_".join(path).upper())


def variable_problems(data: bytes, template: str) -> list[Problem]:
    """Return which values would be the same variable.

    Args:
        data: The rendered values, a mapping.
        template: Their template.
    """
    seen: dict[str, str] = {}
    problems = []
    for path, _ in _leaves(strict_yaml.load(data, template).value or {}):
        name, key = _name(path), ".".join(path)
        if name in seen:
            what = f"{seen[name]} and {key} are the same variable, {name}"
            problems.append(Problem(f"{template} (rendered)", what, "rename one of the two"))
        seen[name] = key
    return problems


def script_values_problems(context: Context, new: Target, method: str) -> list[Problem]:
    """Return why the scripts of a planned step of a method cannot get their values here."""
    if "values" not in new.options or not has_values(new, method):
        return []  # the plan says why there are none
    if problems := memory_problems("values with secrets have to be"):
        return problems
    try:
        values_with_secrets(context, recorded_values(new, method), new)
    except WaybillError as error:
        return [Problem(error.where, error.what, error.hint)]
    return []
