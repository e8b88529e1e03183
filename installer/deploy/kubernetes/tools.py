"""Programs that a release carries for its own steps: the ones that it was tested with.

They run from the directory of the release, while planning from where it is staged. Each is opened once in a
process, and compared with the digest in the manifest; what is started is the very file that was compared. It
stays open: the check after a removal still has it when the directory of the release is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from installer.core.errors import Problem
from installer.core.format.entries.method_spec import MethodSpec
from installer.deploy import release_files
from installer.deploy.kubernetes.site import Site, site_of
from installer.deploy.method import Target
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.host.private_copy import DifferentError, opened_program
from installer.host.system import System

_open: dict[tuple[str, str], int] = {}
"""Descriptors of programs, by their places on the host and their SHA-256."""


def carried(context: Context, target: Target | None, spec: MethodSpec) -> dict[str, tuple[str, str]]:
    """Return path in the release and SHA-256 of the programs that a step brings for this host, by name."""
    if target is None:
        return {}
    entries = {entry.path: entry for entry in target.release.manifest.files}
    platform = context.system.platform()
    return {
        option.key: (path, entries[path].sha256)
        for option, path in spec.files(target.options)
        if option.is_tool and path in entries and entries[path].platform == platform
    }


def site_for(context: Context, target: Target | None, spec: MethodSpec) -> Site | list[Problem]:
    """Return how this host reaches its cluster with the programs of a step, or what is wrong."""
    staged = target.release.staged if target else ""
    own = {
        name: (f"{staged}/{path}", sha256) for name, (path, sha256) in carried(context, target, spec).items()
    }
    names = [option.key for option in spec.options if option.is_tool]
    return site_of(context.system, own, names, f"; or use --skip {spec.name}")


def require_site(context: Context, target: Target | None, spec: MethodSpec) -> Site:
    """Return how this host reaches its cluster with the programs of a step.

    Raises:
        StepError: It cannot.
    """
    return _required(site_for(context, target, spec))


def site_of_removed(context: Context, recorded: str) -> Site:
    """Return how this host reaches its cluster after a removal, with kubectl alone.

    Args:
        context: The host.
        recorded: What `record` returned. While its program can be had, it is used, else that of the host.

    Raises:
        StepError: It cannot.
    """
    sha256, _, path = recorded.partition(" ")
    try:
        own = {"kubectl": (path, sha256)} if recorded and _descriptor(context.system, path, sha256) else {}
    except (DifferentError, OSError):
        own = {}
    return _required(site_of(context.system, own, ["kubectl"]))


def _required(site: Site | list[Problem]) -> Site:
    if isinstance(site, Site):
        return site
    first: Problem = site[0]
    raise StepError(first.what, where=first.where, hint=first.hint, problems=site[1:])


def record(site: Site) -> str:
    """Return what an inventory says of the kubectl that a release carries; empty for that of the host."""
    sha256 = site.carried.get(site.kubectl, "")
    return f"{sha256} {site.kubectl}" if sha256 else ""


def changed(context: Context, target: Target, spec: MethodSpec) -> Iterator[Problem]:
    """Yield the programs in the directory of a release that are not as they were verified."""
    directory, version = target.release.directory, target.release.manifest.version
    for path, sha256 in carried(context, target, spec).values():
        seen = context.system.observe(f"{directory}/{path}")
        if (seen.kind, seen.sha256) != ("file", sha256):
            what = "is missing" if seen.kind == "absent" else "was changed since it was installed"
            hint = release_files.put_back(context, directory, path, version)
            yield Problem(f"{directory}/{path}", what, hint)


def unusable(context: Context, old: Target | None, new: Target | None, spec: MethodSpec) -> list[Problem]:
    """Return why programs that the releases carry cannot be run."""
    # Installing the same release again is what repairs the old ones.
    again = old and new and old.release.identity == new.release.identity
    used = [each for each in (old, new) if each and each.release.staged == each.release.directory]
    problems = [problem for each in used if not again for problem in changed(context, each, spec)]
    places = [context.layout.releases, *([new.release.staged] if new else [])]
    if any(carried(context, each, spec) for each in (old, new)):
        what, hint = "is mounted noexec, but programs of the release run from there", "mount it with exec"
        problems += [Problem(each, what, hint) for each in places if context.system.space(each).noexec]
    return problems


@contextmanager
def runnable(system: System, path: str, sha256: str) -> Iterator[str]:
    """Yield the path by which a carried program is started meanwhile.

    Raises:
        ChangedFileError: It is not what was verified. Nothing was run.
    """
    try:
        fd = _descriptor(system, path, sha256)
    except (DifferentError, OSError):
        hint = "install the release again from its bundle: that writes the file again"
        what = "is missing, or was changed since it was installed, and was not run"
        raise release_files.ChangedFileError(what, where=path, hint=hint) from None
    inherited = system.inherited
    try:
        system.inherited = (*inherited, fd)
        yield f"/proc/self/fd/{fd}"
    finally:
        system.inherited = inherited


def _descriptor(system: System, path: str, sha256: str) -> int:
    if (path, sha256) not in _open:
        _open[path, sha256] = opened_program(system, path, sha256)
    return _open[path, sha256]
