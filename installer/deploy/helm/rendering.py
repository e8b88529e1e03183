"""Renders a chart on this host, and packs what it makes for Helm.

Helm gets a chart whose only template is what was rendered: so the plan, the check of what the cluster takes
and the upgrade are about the same text, hooks included, whichever version of Helm runs. Values with secrets
go through a pipe, the packed chart through memory.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass, replace

from installer.core.format.entries.chart_files import KIND, METADATA, chart_of
from installer.deploy import release_files
from installer.deploy.helm.helm_client import HelmClient
from installer.deploy.kubernetes.image_references import image_references
from installer.deploy.kubernetes.objects import KubeObject, for_site, objects_in, text_of
from installer.deploy.kubernetes.site import Site
from installer.deploy.method import Target
from installer.deploy.operation import Json, StepError
from installer.deploy.site.rendered_values import (
    recorded_values,
    values_with_references,
    values_with_secrets,
)
from installer.host.context import Context
from installer.shared.review.yaml_values import NotReadableError, yaml_values

TIMEOUT = 600
"""Seconds that an upgrade may take, where the step does not say it."""
_RENDER = 120.0
_METHOD = "helm"
_KEPT = ("apiVersion", "name", "version", "appVersion", "description", "icon", "home")
"""What of the metadata of a chart is for people; Helm shows it in its lists."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a chart makes on this site.

    Attributes:
        objects: All objects, hooks among them.
        crds: Definitions that Helm installs before them, where they are absent.
        name: The name of the chart.
        version: Its version.
        archive: The chart that Helm gets.
    """

    objects: tuple[KubeObject, ...]
    crds: tuple[KubeObject, ...]
    name: str
    version: str
    archive: bytes

    @property
    def ordinary(self) -> list[KubeObject]:
        """The objects that are no hooks."""
        return [each for each in self.objects if not each.hooks]


def names_of(target: Target) -> tuple[str, str]:
    """Return the name of the release of a step, and its namespace."""
    product = target.release.manifest.product
    return str(target.options.get("release") or product), str(target.options.get("namespace") or product)


def arguments(context: Context, target: Target, site: Site) -> Json:
    """Return what operations have to know of a step."""
    release, namespace = names_of(target)
    manifest = target.release.manifest
    return {
        # Operations run once the release is in its place.
        "site": site.moved(target.release.staged, target.release.directory).as_json(),
        "release": release,
        "namespace": namespace,
        "product": manifest.product,
        "version": manifest.version,
        "identity": target.release.identity,
        "directory": target.release.directory,
        "chart": chart_of(target.options["chart"]),
        "files": release_files.listed(manifest, KIND),
        "values": recorded_values(target, _METHOD),
        "timeout": target.options.get("timeout", TIMEOUT),
        "test": bool(target.options.get("test")),
        "images": image_references(context, target.release),
    }


def client_of(context: Context, args: Json, target: Target | None = None) -> HelmClient:
    """Return the programs for the cluster of an operation; while planning, those of the staged release."""
    site = Site.from_json(args["site"])
    site = site.moved(args["directory"], target.release.staged) if target else site
    return HelmClient(context, site, args["namespace"])


def rendered(context: Context, args: Json, target: Target | None = None, *, upgrades: bool) -> Rendered:
    """Render a chart for this site.

    Args:
        context: The host.
        args: What `arguments` returned.
        target: While planning, the step: its files are not in the directory of the release yet.
        upgrades: Whether the chart is told that it is an upgrade.

    Raises:
        StepError: Helm refuses it, a secret cannot be had, or the cluster does not answer.
        ChangedFileError: A file is not what was verified. Nothing was run.
    """
    client, directory = (
        client_of(context, args, target),
        target.release.staged if target else args["directory"],
    )
    values = json.dumps(values_with_secrets(context, args["values"], target)).encode()
    words = ["template", args["release"], "--dry-run=server", *(("--is-upgrade",) if upgrades else ())]
    with release_files.checked_directory(context, directory, args["files"], KIND, alone=True) as copy:
        # Helm runs outside of --root.
        place = context.system.real(copy)
        # `--dry-run=server`, so that a template that looks something up sees what it will see in the upgrade.
        chart = f"{place}/{args['chart']}"
        asked = [client.helm(*words, chart, "--values", "-", stdin=values, timeout=_RENDER)]
        asked += [
            client.helm("show", what, chart) for what in ("chart", *(["crds"] if _has_crds(args) else []))
        ]
    for each in asked:
        if not each.ok:
            raise _without_place(client.failure("helm cannot render the chart", each, args["chart"]), place)
        if each.shortened:
            # Half of a chart would be installed as if it were all of it.
            raise StepError("makes more than 1 MiB", where=args["chart"], hint="split the chart")
    texts = [each.stdout.decode("utf-8", "replace") for each in asked]
    objects = objects_in(texts[0], args["chart"])
    objects = list(for_site(objects, args["images"]))
    definitions = objects_in("".join(texts[2:]), args["chart"])
    metadata = _metadata(texts[1].encode())
    archive = _packed(metadata, objects, definitions)
    return Rendered(tuple(objects), tuple(definitions), metadata["name"], metadata["version"], archive)


def _has_crds(args: Json) -> bool:
    """Return whether a chart may have definitions: an archive may."""
    return any("/crds/" in path or path.endswith(".tgz") for path in args["files"])


def _without_place(error: StepError, place: str) -> StepError:
    """Return the error with the files of the chart as the bundle has them, not as the private copy does."""
    # The copy is gone by the time that somebody reads this.
    error.what = error.what.replace(f"{place}/", "")
    error.problems = tuple(replace(each, what=each.what.replace(f"{place}/", "")) for each in error.problems)
    return error


def shown_values(context: Context, args: Json) -> bytes:
    """Return the values with references in place of secrets, for `helm get values`."""
    return json.dumps(values_with_references(context, args["values"], None)).encode()


def _metadata(data: bytes) -> dict[str, str]:
    try:
        found = yaml_values(data)
        return {key: str(found[key]) for key in _KEPT if found.get(key)} | {"name": found["name"]}
    except (NotReadableError, AttributeError, KeyError, TypeError):
        raise StepError("is no metadata of a chart", where=METADATA) from None


def _packed(metadata: dict[str, str], objects: list[KubeObject], crds: list[KubeObject]) -> bytes:
    """Return the archive of a chart that makes these objects and nothing else."""
    # What looks like an action of the template language is text: the chart was rendered already.
    text = text_of(objects).replace("{{", '{{ "{{" }}')
    files = {METADATA: json.dumps(metadata), "templates/rendered.yaml": text}
    files |= {"crds/definitions.yaml": text_of(crds)} if crds else {}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            data = content.encode()
            member = tarfile.TarInfo(f"{metadata['name']}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
