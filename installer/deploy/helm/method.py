"""The method `helm`: installs and upgrades a release in the cluster that this host is told to use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from installer.core.errors import HostNotReadyError, Problem, WaybillError
from installer.core.oci.reference import familiar
from installer.deploy.helm.helm_client import HelmClient
from installer.deploy.helm.rendering import Rendered, arguments, client_of, names_of, rendered
from installer.deploy.helm.revisions import History, foreign, history_of, way_of
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.kubernetes import claims, report, requirements, tools
from installer.deploy.kubernetes.changes import Change, Comparison, compared, problems_of
from installer.deploy.kubernetes.claims import ITEM
from installer.deploy.kubernetes.objects import KubeObject, objects_in
from installer.deploy.kubernetes.site import Site
from installer.deploy.kubernetes.tools import require_site, site_for
from installer.deploy.method import LastPlan, Method, Target
from installer.deploy.operation import Json, Op, StepError, ThirdStateError
from installer.deploy.site.rendered_values import has_values, value_problems
from installer.host.context import Context

_RELEASE = "Helm release"
_AGAIN = "install the release again"
_STORE = ((("", "secrets"), ("list", "get", "create", "update", "delete")),)
"""Where Helm keeps the revisions, and what it does with them."""
_OBJECTS = 40
"""Objects that a plan names."""


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What a step does to the cluster, while planning.

    Attributes:
        made: What the chart makes here.
        old: The objects that the release has now, as Helm stored them.
        history: Its revisions.
        comparison: What changes.
        is_new: Whether the namespace is created.
        known: The resource of each kind that the chart uses, and whether it is in a namespace.
        absent: Kinds that the cluster does not have.
    """

    made: Rendered
    old: list[KubeObject]
    history: History
    comparison: Comparison
    is_new: bool
    known: Mapping[str, tuple[requirements.Resource, bool]]
    absent: Sequence[Problem]

    @property
    def verb(self) -> str:
        """What happens to the release."""
        return "upgrade" if self.history.exists else "install"


