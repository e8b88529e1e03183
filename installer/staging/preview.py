"""Verifies a bundle for `plan` without staging it: only the documents that a plan reads are written."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import PurePosixPath

from installer.core.digest import sha256_hex
from installer.core.errors import HostNotReadyError, os_errors_as
from installer.core.format.manifest import FileEntry, Kind, blob_path
from installer.core.format.methods import FILE_KINDS, LIBRARIES, TOOLS
from installer.core.format.payload import discard
from installer.core.limits import LIMITS
from installer.core.remedies import remedy
from installer.core.verify import OpenedBundle, VerifiedBundle, payload_extent, verify_payload
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared.progress import Progress
from installer.shared.terminal import interrupts
from installer.staging.shared_blobs import lacks_blobs, own_release, stored_blobs
from installer.staging.stage import demands
from installer.staging.staged import Staged

_TEMPORARY = "/tmp"  # noqa: S108 - for directories of random names, 0700
READ_BY_PLANS: tuple[Kind, ...] = ("template", "values", "schema", *FILE_KINDS, *LIBRARIES)


@contextmanager
def previewed(
    opened: OpenedBundle,
    system: System,
    layout: Layout,
    progress: Progress,
    *,
    work: str = "",
    apart: bool = False,
    also: Collection[str] = (),
    hint: str | Callable[[OSError], str] = remedy,
) -> Iterator[tuple[VerifiedBundle, Staged]]:
    """Verify a bundle and keep its documents while the plan is made.

    They lie in a private directory (0700) in the work directory, else in the directory that `--root` names,
    or in /tmp for the host itself and for a user who cannot write below `--root`. They are removed at the
    end.

    Args:
        opened: The bundle, its head trusted.
        system: The host.
        layout: Of its product.
        progress: Told the bytes.
        work: A `workdir.work_dir`; empty where there is none.
        apart: Whether the blobs of images would be staged in it.
        also: Bundle paths of further files that the plan reads: those that were edited on the host.
        hint: What to do if the directory cannot be made: not every command has an option for it.

    Yields:
        What was verified, and the bundle with those of its members that plans read.

    Raises:
        TamperedError: Something is not what was signed.
        HostNotReadyError: The directory cannot be made.
    """
    # Documents of a bundle are small; blobs and programs are verified and dropped. The names of images in the
    # registry of a site follow from their manifests.
    signed = opened.bundle.manifest
    named = [
        *(image.manifest for image in signed.images),
        *(d for each in signed.whole_images for d in each.documents),
    ]
    also = {*also, *map(blob_path, named)}
    parent = work.rstrip("/") or (_TEMPORARY if system.live else "")
    name = f".waybill-plan.{secrets.token_hex(8)}"
    base = f"{parent}/{name}"
    made, where = {base}, parent or system.root
    with ExitStack() as cleanup:
        # Whoever only looks at the directory of --root needs no right to write there.
        if not parent and not system.writable("/"):
            where = system.aside[name] = _TEMPORARY
            cleanup.callback(system.aside.pop, name)
        # Together: a signal in between would leave the directory behind.
        with interrupts.deferred():
            with os_errors_as(HostNotReadyError, "cannot write", where, hint=hint):
                system.mkdir(base, 0o700)
            # Also after a refusal or a signal: templates may contain secrets of the product.
            cleanup.callback(_remove, system, base, progress)

        def keep(entry: FileEntry, chunks: Iterator[memoryview]) -> None:
            if entry.kind in TOOLS and entry.platform == system.platform():
                # The plan runs it, as the installation does.
                system.write_new(f"{base}/{entry.path}", chunks, 0o700, sync=False)
            elif (entry.kind in READ_BY_PLANS or entry.path in also) and entry.size <= LIMITS.document_bytes:
                system.write_new(f"{base}/{entry.path}", chunks, 0o600, sync=False)
            else:
                discard(entry, chunks)

        kept = [
            each
            for each in opened.bundle.manifest.files
            if each.kind in (*READ_BY_PLANS, *TOOLS) or each.path in also
        ]
        for entry in kept:
            for above in reversed(PurePosixPath(base, entry.path).parents):
                if str(above).startswith(base) and str(above) not in made:
                    system.mkdir(str(above), 0o700)
                    made.add(str(above))
        progress.start("verify", payload_extent(opened))
        verified = verify_payload(opened, progress.advance, keep)
        progress.done()
        area = work if apart else ""
        own = own_release(layout, verified.manifest, verified.identity)
        shared = frozenset(stored_blobs(system, layout, verified.manifest, area or layout.staging, own))
        wanted = demands(verified.manifest, system.platform(), layout.staging, area, shared)
        digest = sha256_hex(opened.bundle.manifest_bytes)
        staged = Staged(
            verified.manifest, digest, verified.identity, base, area, tuple(wanted), shared,
            lacks_blobs(system, own, verified.manifest),
        )  # fmt: skip
        yield verified, staged


def _remove(system: System, base: str, progress: Progress) -> None:
    with interrupts.deferred():
        # A disk that failed once may succeed the next time; the plan itself is made.
        for left in (1, 0):
            try:
                system.remove_tree(base)
            except OSError as error:
                if not left:
                    progress.warn(f"{base} cannot be removed: {error.strerror}; remove it by hand")
            else:
                return
