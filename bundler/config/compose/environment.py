"""Checks that every variable of the Compose files of a step has a value on hosts.

Hosts set what the template under `env` sets, and what Waybill sets. Nothing else does: neither the shell of
an operator nor a file that somebody puts next to the Compose file.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from bundler.config.compose.project import Project
from bundler.config.model import InputFile
from installer.core.errors import Problem
from installer.core.format.manifest import Deployment
from installer.core.format.methods import SPECS
from installer.shared.rendering.env_file import MAX_BYTES, PROJECT, assigned_in, is_reserved, read
from installer.shared.rendering.variables import faults

OWN = frozenset(("WAYBILL_PRODUCT", "WAYBILL_VERSION", "WAYBILL_ROOT", "WAYBILL_RELEASE", PROJECT))
"""What every host sets."""
MOST = 50
"""Problems of one Compose file that are listed."""
_DOUBLE = "write `$$` for a dollar sign, and ${NAME} for a variable"


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables of a step: the template that sets them, and the files that use them.

    Attributes:
        template: Path in bundle.yaml of the template; empty where the step has none.
        read: Reads the template.
        files: Path in bundle.yaml of each Compose file, and what reads it.
    """

    template: str
    read: Callable[[], bytes]
    files: Sequence[tuple[str, Callable[[], bytes]]]


def environments(
    steps: Iterable[Deployment],
    items: Sequence[InputFile],
    projects: Iterable[Project],
    read_file: Callable[[InputFile], bytes],
) -> list[Environment]:
    """Return the variables of each step that has Compose files.

    Args:
        steps: The steps of the release.
        items: Its files.
        projects: Its Compose projects.
        read_file: Reads one of the files.
    """
    by_member = {item.member: item for item in items}
    by_path = {item.given: item for item in items}
    documents = {project.files: project.documents for project in projects}
    found = []
    for step in steps:
        named = SPECS[step.method].files(step.options)
        # A file that is not there is reported where it is looked for.
        rows = [(option, by_member[path]) for option, path in named if path in by_member]
        templates = [item for option, item in rows if option.rendered_as]
        listed = tuple(item.given for option, item in rows if option.is_yaml)
        # What they include and extend gets the same variables.
        paths = dict.fromkeys((*listed, *documents.get(listed, ())))
        files = [(path, partial(read_file, by_path[path])) for path in paths if path in by_path]
        if files and templates:
            found.append(Environment(templates[0].given, partial(read_file, templates[0]), files))
        elif files:
            found.append(Environment("", bytes, files))
    return found


def known(directory: Path, step: Mapping[str, Any], version: str, product: str) -> dict[str, str | None]:
    """Return the variables of a step as far as `create` knows them; None for a value that only hosts know.

    Args:
        directory: Of bundle.yaml.
        step: The step, as bundle.yaml has it.
        version: Of the release.
        product: Its name.
    """
    names = set[str]()
    for option in SPECS[step["method"]].options:
        if option.rendered_as and option.kind is not None and option.key in step:
            # One that is not there is reported where it is looked for.
            with suppress(OSError), (directory / step[option.key]).open("rb") as file:
                names |= assigned_in(file.read(MAX_BYTES)) or frozenset()
    own = {"WAYBILL_VERSION": version, "WAYBILL_PRODUCT": product, PROJECT: step.get("project", product)}
    return {**dict.fromkeys(names), **own}


def written(step: Mapping[str, Any], first: str) -> dict[str, str]:
    """Return the files that hosts write next to the first Compose file, each with the key that asks for it.

    Args:
        step: The step, as bundle.yaml has it.
        first: The first Compose file, as a path from bundle.yaml.
    """
    return {
        posixpath.normpath(posixpath.join(posixpath.dirname(first), option.rendered_as)): option.key
        for option in SPECS[step["method"]].options
        if option.rendered_as and option.key in step
    }


def inspectors(steps: Iterable[Environment]) -> dict[str, Callable[[bytes | None, str], list[Problem]]]:
    """Return what checks all steps that have a template, by its path in bundle.yaml; see `check`."""
    found: dict[str, list[Environment]] = {}
    for each in steps:
        if each.template:
            found.setdefault(each.template, []).append(each)

    def inspect(of: list[Environment], rendered: bytes | None, words: str) -> list[Problem]:
        return [problem for each in of for problem in check(each, rendered, words)]

    return {template: partial(inspect, of) for template, of in found.items()}


def check(environment: Environment, rendered: bytes | None = None, words: str = "") -> list[Problem]:
    """Return what is wrong with the variables of a step.

    Args:
        environment: The step.
        rendered: What its template makes of some values; None where that is not known.
        words: What messages call these values.
    """
    if not environment.template:
        return _unset(environment, (), "")
    if rendered is None:
        names = assigned_in(environment.read())
        # A template that renders names can be checked on hosts only.
        return [] if names is None else _unset(environment, names, "")
    found = read(rendered, environment.template)
    problems = [replace(each, what=f"{each.what} (rendered with {words})") for each in found.problems]
    return problems or _unset(environment, found.values, f" (with {words})")


def _unset(environment: Environment, names: Collection[str], words: str) -> list[Problem]:
    given = environment.template
    where = f"in {given}" if given else "with a template under `env` of the step"
    problems = []
    for path, read_file in environment.files:
        for fault in islice(faults(read_file(), OWN.union(names)), MOST):
            hint = f"set it {where}, or give it a default: ${{{fault.name}:-…}}" if fault.name else _DOUBLE
            hint = f"use a variable of another name, {where}" if is_reserved(fault.name) else hint
            what = f"{fault.what}{words if fault.name else ''}"
            problems.append(Problem(f"{path}:{fault.line}", what, hint))
    return problems
