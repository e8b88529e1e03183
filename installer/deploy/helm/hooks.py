"""Jobs and pods that Helm started as hooks: they go on when Helm was killed, or has stopped waiting for them.

Neither `helm rollback` nor `helm uninstall` ends them: a migration would change the data of the release that
was brought back.
"""

from __future__ import annotations

from installer.deploy.helm.helm_client import HelmClient
from installer.deploy.helm.revisions import Revision
from installer.deploy.kubernetes.changes import batches, keyed, live_objects
from installer.deploy.kubernetes.objects import KubeObject, listing, mapping, objects_in, text_of
from installer.deploy.operation import Json

_KINDS = ("Job", "Pod")
_ENDED = ("Complete", "Failed")
_DELETE = 120.0
"""Seconds until a hook that is deleted has to be gone."""


def end_hooks(client: HelmClient, args: Json, revision: Revision | None) -> None:
    """Delete the hooks of a revision that still run; those that have ended stay, with their logs.

    Args:
        client: The cluster.
        args: Of an operation.
        revision: The revision; None does nothing.

    Raises:
        StepError: The cluster does not answer, or one is not gone in time.
    """
    if revision is None:
        return
    where = f"release {args['release']}"
    ended = client.helm("get", "hooks", args["release"], "--revision", str(revision.number))
    if not ended.ok:
        raise client.failure("the hooks of the release cannot be read", ended, where)
    hooks = objects_in(ended.stdout.decode("utf-8", "replace"), where)
    hooks = [each for each in hooks if each.kind in _KINDS]
    live = live_objects(client, hooks)
    running = [each for key, each in keyed(client, hooks).items() if key in live and _runs(live[key])]
    if running:
        names = ", ".join(each.label for each in running)
        client.context.progress.note(f"undo: deleting hooks that still run: {names}")
        _delete(client, running, where)


def _delete(client: HelmClient, hooks: list[KubeObject], where: str) -> None:
    for place, batch in batches(client, hooks):
        # In the foreground: a job is gone when its pods are.
        words = ("delete", "--filename", "-", "--ignore-not-found", "--wait=true", "--cascade=foreground")
        limit = f"--timeout={_DELETE:g}s"
        ended = place.kubectl(*words, limit, stdin=text_of(batch).encode(), timeout=_DELETE + 30)
        if not ended.ok:
            raise client.failure("hooks cannot be deleted", ended, where)


def _runs(live: object) -> bool:
    status = mapping(mapping(live).get("status"))
    conditions = [mapping(each) for each in listing(status.get("conditions"))]
    done = any(each.get("type") in _ENDED and each.get("status") == "True" for each in conditions)
    return not done and status.get("phase") not in ("Succeeded", "Failed")
