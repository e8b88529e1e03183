"""Turn entries of bundle.yaml into items of a bundle: fill in placeholders, check inputs, assign names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bundler.config import attributes, tools
from bundler.config.checks import images, inputs, probes, trees, units
from bundler.config.checks.destinations import InstallPath
from bundler.config.checks.site import values as site
from bundler.config.compose import environment
from bundler.config.compose import project as projects
from bundler.config.duplicates import merge_duplicates
from bundler.config.durations import seconds
from bundler.config.filled import fill, fill_in
from bundler.config.folders import step_folders
from bundler.config.model import InputFile, InputTree
from bundler.config.secrets.allowances import Allowance, Allowances
from bundler.image_sources import source_kind
from bundler.image_sources.base import ImageEntry
from installer.core.errors import Problem
from installer.core.format.entries.config_file import FILE, OnChange
from installer.core.format.entries.method_spec import Option
from installer.core.format.manifest import ClusterNeeds, Deployment, HealthCheck, Kind
from installer.core.format.methods import IMPLICIT, SPECS, place_name
from installer.shared import strict_yaml

CONTENT = ("binaries", "trees", "images", "config")
_SUGGESTED = 25
"""After how many problems no more names are suggested for inputs that do not exist."""


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
        self.warnings: list[Problem] = []
        self.items: list[InputFile] = []
        self.trees: list[InputTree] = []
        self.images: list[ImageEntry] = []
        self.deploy: list[Deployment] = []
        self.projects: list[projects.Project] = []
        self.health: list[HealthCheck] = []
        self.places: list[InstallPath] = []
        self.probe_places: list[str] = []
        self.reaction_places: dict[tuple[str, str], str] = {}
        self.allowances = Allowances(
            [
                Allowance(entry["path"], document.where(path), entry["reason"])
                for path, entry in self._each("secrets_allow")
            ]
        )
        self.rollback = self.values = self.values_schema = ""
        self._sources = attributes.Sources()
        self.site_values: list[site.SiteValues] = []
        self.cluster: ClusterNeeds | None = None
        # Everything is read before anything is compared: duplicates are found across sections.
        self._read()
        self.items, clashes = merge_duplicates(self.items, self.trees, self.where)
        self.problems += clashes

    @property
    def _suggests(self) -> bool:
        # A comparison with every file for every entry would have no end; the first ones show the mistake.
        return len(self.problems) < _SUGGESTED

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
        self._cluster()

    def is_empty(self) -> bool:
        """Return whether a release of these entries would bring nothing."""
        has_steps = any(self.of_kind(*step_folders.KINDS, "template"))
        return not has_steps and not any(self.value.get(key) for key in CONTENT)

    def _each(self, key: str) -> Iterator[tuple[strict_yaml.Path, Any]]:
        for number, entry in enumerate(self.value.get(key) or []):
            if entry is not None:
                yield (key, number), entry

    def _binaries(self) -> None:
        for path, entry in self._each("binaries"):
            self._programs(entry["path"], (*path, "path"), "binary", entry, inputs.machine_problem)

    def _programs(
        self, text: str, path: strict_yaml.Path, kind: Kind, entry: dict[str, Any], check: tools.Check
    ) -> list[str]:
        """Add one file for each platform that is built, and return their paths in the bundle."""
        members = []
        for platform in self.platforms:
            os_name, arch = platform.split("/", 1)
            given = self._fill(text, path, os=os_name, arch=arch)
            members.append(f"{tools.SECTIONS[kind]}/{os_name}-{arch}/{given.rpartition('/')[2]}")
            item = self._file(given, members[-1], kind, path, entry, platform=platform)
            if item and (problem := check(item.source, given, platform, self.where(item))):
                self.problems.append(problem)
        return members

    def _trees(self) -> None:
        for path, entry in self._each("trees"):
            given = self._fill(entry["path"], (*path, "path")).rstrip("/")
            where = self.document.where((*path, "path"))
            source = self.directory / given
            problem = inputs.directory_problem(source, given, where, suggest=self._suggests)
            # A tree of `.` takes the name of its directory: a member needs a name of its own.
            member = f"trees/{source.resolve().name if given in ('.', '..') else given.rpartition('/')[2]}"
            problem = problem or inputs.member_problem(member, given, where)
            if problem:
                self.problems.append(problem)
                continue
            install = self._install(entry, path, given, is_tree=True)
            patterns, faults = attributes.excluded(entry, path, self.document.where)
            line = self._line((*path, "path"))
            rules, wrong = attributes.declared_attributes(entry, path, self.document.where)
            self.problems += [*faults, *wrong]
            tree = InputTree(given, source, member, install, line, exclude=patterns, attributes=rules)
            tree, problems = trees.survey(tree, where, self.allowances)
            self.trees.append(tree)
            self.problems += problems

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
                problem = check(source, text, where, suggest=self._suggests)
                problem = problem or kind.path_problem(source, text, where)
                scheme, reference = "", text
            if name and not problem:
                problem = images.name_problem(name, self.document.where((*path, "as")))
            self.problems += [problem] if problem else []
            whole = not isinstance(entry, str) and entry.get("whole", False)
            self.images += [] if problem else [ImageEntry(kind, reference, source, line, name, scheme, whole)]

    def _config(self) -> None:
        for path, entry in self._each("config"):
            given = self._fill(entry["template"], (*path, "template"))
            member = inputs.member_name("config", given)
            item = self._file(given, member, "template", (*path, "template"), entry, empty=True)
            if item:
                self._reactions(item, path, entry)
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
        for word in site.WORDS:
            if word in values:
                self._site_values(values[word], word)

    def _site_values(self, text: str, word: str) -> None:
        """Add the values files of a directory: one for each environment, or one for each cluster."""
        path = ("values", word)
        given, where = self._fill(text, path).rstrip("/"), self.document.where(path)
        names, problems = site.names_in(self.directory / given, given, where)
        self.problems += problems
        for name in names:
            file = f"{given}/{name}{site.SUFFIX}"
            member = inputs.member_name("config", file, word)
            if member == self.values:
                what = f"{file} has the defaults, and cannot be the values of {site.WORDS[word]} {name}, too"
                hint = f"move the files of {word} to a directory of their own"
                self.problems.append(Problem(where, what, hint))
            elif item := self._file(file, member, "values", path, {}, empty=True):
                self.site_values.append(site.SiteValues(site.WORDS[word], name, item))

    def _reactions(self, item: InputFile, path: strict_yaml.Path, entry: dict[str, Any]) -> None:
        """Add who checks a configuration file, and what happens once it has changed."""
        for key in ("validate", "on_change", "timeout"):
            if key in entry:
                self.reaction_places[item.member, key] = self.document.where((*path, key))
        words = tuple(
            self._fill(word, (*path, "validate"), file=FILE) for word in entry.get("validate") or ()
        )
        said = dict(entry.get("on_change") or {})
        command = tuple(self._fill(word, (*path, "on_change")) for word in said.pop("command", ()))
        self.items[-1] = replace(
            item,
            validate=words,
            on_change=OnChange(command=command, **said),
            timeout=seconds(entry["timeout"]) if "timeout" in entry else 0,
        )

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
            if (spec := SPECS.get(method := entry["method"])) is None:
                hint = "replace the step with a script step, or use a later version of Waybill"
                what = f"the method {method} is not available in this version"
                self.problems.append(Problem(self.document.where(path), what, hint))
                continue
            options = {
                option.key: self._option(entry[option.key], (*path, option.key), method, option)
                for option in spec.options_of(entry)
                if option.key in entry
            }
            self.problems += units.check_step(options, self.deploy, path, self.document)
            self.problems += tools.unpaired(spec, entry, path, self.document.where)
            self.deploy.append(Deployment(method, options, entry.get("optional", False)))

    def _option(self, value: Any, path: strict_yaml.Path, method: str, option: Option) -> Any:
        """Return the value of an option as bundle.json has it."""
        if option.is_duration:
            return seconds(value)
        if option.kind is None:
            return value
        if option.kind in step_folders.KINDS:
            return self._folder(value, path, option)
        if option.is_tool:
            return self._programs(value, path, option.kind, {"mode": "0755"}, tools.program_problem)
        if option.list_feature:
            return self._project(value, path, option)
        if isinstance(value, list):
            return [self._part(text, (*path, n), method, option) for n, text in enumerate(value)]
        return self._part(value, path, method, option)

    def _folder(self, value: str, path: strict_yaml.Path, option: Option) -> str | list[str]:
        """Add the files of a directory that travels as a whole, and return their paths in the bundle."""
        step, where = self.value["deploy"][path[1]], self.document.where(path)
        folder = step_folders.read(self.directory, step, option, self._fill(value, path), where)
        self.problems += folder.problems
        self.warnings += folder.warnings
        for file, member in folder.files:
            self._file(file, member, option.kind, path, {}, empty=True)
        return folder.members

    def _project(self, value: str | list[str], path: strict_yaml.Path, option: Option) -> str | list[str]:
        """Add the files of a project, and what they refer to; return their paths in the bundle."""
        given = [self._fill(text, path) for text in (value if isinstance(value, list) else [value])]
        step, product = self.value["deploy"][path[1]], str(self.value.get("product", ""))
        variables = environment.known(self.directory, step, self.version, product)
        project = projects.read(self.directory, given, variables, environment.written(step, given[0]))
        self.projects.append(project)
        for file, mode in project.contents:
            is_listed = file in project.files
            self._file(file, project.member(file), option.kind, path, {"mode": mode}, empty=not is_listed)
        members = [project.member(file) for file in project.files]
        return members[0] if project.is_plain and not isinstance(value, list) else members

    def _part(self, text: str, path: strict_yaml.Path, method: str, option: Option) -> str:
        """Add a file that a step uses, and return its path in the bundle."""
        given = self._fill(text, path)
        name = place_name(option.kind, given)
        member = inputs.member_name("deploy", given, units.folder(method, option, name))
        mode = "0755" if option.is_program else "0644"
        item = self._file(given, member, option.kind, path, {"mode": mode})
        if item and option.directory:
            self.places.append(InstallPath(f"{option.directory}/{name}", given, self.where(item)))
        if item and option.name_pattern and not re.fullmatch(option.name_pattern, name):
            what = f"{given} is not a valid name of a {method} {option.kind}"
            self.problems.append(Problem(self.where(item), what, option.name_hint))
        return member

    def _health(self) -> None:
        methods = {entry["method"] for _, entry in self._each("deploy")} | IMPLICIT
        for path, entry in self._each("health"):
            self.problems += probes.when(entry, methods, self.document.where((*path, "when")))
            filled: dict[str, Any] = {
                key: self._known(value) if key in probes.AS_WRITTEN else self._fill(value, path)
                for key, value in entry.items()
                if isinstance(value, str)
            }
            if "header" in entry:
                filled["header"] = {name: self._known(text) for name, text in entry["header"].items()}
            if "command" in entry:
                filled["command"] = [self._fill(word, path) for word in entry["command"]]
            times, unbounded = probes.times(entry, path, self.document.where)
            check, wrong = probes.probe({**entry, **filled, **times}, path, self.document.where)
            self.problems += [*unbounded, *wrong]
            self.probe_places.append(self.document.where(path))
            self.health.append(check)

    def _cluster(self) -> None:
        # The keys are compared with the values where these are read: `checks/site/cluster.py`.
        if entry := self.value.get("cluster"):
            self.cluster = ClusterNeeds(**(entry | {"quorum": str(entry.get("quorum", ""))}))

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
        problem = inputs.file_problem(source, given, where, may_be_empty=empty, suggest=self._suggests)
        name_problem = inputs.member_problem(member, given, where)
        self.problems += [found for found in (problem, name_problem) if found]
        install = self._install(entry, path[:-1], given, platform=platform) if "install" in entry else ""
        if problem or name_problem:
            return None
        granted, wrong = attributes.declared_capabilities(entry, path[:-1], self.document.where)
        unplaced = attributes.capability_problem(granted, install, where)
        lost = [
            Problem(where, f"{given} {what}", hint) for what, hint in self._sources.lost(str(source), granted)
        ]
        self.problems += [*wrong, *([unplaced] if unplaced else []), *lost]
        default = "0755" if kind == "binary" else "0644"
        item = InputFile(
            given, source, member, kind, int(entry.get("mode", default), 8), install, entry.get("owner", ""),
            platform, self._line(path), capabilities=granted,
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

    def _fill(self, text: str, path: strict_yaml.Path, **known: str) -> str:
        filled, problems = fill_in(text, {"version": self.version, **known}, self.document.where(path))
        self.problems += problems
        return filled

    def _known(self, text: str) -> str:
        """Fill in placeholders of a text in which others in braces are usual, such as JSON."""
        return fill(text, {"version": self.version})[0]

    def _line(self, path: strict_yaml.Path) -> int:
        return int(self.document.where(path).rpartition(":")[2])
