"""From a bundle on a medium to its members in the staging area, in the one pass that verifies them.

The staging area is ours alone (0700). What lies there was hashed while it was written, and only that is used
afterwards: the medium is not read a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePosixPath

from installer.core.archive import Bundle
from installer.core.digest import sha256_hex
from installer.core.errors import HostNotReadyError, Problem
from installer.core.limits import MIB
from installer.core.manifest import MANIFEST, SUMS, FileEntry, Manifest
from installer.core.payload import keep_nothing
from installer.core.verification import Opened, Verified, check_all, payload_extent
from installer.deploy.files import make_directory
from installer.desired import Staged
from installer.layout import Layout
from installer.preflight import refuse_platform
from installer.progress import Progress
from installer.system import System

RESERVE = 16 * MIB
"""Bytes that have to stay free beside the payload: journal, state, rendered configuration."""


def stage(
    opened: Opened, system: System, layout: Layout, platform: str, progress: Progress
) -> tuple[Verified, Staged]:
    """Verifies the payload and keeps what this host needs of it.

    Args:
        opened: The bundle, its head trusted.
        system: The host.
        layout: Of the bundle's product; its lock is held.
        platform: `os/arch` of this host; files for others are checked, but not kept.
        progress: Told the bytes.

    Returns:
        What was verified, and the release, durable in the staging area.

    Raises:
        RefusedError: It is not for this platform.
        HostNotReadyError: The space does not suffice, or it cannot be written to.
        TamperedError: Something is not what was signed. Nothing is left in the staging area.
        MediumError: The medium failed. Nothing is left in the staging area.
    """
    bundle = opened.bundle
    refuse_platform(platform, bundle.manifest, bundle.medium.name)
    directory = layout.stage(bundle.identity)
    staging = _Staging(system, directory, platform)
    try:
        make_directory(system, layout.staging)
        _check_space(system, layout, bundle, platform)
        if system.observe(directory, digest=False).kind != "absent":
            system.remove_tree(directory)
        staging.prepare(bundle)
        progress.start("verify and stage", payload_extent(opened))
        verified = check_all(opened, progress.advance, staging.keep)
        progress.done()
        system.sync_fs(directory)
    except OSError as error:
        clear(system, directory)
        raise HostNotReadyError(
            f"the release cannot be staged: {error.strerror}",
            where=directory,
            hint="free some space there, or check that the file system is writable and sound",
        ) from error
    except BaseException:
        clear(system, directory)
        raise
    return verified, staged(verified, sha256_hex(bundle.manifest_bytes), directory)


def staged(verified: Verified, manifest_sha256: str, directory: str) -> Staged:
    """Gives a verified bundle as what `plan` works from, with its evidence as state and logs keep it."""
    signers = {f"{item.owner} ({item.scheme} key {item.keyid[:16]})" for item in verified.evidence.accepted}
    evidence = verified.evidence.as_json() | {
        "signers": sorted(signers),
        "approvals": list(verified.approvals),
    }
    return Staged(verified.manifest, manifest_sha256, verified.identity, directory, evidence)


def staged_bytes(manifest: Manifest, platform: str) -> int:
    """Gives the bytes that a release takes in the staging area of a host of `platform`."""
    return sum(entry.size for entry in manifest.for_platform(platform))


def _check_space(system: System, layout: Layout, bundle: Bundle, platform: str) -> None:
    space = system.space(layout.staging)
    files = sum(1 for _ in bundle.manifest.for_platform(platform))
    need = staged_bytes(bundle.manifest, platform) + files * space.block // 2 + RESERVE
    problems = []
    if need > space.bytes:
        what = f"{need:,} bytes are needed for staging, {space.bytes:,} are free"
        problems.append(Problem(layout.staging, what, "free some space there"))
    if 0 <= space.inodes < files + 64:
        what = f"{files + 64:,} inodes are needed for staging, {space.inodes:,} are free"
        problems.append(Problem(layout.staging, what, "remove files there, or choose another file system"))
    if problems:
        raise HostNotReadyError("the host is not ready", problems=problems)


def clear(system: System, directory: str) -> None:
    """Removes a staged release that nobody wants any more."""
    with suppress(OSError):
        if system.observe(directory, digest=False).kind != "absent":
            system.remove_tree(directory)


class _Staging:
    """The directory of one release while it is filled, by several threads."""

    def __init__(self, system: System, directory: str, platform: str) -> None:
        self._system = system
        self._directory = directory
        self._platform = platform

    def prepare(self, bundle: Bundle) -> None:
        """Makes all directories, writes the head, and makes the links of trees."""
        manifest = bundle.manifest
        modes = {entry.path: entry.mode for entry in manifest.directories}
        paths = [entry.path for entry in manifest.for_platform(self._platform)]
        paths += [link.path for link in manifest.links]
        paths += modes
        parents = {str(parent) for path in paths for parent in PurePosixPath(path).parents} | set(modes)
        self._system.mkdir(self._directory, 0o755)
        for path in sorted(parents - {"."}):
            self._system.mkdir(f"{self._directory}/{path}", modes.get(path, 0o755))
        self._write(SUMS, bundle.head.sums, 0o644)
        self._write(MANIFEST, bundle.manifest_bytes, 0o644)
        for name, data in bundle.head.signatures.items():
            self._write(name, data, 0o644)
        for link in manifest.links:
            self._system.symlink(link.target, f"{self._directory}/{link.path}")

    def keep(self, entry: FileEntry, chunks: Iterator[memoryview]) -> None:
        """Takes one file; on a wrong digest `chunks` raises and the file is removed."""
        if entry.platform in ("", self._platform):
            self._write(entry.path, chunks, entry.mode)
        else:
            keep_nothing(entry, chunks)

    def _write(self, path: str, data: bytes | Iterator[memoryview], mode: int) -> None:
        self._system.write_new(f"{self._directory}/{path}", data, mode, sync=False)
