"""The options of a step in bundle.json, checked against the spec of its method before anything is done."""

from __future__ import annotations

import re
from typing import Any

from installer.core.fields import PRINTABLE, PRINTABLE_FORM, Value
from installer.core.format.methods import MAX_SECONDS, MethodSpec, Option

MAX_FILES = 4096
"""Files that one option may name."""


def read(value: Value, spec: MethodSpec | None) -> dict[str, Any]:
    """Return the options of a step; note what its method does not accept.

    Args:
        value: `options` of the step.
        spec: Of its method; None for a method of a later version, whose options nobody here can check.
    """
    options = value.mapping()
    if spec is None or not isinstance(value.raw, dict):
        return options
    with value.fields() as taken:
        for option in spec.options:
            if taken.has(option.key):
                _check(taken.take(option.key), option)
    if fault := form_fault(spec, options):
        value.note(fault)
    return options


def form_fault(spec: MethodSpec, options: dict[str, Any]) -> str:
    """Return what is wrong with the combination of options; empty where a step may have it."""
    bound = {key for form in spec.forms for key in form}
    if not spec.forms or any(set(form) == bound & set(options) for form in spec.forms):
        return ""
    forms = [" and ".join(f"`{key}`" for key in form) for form in spec.forms]
    return f"must have {', or '.join(forms)}, and nothing of another form"


def _check(value: Value, option: Option) -> None:
    if option.is_duration:
        value.number(1, MAX_SECONDS)
    elif option.is_list:
        paths = value.items(_path, MAX_FILES)
        if isinstance(value.raw, list) and not paths:
            value.note("must name at least one file")
        if len(set(paths)) != len(paths):
            value.note("names a file twice")
    elif option.kind is not None:
        _path(value)
    elif option.pattern:
        value.text(re.compile(option.pattern), option.form)
    elif value.text(PRINTABLE, PRINTABLE_FORM) == "" and value.raw == "":
        value.note("is empty")


def _path(value: Value) -> str:
    path = value.text()
    if path == "" and value.raw == "":
        value.note("is empty, but must be the path of a file in the bundle")
    return path
