"""The operations on the objects of a step: apply, delete, and what brings the old ones back.

Applying states how objects are to be, so that doing it again after a kill at any moment ends where one run
would have ended. An undo deletes what was not there before, lets the files of the old release come back, and
applies its objects again. What only the old release has is deleted after COMMIT: so no undo has to create it
again, and a job that has run does not run twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from installer.core.errors import Cause
from installer.deploy.kubectl.manifests import client_of, key_of, loaded, named
from installer.deploy.kubectl.ownership import OWN_KINDS, STAYS, owned, present, uid
from installer.deploy.kubectl.server import applied, delete, require_own, wait
from installer.deploy.kubernetes import namespaces, report
from installer.deploy.kubernetes.client import Client
from installer.deploy.kubernetes.objects import KubeObject
from installer.deploy.operation import Handler, Json, Op, StepError
from installer.host.context import Context
from installer.host.directories import write_mark

_LATE = ("Job",)
"""Kinds that a removal deletes after COMMIT: applied again by an undo, they would run again."""


class _Marked(Handler):
    """What all of these have in common."""

    cause: ClassVar[Cause] = "engine"

    def observe(self, context: Context, args: Json) -> Json:
        """Return the path of the file that says that the cluster has been changed."""
        return {"begun": f"{context.layout.backup(context.transaction)}/begun-objects-{_tag(args)}"}

    def undo_label(self, op: Op) -> str:
        """Return nothing: what is undone is said when it is, and mostly nothing has begun."""
        return ""


class Before(_Marked):
    """`kubectl.before`: does nothing; undone, applies the old objects again if anything has begun."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return, too, whether the old objects were ready."""
        client = client_of(context, args)
        is_ready = not wait(client, named(args["objects"]), 0)
        return {**super().observe(context, args), "ready": is_ready}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Apply the old objects, now that the old files are back."""
        if not _has_begun(context, preimage):
            return
        context.progress.note(f"undo: applying the objects of {args['version']}")
        client, objects = client_of(context, args), loaded(context, args, with_secrets=True)
        _create_namespace(client, objects)
        applied(client, objects)
        # What was broken before must not keep an undo from ending.
        if preimage["ready"]:
            _require_ready(client, args, objects)


class Apply(_Marked):
    """`kubectl.apply`: applies the objects of the new release, and waits until they are ready."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return, too, which objects and namespaces were there."""
        client = client_of(context, args)
        there = [key_of(each, client.namespace) for each, _ in present(client, named(args["objects"]))]
        places = dict.fromkeys([client.namespace, *_namespaces(args["objects"])])
        absent = [name for name in places if not namespaces.is_there(_at(client, name))]
        return {**super().observe(context, args), "there": there, "absent": absent}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Apply them; nothing is changed if one of them is somebody else's."""
        client, objects = client_of(context, args), loaded(context, args, with_secrets=True)
        require_own(client, args, objects)
        # From here on an undo has something to do; before, it asks the cluster for nothing.
        write_mark(context.system, preimage["begun"])
        _create_namespace(client, objects)
        applied(client, objects)
        _require_ready(client, args, objects)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Delete what was not there; `kubectl.before` applies what was."""
        if not _has_begun(context, preimage):
            return
        context.progress.note(f"undo: deleting what {args['version']} created in {args['namespace']}")
        client = client_of(context, args)
        created = [key for key in args["objects"] if key not in preimage["there"]]
        delete(client, args, _without(STAYS, created))
        # Those that the transaction created, and that nothing of anybody is in by now.
        for name in preimage["absent"]:
            namespaces.remove_empty(_at(client, name))

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Delete what only the old release has."""
        if args["old"]:
            client = client_of(context, args)
            delete(client, args, gone(client, args))


class Delete(_Marked):
    """`kubectl.delete`: deletes the objects of a release; `kubectl.before` is what brings them back."""

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Delete them, last ones first; data stay, and namespaces and definitions of kinds."""
        write_mark(context.system, preimage["begun"])
        delete(client_of(context, args), args, _without((*STAYS, *_LATE), reversed(args["objects"])))

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Undo nothing: the files that the objects are made of are not back yet."""

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Delete the jobs."""
        delete(client_of(context, args), args, _without(STAYS, args["objects"]))


def gone(client: Client, args: Json) -> list[KubeObject]:
    """Return the objects that the cluster has, that the old release brought, and the new one does not have.

    Raises:
        StepError: The cluster does not answer.
    """
    old = [key for key in args["old"] if key not in args["objects"] and key[1] not in STAYS]
    if not old:
        return []
    # The server may know an object by two API versions: that it is another one, its identity says.
    kept = {uid(live) for _, live in present(client, named(args["objects"]))}
    return [each for each, live in owned(client, args, named(old)) if uid(live) not in kept]


def _tag(args: Json) -> str:
    return str(args["namespace"])


def _has_begun(context: Context, preimage: Json) -> bool:
    return context.system.observe(preimage["begun"]).kind == "file"


def _namespaces(keys: Iterable[Sequence[str]]) -> list[str]:
    return [key[3] for key in keys if key[1] == OWN_KINDS[0]]


def _at(client: Client, namespace: str) -> Client:
    return Client(client.context, client.site, namespace)


def _without(kinds: Sequence[str], keys: Iterable[Sequence[str]]) -> list[KubeObject]:
    return named([key for key in keys if key[1] not in kinds])


def _create_namespace(client: Client, objects: Sequence[KubeObject]) -> None:
    """Create the namespace of the step, unless one of its objects is that namespace."""
    own = any((each.kind, each.name) == (OWN_KINDS[0], client.namespace) for each in objects)
    if own or namespaces.is_there(client):
        return
    ended = client.kubectl("create", "namespace", client.namespace)
    if not ended.ok:
        raise client.failure("the namespace cannot be created", ended, f"namespace {client.namespace}")


def _require_ready(client: Client, args: Json, objects: Sequence[KubeObject]) -> None:
    """Wait until objects are ready.

    Raises:
        StepError: One fails, or is not ready in time; it says what its pods say.
    """
    problems = wait(client, objects, args["timeout"])
    if problems:
        first = problems[0]
        error = StepError(first.what, where=first.where, hint="read what its pods say, below")
        # Read now: undoing deletes the pods, and their logs with them.
        error.problems = (*problems[1:], *report.failing(client, objects))
        error.hint = error.hint if error.problems else ""
        raise error


HANDLERS: dict[str, Handler] = {
    "kubectl.before": Before(),
    "kubectl.apply": Apply(),
    "kubectl.delete": Delete(),
}
