"""Whose objects of a cluster are: labels say it, and nothing without them is changed or deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from installer.core.errors import Problem
from installer.deploy.kubernetes import requirements
from installer.deploy.kubernetes.changes import Way, keyed, live_objects
from installer.deploy.kubernetes.client import Client
from installer.deploy.kubernetes.objects import CLAIM, KubeObject, mapping
from installer.deploy.operation import Json, StepError
from installer.secrets.references import PREFIX

PRODUCT, STEP = "waybill.product", "waybill.step"
MANAGER = "waybill"
"""The field manager: of each object the server keeps which fields it applied."""
APPLY = ("--server-side", f"--field-manager={MANAGER}", "--force-conflicts")
OWN_KINDS = ("Namespace", "CustomResourceDefinition")
"""Kinds that others are in, or are of: with one of them all that anybody has there would go."""
STAYS = (*OWN_KINDS, CLAIM, "PersistentVolume")
"""Kinds that are never deleted with a release: what anybody has in them, and data."""
_ENCODED = "c2VjcmV0Oi8v"
"""How base64 of a reference begins, as the server shows it in a Secret."""


def labels(args: Json) -> dict[str, str]:
    """Return the labels of the objects of a step."""
    return {PRODUCT: args["product"], STEP: args["namespace"]}


def way_of(args: Json) -> Way:
    """Return how the objects of a step are applied, and whose they may change."""

    def foreign(live: Mapping[str, Any], wanted: KubeObject) -> Problem | None:
        # Another step of the product may have had it: a step with another namespace is another one.
        owner = _labels(live).get(PRODUCT)
        if owner == args["product"]:
            return None
        whose = f"it belongs to the product {owner}" if owner else "Waybill did not create it"
        own = " ".join(f"{key}={value}" for key, value in labels(args).items())
        place = mapping(live.get("metadata")).get("namespace")
        command = f"kubectl label {wanted.label} {own}{f' -n {place}' if place else ''} --overwrite"
        hint = f"rename or delete one of the two; or hand it over: `{command}`"
        return Problem(wanted.label, f"is in the cluster already, and {whose}", hint)

    return Way(foreign, "correct the manifest or the values: the server refuses this", APPLY, is_reference)


def is_reference(value: Any) -> bool:
    """Return whether a value stands for a secret that was not asked for."""
    return isinstance(value, str) and value.startswith((PREFIX, _ENCODED))


def present(client: Client, objects: Sequence[KubeObject]) -> list[tuple[KubeObject, Any]]:
    """Return those of the objects that the cluster has, each with what it has.

    Raises:
        StepError: The cluster does not answer.
    """
    try:
        live = live_objects(client, objects)
    except StepError:
        # kubectl refuses to ask for a kind that the cluster does not have: then the others are asked for.
        known, _ = requirements.resources(client, objects, [])
        live = live_objects(client, [each for each in objects if each.type in known])
    return [(each, live[key]) for key, each in keyed(client, objects).items() if key in live]


def owned(client: Client, args: Json, objects: Sequence[KubeObject]) -> list[tuple[KubeObject, Any]]:
    """Return those of the objects that the cluster has and that belong to the step.

    Raises:
        StepError: The cluster does not answer.
    """
    own = labels(args).items()
    return [(each, live) for each, live in present(client, objects) if own <= _labels(live).items()]


def uid(live: Any) -> str:
    """Return the identity of an object, which no other object ever has."""
    return str(mapping(mapping(live).get("metadata")).get("uid"))


def _labels(live: Any) -> Mapping[str, Any]:
    return mapping(mapping(mapping(live).get("metadata")).get("labels"))
