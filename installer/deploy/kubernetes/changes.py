"""What an upgrade changes in the cluster: what the server would make of the objects, next to what it has.

The server itself says what it would make of an object, with all its defaults, in a dry run. What a release
does not say any more is found between the old text and the new one.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from installer.core.errors import Problem, WaybillError
from installer.deploy.kubernetes.client import WIDTH, Client, documents, hint_for
from installer.deploy.kubernetes.objects import KubeObject, mapping, text_of
from installer.shared.secrecy.known import shortened

Key = tuple[str, str, str, str]
"""Group of the API, kind, namespace and name."""
Does = Literal["create", "change", "delete"]
_BATCH = 25
"""Objects that one call asks for."""
_FIELDS = 12
"""Changed fields of one object that a plan shows."""
_LINES = 12
"""Lines of a text that differs."""
_SERVER = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_HIDDEN = ("data", "stringData", "binaryData")
_IMMUTABLE = re.compile(r"field is immutable|Forbidden: updates to|may not change once set", re.IGNORECASE)
_PROTOCOL = 'omits key field "protocol"'
_RENAME = "give the object another name in the release: the cluster cannot change this field"


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one object.

    Attributes:
        does: What.
        label: The object.
        lines: The fields that change, without secrets.
    """

    does: Does
    label: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Objects next to the cluster.

    Attributes:
        changes: What would change.
        problems: What the server refuses, and objects that belong to somebody else.
    """

    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """How a method applies objects.

    Attributes:
        foreign: Returns whose an object is that would be changed, from what the cluster has and what is to be
            there; None where it is the release's own.
        hint: What to do about an object that the server refuses.
        words: Options of `kubectl apply`.
        is_unknown: Whether a value that is to be there is not known here, and cannot be compared.
    """

    foreign: Callable[[Mapping[str, Any], KubeObject], Problem | None]
    hint: str
    words: tuple[str, ...] = ()
    is_unknown: Callable[[Any], bool] = lambda _: False


def compared(
    client: Client, way: Way, new: Sequence[KubeObject], old: Sequence[KubeObject], *, empty: bool = False
) -> Comparison:
    """Compare the objects of a release with the cluster.

    Args:
        client: The cluster.
        way: How they are applied.
        new: What is to be there.
        old: What the release has now, as it was applied.
        empty: Whether the namespace is not there yet: no server can try anything in it.

    Raises:
        StepError: The cluster does not answer.
    """
    # By name: the order of objects means nothing, and changes with templates.
    before, after = keyed(client, old), keyed(client, new)
    gone = [Change("delete", each.label) for key, each in before.items() if key not in after]
    if empty:
        return Comparison((*(Change("create", each.label) for each in new), *gone))
    live, wanted, problems = _asked(client, way, new)
    changes = []
    for key, each in after.items():
        if key not in live:
            changes.append(Change("create", each.label))
            continue
        if key not in before and (problem := way.foreign(live[key], each)):
            problems.append(problem)
        lines = list(_differences(client, way, each, (live[key], wanted.get(key, live[key]))))
        if key in before:
            lines += _dropped(before[key], each)
        if lines:
            changes.append(Change("change", each.label, tuple(lines)))
    return Comparison((*changes, *gone), tuple(problems))


def keyed(client: Client, objects: Sequence[KubeObject]) -> dict[Key, KubeObject]:
    """Return objects by what tells them apart."""
    return {
        (_group(each.api), each.kind, each.namespace or client.namespace, each.name): each for each in objects
    }


def _group(api: str) -> str:
    # Two groups may have a kind of one name.
    return api.rpartition("/")[0]


def live_objects(client: Client, objects: Sequence[KubeObject]) -> dict[Key, Any]:
    """Return the objects that the cluster has of these.

    Raises:
        StepError: The cluster does not answer.
    """
    found: dict[Key, Any] = {}
    # Batches, because the output of a program is kept up to a limit.
    for place, batch in batches(client, objects):
        words = ("get", "--filename", "-", "--ignore-not-found", "--output", "json")
        ended = place.kubectl(*words, stdin=text_of(batch).encode())
        if not ended.ok:
            raise client.failure("kubectl get", ended)
        found |= _by_key(client, documents(ended))
    return found


def _asked(
    client: Client, way: Way, objects: Sequence[KubeObject]
) -> tuple[dict[Key, Any], dict[Key, Any], list[Problem]]:
    live, wanted, problems = live_objects(client, objects), dict[Key, Any](), list[Problem]()
    for place, batch in batches(client, objects):
        # The server validates. kubectl would first compare with a schema that old servers do not have.
        words = ("apply", "--filename", "-", "--dry-run=server", "--validate=false", "--output", "json")
        ended = place.kubectl(*words, *way.words, stdin=text_of(batch).encode())
        wanted |= _by_key(client, documents(ended)) if ended.stdout.strip() else {}
        problems += [] if ended.ok else _refusals(client, way.hint, ended.stderr.decode("utf-8", "replace"))
    return live, wanted, problems


def batches(client: Client, objects: Sequence[KubeObject]) -> Iterator[tuple[Client, list[KubeObject]]]:
    """Yield objects that one call may have, with the client for their namespace, in their order."""
    # kubectl refuses objects of another namespace than the one that it is told.
    for namespace, group in groupby(objects, lambda each: each.namespace or client.namespace):
        rows = list(group)
        for start in range(0, len(rows), _BATCH):
            yield replace(client, namespace=namespace), rows[start : start + _BATCH]


def _by_key(client: Client, values: Sequence[Any]) -> dict[Key, Any]:
    rows = [(each, mapping(each.get("metadata"))) for each in values]
    return {
        (
            _group(str(each.get("apiVersion"))),
            str(each.get("kind")),
            str(meta.get("namespace") or client.namespace),
            str(meta.get("name")),
        ): each
        for each, meta in rows
    }


def _refusals(client: Client, hint: str, said: str) -> list[Problem]:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("Warning:")]
    # A server repeats the value that it refuses.
    lines = client.context.secrets.hide_all(lines)
    return [Problem("cluster", shortened(line, WIDTH), _remedy(line) or hint) for line in lines[:8]]


def _remedy(line: str) -> str:
    if _PROTOCOL in line:
        return "write `protocol: TCP` at the port: servers before 1.26 need it"
    return _RENAME if _IMMUTABLE.search(line) else hint_for(line)


def _differences(client: Client, way: Way, each: KubeObject, pair: tuple[Any, Any]) -> Iterator[str]:
    rows = [
        row for row in _fields(_comparable(pair[0]), _comparable(pair[1]), "") if not way.is_unknown(row[2])
    ]
    for path, before, after in rows[:_FIELDS]:
        # That a secret changes matters to a reader of the plan; what it is belongs into no plan and no log.
        if each.kind == "Secret" and path.startswith(_HIDDEN):
            yield f"{path}: changes (hidden)"
        else:
            yield from client.context.secrets.hide_all(_shown(path, before, after))
    if len(rows) > _FIELDS:
        yield f"and {len(rows) - _FIELDS} more fields"


def _dropped(old: KubeObject, new: KubeObject) -> list[str]:
    """Return the fields that a release had before, and does not have any more."""
    rows = _fields(_comparable(old.value), _comparable(new.value), "")
    gone = [path for path, _, after in rows if after is None]
    return [f"{path}: goes" for path in gone[:_FIELDS]]


def _comparable(value: Any) -> Any:
    # What the server writes by itself differs between any two answers.
    metadata = {key: each for key, each in mapping(value.get("metadata")).items() if key not in _SERVER}
    annotations = {key: each for key, each in mapping(metadata.get("annotations")).items() if key != _APPLIED}
    kept = {key: each for key, each in value.items() if key not in ("status", "metadata")}
    return {**kept, "metadata": {**metadata, "annotations": annotations}}


def _fields(before: Any, after: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the path of each field that differs, with its values; None for one that is absent."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _fields(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    # By name, so that a container that comes first does not make all others look changed.
    elif isinstance(before, list) and isinstance(after, list) and _names(before) and _names(after):
        old, new = ({each["name"]: each for each in rows} for rows in (before, after))
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _fields(old.get(name), new.get(name), f"{path}[{name}]")
    # An absent field, an empty mapping and an empty list mean the same to the server.
    elif before != after and not (before in (None, {}, []) and after in (None, {}, [])):
        yield path, before, after


def _names(rows: Sequence[Any]) -> bool:
    names = [each.get("name") if isinstance(each, Mapping) else None for each in rows]
    return bool(names) and None not in names and len(set(names)) == len(names)


def _shown(path: str, before: Any, after: Any) -> list[str]:
    texts = [each if isinstance(each, str) else json.dumps(each) for each in (before, after)]
    if any("\n" in text for text in texts):
        lines = difflib.unified_diff(texts[0].splitlines(), texts[1].splitlines(), lineterm="", n=1)
        rows = [line for line in lines if not line.startswith(("---", "+++"))]
        return [f"{path}:", *(shortened(f"  {row}", WIDTH) for row in rows[:_LINES])]
    old, new = (
        "(absent)" if value is None else text for value, text in zip((before, after), texts, strict=True)
    )
    return [shortened(f"{path}: {old} → {new}", WIDTH)]


def problems_of(error: WaybillError, where: str) -> list[Problem]:
    """Return an error as problems."""
    return [Problem(error.where or where, error.what, error.hint), *error.problems]
