"""Rules for manifests: what containers get of their host, and which rights objects grant in a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from installer.core.risk.host_paths import opened
from installer.core.risk.risk import Found, Risk

_SHARED = ("hostNetwork", "hostPID", "hostIPC")
_DEPTH = 64


def examine_manifests(where: str, documents: Any) -> Found:
    """Yield what the pods of manifests open.

    Args:
        where: The path of the file in the bundle.
        documents: The values of its documents; scalars are text, but for true, false and null.
    """
    for number, document in enumerate(documents if isinstance(documents, list) else [documents], 1):
        at = _named(document) or f"document {number}"
        yield from _below(f"{where} ({at})", document, 0)


def examine_objects(where: str, documents: Any) -> Found:
    """Yield what the objects of manifests open on nodes, and grant or change in the cluster.

    Args:
        where: The path of the file in the bundle.
        documents: As for `examine_manifests`.
    """
    yield from examine_manifests(where, documents)
    for document in documents if isinstance(documents, list) else [documents]:
        kind = str(document.get("kind")) if isinstance(document, dict) else ""
        place = f"{where} ({_named(document)})"
        if kind in ("ClusterRole", "ClusterRoleBinding"):
            yield Risk("host", place, "grants rights in the whole cluster")
        elif kind.endswith("WebhookConfiguration"):
            yield Risk("host", place, "sees or changes what others create")


def _named(document: Any) -> str:
    if not isinstance(document, dict):
        return ""
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else ""
    return f"{document.get('kind') or ''} {name or ''}".strip()[:120]


def _below(place: str, value: Any, depth: int) -> Iterator[Risk]:
    if depth > _DEPTH:
        yield Risk("unread", place, f"is nested deeper than {_DEPTH} levels: the rest was not examined")
    elif isinstance(value, list):
        for each in value:
            yield from _below(place, each, depth + 1)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _opens(place, key, each)
            yield from _below(place, each, depth + 1)


def _opens(place: str, key: str, value: Any) -> Iterator[Risk]:
    if key in _SHARED and value is True:
        yield Risk("host", place, f"shares the namespace of the host: {key}")
    elif key == "privileged" and value is True:
        yield Risk("root", place, "has all rights of the host (privileged)")
    elif key == "hostPath" and isinstance(value, dict):
        path = str(value.get("path") or "")
        what = f": {found}" if (found := opened(path)) else ""
        yield Risk("host", place, f"mounts {path} from the host{what} (hostPath)")
    elif key == "hostPort":
        yield Risk("port", place, f"publishes {value}")
    elif key == "capabilities" and isinstance(value, dict):
        added = value.get("add")
        for each in added if isinstance(added, list) else ():
            yield Risk("host", place, f"gets the capabilities {each}")
