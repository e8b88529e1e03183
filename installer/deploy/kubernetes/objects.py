"""The objects of a release: what they are, and the changes that Waybill makes to them.

They are changed as events of the YAML parser, so that every other value stays as it was written: types differ
between readers of YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from installer.deploy.operation import StepError
from installer.deploy.site.images import site_rule
from installer.shared.review.yaml_values import NotReadableError, yaml_values

CLAIM = "PersistentVolumeClaim"
HOOK = "helm.sh/hook"
KEEP = ("helm.sh/resource-policy", "keep")
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicaSet", "Pod")
_SEPARATOR = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)
_SOURCE = re.compile(r"^# Source: (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class KubeObject:
    """An object of a release.

    Attributes:
        text: As it was written or rendered.
        value: Its values; scalars are texts, except for true, false and null.
        source: The file that it comes from.
    """

    text: str
    value: Mapping[str, Any]
    source: str = ""

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.value.get("kind") or "")

    @property
    def api(self) -> str:
        """Its API version, such as `apps/v1`."""
        return str(self.value.get("apiVersion") or "")

    @property
    def type(self) -> str:
        """Its API version and kind, such as `apps/v1/Deployment`."""
        return f"{self.api}/{self.kind}"

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metadata."""
        return mapping(self.value.get("metadata"))

    @property
    def annotations(self) -> Mapping[str, Any]:
        """Its annotations."""
        return mapping(self.metadata.get("annotations"))

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.metadata.get("name") or "")

    @property
    def namespace(self) -> str:
        """Its namespace; empty where it is that of the release."""
        return str(self.metadata.get("namespace") or "")

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self.kind}/{self.name}"

    @property
    def hooks(self) -> tuple[str, ...]:
        """The moments at which Helm runs it as a hook; empty for any other object."""
        said = str(self.annotations.get(HOOK) or "")
        return tuple(word.strip() for word in said.split(",") if word.strip())

    @property
    def pod(self) -> Mapping[str, Any]:
        """The specification of its pods; empty where it has none."""
        spec = mapping(self.value.get("spec"))
        if self.kind == "Pod":
            return spec
        if self.kind == "CronJob":
            spec = mapping(mapping(spec.get("jobTemplate")).get("spec"))
        return mapping(mapping(spec.get("template")).get("spec"))

    @property
    def pod_labels(self) -> Mapping[str, Any]:
        """The labels of its pods."""
        if self.kind == "Pod":
            return mapping(self.metadata.get("labels"))
        template = mapping(mapping(self.value.get("spec")).get("template"))
        return mapping(mapping(template.get("metadata")).get("labels"))


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a value that is a mapping; an empty one for any other value."""
    return value if isinstance(value, Mapping) else {}


def listing(value: Any) -> list[Any]:
    """Return a value that is a list; an empty one for any other value."""
    return value if isinstance(value, list) else []


def objects_in(text: str, where: str) -> list[KubeObject]:
    """Return the objects in a rendered text.

    Args:
        text: YAML documents.
        where: How errors name it.

    Raises:
        StepError: One is no object.
    """
    found = []
    for part in _SEPARATOR.split(text):
        source = match[1] if (match := _SOURCE.search(part)) else where
        try:
            value = yaml_values(part.encode())
        except NotReadableError as error:
            hint = "correct the template, and build the bundle again"
            raise StepError(f"makes something that {error}", where=source, hint=hint) from None
        if value is None:
            continue
        if not isinstance(value, Mapping) or not value.get("kind") or not value.get("apiVersion"):
            raise StepError("makes something that is no object: it has no kind and apiVersion", where=source)
        found.append(KubeObject(part.strip("\n"), value, source))
    return found


def text_of(objects: Iterable[KubeObject]) -> str:
    """Return objects as one text."""
    return "".join(f"---\n{each.text}\n" for each in objects)


def for_site(objects: Iterable[KubeObject], references: Mapping[str, str]) -> Iterator[KubeObject]:
    """Yield the objects as this site gets them: with its references to images, and with claims that stay.

    Args:
        objects: Those that the chart makes.
        references: From `site_references`.
    """
    rule = site_rule(references)
    for each in objects:
        images = {name: rule(name) for name in images_of(each.value) if rule(name) != name}
        # A claim has data: Helm deletes it with the release, unless it says that it stays.
        keeps = each.kind == CLAIM and not each.hooks and KEEP[0] not in each.annotations
        yield edited(each, Edits(images, "annotations", dict([KEEP]) if keeps else {}))


def images_of(value: Any) -> Iterator[str]:
    """Yield the references of images in the values of an object."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key == "image" and isinstance(each, str):
                yield each
            elif key != "metadata" or "spec" in mapping(each):
                yield from images_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from images_of(each)


