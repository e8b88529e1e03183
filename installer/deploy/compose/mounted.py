"""The files of a release that the services of a project mount.

A container has the files that it was created with: a file that is replaced on the host stays what it was in
there, and Compose does not look into files. So each service that mounts files of the release is given a label
with their digest. Compose then recreates it when, and only when, one of them changed, in an upgrade and in an
undo alike; and the label of a container says with which files it was created.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

from installer.core import jsonio
from installer.core.digest import sha256_hex
from installer.deploy.compose.command import real_path
from installer.deploy.compose.model import Model, Service
from installer.host.context import Context
from installer.state.release import Installed, Release

_LINKS = 16
"""Links that are followed from one path."""
Files = Mapping[str, tuple[object, ...]]
"""What is compared of each file, link and directory, by its path on the host."""


class ReleaseFiles:
    """What a release has on the host, as its services see it."""

    def __init__(self, context: Context, release: Release) -> None:
        self._root = context.system.root.rstrip("/")
        self._base, self._real_base = context.layout.base, real_path(context, context.layout.base)
        current = context.layout.current
        self._links = {item.path: item.target for item in release.installed if item.kind == "link"}
        self._links[current] = release.directory
        self._files = {
            item.path: _compared(item) for item in release.installed if item.kind != "dir" or item.origin
        }
        self._files |= {
            f"{release.directory}/{entry.path}": ("file", entry.sha256, entry.mode)
            for entry in release.manifest.files
        }
        self._paths = sorted(self._files)

    def seen_by(self, service: Service) -> dict[str, tuple[object, ...]]:
        """Return what is compared of each file that a service mounts, by its path on the host."""
        return {path: self._files[path] for source in service.sources for path in self._below(source)}

    def _below(self, source: str) -> Iterator[str]:
        # Compose knows paths of this machine; those of a release are below the host's root.
        if f"{source}/".startswith(f"{self._real_base}/"):
            source = self._base + source[len(self._real_base) :]
        path = self._followed(source.removeprefix(self._root) if self._root else source)
        if path in self._files:
            yield path
        inside = f"{path.rstrip('/')}/"
        # A release can have 250,000 files.
        for place in range(bisect_left(self._paths, inside), len(self._paths)):
            if not self._paths[place].startswith(inside):
                break
            yield self._paths[place]

    def _followed(self, path: str) -> str:
        for _ in range(_LINKS):
            link = next((each for each in self._links if path == each or path.startswith(f"{each}/")), None)
            if link is None:
                break
            path = _joined(link, self._links[link]) + path[len(link) :]
        return path


def _joined(link: str, target: str) -> str:
    """Return where a link leads."""
    parts = list[str]()
    for part in (target if target.startswith("/") else f"{link.rpartition('/')[0]}/{target}").split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _compared(item: Installed) -> tuple[object, ...]:
    # What the operator keeps is not replaced by a release.
    if item.policy == "kept":
        return ("kept",)
    seen = (item.kind, item.sha256, item.mode, item.uid, item.gid, item.target)
    # Without any, the digest is that of every earlier version.
    return (*seen, item.capabilities) if item.capabilities else seen


def contents(context: Context, release: Release, model: Model) -> dict[str, str]:
    """Return the digest of the files that each service mounts of a release; of no service without any."""
    files = ReleaseFiles(context, release)
    seen = {name: files.seen_by(service) for name, service in model.services.items()}
    # The place of a release changes with each release; what the service sees of it does not.
    return {name: _digest(_relative(release, each)) for name, each in seen.items() if each}


def differing(context: Context, old: Release, new: Release, service: Service) -> list[str]:
    """Return the files that a service of the new release mounts and that the old release had otherwise."""
    now = _relative(new, ReleaseFiles(context, new).seen_by(service))
    then = _relative(old, ReleaseFiles(context, old).seen_by(service))
    return sorted(path for path in now.keys() | then.keys() if now.get(path) != then.get(path))


def _relative(release: Release, files: Files) -> Files:
    return {path.removeprefix(f"{release.directory}/"): seen for path, seen in files.items()}


def _digest(files: Files) -> str:
    rows: Iterable[object] = [[path, *seen] for path, seen in sorted(files.items())]
    return sha256_hex(jsonio.dumps(rows))
