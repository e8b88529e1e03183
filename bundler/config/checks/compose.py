"""Find the images that a Compose file uses, and whatever it needs that a bundle would not have.

Compose files may have anchors, aliases and merge keys. They are read as a
graph of nodes in which an alias is a second way to the same node, so nothing is ever multiplied out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from installer.core.errors import Problem
from installer.core.format.manifest import Kind
from installer.shared.strict_yaml import MAX_BYTES

if TYPE_CHECKING:
    from yaml import MappingNode, Node

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<bare>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<how>:?[-?+])(?P<rest>[^}]*))?\})"
)
MERGE_DEPTH = 16
KIND: Kind = "compose"


@dataclass(frozen=True, slots=True)
class ImageUse:
    """An image that a service uses: its reference, the service, and the line."""

    reference: str
    service: str
    line: int


@dataclass(slots=True)
class ComposeFile:
    """The result of reading a Compose file.

    Attributes:
        name: Its path in bundle.yaml, for messages.
        uses: The images that its services use.
        problems: What would not work on a host.
    """

    name: str
    uses: list[ImageUse] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def report(self, node: Node | None, what: str, hint: str = "check that it is a Compose file") -> None:
        """Add a problem; without a node, one of the whole file."""
        where = f"{self.name}:{node.start_mark.line + 1}" if node else self.name
        self.problems.append(Problem(where, what, hint))


def read(data: bytes, name: str, variables: Mapping[str, str]) -> ComposeFile:
    """Read a Compose file.

    Args:
        data: Its bytes.
        name: Its path in bundle.yaml, for messages.
        variables: Variables that the host sets for Compose: `WAYBILL_VERSION`, `WAYBILL_PRODUCT`.
    """
    import yaml

    result = ComposeFile(name)
    # Compose reads such files, too; the limit guards this process, not the format.
    if len(data) > MAX_BYTES:
        result.report(None, "is larger than 1 MiB")
        return result
    try:
        # Nodes, not objects: they keep line numbers, and aliases are shared instead of copied.
        root = yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        hint = "run `docker compose config` for details"
        result.problems.append(Problem(f"{name}:{line}", f"is not YAML: {error.problem}", hint))
        return result
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        result.report(None, "is not YAML in UTF-8")
        return result
    top = dict(_entries(root))
    services = dict(_entries(top.get("services")))
    if not services:
        result.problems.append(Problem(f"{name}:1", "has no services", "check that it is a Compose file"))
    for service, node in services.items():
        _service(service, node, variables, result)
    _carried(top, services, result)
    return result


def _service(service: str, node: Node, variables: Mapping[str, str], result: ComposeFile) -> None:
    entries = dict(_entries(node))
    image = entries.get("image")
    # The image would be built from sources that are not on the host.
    if "build" in entries:
        hint = "build the image first, list it under images, and replace build: with image:"
        what = f"service {service} has build:, but hosts have no source code to build from"
        result.report(entries["build"], what, hint)
        return
    if image is None:
        # The extended service may have the image.
        if "extends" not in entries:
            result.report(node, f"service {service} has no image", "add image:")
        return
    reference, problem = _fill(_text(image), variables)
    if problem:
        result.report(image, f"the image of service {service} {problem[0]}", problem[1])
        return
    result.uses.append(ImageUse(reference, service, image.start_mark.line + 1))


def _fill(text: str, variables: Mapping[str, str]) -> tuple[str, tuple[str, str] | None]:
    # Placeholders of bundle.yaml are not replaced here: the file must stay valid for Compose.
    if re.search(r"(?<!\$)\{[a-z]+\}", text):
        hint = "write ${WAYBILL_VERSION}: Compose files are shipped unchanged"
        return text, ("has {…}; placeholders are replaced only in bundle.yaml", hint)
    unknown: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        variable = match["bare"] or match["name"]
        if variable in variables:
            return variables[variable]
        # A default without further variables is known now; the host may still set the variable.
        if match["how"] in ("-", ":-") and "$" not in match["rest"]:
            return str(match["rest"])
        unknown.append(variable)
        return ""

    filled = _VARIABLE.sub(value, text)
    if unknown:
        hint = f"use {' or '.join(variables)}, or give a default: ${{{unknown[0]}:-…}}"
        return text, (f"depends on ${unknown[0]}, which is known only on the host", hint)
    return filled, None


def _carried(top: Mapping[str, Node], services: Mapping[str, Node], result: ComposeFile) -> None:
    """Report files that the Compose file refers to: only the file itself is shipped."""
    referring: list[tuple[str, Node]] = [("include", item) for item in _items(top.get("include"))]
    # Only the Compose file itself is shipped: relative paths would lead to nothing on the host.
    for section in ("configs", "secrets"):
        for key, node in _entries(top.get(section)):
            referring += [(f"{section}.{key}", value) for word, value in _entries(node) if word == "file"]
    for service, node in services.items():
        for word, value in _entries(node):
            if word == "env_file":
                referring += [(f"env_file of {service}", item) for item in _items(value)]
            elif word == "extends":
                referring += [
                    (f"extends of {service}", item) for key, item in _entries(value) if key == "file"
                ]
    for what, node in referring:
        path = next((_text(value) for key, value in _entries(node) if key == "path"), _text(node))
        if path and not path.startswith(("/", "$")):
            hint = "install it with config or trees, and refer to its absolute path on the host"
            result.report(node, f"{what} refers to {path}, which is not shipped with the Compose file", hint)


def _entries(node: Node | None, depth: int = 0) -> Iterator[tuple[str, Node]]:
    """Return the entries of a mapping, with merged-in mappings first, so that its own entries win."""
    from yaml import MappingNode, ScalarNode

    # Merge keys can nest without end, since an alias may contain itself.
    if not isinstance(node, MappingNode) or depth > MERGE_DEPTH:
        return
    yield from _merged(node, depth)
    for key, value in node.value:
        if isinstance(key, ScalarNode) and key.value != "<<":
            yield str(key.value), value


def _merged(node: MappingNode, depth: int) -> Iterator[tuple[str, Node]]:
    for key, value in node.value:
        if key.value == "<<":
            for source in reversed(list(_items(value))):
                yield from _entries(source, depth + 1)


def _items(node: Node | None) -> Iterator[Node]:
    from yaml import SequenceNode

    if isinstance(node, SequenceNode):
        yield from node.value
    elif node is not None:
        yield node


def _text(node: Node) -> str:
    from yaml import ScalarNode

    return str(node.value) if isinstance(node, ScalarNode) else ""
