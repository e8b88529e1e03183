"""The revisions of a release, as Helm keeps them in the cluster, and whose they are.

Each revision is a Secret with labels. Waybill adds three of its own: the product, the identity of the bundle,
and a mark of the upgrade. A rollback takes the labels of the revision that it brings back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from installer.core.errors import Problem
from installer.deploy.kubernetes.changes import Way
from installer.deploy.kubernetes.client import Client
from installer.deploy.kubernetes.objects import KubeObject, mapping
from installer.deploy.operation import Json

PRODUCT, IDENTITY, MARK = "waybill.product", "waybill.identity", "waybill.upgrade"
OWNER = "meta.helm.sh/release-name"
"""The annotation by which Helm knows its objects."""
GONE, GOING = "uninstalled", "uninstalling"
PENDING = ("pending-install", "pending-upgrade", "pending-rollback", GOING)
_GOOD = ("deployed", "superseded")


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision.

    Attributes:
        number: Counts from 1.
        status: As Helm has it.
        product: The product whose step made it; empty for none of Waybill.
        identity: The beginning of the identity of the bundle.
        mark: What tells the upgrade that made it from every other one; a rollback brings it back.
    """

    number: int
    status: str
    product: str = ""
    identity: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """The revisions of one release, in their order."""

    revisions: tuple[Revision, ...] = ()

    @property
    def newest(self) -> Revision | None:
        """The newest revision; None where the cluster has no such release."""
        return self.revisions[-1] if self.revisions else None

    @property
    def exists(self) -> bool:
        """Whether the release is in the cluster, complete or not."""
        return self.newest is not None and self.newest.status != GONE

    @property
    def pending(self) -> bool:
        """Whether somebody is changing the release, or was killed meanwhile."""
        return self.newest is not None and self.newest.status in PENDING

    @property
    def good(self) -> Revision | None:
        """The newest revision that was complete; None where there is none."""
        deployed = [each for each in self.revisions if each.status == "deployed"]
        found = deployed or [each for each in self.revisions if each.status in _GOOD]
        return found[-1] if found else None

    def is_ours(self, product: str) -> bool:
        """Return whether a transaction of the product left the newest revision.

        Labels stay when a person upgrades the release by hand: a pending revision of ours has a mark of its
        own.
        """
        newest = self.newest
        if newest is None or newest.product != product:
            return False
        # Who runs `helm upgrade` by hand makes a second revision with the labels of the one before.
        same = [each for each in self.revisions if each.mark == newest.mark]
        return not self.pending or len(same) == 1 or newest.status in ("pending-rollback", GOING)


def history_of(client: Client, release: str) -> History:
    """Return the revisions of a release.

    Raises:
        StepError: The cluster does not answer.
    """
    selector = f"owner=helm,name={release}"
    template = '{range .items[*]}{.metadata.labels}{"\\n"}{end}'
    ended = client.kubectl("get", "secrets", "--selector", selector, "--output", f"jsonpath={template}")
    if not ended.ok:
        raise client.failure("the revisions of the release cannot be read", ended, f"release {release}")
    rows = [json.loads(line) for line in ended.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
    found = [_revision(row) for row in rows]
    return History(tuple(sorted(found, key=lambda each: each.number)))


def _revision(labels: Json) -> Revision:
    number = str(labels.get("version", ""))
    return Revision(
        int(number) if number.isdigit() else 0,
        str(labels.get("status", "")),
        str(labels.get(PRODUCT, "")),
        str(labels.get(IDENTITY, "")),
        str(labels.get(MARK, "")),
    )


def labels(args: Json, mark: str) -> str:
    """Return the labels of a revision, as Helm takes them."""
    # A label has 63 characters at most.
    rows = {PRODUCT: args["product"], IDENTITY: args["identity"][:32], MARK: mark}
    return ",".join(f"{key}={value}" for key, value in rows.items())


def way_of(release: str) -> Way:
    """Return how Helm applies the objects of a release, and whose it may change."""

    def foreign_object(live: Mapping[str, Any], wanted: KubeObject) -> Problem | None:
        # Helm refuses to adopt an object that it did not make, but only once the upgrade has begun.
        owner = mapping(mapping(live.get("metadata")).get("annotations")).get(OWNER)
        if owner == release:
            return None
        whose = f"it belongs to the release {owner}" if owner else "no release of Helm made it"
        hint = "remove or rename one of the two; Helm changes no object that it does not own"
        return Problem(wanted.label, f"is in the cluster already, and {whose}", hint)

    return Way(foreign_object, "correct the chart or the values: the server refuses this")


def foreign(history: History, args: Json) -> Problem | None:
    """Return why a release is not this product's to change; None where it is, or where there is none."""
    newest = history.newest
    if newest is None or not history.exists or history.is_ours(args["product"]):
        return None
    where = f"release {args['release']} in namespace {args['namespace']}"
    if newest.product == args["product"]:
        what = f"is {newest.status}: somebody changes it without Waybill, or was killed meanwhile"
        hint = f"wait until it has ended; or run `helm rollback {args['release']} -n {args['namespace']}`"
        return Problem(where, what, hint)
    owner = f"belongs to the product {newest.product}" if newest.product else "was not installed by Waybill"
    what = f"exists already and {owner}: revision {newest.number}, {newest.status}"
    return Problem(where, what, "give the step another `release` or `namespace`, or uninstall that one first")
