"""Read a Compose project as Compose does: its files, and all that they include, extend and refer to."""

from __future__ import annotations

import posixpath
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bundler.config.compose import document, schema
from bundler.config.compose.carried import Carried, variables_in
from bundler.config.compose.document import Document
from bundler.config.compose.services import Attributes, attributes, further_uses, uses
from bundler.config.used_images.use import ImageUse
from installer.core.errors import Problem
from installer.core.risk.compose_references import Reference, references
from installer.shared.rendering.env_file import PROJECT
from installer.shared.strict_yaml import MAX_BYTES

_SECTION = "deploy"
_FOLDER = f"{_SECTION}/compose"
_HIDDEN = re.compile(r"^the image of | has build:")
_MOST = 200
"""Compose files of one project."""


@dataclass(slots=True)
class Project:
    """A Compose project.

    Attributes:
        files: The files that Compose merges, as paths from bundle.yaml.
        carried: What they refer to: permission bits by path.
        documents: The Compose files among all of these whose variables are those of the project.
        uses: The images that its services use, those of all profiles.
        problems: What would not work on a host.
        warnings: What should be known.
        unread: Why Compose files of the project could not be read, so that their images are not known.
    """

    files: tuple[str, ...]
    carried: dict[str, int] = field(default_factory=dict)
    documents: tuple[str, ...] = ()
    uses: list[ImageUse] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    unread: list[Problem] = field(default_factory=list)

    @property
    def unsearched(self) -> list[Problem]:
        """Why images of the project are not known."""
        hidden = (each for each in self.problems if _HIDDEN.search(each.what))
        return list(dict.fromkeys([*self.unread, *hidden]))

    @property
    def is_plain(self) -> bool:
        """Whether it is one file that refers to no other, and to no image by its digest."""
        pinned = any("@" in use.reference for use in self.uses)
        return len(self.files) == 1 and not self.carried and not pinned

    @property
    def contents(self) -> list[tuple[str, str]]:
        """The path and the permission bits of each of its files, the listed ones first."""
        return [(file, "0644") for file in self.files] + [
            (file, f"{bits:04o}") for file, bits in self.carried.items()
        ]

    def member(self, path: str) -> str:
        """Return the path in the bundle of one of its files: they keep their places to each other."""
        paths = [*self.files, *self.carried]
        if all(each.startswith(f"{_SECTION}/") for each in paths):
            return path
        base = posixpath.commonpath([posixpath.dirname(f"/{each}") for each in paths])
        return f"{_FOLDER}/{posixpath.relpath(f'/{path}', base)}"


def read(
    directory: Path,
    files: Sequence[str],
    variables: Mapping[str, str | None],
    written: Mapping[str, str] | None = None,
) -> Project:
    """Read a project.

    Args:
        directory: Of bundle.yaml.
        files: The files that Compose merges, as paths from there. One that is not there is not reported.
        variables: Variables that the host sets for Compose: `WAYBILL_VERSION`, `WAYBILL_PRODUCT`; None where
            the value is known only there.
        written: The files that hosts write next to these, each with the key of the step that asks for it.
    """
    listed = tuple(posixpath.normpath(file) for file in files)
    reader = _Reader(directory, variables, written or {})
    for file in listed:
        if key := reader.carried.written.get(file):
            what = f"is a file of the bundle, but hosts write a file of this name here: the step has `{key}`"
            reader.problems.append(Problem(file, what, "give it another name, such as production.yaml"))
    services = reader.read(listed)
    found = [*uses(services, reader.problems), *reader.further]
    if not services and not reader.problems:
        problem = Problem(f"{listed[0]}:1", "has no services", "check that it is a Compose file")
        reader.problems += [problem] if reader.documents[listed[0]] else []
    reader.warnings += _other_name([reader.documents[path] for path in listed], variables.get(PROJECT))
    carried = {path: mode for path, mode in reader.carried.files.items() if path not in listed}
    product = variables.get("WAYBILL_PRODUCT") or "PRODUCT"
    problems = [
        replace(problem, hint=problem.hint.replace("PRODUCT", product))
        for problem in (*reader.problems, *reader.carried.problems)
    ]
    return Project(
        listed,
        carried,
        tuple(reader.interpolated),
        found,
        problems,
        [*reader.warnings, *reader.carried.warnings],
        reader.unread,
    )


def _other_name(files: Sequence[Document | None], name: str | None) -> Iterator[Problem]:
    """Yield a warning for each file that gives the project another name than hosts do."""
    for file in files:
        written = file.value.get("name") if file and isinstance(file.value, Mapping) else None
        if file and name and isinstance(written, str) and "$" not in written and written != name:
            what = f"name: {written:.80} is not used: hosts call the project {name}"
            hint = f"write `project: {written:.80}` in the step, or `name: {name}` here"
            yield Problem(file.where(("name",)), what, hint, "compose-name")


