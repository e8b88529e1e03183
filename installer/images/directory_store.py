"""The embedded image store: an OCI image layout in a directory, for hosts without an engine and for `--root`.

One per product. Its blobs are further names of the files in the releases' directories, so it takes no room of
its own; `index.json` says what is there, and a blob that no entry of it leads to is removed.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from installer.core.format.manifest import Image, blob_path
from installer.core.limits import LIMITS, MIB
from installer.core.oci import documents
from installer.host.system import System
from installer.images.load_stream import read_document

LAYOUT = json.dumps({"imageLayoutVersion": "1.0.0"}).encode()
INDEX_LIMIT = 4 * MIB
BLOBS = "blobs/sha256"


@dataclass(frozen=True, slots=True)
class DirectoryStore:
    """A store at `path`, a host path.

    Attributes:
        system: The host.
        path: Its directory.
    """

    system: System
    path: str

    def index(self) -> bytes | None:
        """Reads `index.json`; None where there is none.

        Raises:
            OSError: It cannot be read, or is larger than an index can be.
        """
        try:
            return self.system.read(f"{self.path}/index.json", INDEX_LIMIT)
        except FileNotFoundError:
            return None

    def has(self, image: Image) -> bool:
        """Says whether every blob of an image is there."""
        digests = (image.config, image.manifest, *(layer.digest for layer in image.layers))
        return all(self._blob_kind(digest) == "file" for digest in digests)

    def _blob_kind(self, digest: str) -> str:
        return self.system.observe(self._blob(digest), digest=False).kind

    def _blob(self, digest: str) -> str:
        return f"{self.path}/{BLOBS}/{digest.removeprefix('sha256:')}"

    def make_index(self, images: Sequence[Image], release: str) -> bytes:
        """Makes the index that names `images`.

        Args:
            images: What the store is to name.
            release: The directory that has them, as a host path.

        Raises:
            TamperedError: A manifest is missing or is not what was signed.
        """
        real = Path(self.system.real(release))
        manifests = {image.manifest: read_document(real, image.manifest) for image in images}
        return documents.make_index(images, manifests)

    def add(self, images: Iterable[Image], release: str) -> None:
        """Gives the blobs of images a second name in the store; they are on the disk when it returns.

        Raises:
            OSError: It cannot be done.
        """
        self._directories()
        for image in images:
            for digest in (*(layer.digest for layer in image.layers), image.config, image.manifest):
                self._link(f"{release}/{blob_path(digest)}", self._blob(digest))
        self.system.sync_dir(f"{self.path}/{BLOBS}")

    def _link(self, source: str, target: str) -> None:
        there = self.system.observe(target, digest=False)
        if there.kind == "file":
            if there.size == self.system.observe(source, digest=False).size:
                return
            self.system.unlink(target)
        try:
            self.system.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                raise
            # Another file system, or one without links (a stick): then it has to be a copy.
            self.system.write_new(target, self.system.chunks(source), 0o644)

    def _directories(self) -> None:
        for path in (self.path, f"{self.path}/blobs", f"{self.path}/{BLOBS}"):
            if self.system.observe(path, digest=False).kind == "absent":
                self.system.mkdir(path, 0o755)
                self.system.sync_dir(path.rsplit("/", 1)[0])

    def write_index(self, data: bytes) -> None:
        """Replaces `index.json` in one step.

        Raises:
            OSError: It cannot be written; the one before is still there.
        """
        for name, content in (("oci-layout", LAYOUT), ("index.json", data)):
            new = f"{self.path}/{name}.new"
            if self.system.observe(new, digest=False).kind != "absent":
                self.system.unlink(new)
            self.system.write_new(new, content, 0o644)
            self.system.rename(new, f"{self.path}/{name}")
        self.system.sync_dir(self.path)

    def prune(self) -> None:
        """Removes what no entry of the index leads to; without an index, the whole store.

        Raises:
            OSError: Something cannot be read or removed.
            TamperedError: The index or a manifest is not one; then nothing is removed.
        """
        index = self.index()
        if index is None:
            self.system.remove_tree(self.path)
            return
        wanted = self._named(index)
        removed = False
        for name in self.system.names(f"{self.path}/{BLOBS}"):
            if "sha256:" + name not in wanted:
                self.system.unlink(f"{self.path}/{BLOBS}/{name}")
                removed = True
        for name in ("oci-layout", "index.json"):
            with suppress(FileNotFoundError):
                self.system.unlink(f"{self.path}/{name}.new")
        if removed:
            self.system.sync_dir(f"{self.path}/{BLOBS}")

    def _named(self, index: bytes) -> frozenset[str]:
        named: set[str] = set()
        for entry in documents.parse_index(index, f"{self.path}/index.json").manifests:
            data = self.system.read(self._blob(entry.digest), LIMITS.document_bytes)
            manifest = documents.parse_manifest(data, self._blob(entry.digest), entry.media_type)
            named |= {entry.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        return frozenset(named)

    def drop(self) -> None:
        """Takes the index away, durably; `prune` then removes the rest.

        Raises:
            OSError: It cannot be removed.
        """
        with suppress(FileNotFoundError):
            self.system.unlink(f"{self.path}/index.json")
            self.system.sync_dir(self.path)
