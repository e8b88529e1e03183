"""The operations on a release: upgrade, test, uninstall.

Helm keeps every revision with what it made. So an undo brings back the revision from before by its number,
needs no chart, no values and no secrets, and works after a kill at any moment: Helm was killed with the
installer, and what it left is in one of the states that `helm rollback` and `helm uninstall` end.
"""

from __future__ import annotations

import secrets

from installer.deploy.helm.helm_client import HelmClient
from installer.deploy.helm.hooks import end_hooks
from installer.deploy.helm.rendering import client_of, rendered, shown_values
from installer.deploy.helm.revisions import GOING, History, history_of, labels
from installer.deploy.kubernetes import namespaces, report
from installer.deploy.operation import Handler, Json
from installer.host.context import Context
from installer.host.private_copy import memory_file

_LONGER = 60.0
"""Seconds that Helm may take beyond its own time limit, until it is killed."""


class Upgrade(Handler):
    """`helm.upgrade`: installs or upgrades a release, and waits until it is ready."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return the revision that an undo brings back, and whether the namespace is there."""
        client = client_of(context, args)
        history = history_of(client, args["release"])
        good = history.good if history.exists else None
        return {
            "revision": good.number if good else 0,
            "before": good.mark if good else "",
            # Not the number of the transaction: another host that manages the same cluster counts alike.
            "mark": secrets.token_hex(8),
            "namespace": namespaces.is_there(client),
        }

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Upgrade; what a killed Helm left is ended first."""
        client = client_of(context, args)
        _end_pending(client, args, history_of(client, args["release"]))
        # Again, and not what the plan rendered: the journal must hold no secret.
        made = rendered(context, args, upgrades=bool(preimage["revision"]))
        words = ["upgrade", "--install", args["release"], "--create-namespace"]
        words += ["--labels", labels(args, preimage["mark"])]
        words += ["--description", f"Waybill: {args['product']} {args['version']}"]
        words += [*_waiting(args), *client.merging(), "--values", "-"]
        with memory_file(context.system, made.archive) as chart:
            ended = client.helm(
                *words[:3],
                chart,
                *words[3:],
                timeout=args["timeout"] + _LONGER,
                stdin=shown_values(context, args),
            )
        if not ended.ok:
            error = client.failure("helm upgrade", ended, f"release {args['release']}")
            if said := report.failing(client, made.objects):
                # Read now: undoing removes the pods, and their logs with them.
                error.problems = (*error.problems, *said)
                error.hint = error.hint or "read what its pods say, below"
            raise error

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Bring back the revision from before; uninstall where there was none."""
        client = client_of(context, args)
        history = history_of(client, args["release"])
        newest = history.newest
        if newest and newest.mark == preimage["mark"]:
            end_hooks(client, args, newest)
        if not preimage["revision"]:
            _uninstall(client, args, history)
            # Helm creates it and never removes it.
            if not preimage["namespace"]:
                namespaces.remove_empty(client)
            return
        back = newest and newest.status == "deployed" and newest.mark == preimage["before"]
        if not back:
            _roll_back(client, args, preimage["revision"])


class Test(Handler):
    """`helm.test`: runs the tests of a chart. What they make goes with the hooks of the chart."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return nothing."""
        return {}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the tests."""
        client = client_of(context, args)
        limit = f"{args['timeout']}s"
        ended = client.helm("test", args["release"], "--timeout", limit, timeout=args["timeout"] + _LONGER)
        if not ended.ok:
            error = client.failure("helm test", ended, f"release {args['release']}")
            error.problems = (*error.problems, *report.of_tests(client, args["release"]))
            raise error

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Undo nothing: the upgrade before it is undone."""


class Uninstall(Handler):
    """`helm.uninstall`: uninstalls a release, and keeps its history until the transaction is committed."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return the revision that an undo brings back."""
        history = history_of(client_of(context, args), args["release"])
        good = history.good if history.exists else None
        return {"revision": good.number if good else 0, "before": good.mark if good else ""}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Uninstall it."""
        client = client_of(context, args)
        # Without its history nothing could bring it back.
        _uninstall(client, args, history_of(client, args["release"]), "--keep-history")

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Bring the revision back."""
        client = client_of(context, args)
        newest = history_of(client, args["release"]).newest
        back = newest and newest.status == "deployed" and newest.mark == preimage["before"]
        if preimage["revision"] and not back:
            end_hooks(client, args, newest)
            _roll_back(client, args, preimage["revision"])

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Remove the history."""
        client = client_of(context, args)
        if history_of(client, args["release"]).revisions:
            _require(client, args, "uninstall", args["release"])


def _waiting(args: Json) -> list[str]:
    return ["--wait", "--timeout", f"{args['timeout']}s"]


def _require(client: HelmClient, args: Json, *words: str) -> None:
    ended = client.helm(*words, timeout=args["timeout"] + _LONGER)
    if not ended.ok:
        raise client.failure(f"helm {words[0]}", ended, f"release {args['release']}")


def _roll_back(client: HelmClient, args: Json, revision: int) -> None:
    _require(client, args, "rollback", args["release"], str(revision), *_waiting(args), *client.merging())


def _uninstall(client: HelmClient, args: Json, history: History, *words: str) -> None:
    if history.exists:
        _require(client, args, "uninstall", args["release"], *words, *_waiting(args))


def _end_pending(client: HelmClient, args: Json, history: History) -> None:
    """End what a killed Helm left; the plan refused it where that is somebody else's."""
    if not history.pending:
        return
    client.context.progress.note(f"release {args['release']} was left half done; it is repaired first")
    end_hooks(client, args, history.newest)
    # What was being uninstalled is gone in part: an earlier revision would not be what was there.
    if history.good and history.newest and history.newest.status != GOING:
        _roll_back(client, args, history.good.number)
    else:
        _uninstall(client, args, history)


HANDLERS: dict[str, Handler] = {
    "helm.upgrade": Upgrade(),
    "helm.test": Test(),
    "helm.uninstall": Uninstall(),
}
