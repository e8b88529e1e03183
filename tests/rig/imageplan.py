"""Small bundles with images in them, good ones and ones that lie, for a `bundlebuild.Plan`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from installer.core.errors import TamperedError
from installer.core.format.bundle_source import BundleSource
from installer.core.format.manifest import FileEntry, Image, Layer, blob_path
from installer.core.format.payload import discard
from installer.core.oci import layout
from installer.core.trust.verifier import pinned_key_trust
from installer.core.verify import VerifiedBundle, open_trusted, verify_payload
from tests.rig import bundlebuild as build
from tests.rig import independent
from tests.rig.imagebuild import TYPES, Built, digest

Sink = Callable[[FileEntry, Iterator[memoryview]], None]


@dataclass
class Section:
    """The `images/` section as plain data, which a test changes before it makes a bundle of it.

    Attributes:
        files: By their path in the bundle.
        images: What the manifest says.
        expanded: What it says that compressed blobs expand to.
        fields: Further fields of the entries of single files.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    images: list[Image] = field(default_factory=list)
    expanded: dict[str, int] = field(default_factory=dict)
    fields: dict[str, dict[str, object]] = field(default_factory=dict)

    def blob(self, data: bytes) -> str:
        """Adds a blob and gives its digest."""
        self.files[blob_path(digest(data))] = data
        return digest(data)

    def layer(self, plain: bytes, stored: bytes, form: str) -> Layer:
        """Adds a layer and gives what the manifest says of it."""
        name = self.blob(stored)
        if name != digest(plain):
            self.expanded[blob_path(name)] = len(plain)
        return Layer(name, len(stored), TYPES[form], digest(plain), len(plain))

    def add(self, image: Built) -> Image:
        """Adds a good image."""
        layers = [
            self.layer(plain, stored, image.form)
            for plain, stored in zip(image.layers, image.blobs, strict=True)
        ]
        config, manifest = self.blob(image.config), self.blob(image.manifest)
        self.images.append(Image(image.tag, image.platform, config, manifest, tuple(layers)))
        return self.images[-1]

    def documents(self) -> None:
        """Adds the documents of the layout, made as `bundle create` makes them."""
        blobs = {each.manifest: self.files[blob_path(each.manifest)] for each in self.images}
        self.files |= {
            "images/index.json": layout.make_index(self.images, blobs),
            "images/manifest.json": layout.make_docker_manifest(self.images),
            "images/oci-layout": layout.LAYOUT,
        }

    def rename(self, image: Image, **changes: object) -> None:
        """Changes what the manifest says of an image."""
        self.images[self.images.index(image)] = replace(image, **changes)  # type: ignore[arg-type]

    def replace(self, path: str, old: bytes, new: bytes) -> None:
        """Changes the text of a document."""
        assert old in self.files[path]
        self.files[path] = self.files[path].replace(old, new)

    def lie(self, **changes: object) -> None:
        """Changes what the manifest says of the first layer of the first image, and the documents with it."""
        first, *rest = self.images[0].layers
        self.rename(self.images[0], layers=(replace(first, **changes), *rest))  # type: ignore[arg-type]
        self.documents()

    def plan(self, files: Mapping[str, bytes] = build.FILES, **fields: object) -> build.Plan:
        """Makes a bundle of it that is sealed, whatever it says, with other files before it."""
        entries = {
            path: {"kind": "image", "expanded": self.expanded.get(path, 0), **self.fields.get(path, {})}
            for path in self.files
        }
        return build.plan(
            {**files, **self.files},
            entries=entries,
            images=tuple(self.images),
            **fields,  # type: ignore[arg-type]
        )


def section(images: Iterable[Built]) -> Section:
    """Makes a good section."""
    made = Section()
    for image in images:
        made.add(image)
    made.documents()
    return made


def good(images: Sequence[Built]) -> build.Plan:
    """Makes a good bundle of images, signed."""
    return build.signed(section(images).plan())


def verify(
    medium: BundleSource | bytes, sink: Sink = discard, have: frozenset[str] = frozenset()
) -> VerifiedBundle:
    """Verifies as every command does; the verifier of the documents has to agree."""
    chosen = build.BytesMedium(medium) if isinstance(medium, bytes) else medium
    clock = datetime.fromtimestamp(build.CREATED + 60, UTC)
    trust = pinned_key_trust(build.key()[1])
    trust._clock = lambda: clock
    error: TamperedError | None = None
    try:
        return verify_payload(open_trusted(chosen, trust), sink=sink, have=have)
    except TamperedError as caught:
        error = caught
        raise
    finally:
        if isinstance(medium, bytes) and not have:
            independent.compare(medium, error, build.key()[1], images=True)
