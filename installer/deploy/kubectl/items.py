"""What a removal writes down of a step, and finds again; and which clusters a step can use."""

from __future__ import annotations

import re

from installer.core.errors import Problem
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.kubectl.manifests import named
from installer.deploy.kubectl.ownership import present
from installer.deploy.kubernetes.client import Client
from installer.deploy.kubernetes.tools import site_of_removed
from installer.deploy.operation import StepError
from installer.host.context import Context

OBJECT = "object in a cluster"
CLAIM = "volume claim"
"""Kinds of the items."""
_OLDEST = (1, 20)
"""The first version of Kubernetes and of kubectl that the method was tested with."""


def unusable_cluster(client: Client) -> Problem | None:
    """Return why the cluster, or this kubectl, cannot be used."""
    versions = client.versions()
    if isinstance(versions, Problem):
        return versions
    rows = ((client.site.kubectl, "kubectl"), ("cluster", "Kubernetes"))
    for (where, name), found in zip(rows, versions, strict=True):
        match = re.match(r"v?(\d+)\.(\d+)", found)
        # One that does not say its version has answered: that it is too old is not known.
        if match and (int(match[1]), int(match[2])) < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            return Problem(where, f"is {name} {found[:40]}", f"use {name} {oldest} or later")
    return None


def item_of(key: list[str], kubectl: str) -> InventoryItem:
    """Return the item of an object.

    Args:
        key: What names it in a journal.
        kubectl: What `record` said of the program that a release carries.
    """
    api, kind, namespace, name = key
    return InventoryItem(OBJECT, f"{namespace}/{kind}/{name}", api, kubectl)


def left(context: Context, item: InventoryItem) -> Residue:
    """Return what became of an object."""
    namespace, kind, name = item.name.split("/", 2)
    hint = f"run `kubectl delete {kind} {name} -n {namespace}`"
    try:
        client = Client(context, site_of_removed(context, item.other), namespace)
        there = present(client, named([[item.mark, kind, namespace, name]]))
    except StepError as error:
        # Nobody can look any more; the deletion itself was waited for.
        if item.other:
            what = "was deleted; the kubectl that could look again went with the release"
            return Residue("gone", OBJECT, item.name, what)
        return Residue("left", OBJECT, item.name, f"cannot be looked for: {error.what}", hint)
    if there:
        return Residue("left", OBJECT, item.name, "is still there", hint)
    return Residue("gone", OBJECT, item.name)
