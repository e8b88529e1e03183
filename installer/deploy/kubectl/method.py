"""The method `kubectl`: applies manifests as they are in the cluster that this host is told to use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from installer.core.errors import HostNotReadyError, Problem, WaybillError
from installer.core.format.entries.kube_manifests import KIND
from installer.deploy import release_files
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.kubectl import items
from installer.deploy.kubectl.manifests import arguments, key_of, loaded, named, namespace_of
from installer.deploy.kubectl.outlook import lines_of, outlook_of, problems_in
from installer.deploy.kubectl.ownership import STAYS, way_of
from installer.deploy.kubernetes import claims, report, tools
from installer.deploy.kubernetes.changes import compared, problems_of
from installer.deploy.kubernetes.client import Client
from installer.deploy.kubernetes.objects import CLAIM, KubeObject, mapping
from installer.deploy.kubernetes.site import Site
from installer.deploy.method import Method, Target
from installer.deploy.operation import Json, Op, StepError, ThirdStateError
from installer.deploy.site.rendered_values import has_values
from installer.host.context import Context
from installer.shared.review import kube_documents

_AGAIN = "install the release again"


class Kubectl(Method):
    """The method `kubectl`."""

    name = "kubectl"
    item_kinds: ClassVar = (items.OBJECT, items.CLAIM)
    data_kinds: ClassVar = (items.CLAIM,)

    def rendered(
        self, context: Context, target: Target, template: str, data: bytes
    ) -> tuple[bytes, list[Problem]]:
        """Return the rendered manifests, and what is wrong with them."""
        found = kube_documents.faults([(f"{template} (rendered)", data)])
        return data, [Problem(each.file, each.what, each.hint) for each in found]

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Check the cluster, and whether it takes the objects."""
        if not context.live:
            what = "needs a cluster, but --root is a directory"
            return [Problem(self.name, what, f"omit --root, or omit {self.name} from --only")]
        if (target := new or old) is None:
            return []
        problems = tools.unusable(context, old, new, self.spec)
        # An undo applies them again, and a removal finds in them what it deletes.
        problems += release_files.changed(context, old.release, KIND) if old else []
        if problems:
            return problems
        site = tools.site_for(context, target, self.spec)
        if not isinstance(site, Site):
            return site
        client = Client(context, site, namespace_of(target))
        if problem := items.unusable_cluster(client):
            return [problem]
        if absent := self.absent_files(new) if new else []:
            return absent
        try:
            # Also where nothing new comes: what a removal deletes has to be known.
            if old:
                self._arguments(context, old)
            if new is None or not has_values(new, self.name):
                return []  # the plan says why there are no values
            return [*problems_in(outlook_of(context, *self._both(context, old, new)))]
        except (StepError, ThirdStateError) as error:
            return problems_of(error, self.name)

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return what changes in the cluster, object by object."""
        if not context.live:
            return []
        try:
            if new is None:
                return [*self._removal(context, old)] if old else []
            if not has_values(new, self.name):
                return []
            return [*lines_of(outlook_of(context, *self._both(context, old, new)))]
        except (WaybillError, OSError):
            return []  # `check` says why, and nothing is carried out

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return the operations on the objects.

        Raises:
            HostNotReadyError: The cluster does not answer any more, or a file was changed.
        """
        try:
            before = self._arguments(context, old) if old else None
            ops = [Op("kubectl.before", before, "switch")] if before else []
            if new is None:
                label = f"delete the objects in namespace {before['namespace']}" if before else ""
                return [*ops, Op("kubectl.delete", before, "switch", label)] if before else []
            # The same answer as that of the plan: the cluster is not asked again.
            target, args = self._both(context, old, new)
            if not outlook_of(context, target, args).is_needed:
                return []
        except (StepError, ThirdStateError) as error:
            raise HostNotReadyError(
                error.what, where=error.where, hint=error.hint, problems=error.problems
            ) from error
        label = f"apply {len(args['objects'])} objects in namespace {args['namespace']}"
        return [*ops, Op("kubectl.apply", args, "activate", label)]

    def restarts(self, context: Context, target: Target) -> Mapping[str, int]:
        """Return how often each container of the step has been restarted."""
        try:
            client, objects = self._stored(context, target)
            return dict(row for pod in report.pods_of(client, objects) for row in report.restarts(pod))
        except (StepError, ThirdStateError):
            return {}

    def failure_logs(self, context: Context, target: Target) -> list[Problem]:
        """Return why pods of the step are not ready, and their last lines."""
        try:
            return report.failing(*self._stored(context, target))
        except (StepError, ThirdStateError):
            return []

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return where the cluster differs from the objects; secrets are not asked for, and not compared."""
        problems = [*tools.changed(context, target, self.spec)]
        # The objects are made of these files: with others the cluster would be compared with nothing.
        if problems := [*problems, *release_files.changed(context, target.release, KIND)]:
            return problems
        try:
            client, objects = self._stored(context, target)
            comparison = compared(client, way_of(self._arguments(context, target)), objects, [])
        except (StepError, ThirdStateError) as error:
            return problems_of(error, f"namespace {namespace_of(target)}")
        # The cluster itself removes jobs that say how long they are kept: that is no change.
        passing = {each.label for each in objects if "ttlSecondsAfterFinished" in _spec(each)}
        said = {"create": "is missing", "change": "was changed: "}
        found = [each for each in comparison.changes if each.does != "create" or each.label not in passing]
        rows = [Problem(each.label, said[each.does] + "; ".join(each.lines), _AGAIN) for each in found]
        return [*rows, *comparison.problems]

    def inventory(self, context: Context, target: Target, *, running: bool) -> list[InventoryItem]:
        """Return the objects that a removal deletes."""
        if not running:
            return []
        try:
            client, objects = self._stored(context, target)
        except (StepError, ThirdStateError):
            return []  # the plan of the removal says why
        keys = [key_of(each, client.namespace) for each in objects if each.kind not in STAYS]
        return [items.item_of(key, tools.record(client.site)) for key in keys]

    def data(self, context: Context, target: Target) -> Iterator[InventoryItem]:
        """Return the persistent volume claims of the step."""
        return claims.claims(*self._stored(context, target), items.CLAIM)

    def purge(self, context: Context, items: Sequence[InventoryItem]) -> None:
        """Delete claims."""
        claims.delete(context, items)

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Ask the cluster for the objects and the claims."""
        return _residue(context, items)

    def _arguments(self, context: Context, target: Target) -> Json:
        return arguments(context, target, tools.require_site(context, target, self.spec))

    def _both(self, context: Context, old: Target | None, new: Target) -> tuple[Target, Json]:
        before = self._arguments(context, old)["objects"] if old else []
        return new, {**self._arguments(context, new), "old": before}

    def _stored(self, context: Context, target: Target) -> tuple[Client, list[KubeObject]]:
        """Return the cluster, and the objects of an installed step without secrets."""
        args = self._arguments(context, target)
        client = Client(context, tools.require_site(context, target, self.spec), args["namespace"])
        return client, loaded(context, args, target)

    def _removal(self, context: Context, old: Target) -> Iterator[str]:
        args = self._arguments(context, old)
        for each in named(args["objects"]):
            if each.kind not in STAYS:
                yield f"delete {each.label}"
            elif each.kind != CLAIM:
                yield f"{each.label} stays"
        yield from claims.plan_lines(old, self.data(context, old))


def _spec(each: KubeObject) -> Mapping[str, object]:
    return mapping(each.value.get("spec"))


def _residue(context: Context, found: Sequence[InventoryItem]) -> Iterator[Residue]:
    for item in found:
        if item.kind == items.OBJECT:
            yield items.left(context, item)
    yield from claims.residue(context, [each for each in found if each.kind == items.CLAIM])


METHOD = Kubectl()
