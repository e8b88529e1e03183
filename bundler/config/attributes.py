"""What bundle.yaml declares of files besides their bytes, and what their sources have that would be lost."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bundler.config.globs import Glob, glob_fault
from bundler.config.model import Attributes
from installer.core.errors import Problem
from installer.core.format.entries.capabilities import CapabilityError, canonical, text_of
from installer.shared import strict_yaml

Where = Callable[[strict_yaml.Path], str]
_CAPABILITY = "security.capability"
_ACL, _DEFAULT_ACL = "system.posix_acl_access", "system.posix_acl_default"
_NOTES = re.compile(
    r"user\.(?:xdg|dublincore|baloo|com\.apple|mime_type|mime_encoding|charset|creator|md5sum|DOSATTRIB|overlay"
    r"|containers)\b.*"
)
"""What browsers, desktops, file servers and container engines note about a file, for themselves."""


def pattern_problem(pattern: str, key: str, where: str) -> Problem | None:
    """Return the problem of a pattern of a tree that is not valid; None where it is."""
    if fault := glob_fault(pattern):
        hint = "see `exclude` in docs/reference/bundle-yaml.md"
        return Problem(where, f"{key}: {pattern!r:.80} {fault}", hint)
    return None


def excluded(
    entry: dict[str, Any], path: strict_yaml.Path, where: Where
) -> tuple[tuple[str, ...], list[Problem]]:
    """Return the valid patterns of `exclude` of a tree, and the problems of the others."""
    patterns, problems = list[str](), list[Problem]()
    for number, pattern in enumerate(entry.get("exclude") or []):
        problem = pattern_problem(pattern, "exclude", where((*path, "exclude", number)))
        if problem:
            problems.append(problem)
        else:
            patterns.append(pattern)
    return tuple(patterns), problems


def declared_attributes(
    entry: dict[str, Any], path: strict_yaml.Path, where: Where
) -> tuple[tuple[Attributes, ...], list[Problem]]:
    """Return the valid entries of `attributes` of a tree, and the problems of the others.

    Args:
        entry: The tree in bundle.yaml.
        path: Where it is there.
        where: Returns the line of a place.
    """
    found, problems = list[Attributes](), list[Problem]()
    for number, rule in enumerate(entry.get("attributes") or []):
        here: strict_yaml.Path = (*path, "attributes", number)
        if rule is None:
            continue
        if problem := pattern_problem(rule["path"], "attributes", where((*here, "path"))):
            problems.append(problem)
            continue
        capabilities, wrong = declared_capabilities(rule, here, where)
        problems += wrong
        if capabilities and not entry.get("install"):
            problems.append(_not_installed(where(here)))
        mode = int(rule["mode"], 8) if "mode" in rule else None
        if mode is not None and mode > 0o777 and not entry.get("install"):
            problems.append(_not_installed(where(here)))
        found.append(Attributes(Glob(rule["path"]), where(here), mode, rule.get("owner", ""), capabilities))
    return tuple(found), problems


def declared_capabilities(
    entry: dict[str, Any], path: strict_yaml.Path, where: Where
) -> tuple[str, list[Problem]]:
    """Return the capabilities that an entry declares, in their one form; empty where it declares none."""
    if "capabilities" not in entry:
        return "", []
    try:
        return canonical(entry["capabilities"]), []
    except CapabilityError as error:
        return "", [Problem(where((*path, "capabilities")), f"capabilities: {error}", "see capabilities(7)")]


def _not_installed(where: str) -> Problem:
    what = "declares capabilities or a special bit, but what it is for stays in the directory of the release"
    return Problem(where, what, "add install: these count only where something is installed")


def capability_problem(capabilities: str, install: str, where: str) -> Problem | None:
    """Return the problem of capabilities of a file that is not installed anywhere."""
    return _not_installed(where) if capabilities and not install else None


class Sources:
    """Finds attributes of sources that a release would lose, as a bundle has no place for them."""

    def __init__(self) -> None:
        self._inherits: dict[str, bool] = {}

    def lost(self, path: str, declared: str = "") -> Iterator[tuple[str, str]]:
        """Yield what a source has and nothing declares, each with the remedy.

        Args:
            path: The file or directory on this machine.
            declared: The capabilities that its entry declares.
        """
        try:
            names = os.listxattr(path)
        except OSError:
            return  # a file system without attributes, or a file that other checks name
        shown = shlex.quote(path)
        for name in sorted(names):
            if name == _CAPABILITY and not declared:
                text = self._capabilities(path)
                hint = f"declare capabilities: {text}, or run `setcap -r {shown}`"
                yield f"has capabilities ({text}), which would be lost", hint
            elif name in (_ACL, _DEFAULT_ACL) and not self._inherited(path):
                hint = f"run `setfacl -b {shown}`; declare mode and owner instead, or set the ACL on the host"
                yield "has an ACL, which would be lost", hint
            elif name.startswith("user.") and not _NOTES.fullmatch(name):
                remove = f"setfattr -x {shlex.quote(name)} {shown}"
                yield f"has the attribute {name:.80}, which would be lost", f"run `{remove}`"

    @staticmethod
    def _capabilities(path: str) -> str:
        with suppress(OSError):
            return text_of(os.getxattr(path, _CAPABILITY))
        return "unknown"

    def _inherited(self, path: str) -> bool:
        """Return whether the directory of a source gives an ACL to all that is made in it."""
        directory = str(Path(path).parent)
        if directory not in self._inherits:
            try:
                self._inherits[directory] = _DEFAULT_ACL in os.listxattr(directory)
            except OSError:
                self._inherits[directory] = False
        return self._inherits[directory]


def exclusions(patterns: Sequence[str], places: Sequence[str]) -> tuple[tuple[str, ...], list[Problem]]:
    """Return the valid patterns of `exclude`, and what is wrong with the others.

    Args:
        patterns: The patterns.
        places: The place of each.
    """
    found = [pattern_problem(each, "exclude", where) for each, where in zip(patterns, places, strict=True)]
    valid = tuple(each for each, problem in zip(patterns, found, strict=True) if problem is None)
    return valid, [problem for problem in found if problem]
