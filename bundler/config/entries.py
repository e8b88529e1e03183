"""Turn entries of bundle.yaml into items of a bundle: fill in placeholders, check inputs, assign names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bundler.config.checks import images, inputs, trees
from bundler.config.checks.destinations import InstallPath
from bundler.config.durations import seconds
from bundler.config.globs import glob_fault
from bundler.config.model import InputFile, InputTree
from bundler.config.secrets.allowances import Allowance, Allowances
from bundler.image_sources import source_kind
from bundler.image_sources.base import ImageEntry
from installer.core import schema_errors
from installer.core.errors import Problem
from installer.core.format.health_target import MAX_WATCH, target_fault
from installer.core.format.manifest import Deployment, HealthCheck, Kind
from installer.core.format.member_names import fold_name
from installer.core.format.methods import IMPLICIT, SPECS, Option
from installer.shared import strict_yaml

_PLACEHOLDER = re.compile(r"(?<!\{)\{([A-Za-z_]*)\}(?!\})")


class Entries:
    """Everything that bundle.yaml lists, with the problems found on the way.

    Args:
        directory: Directory of bundle.yaml.
        document: For the lines.
        value: The valid part of the document; list items that are not valid are None.
        version: Filled in for `{version}`.
        platforms: The platforms to make.
    """

    def __init__(
        self,
        directory: Path,
        document: strict_yaml.Document,
        value: dict[str, Any],
        version: str,
        platforms: Sequence[str],
    ) -> None:
        self.directory, self.document, self.value = directory, document, value
        self.version, self.platforms = version, platforms
        self.problems: list[Problem] = []
        self.items: list[InputFile] = []
        self.trees: list[InputTree] = []
        self.images: list[ImageEntry] = []
        self.deploy: list[Deployment] = []
        self.health: list[HealthCheck] = []
        self.places: list[InstallPath] = []
        self.probe_places: list[str] = []
        self.allowances = Allowances(
            [
                Allowance(entry["path"], document.where(path), entry["reason"])
                for path, entry in self._each("secrets_allow")
            ]
        )
        self.rollback = self.values = self.values_schema = ""
        # Everything is read before anything is compared: duplicates are found across sections.
        self._read()
        self._merge_duplicates()

    def where(self, item: InputFile | InputTree | ImageEntry) -> str:
        """Return `bundle.yaml:LINE` of an entry."""
        return f"{self.document.name}:{item.line}"

    def of_kind(self, *kinds: Kind) -> Iterator[InputFile]:
        """Return the items of some kinds, each source once."""
        return (item for item in self.items if item.kind in kinds)

    def _read(self) -> None:
        self._binaries()
        self._trees()
        self._images()
        self._config()
        self._documents()
        self._deploy()
        self._health()
        listed = ("binaries", "trees", "images", "config")
        # Only if nothing else is wrong: an entry that was refused would make a release look empty.
        if not any(self.value.get(key) for key in listed) and not self.problems:
            what = f"is empty: none of {', '.join(listed)} is given"
            self.problems.append(Problem(self.document.name, what, "list the content of the release"))

    def _each(self, key: str) -> Iterator[tuple[strict_yaml.Path, Any]]:
        for number, entry in enumerate(self.value.get(key) or []):
            if entry is not None:
                yield (key, number), entry

    def _binaries(self) -> None:
        for path, entry in self._each("binaries"):
            # One entry of binaries is one file for each platform that is built.
            for platform in self.platforms:
                os_name, arch = platform.split("/", 1)
                given = self._fill(entry["path"], (*path, "path"), os=os_name, arch=arch)
                member = f"bin/{os_name}-{arch}/{given.rpartition('/')[2]}"
                item = self._file(given, member, "binary", (*path, "path"), entry, platform=platform)
                if item:
                    problem = inputs.machine_problem(item.source, given, platform, self.where(item))
                    self.problems += [problem] if problem else []

    def _trees(self) -> None:
        for path, entry in self._each("trees"):
            given = self._fill(entry["path"], (*path, "path")).rstrip("/")
            where = self.document.where((*path, "path"))
            source = self.directory / given
            problem = inputs.directory_problem(source, given, where)
            # A tree of `.` takes the name of its directory: a member needs a name of its own.
            member = f"trees/{source.resolve().name if given in ('.', '..') else given.rpartition('/')[2]}"
            problem = problem or inputs.member_problem(member, given, where)
            if problem:
                self.problems.append(problem)
                continue
            install = self._install(entry, path, given, is_tree=True)
            patterns = self._excludes(entry, path)
            line = self._line((*path, "path"))
            tree = InputTree(given, source, member, install, line, exclude=patterns)
            tree, problems = trees.survey(tree, where, self.allowances)
            self.trees.append(tree)
            self.problems += problems

    def _excludes(self, entry: dict[str, Any], path: strict_yaml.Path) -> tuple[str, ...]:
        """Return the valid patterns of `exclude`."""
        patterns = []
        for number, pattern in enumerate(entry.get("exclude") or []):
            if fault := glob_fault(pattern):
                where = self.document.where((*path, "exclude", number))
                hint = "see `exclude` in docs/reference/bundle-yaml.md"
                self.problems.append(Problem(where, f"exclude: {pattern!r:.80} {fault}", hint))
            else:
                patterns.append(pattern)
        return tuple(patterns)

    def _images(self) -> None:
        for path, entry in self._each("images"):
            where, line = self.document.where(path), self._line(path)
            name = "" if isinstance(entry, str) else self._fill(entry.get("as", ""), (*path, "as"))
            kind, source = source_kind(entry), None
            text = self._fill(entry if isinstance(entry, str) else entry[kind.key], path)
            # Only a registry may be written as a URL.
            scheme, _, reference = text.rpartition("://") if kind.key else ("", "", text)
            if kind.takes == "reference":
                problem = images.reference_problem(reference, where)
            else:
                source = self.directory / text
                check = inputs.file_problem if kind.takes == "file" else inputs.directory_problem
                problem = check(source, text, where) or kind.path_problem(source, text, where)
                scheme, reference = "", text
            if name and not problem:
                problem = images.reference_problem(name, self.document.where((*path, "as")))
            self.problems += [problem] if problem else []
            self.images += [] if problem else [ImageEntry(kind, reference, source, line, name, scheme)]

    def _config(self) -> None:
        for path, entry in self._each("config"):
            given = self._fill(entry["template"], (*path, "template"))
            member = inputs.member_name("config", given)
            self._file(given, member, "template", (*path, "template"), entry, empty=True)
        values = self.value.get("values") or {}
        for word, kind in (("defaults", "values"), ("schema", "schema")):
            if word in values:
                given = self._fill(values[word], ("values", word))
                member = inputs.member_name("config", given)
                item = self._file(given, member, kind, ("values", word), {}, empty=word == "defaults")
                if item and kind == "values":
                    self.values = item.member
                elif item:
                    self.values_schema = item.member

    def _documents(self) -> None:
        docs = {"changelog": "CHANGELOG.md", "upgrade": "docs/UPGRADE.md"} | (self.value.get("docs") or {})
        self._document(docs["changelog"], ("docs", "changelog"))
        self._document(docs["upgrade"], ("docs", "upgrade"))
        if plan := (self.value.get("rollback") or {}).get("plan"):
            self.rollback = self._document(plan, ("rollback", "plan"))

    def _document(self, text: str, path: strict_yaml.Path) -> str:
        given = self._fill(text, path)
        item = self._file(given, inputs.member_name("docs", given), "doc", path, {})
        return item.member if item else ""

    def _deploy(self) -> None:
        for path, entry in self._each("deploy"):
            method = entry["method"]
            spec = SPECS.get(method)
            if spec is None:
                hint = "replace the step with a script step, or use a later version of Waybill"
                what = f"the method {method} is not available in this version"
                self.problems.append(Problem(self.document.where(path), what, hint))
                continue
            options = {
                option.key: self._option(entry[option.key], (*path, option.key), method, option)
                for option in spec.options
                if option.key in entry
            }
            self.deploy.append(Deployment(method, options, entry.get("optional", False)))

    def _option(self, value: Any, path: strict_yaml.Path, method: str, option: Option) -> Any:
        """Return the value of an option as bundle.json has it."""
        if option.is_duration:
            return seconds(value)
        if option.kind is None:
            return value
        if isinstance(value, list):
            return [self._part(text, (*path, n), method, option) for n, text in enumerate(value)]
        return self._part(value, path, method, option)

    def _part(self, text: str, path: strict_yaml.Path, method: str, option: Option) -> str:
        """Add a file that a step uses, and return its path in the bundle."""
        given = self._fill(text, path)
        member = inputs.member_name("deploy", given, method)
        mode = "0755" if option.is_program else "0644"
        item = self._file(given, member, option.kind, path, {"mode": mode})
        name = given.rpartition("/")[2]
        if item and option.directory:
            self.places.append(InstallPath(f"{option.directory}/{name}", given, self.where(item)))
        if item and option.name_pattern and not re.fullmatch(option.name_pattern, name):
            what = f"{given} is not a valid name of a {method} {option.kind}"
            self.problems.append(Problem(self.where(item), what, option.name_hint))
        return member

    def _health(self) -> None:
        methods = {entry["method"] for _, entry in self._each("deploy")} | IMPLICIT
        for path, entry in self._each("health"):
            when = entry.get("when", "")
            if when and when not in methods:
                hint = f"use one of {', '.join(sorted(methods))}"
                what = f"the probe has when: {when}, which is not a step in deploy"
                self.problems.append(Problem(self.document.where((*path, "when")), what, hint))
            kind = next(word for word in ("http", "tcp", "command", "container") if word in entry)
            words = tuple(self._fill(word, path) for word in entry[kind]) if kind == "command" else ()
            target = "" if words else self._fill(entry[kind], path)
            # The schema has the form; what a port or a host name is, it cannot say.
            if form := target_fault(kind, target):
                what = f"{schema_errors.dotted((*path, kind))} is {target!r:.80}, but must be {form}"
                self.problems.append(Problem(self.document.where((*path, kind)), what, "correct it there"))
            self.probe_places.append(self.document.where(path))
            self.health.append(
                HealthCheck(
                    kind=kind,  # type: ignore[arg-type]
                    target=target,
                    command=words,
                    within=self._bounded(entry, "within", "60s", path),
                    stable=self._bounded(entry, "stable", "0s", path),
                    status=entry.get("status", 200),
                    when=when,
                )
            )

    def _bounded(self, entry: dict[str, Any], key: str, default: str, path: strict_yaml.Path) -> int:
        """Return the seconds of a duration of a probe, which hosts limit."""
        count = seconds(entry.get(key, default))
        if count > MAX_WATCH:
            what = (
                f"{schema_errors.dotted((*path, key))} is {entry[key]}, but a probe is watched for at most 1d"
            )
            self.problems.append(Problem(self.document.where((*path, key)), what, "use a shorter time"))
        return min(count, MAX_WATCH)

    def _file(
        self,
        given: str,
        member: str,
        kind: Any,
        path: strict_yaml.Path,
        entry: dict[str, Any],
        *,
        platform: str = "",
        empty: bool = False,
    ) -> InputFile | None:
        where = self.document.where(path)
        source = self.directory / given
        problem = inputs.file_problem(source, given, where, may_be_empty=empty)
        name_problem = inputs.member_problem(member, given, where)
        self.problems += [found for found in (problem, name_problem) if found]
        install = self._install(entry, path[:-1], given, platform=platform) if "install" in entry else ""
        if problem or name_problem:
            return None
        default = "0755" if kind == "binary" else "0644"
        item = InputFile(
            given, source, member, kind, int(entry.get("mode", default), 8), install, entry.get("owner", ""),
            platform, self._line(path),
        )  # fmt: skip
        self.items.append(item)
        return item

    def _install(
        self,
        entry: dict[str, Any],
        path: strict_yaml.Path,
        given: str,
        *,
        platform: str = "",
        is_tree: bool = False,
    ) -> str:
        if "install" not in entry:
            return ""
        where = (*path, "install")
        os_name, _, arch = platform.partition("/")
        known = {"os": os_name, "arch": arch} if platform else {}
        install = self._fill(entry["install"], where, **known)
        install = install.rstrip("/") or "/" if is_tree else install
        self.places.append(InstallPath(install, given, self.document.where(where), platform, is_tree))
        return install

    def _merge_duplicates(self) -> None:
        """Join entries of one file, and reports different files that would get one name in the bundle."""
        merged: dict[tuple[str, str], InputFile] = {}
        seen: dict[str, InputFile | InputTree] = {}
        for item in self.items:
            # Without case: hosts and sticks may have file systems that do not tell A from a.
            first = seen.setdefault(fold_name(item.member), item)
            if first is item:
                merged[item.member, item.install] = item
            elif not isinstance(first, InputFile) or first.source != item.source or first.kind != item.kind:
                self._name_clash(item, first)
            elif item.install != first.install:
                what = f"{item.given} is also listed in line {first.line}, with another destination"
                self.problems.append(
                    Problem(self.where(item), what, "copy the file to another name, and list the copy")
                )
        # The same file twice, for example a unit in two steps, is one member.
        self.items = list(merged.values())
        names: dict[str, InputTree] = {}
        for tree in self.trees:
            if (first := names.setdefault(fold_name(tree.member), tree)) is not tree:
                self._name_clash(tree, first)

    def _name_clash(self, item: InputFile | InputTree, first: InputFile | InputTree) -> None:
        what = (
            f"{item.given} and {first.given} (line {first.line}) would both be {first.member} in the bundle"
        )
        self.problems.append(Problem(self.where(item), what, "rename one of them"))

    # Only in bundle.yaml: the files themselves are shipped byte for byte.
    def _fill(self, text: str, path: strict_yaml.Path, **known: str) -> str:
        words = {"version": self.version, **known}

        def value(match: re.Match[str]) -> str:
            if match[1] in words:
                return words[match[1]]
            hint = "use " + ", ".join(f"{{{word}}}" for word in words)
            self.problems.append(
                Problem(self.document.where(path), f"{match[0]} is not a known placeholder here", hint)
            )
            return match[0]

        return _PLACEHOLDER.sub(value, text)

    def _line(self, path: strict_yaml.Path) -> int:
        return int(self.document.where(path).rpartition(":")[2])
