"""Jobs and pods that Helm started as hooks: they go on when Helm was killed, or has stopped waiting for them.

Neither `helm rollback` nor `helm uninstall` ends them: a migration would change the data of the release that
was brought back.
"""

from __future__ import annotations

from installer.deploy.helm.helm_client import HelmClient
from installer.deploy.helm.revisions import Revision
from installer.deploy.kubernetes.changes import keyed, live_objects
from installer.deploy.kubernetes.deletion import delete
from installer.deploy.kubernetes.objects import listing, mapping, objects_in
from installer.deploy.operation import Json

_KINDS = ("Job", "Pod")
_ENDED = ("Complete", "Failed")


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
        # In the foreground: a job is gone when its pods are.
        delete(client, running, "--cascade=foreground")


def _runs(live: object) -> bool:
    status = mapping(mapping(live).get("status"))
    conditions = [mapping(each) for each in listing(status.get("conditions"))]
    done = any(each.get("type") in _ENDED and each.get("status") == "True" for each in conditions)
    return not done and status.get("phase") not in ("Succeeded", "Failed")
