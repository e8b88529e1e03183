"""Check the `images/` section of a bundle against its signed manifest, while its bytes pass by once.

The signature covers the bytes of the section, not what they mean to an engine: a layout could name other
images, other layers or other digests than the manifest that approvers, plans and policies read. Here the
manifest decides: it determines the three documents of the layout byte for byte, and each blob has to be what
the manifest says of it. Nothing else may be in the section.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock

from installer.core.digest import sha256_hex
from installer.core.errors import TamperedError
from installer.core.format.manifest import (
    Attachment,
    FileEntry,
    Image,
    Layer,
    Manifest,
    WholeImage,
    blob_path,
)
from installer.core.oci import documents, layout, whole
from installer.core.oci.expand import Expander, sniff
from installer.core.oci.layer_tar import TarWalk
from installer.core.oci.reference import reference_fault, split_reference

INDEX, DOCKER_MANIFEST, LAYOUT = "images/index.json", "images/manifest.json", "images/oci-layout"
_MODE = 0o644
_HINT = (
    "the bundle is not one that `bundle create` writes, although its signature is valid: do not install it, "
    "and tell whoever released it"
)


def _fault(what: str, where: str) -> TamperedError:
    return TamperedError(what, where=where, hint=_HINT)


@dataclass(slots=True)
class _Blob:
    """What the manifest says of one blob; a blob may be more than one of these."""

    config_of: list[Image] = field(default_factory=list)
    manifest_of: list[Image] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    index_of: list[WholeImage] = field(default_factory=list)
    attached: list[Attachment] = field(default_factory=list)

    @property
    def is_document(self) -> bool:
        """Whether it is parsed."""
        return bool(self.config_of or self.manifest_of or self.index_of or self.attached)


class ImageSection:
    """The check of one bundle's images; `watch` may be called from several threads.

    Args:
        manifest: The signed manifest, which contradicts nothing in itself (`manifest_rules`).

    Attributes:
        documents: Paths of the small files that must be read again, also where a stage has them already.

    Raises:
        TamperedError: The list of files has something in `images/` that no image needs, or lacks something.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._images = manifest.images
        self._files = {entry.path: entry for entry in manifest.files if entry.path.startswith("images/")}
        self._blobs: dict[str, _Blob] = {}
        for image in manifest.images:
            self._blob(image.config).config_of.append(image)
            self._blob(image.manifest).manifest_of.append(image)
            for layer in image.layers:
                known = self._blob(layer.digest).layers
                if layer not in known:
                    known.append(layer)
        for each in manifest.whole_images:
            self._add_whole(each)
        self._media_types: dict[str, str] = {}
        # Documents are parsed one at a time, wide layers expanded one at a time: memory stays flat.
        self._one, self._wide = Lock(), Lock()
        self.documents = frozenset(path for path, blob in self._blobs.items() if blob.is_document)
        self._check_list()
        self._check_images()

    def _blob(self, digest: str) -> _Blob:
        return self._blobs.setdefault(blob_path(digest), _Blob())

    def _add_whole(self, image: WholeImage) -> None:
        # Without an index it is the manifest of its only image, which is checked as such.
        if not self._blob(image.digest).manifest_of:
            self._blob(image.digest).index_of.append(image)
        for each in image.attached:
            self._blob(each.manifest).attached.append(each)
            for digest in each.blobs:
                self._blob(digest)

    def _size(self, digest: str) -> int:
        return self._files[blob_path(digest)].size

    def _check_list(self) -> None:
        """Require exactly the files that the images need, as plain files for every platform."""
        needed = self._blobs.keys() | ({INDEX, DOCKER_MANIFEST, LAYOUT} if self._images else set())
        for path in sorted(self._files.keys() - needed):
            raise _fault("belongs to no image of the manifest", path)
        for path in sorted(needed - self._files.keys()):
            raise _fault("is missing, although the manifest lists images", path)
        for entry in self._files.values():
            # Elsewhere, with another mode or for one platform only, the engine would not find it.
            if (entry.kind, entry.mode, entry.install, entry.platform) != ("image", _MODE, "", ""):
                raise _fault("is not a plain file of kind `image` for every platform", entry.path)
        for path in sorted(self.documents):
            if self._files[path].size > documents.MAX_DOCUMENT:
                raise _fault(f"has more than {documents.MAX_DOCUMENT} bytes", path)
        if not self._images:
            return
        # The signed digest of each document is compared with that of the one form it may have.
        for path, data in (
            (LAYOUT, layout.LAYOUT),
            (DOCKER_MANIFEST, layout.make_docker_manifest(self._images)),
        ):
            if self._files[path].sha256 != sha256_hex(data):
                raise _fault("is not the document that the images of the manifest determine", path)

    def _check_images(self) -> None:
        named = set[tuple[str, str]]()
        for image in self._images:
            where = f"bundle.json: image {image.reference}"
            if reference_fault(image.reference) or not split_reference(image.reference)[1]:
                raise _fault("has no valid name with a tag", where)
            if (image.reference, image.platform) in named:
                raise _fault(f"is listed twice for {image.platform}", where)
            named.add((image.reference, image.platform))
            for layer in image.layers:
                if not documents.layer_form(layer.media_type):
                    raise _fault(f"has a layer of the media type {layer.media_type!r:.80}", where)

    def watch(self, entry: FileEntry, chunks: Iterator[memoryview]) -> Iterator[memoryview]:
        """Return the pieces of a file and check them while they pass.

        The last piece is handed on only if the file is what the manifest says: a copy of a layer that is
        complete was checked, also if this run is killed right afterwards.

        Args:
            entry: The file.
            chunks: Its bytes; the step after the last of them compares the digest.

        Raises:
            TamperedError: It is not the blob that the manifest says.
        """
        blob = self._blobs.get(entry.path)
        return chunks if blob is None else self._watched(entry, blob, chunks)

    def _watched(self, entry: FileEntry, blob: _Blob, chunks: Iterator[memoryview]) -> Iterator[memoryview]:
        checks: list[_LayerCheck] = [_LayerCheck(layer, self._wide) for layer in blob.layers]
        document = bytearray()
        left = entry.size
        try:
            for chunk in chunks:
                left -= len(chunk)
                if entry.path in self.documents:
                    document += chunk
                for check in checks:
                    check.feed(chunk)
                if left == 0 and (fault := self._finish(entry, blob, bytes(document), checks)):
                    # The digest is compared first: a damaged copy is not a release that lies.
                    for _ in chunks:
                        pass
                    raise fault
                yield chunk
        finally:
            for check in checks:
                check.close()

    def _finish(
        self, entry: FileEntry, blob: _Blob, document: bytes, checks: list[_LayerCheck]
    ) -> TamperedError | None:
        for check in checks:
            if what := check.finish():
                return _fault(what, entry.path)
        try:
            with self._one:
                if blob.config_of:
                    _check_config(document, entry.path, blob.config_of)
                if blob.manifest_of:
                    self._media_types[blob.manifest_of[0].manifest] = self._check_manifest(
                        document, entry.path, blob.manifest_of
                    )
                for image in blob.index_of:
                    own = [each for each in self._images if each.reference == image.reference]
                    whole.check_index(document, entry.path, image, own, self._size)
                for each in blob.attached:
                    whole.check_attached(document, entry.path, each, self._size)
        except TamperedError as error:
            return _fault(error.what, error.where)
        return None

    def _check_manifest(self, data: bytes, where: str, images: list[Image]) -> str:
        found = documents.parse_manifest(data, where)
        for image in images:
            if (found.config.digest, found.config.size) != (image.config, self._size(image.config)):
                raise TamperedError(f"has another configuration than {image.reference}", where=where)
            stated = [(layer.digest, layer.size, layer.media_type) for layer in found.layers]
            if stated != [(layer.digest, layer.size, layer.media_type) for layer in image.layers]:
                raise TamperedError(f"has other layers than {image.reference}", where=where)
        return found.media_type

    def finish(self) -> None:
        """Check what is known only after all blobs.

        Raises:
            TamperedError: `index.json` is not the document that the images determine.
        """
        if not self._images:
            return
        described = {
            digest: documents.Descriptor(digest, self._size(digest), media_type)
            for digest, media_type in self._media_types.items()
        }
        if self._files[INDEX].sha256 != sha256_hex(layout.describe(self._images, described)):
            raise _fault("is not the document that the images of the manifest determine", INDEX)