class Helm(Method):
    """The method `helm`."""

    name = "helm"
    item_kinds: ClassVar = (_RELEASE, ITEM)
    data_kinds: ClassVar = (ITEM,)

    def rendered(
        self, context: Context, target: Target, template: str, data: bytes
    ) -> tuple[bytes, list[Problem]]:
        """Return the rendered values, and what is wrong with them."""
        return data, value_problems(data, template)

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Check the cluster, and whether it takes what the chart makes."""
        if not context.live:
            what = "needs a cluster, but --root is a directory"
            return [Problem(self.name, what, "omit --root, or omit helm from --only")]
        if (target := new or old) is None:
            return []
        if problems := tools.unusable(context, old, new, self.spec):
            return problems
        site = site_for(context, target, self.spec)
        if not isinstance(site, Site):
            return site
        client = HelmClient(context, site, names_of(target)[1])
        versions = client.versions()
        if isinstance(versions, Problem):
            return [versions]
        if problem := client.old_helm():
            return [problem]
        if new is None:
            return []
        if absent := self.absent_files(new):
            return absent
        if not has_values(new, self.name):
            return []  # the plan says why there are none
        try:
            return [*_problems(client, arguments(context, new, site), new)]
        except StepError as error:
            return problems_of(error, self.name)

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return what changes in the cluster, object by object."""
        site = site_for(context, new or old, self.spec)
        if not context.live or not isinstance(site, Site):
            return []
        lines = [_uninstalled(old)] if old and _goes(old, new) else []
        if new is None:
            return [*lines, *_data_lines(context, old)] if old else []
        if not has_values(new, self.name):
            return lines
        try:
            outlook = _outlook(context, arguments(context, new, site), new)
        except (WaybillError, OSError):
            return lines  # `check` says why, and nothing is carried out
        if not _needed(outlook, old, new):
            return lines
        return [*lines, *_lines(HelmClient(context, site, names_of(new)[1]), new, outlook)]

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return the operations on the release.

        Raises:
            HostNotReadyError: The cluster does not answer any more, or refuses the chart.
        """
        try:
            ops = []
            if old and _goes(old, new):
                args = arguments(context, old, require_site(context, old, self.spec))
                ops.append(Op("helm.uninstall", args, "switch", _uninstalled(old)))
            if new is None:
                return ops
            site = require_site(context, new, self.spec)
            args = arguments(context, new, site)
            outlook = _outlook(context, args, new)
            if not _needed(outlook, old, new):
                return ops
        except StepError as error:
            raise HostNotReadyError(
                error.what, where=error.where, hint=error.hint, problems=error.problems
            ) from error
        label = f"{outlook.verb} {args['release']} in namespace {args['namespace']}"
        ops.append(Op("helm.upgrade", args, "activate", label))
        if args["test"]:
            ops.append(Op("helm.test", args, "activate", f"run the tests of {args['release']}"))
        return ops

    def restarts(self, context: Context, target: Target) -> Mapping[str, int]:
        """Return how often each container of the release has been restarted."""
        try:
            client, objects = _stored(context, target)
            return dict(row for pod in report.pods_of(client, objects) for row in report.restarts(pod))
        except StepError:
            return {}

    def failure_logs(self, context: Context, target: Target) -> list[Problem]:
        """Return why pods of the release are not ready, and their last lines."""
        try:
            return report.failing(*_stored(context, target))
        except StepError:
            return []

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return where the cluster differs from what Helm stored of the release."""
        if problems := [*tools.changed(context, target, self.spec)]:
            return problems
        release, namespace = names_of(target)
        where = f"release {release} in namespace {namespace}"
        try:
            client, objects = _stored(context, target)
            newest = history_of(client, release).newest
            if newest is None or newest.status != "deployed":
                state = f"{newest.status} (revision {newest.number})" if newest else "not in the cluster"
                return [Problem(where, f"is {state}", _AGAIN)]
            if newest.product != target.release.manifest.product:
                return [Problem(where, f"revision {newest.number} is not of Waybill", _AGAIN)]
            changes = compared(client, way_of(release), objects, objects).changes
        except StepError as error:
            return [Problem(where, error.what, error.hint)]
        # What would be created is not there.
        said = {"create": "is missing", "change": "was changed: "}
        return [Problem(each.label, said[each.does] + "; ".join(each.lines), _AGAIN) for each in changes]

    def inventory(self, context: Context, target: Target, *, running: bool) -> list[InventoryItem]:
        """Return the release."""
        release, namespace = names_of(target)
        site = site_for(context, target, self.spec)
        own = tools.record(site) if isinstance(site, Site) else ""
        return [InventoryItem(_RELEASE, f"{namespace}/{release}", other=own)] if running else []

    def data(self, context: Context, target: Target) -> Iterator[InventoryItem]:
        """Return the persistent volume claims of the release."""
        return claims.claims(*_stored(context, target))

    def purge(self, context: Context, items: Sequence[InventoryItem]) -> None:
        """Delete claims."""
        claims.delete(context, items)

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Ask the cluster for the release and its claims."""
        for item in items:
            if item.kind == _RELEASE:
                yield _left(context, item)
        yield from claims.residue(context, [item for item in items if item.kind == ITEM])


def _goes(old: Target, new: Target | None) -> bool:
    return new is None or names_of(old) != names_of(new)


def _uninstalled(old: Target) -> str:
    release, namespace = names_of(old)
    return f"uninstall {release} from namespace {namespace}"


_last_plan = LastPlan[_Outlook]()


def _outlook(context: Context, args: Json, new: Target) -> _Outlook:
    return _last_plan.found(new, lambda: _looked(context, args, new))


def _looked(context: Context, args: Json, new: Target) -> _Outlook:
    client = client_of(context, args, new)
    history = history_of(client, args["release"])
    there = history.exists or requirements.namespace_state(client)[0]
    made = rendered(context, args, new, upgrades=history.exists)
    old = _manifest(client, args["release"], history)
    known, absent = requirements.resources(client, made.objects, made.crds)
    # Of a kind that the cluster does not have, or has only once the chart defined it, nothing can be asked.
    asked = [each for each in made.ordinary if each.type in known]
    comparison = compared(client, way_of(args["release"]), asked, old, empty=not there)
    fresh = [Change("create", each.label) for each in made.ordinary if each.type not in known]
    comparison = replace(comparison, changes=(*fresh, *comparison.changes))
    return _Outlook(made, old, history, comparison, not there, known, absent)


def _problems(client: HelmClient, args: Json, new: Target) -> Iterator[Problem]:
    """Yield why the cluster does not take the release."""
    if problem := requirements.namespace_state(client)[1]:
        yield problem
        return
    outlook = _outlook(client.context, args, new)
    if other := foreign(outlook.history, args):
        yield other
        return
    made = outlook.made
    denied = requirements.permissions(
        client, made.objects, outlook.known, creates_namespace=outlook.is_new, more=_STORE
    )
    yield from (*outlook.absent, *denied)
    if not args["images"]:
        yield from requirements.always_pulled(made.objects, _carried(new))
    # A server that knows a kind not, or refuses the login, says so again for each object.
    if not outlook.absent and not denied:
        yield from requirements.quotas(client, made.ordinary, outlook.old)
        yield from outlook.comparison.problems


def _carried(target: Target) -> set[str]:
    return {familiar(image.reference) for image in target.release.manifest.images}


def _manifest(client: HelmClient, release: str, history: History) -> list[KubeObject]:
    """Return the objects of the newest complete revision, as Helm stored them."""
    if not history.exists or history.good is None:
        return []
    ended = client.helm("get", "manifest", release, "--revision", str(history.good.number))
    if not ended.ok or ended.shortened:
        raise client.failure("helm get manifest", ended, f"release {release}")
    return objects_in(ended.stdout.decode("utf-8", "replace"), f"release {release}")


def _stored(context: Context, target: Target) -> tuple[HelmClient, list[KubeObject]]:
    """Return the cluster, and what Helm stored of a release.

    Raises:
        StepError: The cluster does not answer.
    """
    release, namespace = names_of(target)
    client = HelmClient(context, require_site(context, target, METHOD.spec), namespace)
    return client, _manifest(client, release, history_of(client, release))


def _needed(outlook: _Outlook, old: Target | None, new: Target) -> bool:
    """Return whether there is anything to do."""
    newest = outlook.history.newest
    is_complete = newest is not None and newest.status == "deployed"
    same = old is not None and old.release.identity == new.release.identity and old.options == new.options
    # Hooks run with each new release, whether objects change or not.
    hooks = len(outlook.made.objects) > len(outlook.made.ordinary)
    return not is_complete or bool(outlook.comparison.changes) or (hooks and not same)


def _lines(client: HelmClient, new: Target, outlook: _Outlook) -> Iterator[str]:
    release, namespace = names_of(new)
    newest, made = outlook.history.newest, outlook.made
    revision = f", now revision {newest.number}" if newest and outlook.history.exists else ""
    yield f"{outlook.verb} {release} in namespace {namespace} with chart {made.name} {made.version}{revision}"
    yield f"cluster: {client.server() or client.site.kubeconfig}"
    yield f"programs: {client.programs()}"
    if outlook.is_new:
        yield f"create namespace {namespace}"
    if newest and outlook.history.exists and newest.status != "deployed":
        yield f"{release} is {newest.status}: what was left half done is repaired first"
    changes = outlook.comparison.changes
    for each in changes[:_OBJECTS]:
        yield f"{each.does} {each.label}"
        yield from (f"    {line}" for line in each.lines)
    if len(changes) > _OBJECTS:
        yield f"and {len(changes) - _OBJECTS} more objects"
    for hook in made.objects:
        if hook.hooks:
            yield f"hook {hook.label}: {', '.join(hook.hooks)}"
    for name in requirements.not_carried(made.objects, _carried(new)):
        yield f"image {name} is not in the bundle: the cluster has to have it"
    if new.options.get("test"):
        yield f"run the tests of {release}"


def _data_lines(context: Context, old: Target) -> list[str]:
    """Return what becomes of the claims of a release that goes."""
    try:
        found = [*METHOD.data(context, old)]
    except (StepError, ThirdStateError):
        return []
    return [*claims.plan_lines(old, found)]


def _left(context: Context, item: InventoryItem) -> Residue:
    namespace, _, release = item.name.partition("/")
    hint = f"run `helm uninstall {release} -n {namespace}`"
    try:
        client = HelmClient(context, tools.site_of_removed(context, item.other), namespace)
        there = history_of(client, release).revisions
    except StepError as error:
        if item.other:
            what = "was uninstalled; the kubectl that could look again went with the release"
            return Residue("gone", _RELEASE, item.name, what)
        return Residue("left", _RELEASE, item.name, f"cannot be looked for: {error.what}", hint)
    what, hint = ("is still there", hint) if there else ("", "")
    return Residue("left" if there else "gone", _RELEASE, item.name, what, hint)


METHOD = Helm()
