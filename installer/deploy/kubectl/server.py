"""What is done in the cluster: objects are applied, waited for and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from installer.core.errors import Problem
from installer.deploy.kubectl.ownership import APPLY, OWN_KINDS, owned, present, way_of
from installer.deploy.kubectl.readiness import KINDS, state_of
from installer.deploy.kubernetes import deletion
from installer.deploy.kubernetes.changes import batches, keyed, live_objects
from installer.deploy.kubernetes.client import Client
from installer.deploy.kubernetes.objects import KubeObject, mapping, text_of
from installer.deploy.operation import Json, StepError

PAUSE = 1.0
"""Seconds between two looks."""
_DEFINED = 60.0
"""Seconds until the server serves a kind that was defined."""
_DELETE = deletion.SECONDS


def require_own(client: Client, args: Json, objects: Sequence[KubeObject]) -> None:
    """Require that no object is somebody else's: the plan said so, and it may have come since.

    Raises:
        StepError: One is.
    """
    way = way_of(args)
    problems = [found for each, live in present(client, objects) if (found := way.foreign(live, each))]
    if problems:
        first = problems[0]
        raise StepError(first.what, where=first.where, hint=first.hint, problems=problems[1:])


def applied(client: Client, objects: Sequence[KubeObject]) -> None:
    """Apply objects, in their order; kinds that they define are served before the next ones are applied.

    Raises:
        StepError: The server refuses one, or does not answer, or does not finish the deletion of one.
    """
    _wait_until_deleted(client, objects)
    for kind, group in groupby(objects, lambda each: each.kind if each.kind in OWN_KINDS else ""):
        rows = list(group)
        for place, batch in batches(client, rows):
            # Through a pipe: the text may have secrets. The server validates, see `changes`.
            words = ("apply", "--filename", "-", "--validate=false", *APPLY)
            ended = place.kubectl(*words, stdin=text_of(batch).encode(), timeout=_DELETE)
            if not ended.ok:
                raise client.failure("kubectl apply", ended)
        if kind == OWN_KINDS[1] and (problems := wait(client, rows, _DEFINED)):
            raise StepError(problems[0].what, where=problems[0].where)


def _wait_until_deleted(client: Client, objects: Sequence[KubeObject]) -> None:
    """Wait for objects that are being deleted: the server would take changes to them; then they are gone."""
    system = client.context.system
    until = system.monotonic() + _DELETE
    while True:
        going = [each for each, live in present(client, objects) if _is_going(live)]
        if not going:
            return
        if system.monotonic() >= until:
            what = "is being deleted, and its finalizers do not end"
            first, place = going[0], going[0].namespace or client.namespace
            hint = (
                f"read them with `kubectl get {first.kind} {first.name} -n {place} -o yaml`, and find out why"
            )
            raise StepError(what, where=first.label, hint=hint)
        system.sleep(PAUSE)


def _is_going(live: object) -> bool:
    return "deletionTimestamp" in mapping(mapping(live).get("metadata"))


def wait(client: Client, objects: Sequence[KubeObject], seconds: float) -> list[Problem]:
    """Wait until objects are ready, and return why they are not; nothing where all are.

    Args:
        client: The cluster.
        objects: The objects.
        seconds: How long; 0 looks once.

    Raises:
        StepError: The cluster does not answer.
    """
    waited = [each for each in objects if each.kind in KINDS]
    system = client.context.system
    until = system.monotonic() + seconds
    while waited:
        live = live_objects(client, waited)
        states = [(each, state_of(live.get(key))) for key, each in keyed(client, waited).items()]
        failed = [(each, state) for each, state in states if state.failed]
        late = [(each, state) for each, state in states if state.why]
        if not late:
            break
        if failed or system.monotonic() >= until:
            over = "" if failed else f" after {seconds:g} s"
            return [Problem(each.label, f"{state.why}{over}") for each, state in failed or late]
        # Those that are ready stay so: an object that is updated again is somebody else's doing.
        waited = [each for each, _ in late]
        system.sleep(PAUSE)
    return []


def delete(client: Client, args: Json, objects: Sequence[KubeObject]) -> None:
    """Delete objects that the cluster has and that belong to the step, and wait until they are gone.

    Raises:
        StepError: The cluster does not answer, or one is not gone in time.
    """
    if not objects:
        return
    # Asked right before: what is somebody else's by now is left alone.
    ours = {id(each) for each, _ in owned(client, args, objects)}
    deletion.delete(client, [each for each in objects if id(each) in ours], seconds=_DELETE)
