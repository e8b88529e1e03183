"""The namespace of a release: whether it is there, and its removal if nothing of anybody is in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from installer.deploy.kubernetes.client import Client
from installer.deploy.operation import StepError

WAITS = 60
"""How often the contents are looked at again, while they are going."""
PAUSE = 1.0
"""Seconds between two looks."""
NAMED = 5
"""Objects that a warning names."""
_RECORDS = frozenset({"events", "events.events.k8s.io", "pods.metrics.k8s.io"})
"""Kinds that say something of other objects, and hold no data of anybody."""
_FIELDS = (
    "{.kind}",
    "{.metadata.name}",
    "{.type}",
    r"{.metadata.annotations.kubernetes\.io/service-account\.name}",
    "{.metadata.deletionTimestamp}",
    "{.metadata.ownerReferences[*].uid}",
)
_ROW = '{range .items[*]}{"\\t"}' + '{"\\t"}'.join(_FIELDS) + '{"\\n"}{end}'
_TOKEN = "kubernetes.io/service-account-token"


@dataclass(frozen=True, slots=True)
class Content:
    """An object in a namespace.

    Attributes:
        kind: Its kind, such as `Secret`.
        name: Its name.
        type: The type of a Secret; empty for most other kinds.
        account: The service account that a Secret is a token of.
        deleted: When its deletion began; empty while it has not.
        owners: The identities of the objects that it goes with; empty where it has none.
    """

    kind: str
    name: str
    type: str
    account: str
    deleted: str
    owners: str

    @property
    def is_of_every_namespace(self) -> bool:
        """Whether Kubernetes itself puts it into each namespace."""
        if self.kind == "Secret":
            # Up to 1.23 the default account has a token; a person may have made another one for it.
            is_token = self.type == _TOKEN and self.account == "default"
            return is_token and self.name.startswith("default-token-")
        return (self.kind, self.name) in (("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt"))

    @property
    def is_going(self) -> bool:
        """Whether the cluster may still be removing it, after the release that it came with."""
        # The endpoints of a service name no owner; the cluster removes them after the service.
        return bool(self.deleted or self.owners) or self.kind == "Endpoints"


def is_there(client: Client) -> bool:
    """Return whether the cluster has the namespace.

    Raises:
        StepError: The cluster does not answer.
    """
    return bool(client.answer("get", "namespace", client.namespace, "--ignore-not-found", "-o", "json"))


def remove_empty(client: Client) -> None:
    """Remove a namespace that the transaction created, unless it has something; then say what.

    Nothing brings back what goes with a namespace. So every kind of the cluster is looked for, and the
    namespace stays where one cannot be.

    Raises:
        StepError: The cluster does not answer, or does not remove it.
    """
    if not is_there(client):
        return
    progress = client.context.progress
    if why := _why_it_stays(client):
        progress.warn(f"namespace {client.namespace} stays, though this transaction created it: {why}")
        return
    ended = client.kubectl("delete", "namespace", client.namespace, "--wait=true", timeout=120.0)
    if not ended.ok:
        raise client.failure("the namespace cannot be removed", ended, f"namespace {client.namespace}")


def _why_it_stays(client: Client) -> str:
    try:
        for attempt in range(WAITS + 1):
            left = [each for each in _contents(client) if not each.is_of_every_namespace]
            if not left:
                return ""
            if attempt == WAITS or not all(each.is_going for each in left):
                break
            # Helm does not wait for the pods of a deployment that it deleted.
            client.context.system.sleep(PAUSE)
    except StepError as error:
        return f"it cannot be seen what is in it ({error.what})"
    names = [f"{each.kind}/{each.name}" for each in left[:NAMED]]
    more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
    return f"it has {', '.join(names)}{more}"


def _contents(client: Client) -> Iterator[Content]:
    """Yield every object in the namespace, of all kinds that the cluster has.

    Raises:
        StepError: The cluster does not answer, or does not let this login see one of the kinds.
    """
    # Asked for each time: the release may have brought a kind of its own, and somebody an object of it.
    ended = client.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name")
    if not ended.ok or ended.shortened:
        raise client.failure("the kinds of objects cannot be listed", ended)
    kinds = sorted(set(ended.stdout.decode("utf-8", "replace").split()) - _RECORDS)
    ended = client.kubectl("get", ",".join(kinds), "--output", f"jsonpath={_ROW}")
    if not ended.ok:
        raise client.failure("its objects cannot be listed", ended)
    # Of an output that is too long the end is kept; the first row may be half of one, and is still a row.
    for line in ended.stdout.decode("utf-8", "replace").splitlines():
        fields = line.split("\t")[-len(_FIELDS) :]
        yield Content(*fields, *[""] * (len(_FIELDS) - len(fields)))
