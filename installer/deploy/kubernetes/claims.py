"""The persistent volume claims of a release: data, which stay unless an operator has them deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from installer.deploy.inventory import KEPT, InventoryItem, Residue
from installer.deploy.kubernetes.client import Client
from installer.deploy.kubernetes.objects import CLAIM, KubeObject, listing, mapping
from installer.deploy.kubernetes.tools import record, site_of_removed
from installer.deploy.method import DATA, Target
from installer.deploy.operation import StepError
from installer.host.context import Context

ITEM = "persistent volume claim"
"""The kind of the items, as Helm has them."""


def claims(client: Client, objects: Sequence[KubeObject], kind: str = ITEM) -> Iterator[InventoryItem]:
    """Yield the claims of a release that the cluster has; their mark is the id that the cluster gave them.

    Args:
        client: The cluster.
        objects: Of the release.
        kind: Of the items.

    Raises:
        StepError: The cluster does not answer.
    """
    named = {each.name for each in objects if each.kind == CLAIM}
    # A stateful set makes one of each template for each of its pods.
    prefixes = tuple(
        f"{mapping(mapping(template).get('metadata')).get('name')}-{each.name}-"
        for each in objects
        if each.kind == "StatefulSet"
        for template in listing(mapping(each.value.get("spec")).get("volumeClaimTemplates"))
    )
    for found in client.answer("get", "persistentvolumeclaims", "-o", "json"):
        name = str(found["metadata"]["name"])
        of_set = next((name.removeprefix(each) for each in prefixes if name.startswith(each)), "")
        if name in named or of_set.isdigit():
            uid = str(found["metadata"].get("uid", ""))
            yield InventoryItem(kind, f"{client.namespace}/{name}", uid, record(client.site))


def plan_lines(old: Target, found: Iterable[InventoryItem]) -> Iterator[str]:
    """Yield what becomes of the claims of a release that goes."""
    # Only a removal decides about data; an upgrade that drops the step leaves them.
    decided: Mapping[str, str] = old.options.get(DATA, {})
    for each in found:
        if decided.get(each.name, KEPT):
            yield f"{each.kind} {each.name} stays; it has the data of the release"
        else:
            yield f"DELETE {each.kind} {each.name} and its data: nothing brings them back"


def delete(context: Context, items: Sequence[InventoryItem]) -> None:
    """Delete claims that a removal recorded; one that is another by now is left as it is."""
    for item in items:
        # The check after the removal looks again and says what is left, and why.
        try:
            client, name = _client(context, item)
            found = _found(client, name)
            # Somebody may have made another one of that name since.
            if found is None or found["metadata"].get("uid") != item.mark:
                continue
        except StepError as error:
            context.progress.warn(f"{item.kind} {item.name}: {error.what}")
            continue
        context.progress.note(f"delete {item.kind} {item.name}")
        ended = client.kubectl("delete", "persistentvolumeclaim", name, "--timeout=60s", timeout=90.0)
        if not ended.ok:
            context.progress.warn(
                f"{item.kind} {item.name} cannot be deleted: {ended.reason(context.secrets)}"
            )


def residue(context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
    """Yield what became of recorded claims."""
    again = f"run `install remove {context.layout.product} --purge`"
    for item in items:
        try:
            found = _found(*_client(context, item))
        except StepError as error:
            # The kubectl that could look went with the release. Of data that were to be deleted that is no
            # answer.
            if item.other and item.why:
                yield Residue("stays", item.kind, item.name, item.why)
                continue
            yield Residue("left", item.kind, item.name, error.what, again)
            continue
        if found is None:
            yield from () if item.why else (Residue("gone", item.kind, item.name, "its data were deleted"),)
        elif item.why == KEPT:
            yield Residue(
                "stays", item.kind, item.name, f"has data of the product; to delete it: {again[4:]}"
            )
        elif item.why:
            yield Residue("stays", item.kind, item.name, item.why)
        else:
            yield Residue("left", item.kind, item.name, "is still there", again)


def _client(context: Context, item: InventoryItem) -> tuple[Client, str]:
    namespace, _, name = item.name.partition("/")
    return Client(context, site_of_removed(context, item.other), namespace), name


def _found(client: Client, name: str) -> Any:
    found = client.answer("get", "persistentvolumeclaim", name, "--ignore-not-found", "-o", "json")
    return found[0] if found else None
