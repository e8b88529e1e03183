"""The deployment methods: what a step under `deploy` may say, in one list for `bundle` and `install` alike.

How a method works is in `installer/deploy/NAME.py`; here is only what both commands have to know of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from installer.core.fields import PRINTABLE, PRINTABLE_FORM, Value
from installer.core.format import features
from installer.core.format.manifest import Deployment, FileEntry, Kind
from installer.core.risk import host_settings
from installer.core.risk.compose_files import examine_services, further_files
from installer.core.risk.quadlet_files import examine_quadlet
from installer.core.risk.risk import Examine, Follow
from installer.core.risk.units import examine_unit

MAX_SECONDS = 999_999 * 7 * 86400
"""The longest time that bundle.yaml can say, `999999w`."""
MAX_FILES = 4096
"""Files that one option may name."""


@dataclass(frozen=True, slots=True)
class Option:
    """One key of a step. bundle.yaml and the `options` in bundle.json share the key.

    Attributes:
        key: The key.
        kind: Kind of the file, or files, that the value names: paths relative to bundle.yaml there, paths in
            the bundle in bundle.json. None where the value is not a path.
        is_duration: Whether bundle.yaml has a duration, such as `10m`, of which bundle.json has the seconds.
        is_program: Whether the files are executed.
        directory: Where the files are installed while the method is in use; empty where they stay in the
            directory of the release.
        name_pattern: Regular expression for the names of the files; empty for any name.
        name_hint: What to do about a name that does not match.
        is_list: Whether the value is a list of files or texts, not one.
        list_feature: Word of the feature that a bundle uses where the value is a list of files although one
            path would do; empty where the value cannot be a list.
        pattern: Regular expression for a value that is neither a path nor a duration; empty for any text.
        form: The pattern in words.
        examine: Yields what one of the files does as root and what it opens, from its path and its content.
            Scripts (`is_program`) are shown with their text without it.
        follow: Yields the files that one of the files refers to and that have to be examined, too, from its
            content and the directory that its paths are relative to: that of the first of the files.
        is_yaml: Whether `examine` is given the values of a YAML file, not text.
        rendered_as: Name of what the template makes, which lies in the directory of the release next to the
            first file of the step; empty where the file is no template. Where the value is no path, a file of
            the site with that name is copied there.
        feature: The word that a manifest requires whose steps have the option; empty for none.
    """

    key: str
    kind: Kind | None = None
    is_duration: bool = False
    is_program: bool = False
    directory: str = ""
    name_pattern: str = ""
    name_hint: str = ""
    is_list: bool = False
    list_feature: str = ""
    pattern: str = ""
    form: str = ""
    examine: Examine | None = None
    follow: Follow | None = None
    is_yaml: bool = False
    rendered_as: str = ""
    feature: str = ""


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """One deployment method.

    Attributes:
        name: As in bundle.yaml, `--only` and `--skip`; also the name of its module.
        options: What a step may say besides `method` and `optional`.
        forms: The options that go together: a step has exactly those of one form. An option that is in no
            form may be left out of any step. Empty: every option may be left out.
        some_of: Options of which a step has at least one; empty for no such rule.
        identity: The option that tells the steps of one release apart and pairs each with the same step of
            the next release; the product's name stands in where a step leaves it out. Empty: steps are paired
            by their order.
        implicit: Whether every release has it, listed or not, as far as there is something for it to do.
        needs_engine: Whether it takes the release's images from the container engine.
        needs_live_host: Whether it is left out below `--root` unless `--only` names it.
    """

    name: str
    options: tuple[Option, ...] = ()
    forms: tuple[tuple[str, ...], ...] = ()
    some_of: tuple[str, ...] = ()
    identity: str = ""
    implicit: bool = False
    needs_engine: bool = False
    needs_live_host: bool = True

    def files(self, options: Mapping[str, Any]) -> Iterator[tuple[Option, str]]:
        """Yield the files that a step names, each with the option that names it, in the order of the spec."""
        for option in self.options:
            if option.kind is not None and option.key in options:
                value = options[option.key]
                for path in value if isinstance(value, list) else [value]:
                    yield option, str(path)

    def rendered(self, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield each template of a step with the place of what it makes, below the release's directory."""
        first = next((path for _, path in self.files(options)), "")
        for option, path in self.files(options):
            if option.rendered_as:
                yield path, _beside(first, option.rendered_as)

    def of_site(self, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield each file of the site that a step takes: its name, and the place of its copy."""
        first = next((path for _, path in self.files(options)), "")
        for option in self.options:
            if option.rendered_as and option.kind is None and option.key in options:
                yield str(options[option.key]), _beside(first, option.rendered_as)

    def places(self, options: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return what a step has in the release's directory besides files of the bundle, with its place."""
        return [*self.rendered(options), *self.of_site(options)]


def _beside(path: str, name: str) -> str:
    return f"{path.rpartition('/')[0]}/{name}".lstrip("/")


_TYPES = "(?:service|socket|timer|target|path|mount|automount|swap|slice)"
UNIT_NAME = rf"[A-Za-z0-9:_.\\@-]+\.{_TYPES}"
_DROP_IN = re.compile(rf"{UNIT_NAME}\.d")
_CONF = r"[A-Za-z0-9_][A-Za-z0-9_.@:-]*\.conf"


def _settings(key: Kind, directory: str, examine: Examine) -> Option:
    """Return the option for files that a program of systemd applies to the host."""
    return Option(
        key,
        key,
        is_list=True,
        directory=directory,
        name_pattern=_CONF,
        name_hint="use a name that ends in .conf, with the name of the product in it",
        examine=examine,
        feature=features.SYSTEMD,
    )


FILES = MethodSpec("files", implicit=True, needs_live_host=False)
IMAGES = MethodSpec("images", implicit=True, needs_live_host=False)
METHODS = (
    FILES,
    MethodSpec(
        "systemd",
        options=(
            Option(
                "units",
                "unit",
                is_list=True,
                directory="/etc/systemd/system",
                name_pattern=rf"{UNIT_NAME}(?:\.d/{_CONF})?",
                name_hint="use a name that ends in .service, .socket, .timer, …; for a drop-in a file in a "
                "directory such as chat.service.d, whose name ends in .conf",
                examine=examine_unit,
            ),
            Option(
                "instances",
                is_list=True,
                # No hyphen first: systemctl would take it for an option.
                pattern=rf"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\-]*@[A-Za-z0-9:_.\\-]+\.{_TYPES}",
                form="an instance of a template, such as chat@1.service",
                feature=features.SYSTEMD,
            ),
            _settings("sysusers", "/etc/sysusers.d", host_settings.examine_users),
            _settings("tmpfiles", "/etc/tmpfiles.d", host_settings.examine_tmpfiles),
            _settings("modules", "/etc/modules-load.d", host_settings.examine_modules),
            _settings("sysctl", "/etc/sysctl.d", host_settings.examine_settings),
            replace(
                _settings("udev", "/etc/udev/rules.d", host_settings.examine_rules),
                name_pattern=r"[A-Za-z0-9_][A-Za-z0-9_.@:-]*\.rules",
                name_hint="use a name that ends in .rules, such as 60-chat.rules",
            ),
        ),
        some_of=("units", "sysusers", "tmpfiles", "modules", "sysctl", "udev"),
    ),
    MethodSpec(
        "compose",
        options=(
            Option(
                "file",
                "compose",
                list_feature=features.COMPOSE_PROJECT,
                examine=examine_services,
                follow=further_files,
                is_yaml=True,
            ),
            Option(
                "project",
                pattern=r"[a-z0-9][a-z0-9_-]{0,62}",
                form="a project name: lower-case letters, digits, hyphens and underscores, at most 63",
            ),
            Option("env", "template", rendered_as=".env", feature=features.COMPOSE_ENV),
            Option(
                "override",
                pattern=r"[a-z0-9][a-z0-9._-]{0,58}\.ya?ml",
                form="the name of a YAML file without a directory, such as compose.override.yaml",
                rendered_as="compose.override.yaml",
                feature=features.COMPOSE_OVERRIDE,
            ),
        ),
        forms=(("file",),),
        identity="project",
        needs_engine=True,
    ),
    MethodSpec(
        "quadlet",
        options=(
            Option(
                "files",
                "podman",
                is_list=True,
                directory="/etc/containers/systemd",
                name_pattern=r"[A-Za-z0-9][A-Za-z0-9_.-]*\.(?:container|pod|network|volume)",
                name_hint="use a name that ends in .container, .pod, .network or .volume, without @",
                examine=examine_quadlet,
                feature=features.QUADLET,
            ),
        ),
        forms=(("files",),),
        needs_engine=True,
    ),
    IMAGES,
    MethodSpec(
        "script",
        options=(
            Option("apply", "script", is_program=True),
            Option("undo", "script", is_program=True),
            Option("snapshot", "script", is_program=True),
            Option("restore", "script", is_program=True),
            Option("timeout", is_duration=True),
            Option(
                "roll_forward_only",
                pattern=r"[^\x00-\x1f\x7f]{10,200}",
                form="a reason in 10 to 200 characters",
            ),
        ),
        forms=(("apply", "undo"), ("apply", "snapshot", "restore"), ("apply", "roll_forward_only")),
        identity="apply",
    ),
)
"""All methods of this version, in the order in which a removal is checked."""
RESERVED = ("helm", "ansible", "salt")
"""Names that the format keeps for methods of later versions: no host runs them yet."""

SPECS = {spec.name: spec for spec in METHODS}
NAMES = (*SPECS, *RESERVED)
IMPLICIT = frozenset(spec.name for spec in METHODS if spec.implicit)
FILE_KINDS = tuple(
    dict.fromkeys(o.kind for spec in METHODS for o in spec.options if o.kind and not o.rendered_as)
)
"""Kinds of the files that only steps name."""


def rendered_files(steps: Iterable[Deployment], methods: Collection[str] | None = None) -> dict[str, str]:
    """Return where what steps render or copy lies, below the release's directory, and what it is made from.

    Args:
        steps: The steps of a release.
        methods: Only those of these methods; None for all.
    """
    rows = (
        row
        for step in steps
        if step.method in SPECS and (methods is None or step.method in methods)
        for row in SPECS[step.method].places(step.options)
    )
    return {place: source for source, place in rows}


_DIRECTORIES = {o.kind: o.directory for spec in METHODS for o in spec.options if o.directory}


def directory_of(kind: str) -> str:
    """Return where files of a kind are installed while their method is used; empty for nowhere."""
    return _DIRECTORIES.get(kind, "")  # type: ignore[call-overload, no-any-return]


def place_name(kind: str | None, path: str) -> str:
    """Return what a file of a step is called in its directory: its name; `UNIT.d/NAME` for a drop-in.

    Args:
        kind: Of the file.
        path: In the bundle, or relative to bundle.yaml.
    """
    directory, _, name = path.rpartition("/")
    folder = directory.rpartition("/")[2]
    is_drop_in = kind == "unit" and name.endswith(".conf") and _DROP_IN.fullmatch(folder)
    return f"{folder}/{name}" if is_drop_in else name


def features_of(method: str, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words of the features that a step uses."""
    spec = SPECS.get(method)
    for option in spec.options if spec else ():
        if option.list_feature and isinstance(options.get(option.key), list):
            yield option.list_feature
        if option.feature and option.key in options:
            yield option.feature
    # Earlier readers know no drop-ins.
    if spec and any("/" in place_name(option.kind, path) for option, path in spec.files(options)):
        yield features.SYSTEMD


def installed_by_method(entry: FileEntry) -> str:
    """Return where a file without a destination goes while its method is used; empty for nowhere."""
    directory = _DIRECTORIES.get(entry.kind, "")
    return f"{directory}/{place_name(entry.kind, entry.path)}" if directory and not entry.install else ""


def images_in_engine(methods: Iterable[str], *, live: bool) -> bool:
    """Return whether a release that was deployed by these methods has its images in the container engine.

    They are loaded on a live host, and below `--root` only where a method is used that needs them there.

    Args:
        methods: Names of the methods; those of other versions are ignored.
        live: Whether this is the running host, not a directory below `--root`.
    """
    # A host's state may name methods of a newer installer.
    used = [SPECS[name] for name in methods if name in SPECS]
    return IMAGES in used and (live or any(spec.needs_engine for spec in used))


def read_options(value: Value, spec: MethodSpec | None) -> dict[str, Any]:
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
    if spec.some_of and not set(spec.some_of) & set(options):
        return f"must have at least one of {', '.join(f'`{key}`' for key in spec.some_of)}"
    bound = {key for form in spec.forms for key in form}
    if not spec.forms or any(set(form) == bound & set(options) for form in spec.forms):
        return ""
    forms = [" and ".join(f"`{key}`" for key in form) for form in spec.forms]
    return f"must have {', or '.join(forms)}, and nothing of another form"


def _check(value: Value, option: Option) -> None:
    if option.is_duration:
        value.number(1, MAX_SECONDS)
    elif option.is_list or (option.list_feature and isinstance(value.raw, list)):
        what, read = ("file", _path) if option.kind is not None else ("value", partial(_text, option))
        named = value.items(read, MAX_FILES)
        if isinstance(value.raw, list) and not named:
            value.note(f"must name at least one {what}")
        if len(set(named)) != len(named):
            value.note(f"names a {what} twice")
    elif option.kind is not None:
        _path(value)
    elif option.pattern:
        value.text(re.compile(option.pattern), option.form)
    elif value.text(PRINTABLE, PRINTABLE_FORM) == "" and value.raw == "":
        value.note("is empty")


def _text(option: Option, value: Value) -> str:
    return value.text(re.compile(option.pattern), option.form)


def _path(value: Value) -> str:
    path = value.text()
    if path == "" and value.raw == "":
        value.note("is empty, but must be the path of a file in the bundle")
    return path
