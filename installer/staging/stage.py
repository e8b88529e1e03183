"""Writes the members of a bundle to the staging area, in the one pass that verifies them.

The staging area is private (0700). What is there was hashed while it was written, and only that is used
afterwards: the media are not read a second time, which might return other bytes. What an interrupted run of
the same bundle left is hashed where it is, and is not read from the media again. Nor are image blobs that a
retained release has (`shared_blobs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from installer.core.digest import sha256_hex
from installer.core.errors import HostNotReadyError, MediaError, WaybillError
from installer.core.format.archive import Bundle
from installer.core.format.manifest import BLOBS, MANIFEST, SUMS, FileEntry, Manifest
from installer.core.remedies import remedy
from installer.core.verify import OpenedBundle, VerifiedBundle, payload_extent, verify_payload
from installer.host.directories import make_directory
from installer.host.disk_space import Demand, space_problems, sum_demands
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared.humanize import size_text
from installer.shared.progress import Progress
from installer.staging import area as staging
from installer.staging import work_dir
from installer.staging.shared_blobs import lacks_blobs, own_release, share, stored_blobs
from installer.staging.staged import Staged

KEPT = (
    "the staged files are kept: run the same command again to continue, or `install recover` to remove them"
)


def stage(
    opened: OpenedBundle, system: System, layout: Layout, progress: Progress, *, work: str = ""
) -> tuple[VerifiedBundle, Staged]:
    """Verify the payload and keep what this host needs of it.

    Args:
        opened: The bundle, its head verified for this host.
        system: The host.
        layout: Of the product; its lock is held.
        progress: Told the bytes.
        work: A `workdir.work_dir` for the blobs of images; empty: they stay with the release.

    Returns:
        What was verified, and the release, durable in the staging area.

    Raises:
        HostNotReadyError: There is too little space, or it cannot be written.
        TamperedError: Something is not what was signed. Nothing is left in the staging area.
        MediaError: The media failed. What was staged stays for the next run of the same bundle.
    """
    bundle = opened.bundle
    directory = layout.stage(bundle.identity)
    own = own_release(layout, bundle.manifest, bundle.identity)
    try:
        make_directory(system, layout.staging)
        area = _area(system, layout, bundle.identity, work, progress)
        tree = _Tree(system, layout, progress, bundle, area)
        with system.hold_directories():
            have = tree.resume()
            stored = tree.stored(have, own)
            _require_space(system, tree.demands(have | stored.keys()))
            tree.prepare()
            shared, damaged = share(system, bundle.manifest, stored, tree.at, progress)
            have |= shared
            # What cannot be shared after all needs space of its own.
            if shared != stored.keys():
                _require_space(system, tree.demands(have))
            progress.start("verify and stage", payload_extent(opened, have))
            verified = verify_payload(opened, progress.advance, tree.keep, have)
        progress.done()
        # One sync of the file system instead of one per file; the plan relies on what is staged.
        for place in filter(None, (directory, area)):
            system.sync_fs(place)
    except OSError as error:
        staging.discard(system, layout, progress, bundle.identity)
        raise HostNotReadyError(
            f"cannot stage the release: {error.strerror}",
            where=error.filename or directory,
            hint=remedy(error),
        ) from error
    # What may be good is kept for the next run; what is not as signed is never kept.
    except BaseException as error:
        if isinstance(error, WaybillError) and not isinstance(error, MediaError):
            staging.discard(system, layout, progress, bundle.identity)
        else:
            progress.note(KEPT)
        raise
    digest = sha256_hex(bundle.manifest_bytes)
    repairs = any(path.startswith(f"{own}/") for path in damaged)
    repairs |= lacks_blobs(system, own, verified.manifest)
    return verified, Staged(
        verified.manifest, digest, verified.identity, directory, area, shared=shared, repairs=repairs
    )


def demands(
    manifest: Manifest, platform: str, directory: str, work: str = "", have: frozenset[str] = frozenset()
) -> list[Demand]:
    """Return the space that staging takes: of the release, and of blobs where they go to another place.

    Args:
        manifest: Of the release.
        platform: `os/arch` of this host.
        directory: Where it is staged.
        work: Where the blobs of its images are; empty: with the rest.
        have: Files that are staged already, or shared with a retained release.
    """
    rows = {place: Demand(place, 0, 64) for place in (directory, *([work] if work else []))}
    for entry in manifest.for_platform(platform):
        if entry.path not in have:
            place = work if work and entry.path.startswith(BLOBS) else directory
            rows[place] = rows[place].plus(entry.size)
    return list(rows.values())


def _require_space(system: System, wanted: list[Demand]) -> None:
    if problems := space_problems(sum_demands(system, wanted)):
        raise HostNotReadyError("cannot stage the release", problems=problems)


def _area(system: System, layout: Layout, identity: str, work: str, progress: Progress) -> str:
    if work:
        return work_dir.make_area(system, layout, identity, work)
    link = layout.work_link(identity)
    if system.observe(link).kind == "link":
        work_dir.remove_area(system, layout, link, progress)
    return ""


class _Tree:
    """The directory of one release while several threads fill it; its blobs may be in another place."""

    def __init__(
        self,
        system: System,
        layout: Layout,
        progress: Progress,
        bundle: Bundle,
        area: str,
    ) -> None:
        self._system = system
        self._layout = layout
        self._progress = progress
        self._manifest = bundle.manifest
        self._platform = system.platform()
        self._directory = layout.stage(bundle.identity)
        self._area = area
        self._head = {SUMS: bundle.head.sums, MANIFEST: bundle.manifest_bytes, **bundle.head.signatures}

    def demands(self, have: frozenset[str]) -> list[Demand]:
        """Return the space that is still needed."""
        return demands(self._manifest, self._platform, self._directory, self._area, have)

    def resume(self) -> frozenset[str]:
        """Check what an interrupted run left, and clear what is of no use.

        Returns:
            The files that are staged, and are as signed.
        """
        system = self._system
        if self._kind(self._directory) not in ("absent", "dir"):
            self._rescue(self._directory)
        if self._area:
            system.remove_tree(f"{self._directory}/{BLOBS.rstrip('/')}")
        wanted = staging.parts(self._manifest, self._platform)
        self._rescue(*staging.strangers(system, self._directory, wanted))
        entries = list(self._manifest.for_platform(self._platform))
        there = [entry for entry in entries if self._is_own(entry)]
        if not there:
            return frozenset()
        self._progress.start("check staged files", sum(entry.size for entry in there))
        good = [entry for entry in there if self._is_good(entry)]
        self._progress.done()
        size = size_text(sum(entry.size for entry in good))
        self._progress.note(
            f"{len(good)} of {len(entries)} files are staged already ({size}): checked, not copied again"
        )
        return frozenset(entry.path for entry in good)

    def _is_own(self, entry: FileEntry) -> bool:
        """Return whether something is staged; remove the name of what has others, too.

        Nobody knows whether an interrupted run had checked it, and its mode must not be set: `share` gives
        it its name again.
        """
        seen = self._system.observe(self.at(entry.path), digest=False)
        if seen.links > 1:
            self._system.unlink(self.at(entry.path))
            return False
        return seen.kind != "absent"

    def stored(self, have: frozenset[str], own: str) -> dict[str, str]:
        """Return where retained releases have blobs that are not staged; see `stored_blobs`."""
        place = self._area or self._layout.staging
        found = stored_blobs(self._system, self._layout, self._manifest, place, own)
        return {path: source for path, source in found.items() if path not in have}

    def _is_good(self, entry: FileEntry) -> bool:
        path = self.at(entry.path)
        seen = self._system.observe(path)
        self._progress.advance(entry.size)
        # Hashed where it is: an interrupted run may have left half a file of the right size.
        if (seen.kind, seen.sha256) == ("file", entry.sha256):
            if seen.mode != entry.mode:
                self._system.set_owner_mode(path, entry.mode)
            return True
        if seen.kind == "file":
            self._system.unlink(path)
        else:
            self._rescue(path)
        return False

    def _kind(self, path: str) -> str:
        return self._system.observe(path, digest=False).kind

    def _rescue(self, *paths: str) -> None:
        staging.rescue(self._system, self._layout, self._progress, paths)

    def prepare(self) -> None:
        """Write the head, create all directories and the links of trees; leave what is there."""
        system, manifest = self._system, self._manifest
        self._make(self._directory, 0o755)
        for name in system.names(self._directory):
            if name.startswith(SUMS) and name not in self._head:
                system.unlink(f"{self._directory}/{name}")
        for name, data in self._head.items():
            path = f"{self._directory}/{name}"
            if system.observe(path).sha256 != sha256_hex(data):
                system.remove_tree(path)
                system.write_new(path, data, 0o644, sync=False)
        # Also what was there: a kill may have left it only in the cache. Without its manifest on the disk
        # nobody can tell later which staged files are ours.
        system.sync_files([f"{self._directory}/{name}" for name in self._head])
        system.sync_dir(self._directory)
        # A setgid or sticky bit is for the directory that is installed: here nobody else writes.
        plain = 0o755
        modes = {each.path: each.mode if each.mode <= 0o777 else plain for each in manifest.directories}
        apart = BLOBS if self._area else "/"
        paths = [
            entry.path for entry in manifest.for_platform(self._platform) if not entry.path.startswith(apart)
        ]
        paths += [link.path for link in manifest.links]
        paths += modes
        # Created before the threads start, so that they never compete for a directory.
        parents = {str(parent) for path in paths for parent in PurePosixPath(path).parents} | set(modes)
        for path in sorted(parents - {"."}):
            self._make(f"{self._directory}/{path}", modes.get(path, 0o755))
        if self._area:
            for path in ("images", "images/blobs", "images/blobs/sha256"):
                self._make(f"{self._area}/{path}", 0o700)
        for link in manifest.links:
            path = f"{self._directory}/{link.path}"
            seen = system.observe(path)
            if seen.kind not in ("absent", "link"):
                self._rescue(path)
            if seen.target != link.target:
                system.remove_tree(path)
                system.symlink(link.target, path)

    def _make(self, path: str, mode: int) -> None:
        seen = self._system.observe(path, digest=False)
        if seen.kind != "dir":
            if seen.kind != "absent":
                self._rescue(path)
            self._system.mkdir(path, mode)
        elif seen.mode != mode:
            self._system.set_owner_mode(path, mode)

    def keep(self, entry: FileEntry, chunks: Iterator[memoryview]) -> None:
        """Write one file; on a wrong digest `chunks` raises and the file is removed."""
        # What is not kept is checked all the same: the caller reads the rest of the chunks.
        if entry.platform in ("", self._platform):
            self._system.write_new(self.at(entry.path), chunks, entry.mode, sync=False)

    def at(self, path: str) -> str:
        """Return where a bundle path is staged."""
        place = self._area if self._area and path.startswith(BLOBS) else self._directory
        return f"{place}/{path}"
