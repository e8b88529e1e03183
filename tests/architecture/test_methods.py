"""One contract for deployment methods: nothing else knows a method by name, and the lists of them agree."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from installer.core.format.methods import IMPLICIT, METHODS, NAMES, SPECS
from installer.deploy.method import Method
from installer.deploy.method_registry import handler, method, methods
from installer.deploy.operation import Handler

ROOT = Path(__file__).resolve().parents[2]
SPEC_LIST = "installer/core/format/methods.py"
# Words of something else that a method has for its name, too.
OTHER_MEANINGS = {
    "bundler/commands/init.py": {
        "ansible",
        "compose",
        "helm",
        "quadlet",
        "salt",
        "script",
        "systemd",
    },  # templates
    "bundler/cli/documents.py": {"script"},  # a script of a shell, for completion
    "bundler/cli/main.py": {"script"},
    "installer/cli/documents.py": {"script"},
    "installer/cli/app.py": {"script"},
    "installer/core/errors.py": {"script"},  # a cause: it may be of several methods
    "installer/deploy/configuration/operations.py": {"script"},
    "installer/deploy/ansible/operations.py": {"script"},
    "installer/deploy/salt/operations.py": {"script"},
    "installer/transaction/failed_release.py": {"script"},
    "bundler/config/checks/scripts.py": {"script"},
    "bundler/config/used_images/charts.py": {"helm"},  # the program on this machine
    "installer/deploy/kubernetes/client.py": {"kubectl"},  # the program
    "installer/deploy/kubernetes/site.py": {"helm", "kubectl"},
    "installer/deploy/kubernetes/tools.py": {"kubectl"},
    "bundler/signing/cosign.py": {"salt"},  # of a key
    "bundler/freeze/build.py": {"script"},  # an option of cx_Freeze
    "bundler/freeze/run.py": {"script"},
    "installer/core/format/manifest.py": {"compose", "script"},  # kinds of files in the bundle
    "installer/shared/rendering/env_values.py": {"compose", "systemd"},  # readers of environment files
}
# All that an executable has ever written into a journal: a host may still have one that is unfinished.
JOURNALED = (
    *("release.place", "files.change", "removal.account"),
    *("image.load", "image.tag", "image.store", "image.drop"),
    *("systemd.before", "systemd.up", "compose.before", "compose.up"),
    *("helm.upgrade", "helm.test", "helm.uninstall"),
    *("kubectl.before", "kubectl.apply", "kubectl.delete"),
    *("ansible.before", "ansible.apply", "ansible.forward", "ansible.remove"),
    *("ansible.undo-hosts", "ansible.apply-hosts", "ansible.remove-hosts"),
    *("salt.before", "salt.apply", "salt.remove"),
    *("on_change.back", "on_change.commands", "on_change.units"),
    *("script.before", "script.apply", "script.snapshot", "script.forward", "script.remove"),
)


def module_of(name: str) -> str:
    """A module, or the one of that name in a package of its own, which tells the registry about it."""
    if name == "images":
        return "installer/images/method.py"
    package = f"installer/deploy/{name}/method.py"
    return package if (ROOT / package).exists() else f"installer/deploy/{name}.py"


def product() -> Iterator[tuple[str, ast.Module]]:
    for package in ("installer", "bundler"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def strings(tree: ast.Module) -> set[str]:
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("name", sorted({spec.name for spec in METHODS} - IMPLICIT))
def test_a_method_is_named_in_its_module_and_its_spec_only(name: str) -> None:
    """Whole strings count: code compares and looks up with those. The word inside of a longer text does not,
    as in `/etc/systemd/system`, where `install setup` puts a unit of its own. The names of the implicit
    methods, `files` and `images`, are also keys of bundle.json and of reports.
    """
    allowed = {SPEC_LIST, module_of(name), *(path for path, words in OTHER_MEANINGS.items() if name in words)}
    own = f"installer/deploy/{name}/"
    named = {path for path, tree in product() if name in strings(tree) and not path.startswith(own)}
    assert named <= allowed


def test_only_the_registry_imports_the_module_of_a_method() -> None:
    modules = {module_of(spec.name).removesuffix(".py").replace("/", ".") for spec in METHODS}
    for path, tree in product():
        if path.endswith("/__init__.py"):
            continue  # the package of a method, whose name the registry imports
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                imported = {str(node.module), *(f"{node.module}.{name.name}" for name in node.names)}
                assert not imported & modules, path
            elif isinstance(node, ast.Import):
                assert not {name.name for name in node.names} & modules, path


def test_no_member_is_looked_for_by_name() -> None:
    """What a method or a handler may have is in its base class."""
    for path, tree in product():
        if path.startswith(
            ("installer/deploy", "installer/images", "installer/planning", "installer/transaction")
        ):
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            named = [call for call in calls if ast.unparse(call.func) in ("getattr", "hasattr")]
            assert not [call for call in named if isinstance(call.args[1], ast.Constant)], path


def test_every_spec_has_its_method_and_every_kind_of_item_one_method() -> None:
    found = list(methods())
    assert [each.name for each in found] == [spec.name for spec in METHODS]
    assert all(isinstance(each, Method) for each in found)
    kinds = [kind for each in found for kind in each.item_kinds]
    assert len(kinds) == len(set(kinds))
    assert method("nomad") is None


@pytest.mark.parametrize("kind", JOURNALED)
def test_every_kind_of_operation_in_a_journal_has_its_handler(kind: str) -> None:
    assert isinstance(handler(kind), Handler)


def branches() -> Iterator[tuple[str, dict[str, Any]]]:
    schema = json.loads((ROOT / "schemas/v1/bundle-yaml.schema.json").read_text())
    for branch in schema["properties"]["deploy"]["items"]["oneOf"]:
        yield branch["properties"]["method"]["const"], branch["properties"]


def test_the_schemas_have_every_method() -> None:
    assert {name for name, _ in branches()} == set(NAMES)
    yaml = json.loads((ROOT / "schemas/v1/bundle-yaml.schema.json").read_text())["$defs"]
    assert set(yaml["when"]["enum"]) == set(NAMES)
    manifest = json.loads((ROOT / "schemas/v1/bundle.schema.json").read_text())["$defs"]
    assert set(manifest["deployment"]["properties"]["method"]["enum"]) == set(NAMES)
    assert set(manifest["health"]["properties"]["when"]["enum"]) == {"", *NAMES}


def manifest_options() -> dict[str, dict[str, Any]]:
    """The schema of the options in bundle.json by the method."""
    schema = json.loads((ROOT / "schemas/v1/bundle.schema.json").read_text())
    rules = schema["$defs"]["deployment"]["allOf"]
    return {
        rule["if"]["properties"]["method"]["const"]: rule["then"]["properties"]["options"] for rule in rules
    }


@pytest.mark.parametrize("name", SPECS)
def test_the_schemas_and_the_spec_have_the_same_options(name: str) -> None:
    wanted = {option.key for option in SPECS[name].options}
    keys = {key for method, properties in branches() if method == name for key in properties}
    assert keys - {"method", "optional"} == wanted
    assert set(manifest_options()[name]["properties"]) == wanted


@pytest.mark.parametrize("name", SPECS)
def test_the_forms_of_a_step_are_the_branches_of_the_schema(name: str) -> None:
    schema = json.loads((ROOT / "schemas/v1/bundle-yaml.schema.json").read_text())
    required = {
        tuple(key for key in branch["required"] if key != "method")
        for branch in schema["properties"]["deploy"]["items"]["oneOf"]
        if branch["properties"]["method"]["const"] == name
    }
    assert required == set(SPECS[name].forms or ((),))


@pytest.mark.parametrize("name", SPECS)
def test_the_options_of_which_a_step_has_one_are_those_of_the_schemas(name: str) -> None:
    schema = json.loads((ROOT / "schemas/v1/bundle-yaml.schema.json").read_text())
    for branch in schema["properties"]["deploy"]["items"]["oneOf"]:
        if branch["properties"]["method"]["const"] == name:
            rows = [key for each in branch.get("anyOf", []) for key in each["required"]]
            assert tuple(rows) == SPECS[name].some_of
    rows = [key for each in manifest_options()[name].get("anyOf", []) for key in each["required"]]
    assert tuple(rows) == SPECS[name].some_of
