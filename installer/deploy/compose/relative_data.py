"""Relative paths that mean the directory of a release, and the data that containers write there.

`bundle create` refuses mounts for writing there; releases that were made before may have them, and a site may
write some into its override. Each release has a directory of its own, so an upgrade leaves the data behind.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from installer.core.errors import Problem
from installer.core.risk.compose_references import Reference, references
from installer.deploy import release_files
from installer.deploy.compose.command import KIND
from installer.deploy.compose.environment import override, planned_override
from installer.deploy.compose.release_project import compose_files
from installer.deploy.method import Target, full_path
from installer.host.context import Context
from installer.shared.review.yaml_values import NotReadableError, yaml_values

_ABSOLUTE = "an absolute path of the host, such as /srv/data"
_FETCHED = ("http://", "https://", "git@", "oci://")
_REMEDY = "copy them first; in the next release, mount a named volume or an absolute path"


def left_behind(context: Context, old: Target | None, new: Target | None, files: list[str]) -> Iterator[str]:
    """Yield a warning for each directory or file of the old release that has data of its containers.

    Args:
        context: The host.
        old: The step of the release that runs.
        new: The step of the release that is to run; None where the step goes.
        files: The Compose files of the old step.
    """
    if old is None or (new and new.release.identity == old.release.identity):
        return
    manifest, directory = old.release.manifest, old.release.directory
    carried = {entry.path for entry in manifest.files}
    for mount in _mounts(context, old, files):
        place = f"{directory}/{mount.target}"
        if mount.target in carried or not _has_data(context, place):
            continue
        shown = full_path(context, place)
        what = (
            "are removed"
            if new is None
            else f"stay in the directory of release {manifest.version}, and are removed with it"
        )
        yield f"WARNING: data in {shown}, which {mount.what} mounts as {mount.path:.100}, {what}: {_REMEDY}"


def of_site(target: Target) -> Iterator[Problem]:
    """Yield what is wrong with the relative paths of the override of the site, for a release that is planned.

    They mean the directory of the release, in which nothing of the site is.
    """
    item, data = override(target), planned_override(target)
    if item is None or data is None:
        return
    carried = {entry.path for entry in target.release.manifest.files}
    for each in references(yaml_values(data), posixpath.dirname(compose_files(target)[0])):
        inside = any(f"{path}/".startswith(f"{each.target}/") for path in carried)
        if each.on_host or (each.role == "variables" and not each.required):
            continue
        if each.role == "mount" and each.writable:
            what = "for writing, from the directory of the release: data there are removed with the release"
            what = f"{each.what} mounts {each.path:.100} {what}"
            yield Problem(item.origin, what, f"mount a named volume or {_ABSOLUTE}")
        elif each.required and not inside and not each.path.startswith(_FETCHED):
            what = f"{each.what} refers to {each.path:.100}, which is not a file of the release"
            yield Problem(item.origin, what, f"write {_ABSOLUTE}")


def _mounts(context: Context, old: Target, files: list[str]) -> Iterator[Reference]:
    listed = release_files.listed(old.release.manifest, KIND)
    base = posixpath.dirname(files[0])
    for file in files:
        try:
            data = release_files.checked_bytes(context, old.release.directory, file, listed, KIND)
            document = yaml_values(data)
        except (release_files.ChangedFileError, NotReadableError):
            continue  # `check` reports what was changed
        for each in references(document, base):
            if (
                each.role == "mount"
                and each.writable
                and not each.on_host
                and not each.target.startswith("..")
            ):
                yield each


def _has_data(context: Context, place: str) -> bool:
    try:
        seen = context.system.observe(place, digest=False)
        return seen.kind == "file" or (seen.kind == "dir" and bool(context.system.names(place)))
    except OSError:
        return False
