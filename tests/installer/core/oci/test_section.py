"""The images of a bundle are what its signed manifest says, or verification refuses it."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import zstandard

from installer.core.errors import TamperedError
from installer.core.format.manifest import FileEntry, blob_path
from installer.core.format.payload import discard
from installer.core.limits import MIB
from installer.core.oci import documents, layout
from tests.rig import bundlebuild as build
from tests.rig.imagebuild import Built, digest, layer, packed, tar
from tests.rig.imageplan import Section, Sink, good, section, verify

BASE = layer("base", 3000)
APP = Built("shop/app:1.4.0", [BASE, layer("app")], form="zstd")
WEB = Built("shop/web:1.4.0", [BASE, layer("web")], form="zstd")
ARM = Built("shop/app:1.4.0", [layer("arm")], platform="linux/arm64/v8", form="gzip")
PLAIN = Built("shop/plain:2", [layer("plain")], form="tar")
ALL = (APP, WEB, ARM, PLAIN)


def refused(made: Section, sink: Sink = discard) -> TamperedError:
    """Verifies as a file and as a pipe; both refuse, alike, at the step of images."""
    data = build.signed(made.plan()).tar()
    with pytest.raises(TamperedError) as piped:
        verify(build.stream(data))
    with pytest.raises(TamperedError) as caught:
        verify(data, sink)
    assert (str(piped.value), caught.value.step, caught.value.exit_code) == (str(caught.value), 20, 11)
    assert "do not install it" in caught.value.hint
    return caught.value


@pytest.mark.parametrize("images", [[APP], [PLAIN], ALL, [replace(APP, form="gzip")]])
def test_images_as_create_writes_them_pass_from_a_file_and_a_pipe(images: list[Built]) -> None:
    data = good(images).tar()
    assert verify(data).manifest.images == verify(build.stream(data)).manifest.images


def test_a_bundle_without_images_passes() -> None:
    assert not verify(build.signed().tar()).manifest.images


def documents_of(change: Callable[[Section], None]) -> Callable[[], Section]:
    def make() -> Section:
        made = section(ALL)
        change(made)
        return made

    return make


def docker_manifest(made: Section, **changes: object) -> None:
    entries = json.loads(made.files["images/manifest.json"])
    entries[0] |= changes
    made.files["images/manifest.json"] = json.dumps(entries).encode()


def other_index(made: Section) -> None:
    """The index names an image that the manifest does not have, whose blobs are there all the same."""
    index = json.loads(made.files["images/index.json"])
    index["manifests"][0]["annotations"][documents.CONTAINERD_NAME] = "docker.io/library/nginx:latest"
    made.files["images/index.json"] = json.dumps(index).encode()


def lying_config(made: Section) -> None:
    """The manifest is right about itself, but the configuration lists other layers."""
    image = replace(PLAIN, extra={"rootfs": {"type": "layers", "diff_ids": [digest(b"other")]}})
    made.images.remove(made.images[-1])
    config, manifest = made.blob(image.config), made.blob(image.manifest)
    made.images.append(replace(section([PLAIN]).images[0], config=config, manifest=manifest))
    old = section([PLAIN]).images[0]
    del made.files[blob_path(old.config)], made.files[blob_path(old.manifest)]
    made.documents()


def broken(name: str, data: bytes) -> Callable[[Section], None]:
    """One document of the last image is replaced by other bytes, everywhere."""

    def change(made: Section) -> None:
        image = made.images[-1]
        del made.files[blob_path(getattr(image, name))]
        made.rename(image, **{name: made.blob(data)})
        if name == "config":
            # The manifest names it, so that nothing but the configuration itself is wrong.
            del made.files[blob_path(image.manifest)]
            manifest = documents.make_manifest(digest(data), len(data), image.layers)
            made.rename(made.images[-1], manifest=made.blob(manifest))
        blobs = {
            each.manifest: documents.Descriptor(
                each.manifest, len(made.files[blob_path(each.manifest)]), documents.MANIFEST
            )
            for each in made.images
        }
        made.files["images/index.json"] = layout.describe(made.images, blobs)
        made.files["images/manifest.json"] = layout.make_docker_manifest(made.images)

    return change


def stored(plain: bytes, data: bytes, form: str, expanded: int = -1, diff_id: str = "") -> Section:
    """A bundle with one image whose only layer is stored as `data`, and said to be `plain`."""
    made = Section()
    listed = made.layer(plain, data, form)
    listed = replace(listed, diff_id=diff_id or listed.diff_id)
    if expanded >= 0:
        listed = replace(listed, expanded=expanded)
        made.expanded[blob_path(listed.digest)] = expanded
    extra = {"rootfs": {"type": "layers", "diff_ids": [listed.diff_id]}}
    config = Built("shop/app:1", [], extra=extra).config
    name = made.blob(config)
    manifest = made.blob(documents.make_manifest(name, len(config), [listed]))
    image = section([replace(APP, tag="shop/app:1")]).images[0]
    made.images.append(replace(image, config=name, manifest=manifest, layers=(listed,)))
    made.documents()
    return made


TWO = packed(BASE, "gzip")
LIES: dict[str, tuple[Callable[[], Section], str]] = {
    "a tag that is not signed": (
        documents_of(lambda made: docker_manifest(made, RepoTags=["nginx:latest"])),
        r"images/manifest.json: is not the document",
    ),
    "a layer that climbs": (
        documents_of(lambda made: docker_manifest(made, Layers=["../../etc/shadow"])),
        r"images/manifest.json: is not the document",
    ),
    "no JSON at all": (
        documents_of(lambda made: made.files.update({"images/manifest.json": b"junk"})),
        r"images/manifest.json: is not the document",
    ),
    "an index of another image": (documents_of(other_index), r"images/index.json: is not the document"),
    "another layout": (
        documents_of(lambda made: made.files.update({"images/oci-layout": b"{}"})),
        r"images/oci-layout: is not the document",
    ),
    "no index": (
        documents_of(lambda made: made.files.pop("images/index.json") and None),
        r"images/index.json: is missing",
    ),
    "a stray blob": (
        documents_of(lambda made: made.blob(b"stray") and None),
        r"images/blobs/sha256/\w+: belongs to no image",
    ),
    "a stray file": (
        documents_of(lambda made: made.files.update({"images/repositories": b"{}"})),
        r"images/repositories: belongs to no image",
    ),
    "a blob for one platform": (
        documents_of(
            lambda made: made.fields.update({blob_path(made.images[0].config): {"platform": "linux/amd64"}})
        ),
        r"is not a plain file of kind `image` for every platform",
    ),
    "a blob that is put on the host": (
        documents_of(
            lambda made: made.fields.update({blob_path(made.images[0].config): {"install": "/etc/x"}})
        ),
        r"is not a plain file of kind `image` for every platform",
    ),
    "a name without a tag": (
        documents_of(lambda made: made.rename(made.images[0], reference="shop/app") or made.documents()),
        r"image shop/app: has no valid name with a tag",
    ),
    "one name twice": (
        documents_of(lambda made: made.images.append(made.images[0]) or made.documents()),
        r"is listed twice for linux/amd64",
    ),
    "a configuration of other layers": (documents_of(lying_config), r"has other layers \(`diff_ids`\)"),
    "a configuration for another platform": (
        documents_of(lambda made: made.rename(made.images[0], platform="linux/arm64") or made.documents()),
        r"is for linux/amd64, but shop/app:1.4.0 is for linux/arm64",
    ),
    "a configuration that is no JSON": (documents_of(broken("config", b"junk")), r"is not JSON"),
    "a manifest that is no JSON": (documents_of(broken("manifest", b"junk")), r"is not JSON"),
    "a manifest of another image": (
        documents_of(broken("manifest", replace(PLAIN, tag="x:1").manifest)),
        r"has another configuration than shop/plain:2",
    ),
    "a manifest of other layers": (
        documents_of(
            broken(
                "manifest",
                documents.make_manifest(
                    digest(PLAIN.config), len(PLAIN.config), section([ARM]).images[0].layers
                ),
            )
        ),
        r"has other layers than shop/plain:2",
    ),
    "a document that is far too large": (
        documents_of(broken("config", bytes(documents.MAX_DOCUMENT + 1))),
        r"has more than 4194304 bytes",
    ),
    "a layer of an unknown form": (
        documents_of(
            lambda made: made.rename(
                made.images[-1], layers=(replace(made.images[-1].layers[0], media_type="text/plain"),)
            )
        ),
        r"has a layer of the media type 'text/plain'",
    ),
    "a layer that is junk": (
        lambda: stored(b"junk", b"junk", "tar"),
        r"ends early, at byte 4",
    ),
    "a layer of junk that is long enough": (
        lambda: stored(b"j" * 2048, b"j" * 2048, "tar"),
        r"has no tar header at byte 0: it is not a tar archive",
    ),
    "junk inside of a compressed layer": (
        lambda: stored(b"j" * 2048, packed(b"j" * 2048, "zstd"), "zstd"),
        r"has no tar header at byte 0",
    ),
    "a layer that ends within a member": (
        lambda: stored(BASE[:1500], packed(BASE[:1500], "gzip"), "gzip"),
        r"the tar archive in it ends early, at byte 1500",
    ),
    "junk instead of a compressed layer": (
        lambda: stored(BASE, b"junk", "zstd"),
        r"the zstd stream is damaged",
    ),
    "a compressed layer that ends early": (
        lambda: stored(BASE, packed(BASE, "gzip")[:-4], "gzip"),
        r"the gzip stream ends early",
    ),
    "a frame without its checksum": (
        lambda: stored(BASE, zstandard.ZstdCompressor(write_checksum=True).compress(BASE)[:-4], "zstd"),
        r"the zstd stream ends early",
    ),
    "more than the signed size": (
        lambda: stored(BASE, packed(BASE, "zstd"), "zstd", expanded=len(BASE) - 1),
        rf"expands to more than the signed {len(BASE) - 1} bytes",
    ),
    "less than the signed size": (
        lambda: stored(BASE, packed(BASE, "gzip"), "gzip", expanded=len(BASE) + 1),
        rf"expands to {len(BASE)} bytes, not the signed {len(BASE) + 1}",
    ),
    "other content than the signed one": (
        lambda: stored(BASE, packed(BASE, "zstd"), "zstd", diff_id=digest(b"other")),
        r"expands to sha256:\w+, not the signed sha256:",
    ),
    "a plain layer that is compressed": (
        lambda: stored(TWO, TWO, "tar"),
        r"is gzip, not tar as its media type says",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_the_manifest_does_not_say_is_refused(lie: str) -> None:
    make, said = LIES[lie]
    error = refused(make())
    assert re.search(said, str(error)), str(error)


def test_a_layer_that_lies_is_refused_although_nobody_takes_its_bytes() -> None:
    made = stored(BASE, packed(BASE, "zstd"), "zstd", diff_id=digest(b"other"))
    refused(made, sink=lambda _entry, _chunks: None)


def test_a_layer_that_lies_is_never_handed_on_whole() -> None:
    """Whoever stores the pieces and is killed at once has no complete copy that nobody checked."""
    taken: dict[str, int] = {}

    def keep(entry: FileEntry, chunks: Iterator[memoryview]) -> None:
        for chunk in chunks:
            taken[entry.path] = taken.get(entry.path, 0) + len(chunk)

    plain = layer("large", 6 * MIB)
    made = stored(plain, packed(plain, "zstd"), "zstd", diff_id=digest(b"other"))
    refused(made, keep)
    path = blob_path(made.images[0].layers[0].digest)
    assert 0 < taken[path] < len(made.files[path])


def test_a_damaged_layer_is_called_damaged_not_a_lie() -> None:
    plain = layer("large", 6 * MIB)
    for form in ("zstd", "gzip"):
        made = stored(plain, packed(plain, form), form)
        plan = build.signed(made.plan())
        path = blob_path(made.images[0].layers[0].digest)
        data = bytearray(made.files[path])
        data[len(data) // 2] ^= 1
        with pytest.raises(TamperedError, match="does not match the signed list") as caught:
            verify(plan.changed(path, data=bytes(data)).tar())
        assert caught.value.step == 19


def test_documents_are_checked_again_where_a_stage_has_them() -> None:
    made = section(ALL)
    lying_config(made)
    have = frozenset(made.files)
    with pytest.raises(TamperedError, match="has other layers"):
        verify(build.signed(made.plan()).tar(), have=have)


def test_what_a_stage_has_is_not_given_to_it_again() -> None:
    made = section(ALL)
    given: list[str] = []

    def keep(entry: FileEntry, chunks: Iterator[memoryview]) -> None:
        given.append(entry.path)
        discard(entry, chunks)

    verify(build.signed(made.plan()).tar(), keep, frozenset(made.files))
    assert not set(given) & set(made.files)


@pytest.mark.parametrize("form", ["zstd", "gzip"])
def test_a_layer_of_zeros_takes_no_more_memory_than_another(form: str) -> None:
    plain = tar({"zeros": bytes(256 * MIB)})
    made = stored(plain, packed(plain, form), form)
    data = build.signed(made.plan()).tar()
    size = len(plain)
    del plain
    tracemalloc.start()
    # As a medium: the verifier of the documents, which reads bytes too, has no bound on its memory.
    verify(build.BytesMedium(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * MIB < size


def test_wide_layers_are_expanded_one_at_a_time() -> None:
    """Eight windows of 128 MiB at once would be a gigabyte."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    made = Section()
    for number in range(4):
        plain = layer(f"wide {number}", 5 * MIB)
        compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        data = compressor.compress(plain) + compressor.flush()
        listed = made.layer(plain, data, "zstd")
        image = Built(f"wide/image:{number}", [plain])
        config = made.blob(image.config)
        manifest = made.blob(documents.make_manifest(config, len(image.config), [listed]))
        base = section([PLAIN]).images[0]
        made.images.append(
            replace(base, reference=image.tag, config=config, manifest=manifest, layers=(listed,))
        )
    made.documents()
    assert len(verify(build.signed(made.plan()).tar()).manifest.images) == 4
