"""What a step of a deployment method may say: its options, and how they are read from a manifest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from installer.core.fields import PRINTABLE, PRINTABLE_FORM, Value
from installer.core.format.manifest import Kind
from installer.core.risk.risk import Examine, Follow

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
        is_flag: Whether the value is true or false.
        is_program: Whether the files are executed.
        is_tool: Whether the files are one compiled program, for each platform, which the method runs.
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
        summary: What a reviewer is told of the files as a whole, where they are not examined one by one.
        follow: Yields the files that one of the files refers to and that have to be examined, too, from its
            content and the directory that its paths are relative to: that of the first of the files.
        is_yaml: Whether `examine` is given the values of a YAML file, not text.
        manifests: How the names of files end of which it is given a list with the values of each document.
        rendered_as: Name of what the template makes, which lies in the directory of the release next to the
            first file of the step; empty where the file is no template. Where the value is no path, a file of
            the site with that name is copied there.
        feature: The word that a manifest requires whose steps have the option; empty for none.
        excludes: Options that a step with this one cannot have.
        needs: Options that a step with this one must have.
        of_user: What takes its place in a step with a `user`.
    """

    key: str
    kind: Kind | None = None
    is_duration: bool = False
    is_flag: bool = False
    is_program: bool = False
    is_tool: bool = False
    directory: str = ""
    name_pattern: str = ""
    name_hint: str = ""
    is_list: bool = False
    list_feature: str = ""
    pattern: str = ""
    form: str = ""
    examine: Examine | None = None
    summary: str = ""
    follow: Follow | None = None
    is_yaml: bool = False
    manifests: tuple[str, ...] = ()
    rendered_as: str = ""
    feature: str = ""
    excludes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    of_user: Option | None = None


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
            the next release. Empty: steps are paired by their order.
        named_by_product: Whether the product's name stands in where a step leaves that option out.
        implicit: Whether every release has it, listed or not, as far as there is something for it to do.
        needs_engine: Whether it takes the release's images from the container engine.
        pulls_images: Whether it deploys to a cluster, which takes them from the registry of the site, or
            without one from the engine of the node.
        needs_live_host: Whether it is left out below `--root` unless `--only` names it.
        runs_below_root: Whether it can run below `--root` at all: on this machine, where `--only` names it.
        keeps_references: Whether what its templates make has references in place of secrets of stores: the
            method asks for the secrets when it uses them.
        brings_more: Whether its files bring to a host, or use there, what nobody can know before they run.
    """

    name: str
    options: tuple[Option, ...] = ()
    forms: tuple[tuple[str, ...], ...] = ()
    some_of: tuple[str, ...] = ()
    identity: str = ""
    named_by_product: bool = False
    implicit: bool = False
    needs_engine: bool = False
    pulls_images: bool = False
    needs_live_host: bool = True
    runs_below_root: bool = False
    keeps_references: bool = False
    brings_more: bool = False

    @property
    def runs_on_this_machine(self) -> bool:
        """Whether it runs on this machine below `--root`, where `--only` names it."""
        return self.runs_below_root and not self.implicit

    @property
    def every_option(self) -> list[Option]:
        """Its options, and what takes their places in a step with a `user`."""
        return [each for option in self.options for each in (option, option.of_user) if each]

    def options_of(self, options: Mapping[str, Any]) -> list[Option]:
        """Return what a step may say, as it has a `user` or not."""
        return [(option.of_user if "user" in options else None) or option for option in self.options]

    def files(self, options: Mapping[str, Any]) -> Iterator[tuple[Option, str]]:
        """Yield the files that a step names, each with the option that names it, in the order of the spec."""
        for option in self.options_of(options):
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
    # Two options may be right by themselves and contradict each other.
    for option in spec.options:
        both = [key for key in option.excludes if {key, option.key} <= options.keys()]
        if both:
            return f"must not have `{both[0]}` together with `{option.key}`"
        lacks = [key for key in option.needs if option.key in options and key not in options]
        if lacks:
            return f"must have `{lacks[0]}` together with `{option.key}`"
    bound = {key for form in spec.forms for key in form}
    if not spec.forms or any(set(form) == bound & set(options) for form in spec.forms):
        return ""
    forms = [" and ".join(f"`{key}`" for key in form) for form in spec.forms]
    return f"must have {', or '.join(forms)}, and nothing of another form"


def _check(value: Value, option: Option) -> None:
    if option.is_duration:
        value.number(1, MAX_SECONDS)
    elif option.is_flag:
        value.flag()
    elif option.is_list or (option.list_feature and isinstance(value.raw, list)):
        what, read = ("file", _path) if option.kind is not None else ("value", partial(_text, option))
        named = value.items(read, MAX_FILES)
        if isinstance(value.raw, list) and not named:
            value.note(f"must name at least one {what}")
        # It would be installed twice, and removed once.
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
