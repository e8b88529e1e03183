"""The objects of a step, as this site gets them: its files, and what its template makes.

They get the references of the site's registry, two labels that say whose they are, and, when they are
applied, secrets in the places of references. Operations record what names them, and nothing of their content.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from installer.core.format.entries.kube_manifests import KIND
from installer.deploy import release_files
from installer.deploy.kubectl.ownership import OWN_KINDS, labels
from installer.deploy.kubernetes.client import Client
from installer.deploy.kubernetes.image_references import image_references
from installer.deploy.kubernetes.objects import Edits, KubeObject, edited, images_of, objects_in
from installer.deploy.kubernetes.site import Site
from installer.deploy.method import Target
from installer.deploy.operation import Json, StepError
from installer.deploy.site.images import site_rule
from installer.deploy.site.rendered_values import recorded_values, revealed
from installer.host.context import Context
from installer.secrets.registry import references_in
from installer.shared.review import kube_documents

TIMEOUT = 600
"""Seconds until all is ready, where the step does not say it."""
_METHOD = "kubectl"
_FIRST = {kind: place for place, kind in enumerate(OWN_KINDS)}


def namespace_of(target: Target) -> str:
    """Return the namespace of a step, by which it is known."""
    return str(target.options.get("namespace") or target.release.manifest.product)


def arguments(context: Context, target: Target, site: Site) -> Json:
    """Return what operations have to know of a step.

    Raises:
        StepError: Its objects cannot be read, or where the site has its images is not known.
        ChangedFileError: A file is not what was verified.
    """
    release = target.release
    files = release_files.listed(release.manifest, KIND)
    args = {
        # Operations run once the release is in its place.
        "site": site.moved(release.staged, release.directory).as_json(),
        "namespace": namespace_of(target),
        "product": release.manifest.product,
        "version": release.manifest.version,
        "directory": release.directory,
        "files": {path: files[path] for path in target.options.get("manifests", ())},
        "template": recorded_values(target, _METHOD),
        "timeout": target.options.get("timeout", TIMEOUT),
        "images": image_references(context, release),
    }
    objects = loaded(context, args, target)
    return {**args, "objects": [key_of(each, args["namespace"]) for each in objects]}


def client_of(context: Context, args: Json, target: Target | None = None) -> Client:
    """Return kubectl for the cluster of an operation; while planning, that of the staged release."""
    site = Site.from_json(args["site"])
    site = site.moved(args["directory"], target.release.staged) if target else site
    return Client(context, site, args["namespace"])


def loaded(
    context: Context, args: Json, target: Target | None = None, *, with_secrets: bool = False
) -> list[KubeObject]:
    """Return the objects of a step, in the order in which they are applied.

    Args:
        context: The host.
        args: What `arguments` returned.
        target: While planning, the step: its files are not in the directory of the release yet.
        with_secrets: Whether secrets are asked for, and put in the places of references.

    Raises:
        StepError: What a file has cannot be applied, or a secret cannot be had.
        ChangedFileError: A file is not what was verified.
    """
    rows = list(_texts(context, args, target))
    for fault in kube_documents.faults(rows):
        raise StepError(fault.what, where=fault.file, hint=fault.hint)
    objects = [each for file, data in rows for each in objects_in(data.decode("utf-8", "replace"), file)]
    values = _secrets(context, objects) if with_secrets else {}
    rule, own = site_rule(args["images"]), labels(args)
    made = []
    for each in objects:
        images = {name: rule(name) for name in images_of(each.value) if rule(name) != name}
        made.append(edited(each, Edits(images, "labels", own, values)))
    # What others are in, or are of, comes first; all others stay in their order.
    return sorted(made, key=lambda each: _FIRST.get(each.kind, len(_FIRST)))


def key_of(each: KubeObject, namespace: str) -> list[str]:
    """Return what names an object in a journal: API version, kind, namespace and name."""
    return [each.api, each.kind, each.namespace or namespace, each.name]


def named(keys: Sequence[Sequence[str]]) -> list[KubeObject]:
    """Return objects that say only what names them: enough to ask for them, and to delete them."""
    found = []
    for api, kind, namespace, name in keys:
        value = {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}}
        found.append(KubeObject(json.dumps(value), value))
    return found


def _texts(context: Context, args: Json, target: Target | None) -> Iterator[tuple[str, bytes]]:
    directory = target.release.staged if target else args["directory"]
    for path in args["files"]:
        yield path, release_files.checked_bytes(context, directory, path, args["files"], KIND)
    if recorded := args["template"]:
        planned = target.release.rendered if target else {}
        _, data = release_files.recorded_bytes(context.system, recorded, planned)
        yield recorded["paths"][-1], data


def _secrets(context: Context, objects: Sequence[KubeObject]) -> dict[str, str]:
    """Return the secrets that objects refer to, by their references."""
    values = [each.value for each in objects]
    found, problems = references_in(values, lambda path: objects[int(path[0])].source if path else "")
    secrets = revealed(context, found, problems)
    return {str(reference): secrets[path] for path, reference in found.items()}