@dataclass(frozen=True, slots=True)
class Edits:
    """What is changed in an object.

    Attributes:
        images: The references of images that are replaced, by what they are.
        place: The mapping in its metadata that gets more: `labels` or `annotations`.
        added: What it gets.
        values: Values that are replaced wherever they are, by what they are.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    place: str = "annotations"
    added: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)


def edited(each: KubeObject, edits: Edits) -> KubeObject:
    """Return an object with changes.

    Raises:
        StepError: What it has in the place of its labels or annotations is no mapping of its own.
    """
    if not (edits.images or edits.added or edits.values):
        return each
    text = _edited(each, edits)
    value = yaml_values(text.encode())
    got = mapping(mapping(value.get("metadata")).get(edits.place))
    if any(got.get(key) != word for key, word in edits.added.items()):
        what = f"{each.label}: metadata.{edits.place} is no mapping that something can be added to"
        raise StepError(what, where=each.source, hint="write it out: `KEY: value`, without an alias")
    return replace(each, text=text, value=value)


def _edited(each: KubeObject, edits: Edits) -> str:
    import yaml

    added = [_text(word) for row in edits.added.items() for word in row]
    has_place = edits.place in each.metadata
    if not has_place:
        start, end = yaml.MappingStartEvent(None, None, True), yaml.MappingEndEvent()
        added = [_text(edits.place), start, *added, end]
    place = ["metadata", edits.place] if has_place else ["metadata"]
    # The key that leads to each collection that is open, and in a mapping whether a key comes next.
    out, path, keys = list[Any](), list[str](), list[bool | None]()
    for event in yaml.parse(each.text, Loader=yaml.SafeLoader):
        is_node = isinstance(event, yaml.NodeEvent)
        is_key = is_node and bool(keys and keys[-1])
        if isinstance(event, yaml.CollectionEndEvent):
            path.pop()
            keys.pop()
        elif is_key:
            path[-1] = event.value if isinstance(event, yaml.ScalarEvent) else ""
        if isinstance(event, yaml.ScalarEvent):
            # A text that cannot be plain where it is written again gets quotes, not a tag.
            event.implicit = (event.implicit[0], True) if event.tag is None else event.implicit
            is_image = path[-1:] == ["image"] and "metadata" not in path
            known = {**edits.values, **(edits.images if is_image else {})}
            if not is_key and event.value in known:
                event.value, event.style = known[event.value], '"'
                event.implicit = (False, True)
        out.append(event)
        # A node ends with its scalar, or with its collection.
        ends = isinstance(event, yaml.ScalarEvent | yaml.AliasEvent | yaml.CollectionEndEvent)
        if ends and keys and keys[-1] is not None:
            keys[-1] = not keys[-1]
        if isinstance(event, yaml.CollectionStartEvent):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            out += added if edits.added and is_mapping and path == place else []
            path.append("")
            keys.append(True if is_mapping else None)
    return str(yaml.emit(out)).removesuffix("\n")


def _text(text: str) -> Any:
    import yaml

    # In quotes: a product may be called `true`.
    return yaml.ScalarEvent(None, None, (False, True), text, style='"')
