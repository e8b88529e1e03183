"""What the cluster has to have for a release: kinds of objects, rights, and space in its quotas."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from installer.core.errors import Problem
from installer.core.oci.reference import familiar
from installer.deploy.kubernetes.client import Client, documents
from installer.deploy.kubernetes.objects import CLAIM, KubeObject, listing, mapping
from installer.deploy.operation import StepError

_ASK = "ask the publisher for a release for this version of the cluster"
_RIGHTS = "ask the administrator of the cluster for this right"
_UNITS = {
    "": Decimal(1), "m": Decimal("0.001"), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9),
    "T": Decimal(10**12), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}  # fmt: skip
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([a-zA-Z]*)")
Resource = tuple[str, str]
"""The group and the name of a kind of objects, such as `apps` and `deployments`."""


def resources(
    client: Client, objects: Sequence[KubeObject], crds: Sequence[KubeObject]
) -> tuple[dict[str, tuple[Resource, bool]], list[Problem]]:
    """Return the resource of each kind, and whether it is in a namespace; and what the cluster does not have.

    Args:
        client: The cluster.
        objects: Of the release.
        crds: What defines kinds of its own.
    """
    own = {str(mapping(mapping(each.value.get("spec")).get("names")).get("kind")) for each in crds}
    found: dict[str, tuple[Resource, bool]] = {}
    problems: list[Problem] = []
    for api in dict.fromkeys(each.api for each in objects):
        wanted = dict.fromkeys(each.kind for each in objects if each.api == api)
        served = _served(client, api)
        for kind in wanted:
            if kind in served:
                found[f"{api}/{kind}"] = served[kind]
            elif kind not in own:
                users = ", ".join(
                    [each.label for each in objects if (each.api, each.kind) == (api, kind)][:3]
                )
                what = f"the cluster does not have {api} {kind}, which the release uses for {users}"
                problems.append(Problem("cluster", what, _ASK))
    return found, problems


def _served(client: Client, api: str) -> dict[str, tuple[Resource, bool]]:
    group = api.rpartition("/")[0]
    ended = client.kubectl("get", "--raw", f"/apis/{api}" if group else f"/api/{api}")
    if not ended.ok:
        if b"NotFound" in ended.stderr or b"could not find" in ended.stderr:
            return {}
        raise client.failure(f"the cluster does not say what {api} has", ended)
    rows = listing(json.loads(ended.stdout).get("resources"))
    return {
        row["kind"]: ((group, row["name"]), bool(row["namespaced"])) for row in rows if "/" not in row["name"]
    }


def permissions(
    client: Client,
    objects: Sequence[KubeObject],
    known: Mapping[str, tuple[Resource, bool]],
    *,
    creates_namespace: bool,
    more: Sequence[tuple[Resource, Sequence[str]]] = (),
) -> list[Problem]:
    """Return what this login may not do with the objects of a release.

    Args:
        client: The cluster.
        objects: The objects.
        known: From `resources`.
        creates_namespace: Whether the namespace is created.
        more: What else has to be allowed in the namespace: resources, each with its verbs.

    Raises:
        StepError: The cluster does not answer.
    """
    wanted: dict[tuple[str, str, str, str], None] = {}
    for each in objects:
        if resource := known.get(each.type):
            (group, name), namespaced = resource
            place = (each.namespace or client.namespace) if namespaced else ""
            # Objects are compared, created, merged, and deleted where a later release does not have them.
            for verb in ("get", "create", "patch", "delete"):
                wanted[place, group, name, verb] = None
    for (group, name), verbs in more:
        for verb in verbs:
            wanted[client.namespace, group, name, verb] = None
    if creates_namespace:
        wanted["", "", "namespaces", "create"] = None
    reviews = [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": dict(zip(_ATTRIBUTES, row, strict=True))},
        }
        for row in wanted
    ]
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": reviews}).encode()
    ended = client.kubectl("create", "--filename", "-", "--output", "json", stdin=document)
    if not ended.ok:
        raise client.failure("the rights of this login cannot be asked", ended)
    denied: dict[tuple[str, str, str], list[str]] = {}
    for answer in documents(ended):
        if not mapping(answer.get("status")).get("allowed"):
            said = mapping(mapping(answer.get("spec")).get("resourceAttributes"))
            place, group, name, verb = (str(said.get(key, "")) for key in _ATTRIBUTES)
            denied.setdefault((place, group, name), []).append(verb)
    return [_denied(*key, verbs) for key, verbs in denied.items()]


_ATTRIBUTES = ("namespace", "group", "resource", "verb")


def _denied(place: str, group: str, name: str, verbs: list[str]) -> Problem:
    resource = f"{name}.{group}" if group else name
    where = f"namespace {place}" if place else "cluster"
    return Problem(where, f"this login may not {', '.join(verbs)} {resource}", _RIGHTS)


def namespace_state(client: Client) -> tuple[bool, Problem | None]:
    """Return whether the namespace is there, and why it cannot be used.

    Raises:
        StepError: The cluster does not answer.
    """
    found = client.answer("get", "namespace", client.namespace, "--ignore-not-found", "-o", "json")
    if not found:
        return False, None
    if mapping(found[0].get("status")).get("phase") == "Terminating":
        hint = "wait until it is gone; what it waits for is in `kubectl get namespace -o yaml`"
        return True, Problem(f"namespace {client.namespace}", "is being deleted", hint)
    return True, None


def containers(each: KubeObject) -> list[Mapping[str, Any]]:
    """Return the containers of the pods of an object, those that run first too."""
    return [mapping(row) for key in ("initContainers", "containers") for row in listing(each.pod.get(key))]


def not_carried(objects: Sequence[KubeObject], carried: Collection[str]) -> list[str]:
    """Return the images of objects that are not among those of a release, by their familiar names."""
    used = [str(row.get("image") or "") for each in objects for row in containers(each)]
    return [name for name in dict.fromkeys(used) if name and familiar(name) not in carried]


def always_pulled(objects: Sequence[KubeObject], carried: Collection[str]) -> Iterator[Problem]:
    """Yield the containers that would fetch an image of the release from a registry each time they start."""
    for each in objects:
        for row in containers(each):
            name = familiar(str(row.get("image") or ""))
            # A name without a tag means `latest`, fetched each time unless the object says otherwise.
            policy = row.get("imagePullPolicy") or ("Always" if name.endswith(":latest") else "")
            if policy == "Always" and name in carried:
                what = f"always fetches {name} from a registry, but the release brings it to the node"
                yield Problem(each.label, what, "ask the publisher for imagePullPolicy: IfNotPresent")


def quotas(client: Client, new: Sequence[KubeObject], old: Sequence[KubeObject]) -> Iterator[Problem]:
    """Yield the quotas of the namespace that are smaller than what the release asks for.

    Raises:
        StepError: The cluster does not answer.
    """
    try:
        found = client.answer("get", "resourcequotas", "-o", "json")
    except StepError:
        return  # a login that may not see quotas is usual
    more, before = _demand(new), _demand(old)
    for quota in found:
        status = mapping(quota.get("status"))
        used = mapping(status.get("used"))
        for name, limit in mapping(status.get("hard")).items():
            key = f"requests.{name}" if name in ("cpu", "memory") else str(name)
            total = _amount(used.get(name)) - before.get(key, Decimal(0)) + more.get(key, Decimal(0))
            if key in more and total > _amount(limit) and more[key] > before.get(key, Decimal(0)):
                where = f"quota {quota['metadata']['name']} in namespace {client.namespace}"
                what = f"allows {name}: {limit}, of which {used.get(name, 0)} are used; more is needed"
                yield Problem(where, what, "ask for a larger quota, or set smaller values")


def _demand(objects: Sequence[KubeObject]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}

    def add(key: str, amount: Decimal) -> None:
        total[key] = total.get(key, Decimal(0)) + amount

    for each in objects:
        if each.kind == CLAIM:
            spec = mapping(each.value.get("spec"))
            add("persistentvolumeclaims", Decimal(1))
            add(
                "requests.storage",
                _amount(mapping(mapping(spec.get("resources")).get("requests")).get("storage")),
            )
        # Hooks run before or after the others, and end.
        if not each.pod or each.hooks:
            continue
        replicas = _amount(mapping(each.value.get("spec")).get("replicas", "1"))
        add("pods", replicas)
        for container in listing(each.pod.get("containers")):
            given = mapping(mapping(container).get("resources"))
            for part in ("requests", "limits"):
                for name, amount in mapping(given.get(part)).items():
                    add(f"{part}.{name}", replicas * _amount(amount))
    return total


def _amount(value: Any) -> Decimal:
    """Return a quantity of Kubernetes; 0 for what is none."""
    match = _QUANTITY.fullmatch(str(value))
    return Decimal(match[1]) * _UNITS.get(match[2], Decimal(1)) if match else Decimal(0)