@dataclass(frozen=True, slots=True)
class _Open:
    """A Compose file that is to be read: its path, what its relative paths mean, and its variables."""

    path: str
    base: str
    variables: Mapping[str, str | None]
    merged: bool
    rank: tuple[int, int]
    """The place of the listed file that led here, then the includes above, as a negative number: what a file
    includes is there before its own services, and those are before the next file."""


class _Reader:
    def __init__(
        self, directory: Path, variables: Mapping[str, str | None], written: Mapping[str, str]
    ) -> None:
        self.directory, self.variables = directory, variables
        self.documents: dict[str, Document | None] = {}
        self.carried = Carried(directory, written)
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.unread: list[Problem] = []
        self.further: list[ImageUse] = []
        self.interpolated: list[str] = []
        # What an `extends` of a document leads to: by the document, and by the path as it is written.
        self._extended: dict[tuple[str, str], _Open] = {}

    def read(self, listed: Sequence[str]) -> dict[str, Attributes]:
        """Read everything from the listed files on, each once; return the services of the project."""
        base = posixpath.dirname(listed[0])
        ahead = deque(
            _Open(path, base, self.variables, merged=True, rank=(number, 0))
            for number, path in enumerate(listed)
        )
        order, seen = list[_Open](), set[tuple[str, str, bool]]()
        while ahead:
            each = ahead.popleft()
            if (each.path, each.base, each.merged) in seen:
                continue
            seen.add((each.path, each.base, each.merged))
            if len(seen) > _MOST:
                self.problems.append(
                    Problem(each.path, f"is one of more than {_MOST} Compose files", "use fewer")
                )
                break
            if self._document(each.path) is not None:
                order.append(each)
                # An include with a file of variables of its own has more than the project.
                if each.variables == self.variables and each.path not in self.interpolated:
                    self.interpolated.append(each.path)
                ahead += self._follow(each)
        services: dict[str, Attributes] = {}
        for each in sorted(order, key=lambda each: each.rank):
            found = self.documents[each.path]
            if found is not None and each.merged:
                for name in found.resets(("services",)):
                    services.pop(name, None)
                self.further += further_uses(found, each.variables, self.problems)
                for name, known in attributes(found, each.variables, self._find, self.problems).items():
                    services[name] = services.get(name, {}) | known
        return services

    def _document(self, path: str) -> Document | None:
        if path not in self.documents:
            try:
                with (self.directory / path).open("rb") as file:
                    data = file.read(MAX_BYTES + 1)
            except OSError as error:
                self.documents[path] = None
                # A file that is missing or protected is a problem of the entry that names it.
                what = f"cannot be read: {error.strerror}"
                self.unread.append(Problem(path, what, "check that it is there, and its permissions"))
                return None
            found = self.documents[path] = document.read(data, path)
            self.problems += found.problems
            self.unread += found.problems if found.value is None else []
            if found.value is not None:
                problems, warnings = schema.check(found)
                # A place with two problems has one mistake.
                places = {problem.where for problem in found.problems}
                self.problems += [problem for problem in problems if problem.where not in places]
                self.warnings += warnings
        return self.documents[path]

    def _follow(self, of: _Open) -> list[_Open]:
        """Ship what a Compose file refers to; return the Compose files among it."""
        found = self.documents[of.path]
        if found is None:
            return []
        there = list[tuple[Reference, str]]()
        for reference in references(found.value, of.base):
            known = replace(reference, path=_with(reference.path, self.variables))
            where = found.where(reference.at)
            if not known.on_host and self.carried.take(known, where):
                there.append((known, where))
        further = []
        for known, _ in (each for each in there if each[0].role == "project"):
            own: dict[str, str | None] = {}
            for other, _ in there:
                # An `include` has variables for what it includes; those of the project win.
                if other.role == "variables" and other.at == known.at and known.at[0] == "include":
                    own |= dict(variables_in(self.directory / other.target))
            is_included = known.at[0] == "include"
            variables = {**own, **of.variables} if is_included else of.variables
            rank = (of.rank[0], of.rank[1] - 1)
            opened = _Open(known.target, known.inner, variables, is_included and of.merged, rank)
            self._extended[of.path, known.path] = opened
            further.append(opened)
        return further

    def _find(self, of: Document, file: Any) -> tuple[Document, Mapping[str, str | None]] | None:
        opened = self._extended.get((of.name, _with(str(file), self.variables)))
        found = self.documents.get(opened.path) if opened else None
        return (found, opened.variables) if opened and found is not None else None


def _with(path: str, variables: Mapping[str, str | None]) -> str:
    for name, value in variables.items():
        path = path if value is None else path.replace(f"${{{name}}}", value)
    return path
