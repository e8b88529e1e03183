"""`bundle create`: write a signed bundle from bundle.yaml and its inputs, reading each input once."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bundler.approvals.statements import add_provenance
from bundler.archive import head, images
from bundler.archive.image_section import BlobWriter
from bundler.archive.inputs import UNKNOWN, Collected, collect, creation_time, source_paths
from bundler.archive.output_file import OutputFile
from bundler.archive.reading import unverified_bundle
from bundler.archive.space import check_space
from bundler.archive.writer import end_of, write_files
from bundler.config.model import BundleConfig
from bundler.config.secrets.allowances import Allowed
from bundler.image_sources.base import ImageSource, ResolvedImage
from bundler.image_sources.layers import LayerTransform
from bundler.provenance import source_rules
from bundler.provenance.git import Checkout, inspect_checkout
from bundler.provenance.source_rules import SourceRules, current_rules
from bundler.provenance.statement import BuildRun, signed_files, statement, write_unsigned
from bundler.provenance.tags import ReleaseName
from bundler.signing import Signer
from bundler.signing.bundle import sign
from installer.core.digest import sha256_hex
from installer.core.errors import Problem, TamperedError, UnfitInputError, WaybillError
from installer.core.format import manifest_json, manifest_rules
from installer.core.format.manifest import SUMS, FileEntry, Image, Layer, Manifest, blob_path
from installer.core.format.payload import check_payload
from installer.core.format.tar_header import BLOCK, END, OCTAL_LIMIT, extent
from installer.core.limits import LIMITS
from installer.core.timestamps import format_seconds
from installer.shared.command.run_record import release_row
from installer.shared.progress import Progress
from installer.shared.terminal import interrupts

_LARGEST = LIMITS.json_integer


@dataclass(frozen=True, slots=True)
class Planned:
    """A bundle that could be written; found without reading payload.

    Attributes:
        config: The checked bundle.yaml.
        manifest: The manifest, without digests and images.
        collected: Files, links and directories.
        sources: Where the images come from.
        images: The images.
        checkout: The git checkout that the inputs come from.
        warnings: What should be known, but does not prevent the bundle.
    """

    config: BundleConfig
    manifest: Manifest
    collected: Collected
    sources: tuple[ImageSource, ...]
    images: tuple[ResolvedImage, ...]
    checkout: Checkout
    warnings: tuple[Problem, ...] = ()

    @property
    def payload_bytes(self) -> int:
        """The largest possible payload in bytes: layers count uncompressed."""
        # What compression saves is not known before: the check of free space must not depend on it.
        files = sum(item.entry.size for item in self.collected.inputs)
        return files + sum(image.payload for image in self.images) - self.shared_bytes

    @property
    def shared_bytes(self) -> int:
        """The bytes of layers that several images have; an engine does not tell the sizes of its layers."""
        layers = [layer for image in self.images for layer in image.layers]
        return sum(size for _, size in layers) - sum(size for _, size in set(layers))

    @property
    def most_bytes(self) -> int:
        """The largest possible bundle in bytes, without provenance: a small one is mostly its head.

        Raises:
            UnfitInputError: It has more than readers accept.
        """
        return _most_bytes(self, _head_size(self))


@dataclass(frozen=True, slots=True)
class Created:
    """A bundle that was written.

    Attributes:
        path: The file.
        size: Its size in bytes.
        identity: SHA-256 of its SHA256SUMS, in hex.
        manifest: Its manifest.
        signatures: Names of the signature files.
        provenance: Names of the provenance in the bundle, or the path of the unsigned statement.
        unchanged: Whether the same bundle existed already.
        allowed: Findings in images that `secrets_allow` let through.
        warnings: What became known while the images were packed.
    """

    path: Path
    size: int
    identity: str
    manifest: Manifest
    signatures: tuple[str, ...]
    provenance: tuple[str, ...] = ()
    unchanged: bool = False
    allowed: tuple[Allowed, ...] = ()
    warnings: tuple[Problem, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "path": str(self.path),
            "dry_run": False,
            "size": self.size,
            "product": self.manifest.product,
            "to": release_row(self.manifest.version, self.manifest.sequence, self.identity),
            "changed": not self.unchanged,
            "files": len(self.manifest.files),
            "requires": list(manifest_rules.used_features(self.manifest)),
            "images": [image.reference for image in self.manifest.images],
            "signatures": list(self.signatures),
            "provenance": list(self.provenance),
        }


def plan_bundle(config: BundleConfig, rules: SourceRules | None = None) -> Planned:
    """Find everything that the bundle will have, without reading payload.

    Args:
        config: The checked bundle.yaml.
        rules: What the source must be like; None: what it is like is only warned of.

    Raises:
        UnfitInputError: Inputs or images are missing or not valid; all problems at once.
    """
    problems: list[Problem] = []
    # Files first: they decide the time of the bundle if git does not.
    collected = collect(config)
    rules = rules or current_rules()
    name = ReleaseName(config.manifest.product, config.manifest.version, rules.tag_prefix)
    checkout = inspect_checkout(config.directory, source_paths(config, collected), name)
    problems += source_rules.problems(checkout, rules, name)
    incomplete, warnings = _submodules(config, checkout)
    problems += incomplete
    warnings += source_rules.warnings(checkout, rules, name)
    created = creation_time(collected, checkout.time)
    # Counted from the time in the bundle, so that the same inputs give the same expiry.
    expires = created.seconds + config.expires
    # A commit of last year with `expires: 180d` would make a bundle that no host accepts.
    if expires <= time.time() or expires >= OCTAL_LIMIT:
        is_late = expires >= OCTAL_LIMIT
        what = "would expire later than a bundle can say" if is_late else "would already be expired"
        what = f"the bundle {what}: its creation time, {format_seconds(created.seconds)}, is {created.origin}"
        hint = "set a shorter `expires`" if is_late else f"{created.renewal}, or set a longer `expires`"
        problems.append(Problem("bundle.yaml", what, hint))
    image_sources, resolved = images.resolve(config, problems)
    warnings += images.notes(image_sources)
    if problems:
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        raise UnfitInputError(f"cannot be bundled: {count}", problems=problems)
    manifest = replace(
        config.manifest,
        created=created.seconds,
        expires=expires,
        files=tuple(item.entry for item in collected.inputs),
        links=collected.links,
        directories=collected.directories,
        source=checkout.source,
    )
    # Before an hour of packing, not after it.
    _check_manifest(manifest)
    # They refer to images, which the manifest has only when these are packed.
    whole = tuple(each for source in image_sources for each in source.whole_images())
    manifest = replace(manifest, whole_images=whole)
    found = (*config.warnings, *warnings)
    return Planned(config, manifest, collected, image_sources, resolved, checkout, found)


def _submodules(config: BundleConfig, checkout: Checkout) -> tuple[list[Problem], list[Problem]]:
    """Return problems of submodules that are missing from a tree, and warnings of others of the product."""
    problems, warnings = [], []
    hint = "run `git submodule update --init --recursive`, then build again"
    top = os.path.realpath(config.directory)
    for path in checkout.submodules:
        trees = [tree for tree in config.trees if f"{path}/".startswith(f"{os.path.realpath(tree.source)}/")]
        for tree in trees:
            below = os.path.relpath(path, os.path.realpath(tree.source))
            # One that `exclude` leaves out is not missed.
            if any(each.path == below for each in tree.directories):
                what = "is a git submodule that is not initialised: its files are missing"
                problems.append(Problem(f"{tree.given}/{below}", what, hint))
        if not trees and path.startswith(f"{top}/"):
            what = "is a git submodule that is not initialised; what was built from it may be incomplete"
            warnings.append(Problem(os.path.relpath(path, top), what, hint, "submodule"))
    return problems, warnings


def write_bundle(
    planned: Planned,
    target: Path,
    signers: Sequence[Signer],
    progress: Progress,
    run: BuildRun | None = None,
) -> Created:
    """Write a bundle.

    Args:
        planned: The result of `plan_bundle`.
        target: The file to write.
        signers: Keys that sign it at once.
        progress: Receives the bytes that were read.
        run: This run, for the provenance; None: no provenance.

    Raises:
        UnfitInputError: An input changed or cannot be read, an image is not what its digest says, the disk is
            full, or another bundle has the name. Nothing is left behind.
    """
    # The payload comes first on the disk; the head goes into the space before it when all digests are known.
    start = _head_size(planned)
    # A full disk at 90 % costs the whole run.
    check_space(target, _most_bytes(planned, start))
    created = planned.manifest.created
    with OutputFile(target) as output:
        # Of what is read: layers are written smaller than that.
        progress.start("read inputs", planned.payload_bytes)
        files = write_files(output, start, planned.collected.inputs, created, progress.advance)
        offset = end_of(start, planned.collected.inputs)
        transform = LayerTransform(planned.config.compression)
        blobs = BlobWriter(
            output, offset, created, transform, progress.advance, search=not planned.config.skip_images
        )
        for source in planned.sources:
            if source.waits_for:
                # Minutes may pass before the first byte: people must know what they wait for.
                progress.note(
                    f"waiting for {source.waits_for}, which prepares the images before it sends them"
                )
        packed = images.write(planned.sources, blobs)
        allowances = planned.config.for_images.for_images()
        _refuse_secrets(blobs.secrets.problems(packed, allowances))
        # Only now are the digests known.
        manifest = replace(planned.manifest, files=(*files, *blobs.entries), images=packed)
        _check_manifest(manifest)
        data = manifest_json.dump(manifest)
        sums = head.make_sums(manifest.files, data)
        signatures = {name: text for signer in signers for name, text in signer.files(SUMS, sums).items()}
        output.write_parts(0, head.make_head(sums, signatures, data, created, start))
        # The identity covers the list, and the list covers every byte of the payload.
        identity = sha256_hex(sums)
        document = _provenance(run, planned, manifest, identity)
        signed = signed_files(run, document) if run else {}
        tail = b"".join(head.member(name, text, created) for name, text in signed.items()) + END
        output.write_at(blobs.offset, tail)
        progress.done()
        size, names = blobs.offset + len(tail), tuple(signatures)
        unchanged = _exists_already(target, identity)
        # After the write: only the finished list tells whether it is the same bundle.
        if unchanged:
            # It may have been handed on and approved: it is signed further, never replaced.
            names = _add_signatures(target, signers)
            signed = add_provenance(target, signed)
            size = target.stat().st_size
        else:
            with interrupts.deferred():
                output.publish()
                # The bundle exists: a signal must not end the command as if it did not.
                interrupts.finish()
    # Without a key, the statement waits next to the bundle for a signature from elsewhere.
    unsigned = (str(write_unsigned(target, document)),) if run and not run.signers else ()
    return Created(
        target, size, identity, manifest, names, unsigned or tuple(signed), unchanged,
        allowed=tuple(allowances.allowed),
        warnings=(
            # What an engine left out is known only from its stream.
            *(note for note in images.notes(planned.sources) if note not in planned.warnings),
            *blobs.secrets.warnings(packed),
        ),
    )  # fmt: skip


def _refuse_secrets(problems: list[Problem]) -> None:
    if problems:
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        raise UnfitInputError(f"the images cannot be bundled: {count}", problems=problems)


def _provenance(run: BuildRun | None, planned: Planned, manifest: Manifest, identity: str) -> bytes:
    if run is None:
        return b""
    return statement(run, planned.checkout, planned.config, manifest, identity, datetime.now(UTC))


def _check_manifest(manifest: Manifest) -> None:
    """Check that the installer's own reader accepts the manifest.

    Raises:
        UnfitInputError: It does not.
    """
    # There may be a hundred thousand entries of trees. They differ only in names and paths, which the rules
    # check: they are not dumped and parsed again.
    few = tuple(entry for entry in manifest.files if entry.kind != "tree")
    try:
        manifest_rules.check(manifest)
        manifest_json.parse(manifest_json.dump(replace(manifest, files=few)))
    except TamperedError as error:
        raise UnfitInputError(f"cannot be bundled: {error.what}", where=error.where) from None


def _head_size(planned: Planned) -> int:
    """Return the space to reserve for the head, with every number and name of an image at its longest."""
    # The head must fit whatever the images turn out to be: it cannot grow over the payload.
    largest = FileEntry(blob_path("sha256:" + UNKNOWN), _LARGEST, UNKNOWN, 0o644, "image", expanded=_LARGEST)
    layer = Layer("sha256:" + UNKNOWN, _LARGEST, "x" * 128, "sha256:" + UNKNOWN, _LARGEST)
    # Three more: index.json, manifest.json and oci-layout.
    blobs = sum(image.blobs for image in planned.images) + 3
    largest_images = tuple(
        Image(each.reference, each.platform, layer.digest, layer.digest, (layer,) * each.blobs)
        for each in planned.images
    )
    manifest = replace(
        planned.manifest, files=planned.manifest.files + (largest,) * blobs, images=largest_images
    )
    data = manifest_json.dump(manifest)
    sums = head.make_sums(manifest.files, data)
    # The limits of readers on hosts.
    for what, count, most in (
        ("files", len(manifest.files), LIMITS.members),
        ("bytes of manifest", len(data), LIMITS.manifest_bytes),
        ("bytes of SHA256SUMS", len(sums), LIMITS.sums_bytes),
    ):
        if count > most:
            raise UnfitInputError(
                f"the bundle would have up to {count:,} {what}; at most {most:,} are allowed",
                hint="put a large tree into one archive file",
            )
    return head.size_for(len(sums), len(data))


def _most_bytes(planned: Planned, head_bytes: int) -> int:
    padding = sum(extent(item.entry.size) - item.entry.size for item in planned.collected.inputs)
    # A header for each blob, and what fills its last block.
    blobs = (sum(image.blobs for image in planned.images) + 3) * 2 * BLOCK if planned.images else 0
    return head_bytes + planned.payload_bytes + padding + blobs + len(END)


def check_directory(target: Path) -> None:
    """Check that the directory of a file that somebody named exists.

    Raises:
        UnfitInputError: It does not.
    """
    # A name mistyped, or a stick that is not mounted, would silently become a directory of this machine.
    if not target.parent.is_dir():
        raise UnfitInputError(
            "the directory of the output does not exist",
            where=str(target.parent),
            hint=f"create it with `mkdir -p {shlex.quote(str(target.parent))}`, or correct the path",
        )


def _exists_already(target: Path, identity: str) -> bool:
    """Return whether the file is this very bundle.

    Raises:
        UnfitInputError: The file has other content; it may have been handed on.
    """
    if not target.exists():
        return False
    try:
        with unverified_bundle(target) as bundle:
            if bundle.identity == identity:
                # The identity covers the list only: a damaged copy has it too.
                check_payload(bundle)
                return True
    # A damaged file is other content, too.
    except WaybillError:
        pass
    raise UnfitInputError(
        "already exists, with different content",
        where=str(target),
        hint="increase the version, or remove the file if nobody has received it yet",
    )


def _add_signatures(target: Path, signers: Sequence[Signer]) -> tuple[str, ...]:
    """Add the missing signatures to an existing bundle; return the names of all of them."""
    for signer in signers:
        sign(target, signer)
    with unverified_bundle(target) as bundle:
        return tuple(bundle.head.signatures)
