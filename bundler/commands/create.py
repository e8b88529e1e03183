"""VERB `bundle create`: from bundle.yaml and its inputs to one signed file, in one pass over the inputs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.approvals.statements import add_provenance
from bundler.archive import head
from bundler.archive.inputs import UNKNOWN, Collected, collect, creation_time
from bundler.archive.output_file import OutputFile
from bundler.archive.writer import end_of, write_files
from bundler.config.model import BundleConfig
from bundler.provenance.git import Checkout, look
from bundler.provenance.statement import Run, signed_files, statement, write_unsigned
from bundler.signing import Signer
from bundler.signing.bundle import sign, signature_files
from installer.core.digest import sha256_hex
from installer.core.errors import Problem, TamperedError, UnfitInputError, WaybillError
from installer.core.format import manifest_json, manifest_rules
from installer.core.format.archive import open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import FileSource
from installer.core.format.manifest import FileEntry, Image, Layer, Manifest, blob_path
from installer.core.format.payload import check_payload
from installer.core.format.tar_header import END, OCTAL_LIMIT
from installer.core.limits import LIMITS, MIB
from installer.shared.progress import Progress

if TYPE_CHECKING:
    from bundler.image_sources.base import ImageSource, ResolvedImage

RESERVE = 16 * MIB
"""Bytes that have to stay free where the bundle is written."""
_LARGEST = LIMITS.json_integer


@dataclass(frozen=True, slots=True)
class Planned:
    """What `create` would write; found without reading payload."""

    manifest: Manifest
    collected: Collected
    sources: tuple[ImageSource, ...]
    images: tuple[ResolvedImage, ...]
    checkout: Checkout

    @property
    def payload_bytes(self) -> int:
        """Bytes at most: layers count as large as they are uncompressed."""
        return sum(item.entry.size for item in self.collected.inputs) + sum(
            image.payload for image in self.images
        )


@dataclass(frozen=True, slots=True)
class Created:
    """What `create` wrote.

    Attributes:
        path: The file.
        size: Its bytes.
        identity: SHA-256 of its SHA256SUMS, in hex.
        manifest: What is in it.
        signatures: Names of the signature files.
        provenance: Where the provenance is: names in the bundle, or the path of the unsigned statement.
        unchanged: Whether the very same file was there already.
    """

    path: Path
    size: int
    identity: str
    manifest: Manifest
    signatures: tuple[str, ...]
    provenance: tuple[str, ...] = ()
    unchanged: bool = False

    def as_json(self) -> dict[str, Any]:
        """Gives it as `--json` prints it."""
        return {
            "path": str(self.path),
            "size": self.size,
            "identity": self.identity,
            "product": self.manifest.product,
            "version": self.manifest.version,
            "sequence": self.manifest.sequence,
            "files": len(self.manifest.files),
            "images": [image.reference for image in self.manifest.images],
            "signatures": list(self.signatures),
            "provenance": list(self.provenance),
            "unchanged": self.unchanged,
        }


def plan(config: BundleConfig) -> Planned:
    """Finds what the bundle will carry; reads no payload.

    Args:
        config: bundle.yaml, checked.

    Returns:
        The manifest without digests and images, and where everything comes from.

    Raises:
        UnfitInputError: Inputs or images are missing, or do not fit; all problems at once.
    """
    problems: list[Problem] = []
    collected = collect(config)
    checkout = look(config.directory, (item.source for item in collected.inputs if item.source))
    created = creation_time(collected, checkout.time)
    expires = created + config.expires
    if expires <= time.time() or expires >= OCTAL_LIMIT:
        what = "the bundle would be expired already: its time is that of the commit or SOURCE_DATE_EPOCH"
        problems.append(Problem("bundle.yaml", what, "commit anew, or set a longer `expires`"))
    sources, found = _find_images(config, problems)
    if problems:
        raise UnfitInputError("the release is not fit to ship", problems=problems)
    manifest = Manifest(
        product=config.product,
        version=str(config.version),
        sequence=config.sequence,
        created=created,
        expires=expires,
        platforms=config.platforms,
        files=tuple(item.entry for item in collected.inputs),
        links=collected.links,
        directories=collected.directories,
        deploy=config.deploy,
        health=config.health,
        rollback=config.rollback,
        upgrade_from=config.upgrade_from,
        values=config.values,
        values_schema=config.values_schema,
        source=checkout.source,
    )
    _check_manifest(manifest)
    return Planned(manifest, collected, sources, found, checkout)


def create(
    planned: Planned,
    config: BundleConfig,
    target: Path,
    signers: Sequence[Signer],
    progress: Progress,
    run: Run | None = None,
) -> Created:
    """Writes the bundle.

    Args:
        planned: What `plan` gave.
        config: bundle.yaml, checked.
        target: The file to write.
        signers: Who signs it at once; none for later.
        progress: Told the bytes.
        run: What provenance tells of this run; None: there is none.

    Returns:
        What was written.

    Raises:
        UnfitInputError: An input changed or cannot be read, an image is not what it says, the disk is full,
            or another bundle has the name already. Nothing is left behind.
    """
    _check_space(target, planned)
    created = planned.manifest.created
    start = _head_size(planned)
    with OutputFile(target) as output:
        progress.start(f"create {target.name}", planned.payload_bytes)
        files = write_files(output, start, planned.collected.inputs, created, progress.advance)
        offset = end_of(start, planned.collected.inputs)
        blobs, images, end = _write_images(planned, output, offset, config, progress)
        manifest = replace(planned.manifest, files=(*files, *blobs), images=images)
        _check_manifest(manifest)
        data = manifest_json.dump(manifest)
        sums = head.make_sums(manifest.files, data)
        signatures = {
            name: text for signer in signers for name, text in signature_files(signer, sums).items()
        }
        output.write_parts(0, head.make_head(sums, signatures, data, created, start))
        identity = sha256_hex(sums)
        said = _said(run, planned.checkout, config, manifest, identity)
        signed = signed_files(run, said) if run else {}
        tail = b"".join(head.member(name, text, created) for name, text in signed.items()) + END
        output.write_at(end, tail)
        progress.done()
        size, names = end + len(tail), tuple(signatures)
        unchanged = _is_there(target, identity)
        if unchanged:
            names = _signed_by(target, signers)
            signed = add_provenance(target, signed)
            size = target.stat().st_size
        else:
            output.publish()
    beside = (str(write_unsigned(target, said)),) if run and not run.signers else ()
    provenance = beside or tuple(signed)
    return Created(target, size, identity, manifest, names, provenance, unchanged)


def _said(
    run: Run | None, checkout: Checkout, config: BundleConfig, manifest: Manifest, identity: str
) -> bytes:
    return statement(run, checkout, config, manifest, identity, datetime.now(UTC)) if run else b""


def _check_manifest(manifest: Manifest) -> None:
    """What we write has to pass our own reader, whatever became of the input.

    Entries of trees are alike but for names and places, which the rules look at: they are not written and
    parsed once more, since there may be a hundred thousand.
    """
    few = tuple(entry for entry in manifest.files if entry.kind != "tree")
    try:
        manifest_rules.check(manifest)
        manifest_json.parse(manifest_json.dump(replace(manifest, files=few)))
    except TamperedError as error:
        raise UnfitInputError(f"no bundle can be made of this: {error.what}", where=error.where) from None


def _find_images(
    config: BundleConfig, problems: list[Problem]
) -> tuple[tuple[ImageSource, ...], tuple[ResolvedImage, ...]]:
    if not config.images:
        return (), ()
    from bundler.archive import images

    return images.resolve(config, problems)


def _write_images(
    planned: Planned, output: OutputFile, offset: int, config: BundleConfig, progress: Progress
) -> tuple[list[FileEntry], tuple[Image, ...], int]:
    if not planned.sources:
        return [], (), offset
    from bundler.archive import images

    return images.write(planned.sources, output, offset, config, planned.manifest.created, progress.advance)


def _head_size(planned: Planned) -> int:
    """Gives the room for a head in which every number and name of an image is as long as it can get."""
    largest = FileEntry(blob_path("sha256:" + UNKNOWN), _LARGEST, UNKNOWN, 0o644, "image", expanded=_LARGEST)
    layer = Layer("sha256:" + UNKNOWN, _LARGEST, "x" * 128, "sha256:" + UNKNOWN, _LARGEST)
    blobs = sum(image.blobs for image in planned.images) + 3
    images = tuple(
        Image(each.reference, each.platform, layer.digest, layer.digest, (layer,) * each.blobs)
        for each in planned.images
    )
    manifest = replace(planned.manifest, files=planned.manifest.files + (largest,) * blobs, images=images)
    data = manifest_json.dump(manifest)
    sums = head.make_sums(manifest.files, data)
    for what, count, most in (
        ("files", len(manifest.files), LIMITS.members),
        ("bytes of manifest", len(data), LIMITS.manifest_bytes),
        ("bytes of SHA256SUMS", len(sums), LIMITS.sums_bytes),
    ):
        if count > most:
            raise UnfitInputError(
                f"the bundle would have up to {count:,} {what}, at most {most:,} are allowed",
                hint="carry a large tree as one archive file",
            )
    return head.size_for(len(sums), len(data))


def _check_space(target: Path, planned: Planned) -> None:
    parent = target.parent
    while not parent.exists():
        parent = parent.parent
    free, need = shutil.disk_usage(parent).free, planned.payload_bytes + RESERVE
    if free < need:
        raise UnfitInputError(
            f"up to {need:,} bytes are needed, {free:,} are free",
            where=str(parent),
            hint="free some space, or name another place with -o",
        )


def _is_there(target: Path, identity: str) -> bool:
    """Says whether a bundle of this identity has the name already.

    Raises:
        UnfitInputError: Something else has the name: it may have been handed on.
    """
    if not target.exists():
        return False
    try:
        medium = FileSource(target)
        try:
            bundle = open_bundle(medium, unsafe_trust_anyone)
            if bundle.identity == identity:
                # the head alone would say so of a damaged copy too
                check_payload(bundle)
                return True
        finally:
            medium.close()
    except WaybillError:
        pass
    raise UnfitInputError(
        "is there already, with other content",
        where=str(target),
        hint="a version is made once: raise the version, or remove the file if it was never handed on",
    )


def _signed_by(target: Path, signers: Sequence[Signer]) -> tuple[str, ...]:
    """Adds the signatures that a bundle which is there already lacks, and gives all their names."""
    for signer in signers:
        sign(target, signer)
    medium = FileSource(target)
    try:
        return tuple(open_bundle(medium, unsafe_trust_anyone).head.signatures)
    finally:
        medium.close()
