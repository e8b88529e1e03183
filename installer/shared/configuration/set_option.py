"""`--set KEY=VALUE`: one value, typed like one of a values file; no secret, since everybody can read argv."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from installer.core.errors import Problem
from installer.shared import strict_yaml
from installer.shared.secrecy.names import names_secret
from installer.shared.strict_yaml import Document

OPTION = "--set"
MAX_BYTES = 64 * 1024
"""Characters of one value; a longer one belongs into a file."""
FORM = "write --set KEY=VALUE, for example: --set ports.client=14222"
INTO_FILE = (
    "put it into a values file that only root can read (mode 0600), and give the file with --values: what is "
    "typed on a command line can be read by every user of the host"
)
_KEY = re.compile(r"[^\s.=\[\]{}:#'\"]+")
_IN_QUOTES = re.compile(r'^put it in quotes: "([^"]*)"$')
_COMMENT = re.compile(r"\s#")


def parse_setting(key: str, text: str) -> Document:
    """Return a setting as the document of a layer; never raises, all problems are in the result.

    Args:
        key: Keys with dots in between: `ports.client`.
        text: YAML on one line: a single value, `[a, b]` or `{a: b}`.
    """
    name = f"{OPTION} {key}"
    # Strict as a file: 0644, 1.10 and yes are refused, with the same words.
    problems = list(_form_problems(key, text))
    if problems:
        return Document(name, None, {}, _named(name, problems))
    parts = key.split(".")
    inside = strict_yaml.load(f"value: {text}\n".encode("utf-8", "surrogateescape"), name)
    value = inside.value.get("value") if isinstance(inside.value, dict) else None
    found = [Problem(name, each.what, _typed(key, text.strip(), each)) for each in inside.problems]
    if not found and isinstance(value, str) and text[:1] not in "'\"" and _COMMENT.search(text):
        found.append(Problem(name, "contains a # after a blank, which begins a comment", _quoted(key)))
    if len(parts) + _depth(value) > strict_yaml.MAX_DEPTH:
        what = f"is nested deeper than {strict_yaml.MAX_DEPTH} levels"
        found.append(Problem(name, what, "use a values file"))
    for part in reversed(parts):
        value = {part: value}
    if secret := _secret_key(value):
        # Not what else is wrong: that would quote the value.
        found = [Problem(name, f"sets {secret}, which is a secret by its name", INTO_FILE)]
    return Document(name, None if found else value, {}, tuple(found))


def _form_problems(key: str, text: str) -> Iterator[Problem]:
    parts = key.split(".")
    if not all(_KEY.fullmatch(part) for part in parts):
        what = "has no key" if not key else "has a key that is not words with dots in between"
        yield Problem("", what, f"{FORM}; set other keys in a values file")
    elif len(text) > MAX_BYTES:
        yield Problem("", f"is longer than {MAX_BYTES // 1024} KiB", "use a values file")
    elif not text.strip():
        yield Problem("", "has no value", f"write {key}=null, or {key}='\"\"' for an empty text")
    elif "\n" in text or "\r" in text:
        yield Problem("", "has a value of several lines", "use a values file")
    elif text.lstrip()[0] in "#|>":
        # A comment, or a block of which the lines do not follow: both would be an empty value.
        yield Problem("", f"has a value that begins with {text.lstrip()[0]}", _quoted(key))


def _named(name: str, problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(Problem(name, each.what, each.hint) for each in problems)


def _typed(key: str, text: str, problem: Problem) -> str:
    """Return the hint of a problem as it is typed: the shell removes the quotes that a file would keep."""
    if problem.what.startswith("is not YAML: ") and problem.hint != strict_yaml.NO_CONTROLS:
        return f"{_quoted(key)}; in a list or mapping, close every bracket and quote"
    whole = f'"{text}"'
    if whole in problem.hint:
        return problem.hint.replace(whole, f"{key}={shlex.quote(whole)}")
    if '"' in problem.hint:
        # One of several, whose own quotes are right, but the shell must not remove them.
        return f"{problem.hint}, and the whole value in single quotes: {key}='…'"
    return problem.hint


def as_typed(problem: Problem) -> Problem:
    """Return a problem that a schema has with a value of `--set`, its hint as it is typed in a shell."""
    key = problem.where.removeprefix(f"{OPTION} ")
    found = _IN_QUOTES.search(problem.hint)
    if key == problem.where or found is None:
        return problem
    # The option may have set a whole mapping.
    text = found[1] if problem.what.startswith(f"{key} ") else ""
    return replace(problem, hint=_typed(key, text, problem))


def _quoted(key: str) -> str:
    return f"put the value in quotes for YAML, too: {key}='\"…\"'"


def _depth(value: Any) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, below), default=0) if isinstance(value, dict | list) else 0


def _secret_key(value: Any, inside: str = "") -> str:
    """Return the first key that names a secret, with dots; empty for none."""
    if isinstance(value, list):
        return next((found for each in value if (found := _secret_key(each, inside))), "")
    for key, each in value.items() if isinstance(value, dict) else ():
        here = f"{inside}.{key}" if inside else str(key)
        # `secrets.user` tells something about one.
        if names_secret(str(key)) and not isinstance(each, dict):
            return here
        if names_secret(str(key)) and (found := _any_secret(each, here)):
            return found
        if found := _secret_key(each, here):
            return found
    return ""


def _any_secret(value: Any, inside: str) -> str:
    """Return the first key in a group of secrets that does not only tell something about one."""
    for key, each in value.items():
        if isinstance(each, dict):
            if found := _any_secret(each, f"{inside}.{key}"):
                return found
        elif names_secret(f"secret_{key}"):
            return f"{inside}.{key}"
    return ""
