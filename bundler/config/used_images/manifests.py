"""The images of Kubernetes manifests: of every pod, wherever its template is, and of custom resources.

Kubernetes defines where pods have images: in the lists of containers, whatever object they belong to, and in
volumes that are images. Custom resources have fields of their own; those that name an image by convention are
known here. An image that a program chooses itself, by its arguments or by default, is written nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundler.config.used_images.use import ImageUse
from installer.core.errors import Problem
from installer.core.oci.reference import reference_fault, split_reference
from installer.shared.strict_yaml import MAX_NODES

if TYPE_CHECKING:
    from yaml import Node

MAX_BYTES = 16 * 1024 * 1024
"""Of one file, or of what a chart is rendered to."""
_DEPTH = 64
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_RELATED = "RELATED_IMAGE_"
"""What the names of variables begin with by which operators are told the images that they start."""
_FIELDS = ("image", "imageName", "baseImage")
"""Keys of custom resources whose text is an image: of Prometheus, CloudNativePG, Tekton and others."""
_OWN = ("k8s.io",)
"""The API groups of Kubernetes itself end so, or have no dot."""


@dataclass(slots=True)
class _Object:
    """What is being looked at: the object, and how many values it may still have."""

    name: str
    user: str = ""
    is_custom: bool = False
    left: int = MAX_NODES


def find(data: bytes, name: str) -> tuple[list[ImageUse], list[Problem]]:
    """Return the images of a file of manifests, and why it could not be read.

    Args:
        data: One or more YAML documents; JSON is YAML.
        name: The file, as messages name it.
    """
    import yaml

    if len(data) > MAX_BYTES:
        return [], [Problem(name, f"is larger than {MAX_BYTES // 1024**2} MiB", "split it")]
    found, walked = list[ImageUse](), _Object(name)
    try:
        # Nodes, not objects: they have lines, and no tag makes anything.
        for root in yaml.compose_all(
            data.decode("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        ):
            found += _of_object(walked, root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        return [], [Problem(where, f"is not YAML: {error.problem or error.context}", "correct it")]
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return [], [Problem(name, "is not YAML in UTF-8", "correct it")]
    except _TooMuchError:
        return [], [Problem(name, f"has more than {MAX_NODES} values, or {_DEPTH} levels", "split it")]
    return found, []


def is_manifest(data: bytes) -> bool:
    """Return whether a text looks like manifests: some line has `apiVersion`, and some `kind`."""
    starts = {line.split(b":")[0].strip(b" \"'-{") for line in data.splitlines()}
    return {b"apiVersion", b"kind"} <= starts


class _TooMuchError(Exception):
    pass


def _of_object(walked: _Object, node: Node | None) -> Iterator[ImageUse]:
    rows = _rows(node)
    if (items := rows.get("items")) and _text(rows.get("kind")).endswith("List"):
        for item in _items(items[1]):
            yield from _of_object(walked, item)
        return
    kind, version = _text(rows.get("kind")), _text(rows.get("apiVersion"))
    metadata = _rows(rows["metadata"][1]) if "metadata" in rows else {}
    named = _text(metadata.get("name")) or _text(metadata.get("generateName"))
    group = version.rpartition("/")[0]
    walked.user = f"{kind or 'object'} {named}".strip()
    walked.is_custom = "." in group and not group.endswith(_OWN)
    # What a definition of a kind describes are fields, and no images.
    if kind != "CustomResourceDefinition":
        yield from _below(walked, node, 0)


def _below(walked: _Object, node: Node | None, depth: int) -> Iterator[ImageUse]:
    # Aliases lead to the same nodes again, or round in a circle.
    walked.left -= 1
    if walked.left < 0 or depth > _DEPTH:
        raise _TooMuchError
    for key, (_, value) in _rows(node).items():
        if key in _CONTAINERS:
            for container in _items(value):
                yield from _of_container(walked, container)
        elif key == "volumes":
            for volume in _items(value):
                source = _rows(volume).get("image")
                yield from _use(walked, _rows(source[1]).get("reference") if source else None)
        elif walked.is_custom and key in _FIELDS and _is_tagged(_text((value, value))):
            yield from _use(walked, (value, value))
        yield from _below(walked, value, depth + 1)
    for item in _items(node):
        yield from _below(walked, item, depth + 1)


def _of_container(walked: _Object, container: Node) -> Iterator[ImageUse]:
    rows = _rows(container)
    # In a custom resource the walk comes to its fields anyway.
    image = rows.get("image")
    if image and not (walked.is_custom and _is_tagged(_text(image))):
        yield from _use(walked, image, _text(rows.get("imagePullPolicy")))
    for variable in _items(rows["env"][1]) if "env" in rows else ():
        row = _rows(variable)
        if _text(row.get("name")).startswith(_RELATED):
            yield from _use(walked, row.get("value"))


def _use(walked: _Object, row: tuple[Node, Node] | None, policy: str = "") -> Iterator[ImageUse]:
    if row and (text := _text(row)):
        yield ImageUse(text, walked.user, f"{walked.name}:{row[1].start_mark.line + 1}", policy)


def _is_tagged(text: str) -> bool:
    """Return whether a text of an unknown field is an image: one with a tag or a digest."""
    return not reference_fault(text) and any(split_reference(text)[1:])


def _rows(node: Node | None) -> dict[str, tuple[Node, Node]]:
    from yaml import MappingNode

    return {key.value: (key, value) for key, value in node.value} if isinstance(node, MappingNode) else {}


def _items(node: Node | None) -> list[Node]:
    from yaml import SequenceNode

    return node.value if isinstance(node, SequenceNode) else []


def _text(row: tuple[Node, Node] | None) -> str:
    from yaml import ScalarNode

    return str(row[1].value) if row and isinstance(row[1], ScalarNode) else ""
