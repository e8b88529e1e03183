"""Image blobs that a retained release has already: stored once, under a name in each release.

Such a blob gets a further name, a hard link. The file system counts the names, so nothing is recorded that a
fault could make wrong, and the removal of one release takes nothing from another. A blob with several names
is never written to, nor is its mode set.

What a retained release has is not trusted: the disk may have damaged it, and somebody may have edited it. It
is read and checked like the bytes of a bundle, under its new name, which nobody but this user can replace.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from typing import NamedTuple

from installer.core.errors import TamperedError
from installer.core.format.manifest import BLOBS, FileEntry, Manifest
from installer.core.format.payload import discard
from installer.core.oci.section import ImageSection
from installer.core.trust.steps import verification_step
from installer.host.layout import Layout, release_name
from installer.host.system import System
from installer.shared.humanize import size_text
from installer.shared.progress import Progress

_RELEASE = re.compile(r"([0-9]+)-[0-9a-f]{12}")
_REFUSALS = (
    errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOSPC,
    errno.EDQUOT,
)  # fmt: skip
"""What link(2) fails with where a file cannot have another name: then it is stored again, if there is space.
In the lower layer of an overlay a link takes the space of the whole file."""


class Shared(NamedTuple):
    """What became of the blobs of retained releases.

    Attributes:
        good: Bundle paths of those that are staged, as signed.
        damaged: Host paths of those that are not as signed.
    """

    good: frozenset[str] = frozenset()
    damaged: frozenset[str] = frozenset()


def own_release(layout: Layout, manifest: Manifest, identity: str) -> str:
    """Return where this very release is if it is retained already."""
    return layout.release(release_name(manifest.sequence, identity))


def lacks_blobs(system: System, directory: str, manifest: Manifest) -> bool:
    """Return whether a retained release is seen to lack image blobs of its own; see `stored_blobs`."""
    blobs = _blobs(manifest, system.platform())
    try:
        if system.observe(f"{directory}/{BLOBS.rstrip('/')}", digest=False).kind != "dir":
            return False  # installed with --work-dir, or not retained
        return not all(_is_plain(system, f"{directory}/{path}", entry) for path, entry in blobs.items())
    except PermissionError:
        return False
    except OSError:
        return True


def stored_blobs(
    system: System, layout: Layout, manifest: Manifest, place: str, own: str = ""
) -> dict[str, str]:
    """Return where the retained releases of the product have image blobs of another one.

    Only presence, size, owner and mode are looked at, which costs little: see `share`.

    Args:
        system: The host.
        layout: Of the product.
        manifest: Of the other release.
        place: Where that is or would be staged; only what is on the same file system can be shared.
        own: The directory of this very release if it is retained: it is looked at first.

    Returns:
        Their host paths, by their bundle paths.
    """
    wanted = _blobs(manifest, system.platform())
    found = dict[str, str]()
    device = system.space(place).device
    with system.hold_directories():
        for directory in sorted(_releases(system, layout), key=lambda each: each != own):
            # A release that cannot be read offers nothing, and must not stop another one.
            with suppress(OSError):
                if system.space(f"{directory}/{BLOBS}").device != device:
                    continue
                for path in wanted.keys() - found.keys():
                    if _is_plain(system, f"{directory}/{path}", wanted[path]):
                        found[path] = f"{directory}/{path}"
    return found


def _blobs(manifest: Manifest, platform: str) -> dict[str, FileEntry]:
    return {entry.path: entry for entry in manifest.for_platform(platform) if entry.path.startswith(BLOBS)}


def _releases(system: System, layout: Layout) -> list[str]:
    """Return the directories of retained releases, the newest first."""
    with suppress(OSError):
        names = [found for name in system.names(layout.releases) if (found := _RELEASE.fullmatch(name))]
        names.sort(key=lambda found: int(found[1]), reverse=True)
        return [layout.release(found[0]) for found in names]
    return []


def _is_plain(system: System, path: str, entry: FileEntry) -> bool:
    """Return whether a file can be this one, and only this user or root can change it."""
    seen = system.observe(path, digest=False)
    # Step 20 lets a blob have no other mode than 0644, whose bits also bound what an ACL grants by name.
    same = (seen.kind, seen.size, seen.mode) == ("file", entry.size, entry.mode)
    return same and seen.uid in (0, os.geteuid())


def share(
    system: System,
    manifest: Manifest,
    stored: Mapping[str, str],
    at: Callable[[str], str],
    progress: Progress,
) -> Shared:
    """Give blobs of retained releases a name in the staging area as well, and check them there.

    Args:
        system: The host.
        manifest: Of the release that is staged.
        stored: From `stored_blobs`.
        at: Returns the host path at which a bundle path is staged; nothing is there yet.
        progress: Told the bytes that are read, and what cannot be shared.

    Returns:
        Which are as signed. The others have no such name, and are to be staged.

    Raises:
        TamperedError: The images of the manifest contradict its list of files.
        OSError: The staging area cannot be changed.
    """
    if not stored:
        return Shared()
    with verification_step(20):
        images = ImageSection(manifest)
    wanted = _blobs(manifest, system.platform())
    # First the name, then the check: what was checked cannot be replaced by something else in between.
    linked = {
        path: wanted[path] for path in sorted(stored) if _link(system, stored[path], at(path), progress)
    }
    if not linked:
        return Shared()
    progress.start("check blobs of retained releases", sum(entry.size for entry in linked.values()))
    good = _checked(system, images, linked, at, progress)
    progress.done()
    for path in linked.keys() - good:
        system.unlink(at(path))
        progress.warn(
            f"{stored[path]} is damaged (see `install status --verify-retained`); the new release gets a "
            "copy of its own"
        )
    if good:
        size = size_text(sum(linked[path].size for path in good))
        progress.note(
            f"{len(good)} of {len(wanted)} image blobs are in retained releases already ({size}): checked, "
            "not copied again"
        )
    return Shared(good, frozenset(stored[path] for path in linked.keys() - good))


def _link(system: System, source: str, target: str, progress: Progress) -> bool:
    try:
        system.link(source, target)
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        progress.note(f"{source} cannot be shared ({error.strerror}); the new release gets a copy of its own")
        return False
    return True


class _Stopped(Exception):  # noqa: N818 - not an error: another thread has the error
    """Ends a thread after a signal."""


def _checked(
    system: System,
    images: ImageSection,
    linked: Mapping[str, FileEntry],
    at: Callable[[str], str],
    progress: Progress,
) -> frozenset[str]:
    """Return which blobs are as signed, and what the signed manifest says of their content."""
    stop = Event()

    def hashed(path: str, entry: FileEntry) -> Iterator[memoryview]:
        digest = hashlib.sha256()
        for chunk in system.chunks(at(path)):
            if stop.is_set():
                raise _Stopped
            digest.update(chunk)
            progress.advance(len(chunk))
            yield memoryview(chunk)
        if digest.hexdigest() != entry.sha256:
            raise TamperedError("does not match its digest", where=path)

    def is_good(path: str, entry: FileEntry) -> bool:
        try:
            if not _is_plain(system, at(path), entry):
                return False
            # As every byte of a bundle: also a retained release may be from before a check.
            discard(entry, images.watch(entry, hashed(path, entry)))
        except (OSError, TamperedError):
            return False
        return True

    futures = dict[str, Future[bool]]()
    # SHA-256 and decompression of one file cannot use two cores, but release the interpreter lock.
    with ThreadPoolExecutor(os.cpu_count() or 1, "check") as pool:
        try:
            futures |= {path: pool.submit(is_good, path, entry) for path, entry in linked.items()}
            return frozenset(path for path, future in futures.items() if future.result())
        finally:
            # After Ctrl-C the threads end at their next chunk.
            stop.set()
            for future in futures.values():
                future.cancel()
