"""Manifests of Kubernetes that are applied as they are: what every one of them must have, and must not have.

`bundle create` asks for it, and `install` again: of what a template makes, and of bundles of anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from installer.shared.review.yaml_values import NotReadableError, yaml_documents

MOST = 500
"""Objects of one step."""
LONGEST = 253
"""Characters of a name in a cluster."""
LABELS = "waybill."
"""What begins the labels that Waybill gives to objects."""
_HOOK = "helm.sh/hook"
_WRITE = "write each object as a document of its own, with apiVersion, kind and metadata.name"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a document.

    Attributes:
        file: The file.
        what: What is wrong.
        hint: What to do about it.
    """

    file: str
    what: str
    hint: str


def faults(files: Iterable[tuple[str, bytes]]) -> Iterator[Fault]:
    """Yield what is wrong with the manifests of one step.

    Args:
        files: Each file as messages name it, with its text.
    """
    seen: dict[tuple[str, ...], str] = {}
    count = 0
    for file, data in files:
        try:
            values = yaml_documents(data)
        except NotReadableError as error:
            yield Fault(file, str(error), "correct the file")
            continue
        for number, value in enumerate(values, 1):
            if value is None:
                continue  # a separator with nothing after it, as generators write it
            count += 1
            yield from _of_document(file, number, value)
            if key := _key(value):
                if key in seen:
                    what = f"has {key[1]} {key[3]}, which {seen[key]} has, too"
                    yield Fault(file, what, "remove one of the two: the later one would win")
                seen.setdefault(key, file)
    if count > MOST:
        yield Fault(file, f"is one of files with {count} objects, more than {MOST}", "make two steps of them")


def _of_document(file: str, number: int, value: Any) -> Iterator[Fault]:
    if not isinstance(value, Mapping):
        yield Fault(file, f"document {number} is no object", _WRITE)
        return
    kind, api = value.get("kind"), value.get("apiVersion")
    if not (isinstance(kind, str) and kind and isinstance(api, str) and api):
        yield Fault(file, f"document {number} has no apiVersion or no kind", _WRITE)
        return
    if kind.endswith("List") and "items" in value:
        yield Fault(file, f"document {number} is a {kind}", _WRITE)
        return
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    name = metadata.get("name")
    if "generateName" in metadata:
        what = f"document {number} ({kind}) has generateName: each installation would make another one"
        yield Fault(file, what, "give it a name")
    elif not isinstance(name, str) or not name or len(name) > LONGEST or name != name.strip():
        yield Fault(file, f"document {number} ({kind}) has no name", _WRITE)
    for place in ("labels", "annotations"):
        found = metadata.get(place, {})
        if not isinstance(found, Mapping):
            what = f"{kind} {name}: metadata.{place} is no mapping"
            yield Fault(file, what, "write KEY: value, or leave it out")
        elif own := [key for key in found if str(key).startswith(LABELS)]:
            yield Fault(file, f"{kind} {name} has {own[0]}, which only Waybill sets", "remove it")
        elif _HOOK in found:
            what = f"{kind} {name} is a hook of Helm, which would be applied like any other object"
            yield Fault(file, what, "use a step `helm`, or remove the annotation")


def _key(value: Any) -> tuple[str, ...] | None:
    """Return what tells an object from others, whatever the version of its API; None for what is none."""
    metadata = value.get("metadata") if isinstance(value, Mapping) else None
    if not isinstance(metadata, Mapping):
        return None
    # By the group alone: the server keeps one object, whichever version of its API it is written in.
    group = str(value.get("apiVersion")).rpartition("/")[0]
    return group, str(value.get("kind")), str(metadata.get("namespace") or ""), str(metadata.get("name"))
