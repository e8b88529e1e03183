"""The deployment methods: what a step under `deploy` may say, in one list for `bundle` and `install` alike.

How a method works is in `installer/deploy/NAME.py`; here is only what both commands have to know of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from installer.core.fields import PRINTABLE, PRINTABLE_FORM, Value
from installer.core.format.manifest import FileEntry, Kind
from installer.core.risk.compose_files import examine_services
from installer.core.risk.risk import Examine
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
        is_list: Whether the value is a list of files, not one file.
        pattern: Regular expression for a value that is neither a path nor a duration; empty for any text.
        form: The pattern in words.
        examine: Yields what one of the files does as root and what it opens, from its path and its content.
            Scripts (`is_program`) are shown with their text without it.
        is_yaml: Whether `examine` is given the values of a YAML file, not text.
    """

    key: str
    kind: Kind | None = None
    is_duration: bool = False
    is_program: bool = False
    directory: str = ""
    name_pattern: str = ""
    name_hint: str = ""
    is_list: bool = False
    pattern: str = ""
    form: str = ""
    examine: Examine | None = None
    is_yaml: bool = False


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """One deployment method.

    Attributes:
        name: As in bundle.yaml, `--only` and `--skip`; also the name of its module.
        options: What a step may say besides `method` and `optional`.
        forms: The options that go together: a step has exactly those of one form. An option that is in no
            form may be left out of any step. Empty: every option may be left out.
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
                name_pattern=r"[A-Za-z0-9:_.\\@-]+\."
                r"(?:service|socket|timer|target|path|mount|automount|swap|slice)",
                name_hint="use a name that ends in .service, .socket, .timer, …",
                examine=examine_unit,
            ),
        ),
        forms=(("units",),),
    ),
    MethodSpec(
        "compose",
        options=(
            Option("file", "compose", examine=examine_services, is_yaml=True),
            Option(
                "project",
                pattern=r"[a-z0-9][a-z0-9_-]{0,62}",
                form="a project name: lower-case letters, digits, hyphens and underscores, at most 63",
            ),
        ),
        forms=(("file",),),
        identity="project",
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
FILE_KINDS = tuple(dict.fromkeys(o.kind for spec in METHODS for o in spec.options if o.kind is not None))
"""Kinds of the files that steps name."""


_DIRECTORIES = {o.kind: o.directory for spec in METHODS for o in spec.options if o.directory}


def installed_by_method(entry: FileEntry) -> str:
    """Return where a file without a destination goes while its method is used; empty for nowhere."""
    directory = _DIRECTORIES.get(entry.kind, "")
    return f"{directory}/{entry.path.rpartition('/')[2]}" if directory and not entry.install else ""


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
