"""What a step does to the cluster: what it would change, and why the cluster does not take it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from installer.core.errors import Problem
from installer.core.oci.reference import familiar
from installer.deploy.kubectl.manifests import client_of, loaded
from installer.deploy.kubectl.operations import gone
from installer.deploy.kubectl.ownership import OWN_KINDS, way_of
from installer.deploy.kubernetes import requirements
from installer.deploy.kubernetes.changes import Change, Comparison, compared
from installer.deploy.kubernetes.client import Client
from installer.deploy.kubernetes.objects import KubeObject
from installer.deploy.method import LastPlan, Target
from installer.deploy.operation import Json
from installer.host.context import Context

_OBJECTS = 40
"""Objects that a plan names."""
_PLACE = "namespace"
_ASK = "ask the administrator of the cluster for it, or add it to the manifests"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a step does to the cluster, while planning.

    Attributes:
        target: The step.
        args: Of its operation.
        client: The cluster.
        objects: What the step has for this site, with secrets.
        known: The resource of each kind, and whether it is in a namespace.
        comparison: What changes.
        is_new: Whether the namespace is created.
        problems: Kinds that the cluster does not have, and namespaces that nobody creates.
    """

    target: Target
    args: Json
    client: Client
    objects: list[KubeObject]
    known: Mapping[str, tuple[requirements.Resource, bool]]
    comparison: Comparison
    is_new: bool
    problems: tuple[Problem, ...]

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.comparison.changes)


_last_plan = LastPlan[Outlook]()


def outlook_of(context: Context, target: Target, args: Json) -> Outlook:
    """Return what a step does to the cluster.

    Args:
        context: The host.
        target: The step, while planning.
        args: What its operation gets: `arguments`, and under `old` the objects of the release before.

    Raises:
        StepError: The cluster does not answer, or a secret cannot be had.
        ChangedFileError: A file is not what was verified.
    """
    return _last_plan.found(target, lambda: _looked(context, target, args), args)


def _looked(context: Context, target: Target, args: Json) -> Outlook:
    client, objects = client_of(context, args, target), loaded(context, args, target, with_secrets=True)
    definitions = [each for each in objects if each.kind == OWN_KINDS[1]]
    known, absent = requirements.resources(client, objects, definitions)
    problems = [*absent, *_misplaced(objects, known)]
    own = {each.name for each in objects if each.kind == OWN_KINDS[0]}
    states = {place: _state(client, place) for place in _places(client, objects, known)}
    missing = [place for place, (is_there, _) in states.items() if not is_there]
    problems += [problem for _, problem in states.values() if problem]
    # Its own namespace a step creates; that of others may have rules of its administrator.
    for place in missing:
        if place != client.namespace and place not in own:
            problems.append(Problem(f"{_PLACE} {place}", "is not in the cluster", _ASK))
    # Of a kind or in a namespace that the cluster does not have yet nothing can be tried.
    asked = [each for each in objects if each.type in known and _place(client, each, known) not in missing]
    # Without the objects of the release before: whose an object is, its label says, and nothing else.
    comparison = compared(client, way_of(args), asked, [])
    tried = {id(each) for each in asked}
    fresh = [Change("create", each.label) for each in objects if id(each) not in tried]
    # Last: that is when they are deleted.
    pruned = [Change("delete", each.label) for each in gone(client, args)]
    comparison = replace(comparison, changes=(*fresh, *comparison.changes, *pruned))
    is_new = client.namespace in missing and client.namespace not in own
    return Outlook(target, args, client, objects, known, comparison, is_new, tuple(problems))


def problems_in(outlook: Outlook) -> Iterator[Problem]:
    """Yield why the cluster does not take a step."""
    client, objects, known = outlook.client, outlook.objects, outlook.known
    denied = requirements.permissions(client, objects, known, creates_namespace=outlook.is_new)
    yield from (*outlook.problems, *denied)
    if not outlook.args["images"]:
        yield from requirements.always_pulled(objects, _carried(outlook.target))
    # A server that refuses the login, or has not the namespace, says so again for each object.
    if not outlook.problems and not denied:
        created = {each.label for each in outlook.comparison.changes if each.does == "create"}
        yield from requirements.quotas(
            client, objects, [each for each in objects if each.label not in created]
        )
        yield from outlook.comparison.problems


def lines_of(outlook: Outlook) -> Iterator[str]:
    """Yield what a step does, a line each for people; nothing where there is nothing to do."""
    if not outlook.is_needed:
        return
    client, changes = outlook.client, outlook.comparison.changes
    yield f"apply {len(outlook.objects)} objects in namespace {client.namespace}"
    yield f"cluster: {client.server() or client.site.kubeconfig}"
    yield f"programs: {client.programs()}"
    if outlook.is_new:
        yield f"create namespace {client.namespace}"
    for each in changes[:_OBJECTS]:
        yield f"{each.does} {each.label}"
        yield from (f"    {line}" for line in each.lines)
    if len(changes) > _OBJECTS:
        yield f"and {len(changes) - _OBJECTS} more objects"
    for name in requirements.not_carried(outlook.objects, _carried(outlook.target)):
        yield f"image {name} is not in the bundle: the cluster has to have it"


def _carried(target: Target) -> set[str]:
    return {familiar(image.reference) for image in target.release.manifest.images}


def _misplaced(
    objects: list[KubeObject], known: Mapping[str, tuple[requirements.Resource, bool]]
) -> Iterator[Problem]:
    for each in objects:
        if each.namespace and not known.get(each.type, ("", True))[1]:
            what = f"has the namespace {each.namespace}, but objects of its kind are in none"
            yield Problem(each.label, what, "remove metadata.namespace from the manifest")


def _place(client: Client, each: KubeObject, known: Mapping[str, tuple[requirements.Resource, bool]]) -> str:
    """Return the namespace of an object; empty for one that is in none."""
    return (each.namespace or client.namespace) if known[each.type][1] else ""


def _places(
    client: Client, objects: list[KubeObject], known: Mapping[str, tuple[requirements.Resource, bool]]
) -> list[str]:
    used = (_place(client, each, known) for each in objects if each.type in known)
    return [place for place in dict.fromkeys([client.namespace, *used]) if place]


def _state(client: Client, place: str) -> tuple[bool, Problem | None]:
    return requirements.namespace_state(replace(client, namespace=place))