def _check_config(data: bytes, where: str, images: list[Image]) -> None:
    found = documents.parse_config(data, where)
    for image in images:
        if found.platform != image.platform:
            raise TamperedError(
                f"is for {found.platform}, but {image.reference} is for {image.platform}", where=where
            )
        if found.diff_ids != tuple(layer.diff_id for layer in image.layers):
            raise TamperedError(
                f"has other layers (`diff_ids`) than {image.reference} in the manifest", where=where
            )


class _LayerCheck:
    """The check of one layer: what it expands to, within the signed size."""

    def __init__(self, layer: Layer, wide: Lock) -> None:
        self._layer = layer
        self._form = documents.layer_form(layer.media_type)
        self._expander = Expander(self._form, wide)  # type: ignore[arg-type]
        # A plain layer is what it expands to: its digest is compared with the signed list anyway.
        self._digest = None if layer.digest == layer.diff_id else hashlib.sha256()
        self._tar = TarWalk()
        self._head = b""
        self._count = 0
        self._what = ""

    def feed(self, chunk: memoryview) -> None:
        """Take the next stored bytes; a fault is kept for `finish`."""
        if self._what:
            return
        if len(self._head) < 4:
            self._head += bytes(chunk[:4])
        try:
            for piece in self._expander.feed(chunk):
                self._count += len(piece)
                # At once, not at the end: a small layer can expand to any size.
                if self._count > self._layer.expanded:
                    self._what = f"expands to more than the signed {self._layer.expanded} bytes"
                    return
                if self._digest is not None:
                    self._digest.update(piece)
                self._tar.feed(piece)
        except TamperedError as error:
            self._what = error.what

    def finish(self) -> str:
        """Return what is wrong with the layer; empty if nothing is."""
        self.close()
        if self._form == "tar" and (found := sniff(self._head)) != "tar":
            # Engines look at the bytes, not at the media type: they would expand it.
            self._what = f"is {found}, not tar as its media type says"
        try:
            if not self._what:
                self._expander.finish()
                self._tar.finish()
        except TamperedError as error:
            self._what = error.what
        if not self._what and self._count != self._layer.expanded:
            self._what = f"expands to {self._count} bytes, not the signed {self._layer.expanded}"
        if not self._what and self._digest is not None:
            diff_id = "sha256:" + self._digest.hexdigest()
            if diff_id != self._layer.diff_id:
                self._what = f"expands to {diff_id}, not the signed {self._layer.diff_id}"
        return self._what

    def close(self) -> None:
        """Let the next wide layer begin."""
        self._expander.close()
