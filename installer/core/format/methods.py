"""The deployment methods: what a step under `deploy` may say, in one list for `bundle` and `install` alike.

How a method works is in `installer/deploy/NAME.py`; here is only what both commands have to know of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from installer.core.format import features
from installer.core.format.entries import ansible_core_files, kube_manifests
from installer.core.format.entries.method_spec import MethodSpec, Option
from installer.core.format.entries.salt_states import SLS
from installer.core.format.entries.unit_names import KINDS as UNIT_KINDS
from installer.core.format.manifest import Deployment, FileEntry, Kind
from installer.core.risk import host_settings
from installer.core.risk.charts import examine_chart
from installer.core.risk.commands import examine_state
from installer.core.risk.compose_files import examine_services, further_files
from installer.core.risk.kube_files import examine_objects
from installer.core.risk.playbooks import examine_playbook
from installer.core.risk.quadlet_files import examine_quadlet
from installer.core.risk.risk import Examine
from installer.core.risk.units import examine_unit, examine_user_unit

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


def _tool(key: str) -> tuple[Option, Option]:
    """Return the options for a program that travels with a step, and for its licence."""
    licence = f"{key}_licence"
    return (
        Option(key, "tool", is_list=True, is_tool=True, needs=(licence,), feature=features.TOOLS),
        Option(licence, "licence", needs=(key,), feature=features.TOOLS),
    )


_LABEL = "lower-case letters, digits and hyphens"
NAMESPACE = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
RELEASE_NAME = r"[a-z0-9](?:[a-z0-9-]{0,51}[a-z0-9])?"
_BOUND = r"(?:>=|<=|==|!=|>|<) ?[0-9]{1,4}(?:\.[0-9]{1,4}){1,2}"
CORE_RANGE = rf"{_BOUND}(?:, ?{_BOUND}){{0,7}}"
SITE_FILE = r"[a-z0-9][a-z0-9._-]{0,58}\.ya?ml"
GROUP = r"(?!(?:all|ungrouped)\Z)[A-Za-z_][A-Za-z0-9_]{0,62}"
_RELEASE = r"(?:>=|<=|==|!=|>|<) ?[0-9]{1,6}(?:\.[0-9]{1,6}){0,2}"
SALT_RANGE = rf"{_RELEASE}(?:, ?{_RELEASE}){{0,7}}"
_UNITS = Option(
    "units",
    "unit",
    is_list=True,
    directory="/etc/systemd/system",
    name_pattern=rf"{UNIT_NAME}(?:\.d/{_CONF})?",
    name_hint="use a name that ends in .service, .socket, .timer, …; for a drop-in a file in a "
    "directory such as chat.service.d, whose name ends in .conf",
    examine=examine_unit,
)
_OF_USER = replace(_UNITS, kind="user-unit", directory="/etc/systemd/user", examine=examine_user_unit)
FILES = MethodSpec("files", implicit=True, needs_live_host=False, runs_below_root=True)
IMAGES = MethodSpec("images", implicit=True, needs_live_host=False, runs_below_root=True)
METHODS = (
    FILES,
    MethodSpec(
        "systemd",
        options=(
            replace(_UNITS, of_user=_OF_USER),
            Option(
                "user",
                # Not root: its units are those of the system.
                pattern=r"(?!root\Z)[a-z_][a-z0-9_-]{0,31}",
                form="the name of a user other than root",
                feature=features.USER_UNITS,
                excludes=("sysusers", "tmpfiles", "modules", "sysctl", "udev"),
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
        identity="user",
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
                pattern=SITE_FILE,
                form="the name of a YAML file without a directory, such as compose.override.yaml",
                rendered_as="compose.override.yaml",
                feature=features.COMPOSE_OVERRIDE,
            ),
        ),
        forms=(("file",),),
        identity="project",
        named_by_product=True,
        needs_engine=True,
        runs_below_root=True,
    ),
    MethodSpec(
        "quadlet",
        options=(
            Option(
                "files",
                "podman",
                is_list=True,
                directory="/etc/containers/systemd",
                name_pattern=r"[A-Za-z0-9][A-Za-z0-9_.-]*\.(?:container|pod|network|volume|kube|image|ya?ml)",
                name_hint="use a name that ends in .container, .pod, .network, .volume, .kube or .image, "
                "without @; or in .yaml for what a .kube file names",
                examine=examine_quadlet,
                manifests=(".yaml", ".yml"),
                feature=features.QUADLET,
            ),
        ),
        forms=(("files",),),
        needs_engine=True,
    ),
    MethodSpec(
        "helm",
        options=(
            Option(
                "chart",
                "chart",
                list_feature=features.HELM,
                examine=examine_chart,
                feature=features.HELM,
            ),
            Option("release", pattern=RELEASE_NAME, form=f"the name of a release: {_LABEL}, at most 53"),
            Option("namespace", pattern=NAMESPACE, form=f"the name of a namespace: {_LABEL}, at most 63"),
            Option("values", "template", rendered_as="site-values.yaml"),
            Option("timeout", is_duration=True),
            Option("test", is_flag=True),
            *_tool("helm"),
            *_tool("kubectl"),
        ),
        forms=(("chart",),),
        identity="release",
        named_by_product=True,
        pulls_images=True,
        keeps_references=True,
    ),
    MethodSpec(
        "kubectl",
        options=(
            Option(
                "manifests",
                kube_manifests.KIND,
                is_list=True,
                name_pattern=kube_manifests.NAME,
                name_hint="use a name that ends in .yaml, .yml or .json",
                examine=examine_objects,
                manifests=kube_manifests.SUFFIXES,
                feature=features.KUBECTL,
            ),
            Option("template", "template", rendered_as="site-manifests.yaml", feature=features.KUBECTL),
            Option("namespace", pattern=NAMESPACE, form=f"the name of a namespace: {_LABEL}, at most 63"),
            Option("timeout", is_duration=True),
            *_tool("kubectl"),
        ),
        some_of=("manifests", "template"),
        identity="namespace",
        named_by_product=True,
        pulls_images=True,
        keeps_references=True,
    ),
    MethodSpec(
        "ansible",
        options=(
            Option(
                "playbook",
                "playbook",
                list_feature=features.ANSIBLE,
                examine=examine_playbook,
                feature=features.ANSIBLE,
            ),
            Option("undo", "playbook", examine=examine_playbook),
            Option("values", "template", rendered_as="site-values.yaml"),
            Option(
                "ansible",
                ansible_core_files.KIND,
                is_list=True,
                summary="is ansible-core, which runs as root; its files were not examined",
                feature=features.ANSIBLE_CORE,
            ),
            Option("ansible_core", pattern=CORE_RANGE, form="a range of versions, such as >=2.15,<2.20"),
            Option("timeout", is_duration=True),
            Option(
                "inventory",
                pattern=SITE_FILE,
                form="the name of a YAML file without a directory, such as inventory.yaml",
                rendered_as="site-inventory.yaml",
                feature=features.ANSIBLE_INVENTORY,
                # What fails on one of several hosts has to be undone on the others, also the first time.
                needs=("groups", "undo"),
            ),
            Option(
                "groups",
                is_list=True,
                pattern=GROUP,
                form="the name of a group of the inventory",
                needs=("inventory",),
            ),
        ),
        forms=(("playbook",),),
        identity="playbook",
        keeps_references=True,
        brings_more=True,
    ),
    IMAGES,
    MethodSpec(
        "salt",
        options=(
            Option(
                "state",
                "deploy",
                is_list=True,
                examine=examine_state,
                feature=features.SALT,
            ),
            Option("undo", pattern=SLS, form="the name of a state, such as lan_chat.undo"),
            Option("pillar", "template", rendered_as="site-pillar.yaml"),
            Option("salt_version", pattern=SALT_RANGE, form="a range of versions, such as >=3006,<3010"),
            Option("timeout", is_duration=True),
        ),
        forms=(("state",),),
        identity="state",
        keeps_references=True,
        brings_more=True,
        runs_below_root=True,
    ),
    MethodSpec(
        "script",
        options=(
            Option("apply", "script", is_program=True),
            Option("undo", "script", is_program=True),
            Option("snapshot", "script", is_program=True),
            Option("restore", "script", is_program=True),
            Option("values", "template", rendered_as="site-values.yaml", feature=features.SCRIPT_VALUES),
            Option("timeout", is_duration=True),
            Option(
                "roll_forward_only",
                pattern=r"[^\x00-\x1f\x7f]{10,200}",
                form="a reason in 10 to 200 characters",
            ),
        ),
        forms=(("apply", "undo"), ("apply", "snapshot", "restore"), ("apply", "roll_forward_only")),
        identity="apply",
        keeps_references=True,
        brings_more=True,
        runs_below_root=True,
    ),
)
"""All methods of this version, in the order in which a removal is checked."""

SPECS = {spec.name: spec for spec in METHODS}
NAMES = tuple(SPECS)
ON_THIS_MACHINE = tuple(sorted(spec.name for spec in METHODS if spec.runs_on_this_machine))
"""Methods that run on this machine below `--root`, where `--only` names them."""
IMPLICIT = frozenset(spec.name for spec in METHODS if spec.implicit)
_EVERY_OPTION = [option for spec in METHODS for option in spec.every_option]
TOOLS = tuple(dict.fromkeys(o.kind for o in _EVERY_OPTION if o.kind and o.is_tool))
"""Kinds of the programs that steps run."""
LIBRARIES = tuple(dict.fromkeys(o.kind for o in _EVERY_OPTION if o.kind and o.summary))
"""Kinds of the files of others that steps run, of which there are hundreds."""
FILE_KINDS = tuple(
    dict.fromkeys(
        o.kind for o in _EVERY_OPTION if o.kind and not o.rendered_as and o.kind not in (*TOOLS, *LIBRARIES)
    )
)
"""Kinds of the texts that only steps name."""


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


_DIRECTORIES = {o.kind: o.directory for o in _EVERY_OPTION if o.directory}


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
    is_drop_in = kind in UNIT_KINDS and name.endswith(".conf") and _DROP_IN.fullmatch(folder)
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
