"""Signatures, SBOMs and attestations next to images are left out with a note; images never are."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from bundler.image_sources.archive import ArchiveSource
from bundler.image_sources.attachments import listed
from bundler.image_sources.oci import LayoutSource
from bundler.image_sources.registry import RegistrySource
from installer.core.errors import UnfitInputError
from installer.core.oci import documents
from installer.core.oci.layout import LAYOUT
from tests.rig.imagebuild import (
    BLOBS,
    NAME,
    REF,
    Built,
    descriptor,
    digest,
    dumps,
    index,
    layer,
    layout,
    packed,
    tar,
    write,
)
from tests.rig.lyingregistry import Lying, push
from tests.rig.memorysink import MemorySink
from tests.rig.needs import needs
from tests.rig.registry import Registry
from tests.rig.registryimages import AMD

ONE = Built("chat:1", [layer("base")], form="gzip")
EMPTY = "application/vnd.oci.empty.v1+json"
SIGNED = "application/vnd.dev.cosign.simplesigning.v1+json"
OTHERS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "a signature of cosign 2": (documents.CONFIG, SIGNED, {}, "1 signature"),
    "an attestation of cosign 2": (
        documents.CONFIG, "application/vnd.dsse.envelope.v1+json", {}, "1 attestation",
    ),
    "an SBOM of cosign 2": (documents.CONFIG, "text/spdx+json", {}, "1 SBOM"),
    "a signature of cosign 3": (
        EMPTY, "application/vnd.dev.sigstore.bundle.v0.3+json",
        {"artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json"}, "1 signature",
    ),
    "a chart": (
        "application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", {},
        "1 artifact (application/vnd.cncf.helm.config.v1+json)",
    ),
    "a file of oras": (EMPTY, "text/plain", {"artifactType": "text/markdown"}, "1 artifact (text/markdown)"),
}  # fmt: skip


def other(config: str, kind: str, more: dict[str, Any]) -> tuple[bytes, dict[str, bytes]]:
    """Makes the manifest of something that is no image, and the files it needs."""
    blobs = (b"{}", b'{"it":"is no layer"}')
    manifest = dumps(
        {
            "schemaVersion": 2,
            "mediaType": documents.MANIFEST,
            "config": descriptor(blobs[0], config),
            "layers": [descriptor(blobs[1], kind)],
            **more,
        }
    )
    return manifest, {BLOBS + digest(data)[7:]: data for data in (*blobs, manifest)}


def beside(entry: dict[str, Any], files: dict[str, bytes]) -> dict[str, bytes]:
    """Makes a layout that has the image, and next to it an entry with its files."""
    image = ONE.entry(annotations={REF: ONE.tag})
    return {**ONE.files, **files, "oci-layout": LAYOUT, "index.json": index([image, entry])}


@pytest.mark.parametrize("thing", OTHERS)
def test_what_is_no_image_is_left_out_with_a_note(tmp_path: Path, thing: str) -> None:
    config, kind, more, words = OTHERS[thing]
    manifest, files = other(config, kind, more)
    tag = f"chat:sha256-{digest(ONE.manifest)[7:]}.sig"
    made = beside({**descriptor(manifest, documents.MANIFEST), "annotations": {REF: tag}}, files)
    (tmp_path / "image.tar").write_bytes(tar(made))
    (tmp_path / "image.tar.gz").write_bytes(packed(tar(made), "gzip"))
    for source in (
        LayoutSource(write(tmp_path / "layout", made), ("linux/amd64",)),
        ArchiveSource(tmp_path / "image.tar", ("linux/amd64",)),
        ArchiveSource(tmp_path / "image.tar.gz", ("linux/amd64",)),
    ):
        assert [each.reference for each in source.resolve()] == [ONE.tag]
        assert [each.manifest for each in source.pack(MemorySink())] == [digest(ONE.manifest)]
        note = source.note()
        assert note is not None
        assert (note.where, note.what) == (source.where, f"left out what is not an image: {words}")
        assert (bool(note.hint), note.code) == (True, "not-an-image")


MARKED: dict[str, tuple[dict[str, Any], str]] = {
    "an attestation of BuildKit": (
        {
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        },
        "1 attestation",
    ),
    "an attestation whose annotations were lost": (
        {"platform": {"os": "unknown", "architecture": "unknown"}},
        "1 attestation",
    ),
    "what cosign saves": ({"annotations": {"kind": "dev.cosignproject.cosign/sigs"}}, "1 signature"),
    "a referrer": ({"artifactType": "application/spdx+json"}, "1 SBOM"),
    "an artifact manifest": (
        {"mediaType": "application/vnd.oci.artifact.manifest.v1+json"},
        "1 artifact (application/vnd.oci.artifact.manifest.v1+json)",
    ),
}


@pytest.mark.parametrize("thing", MARKED)
def test_what_a_descriptor_marks_is_not_even_looked_for(tmp_path: Path, thing: str) -> None:
    more, words = MARKED[thing]
    # Registries that copy an image by its platform leave the blobs of the rest behind.
    entry = {**descriptor(b"absent", documents.MANIFEST), **more}
    source = LayoutSource(write(tmp_path, beside(entry, {})), ("linux/amd64",))
    assert [each.reference for each in source.resolve()] == [ONE.tag]
    note = source.note()
    assert note is not None
    assert note.what.endswith(words)


@pytest.mark.parametrize(
    "more",
    [
        {"artifactType": documents.CONFIG},
        {"annotations": {REF: "chat:1", "kind": "dev.cosignproject.cosign/image"}},
        {"annotations": {NAME: "docker.io/library/chat:1", "kind": "other"}},
    ],
)
def test_an_image_is_never_taken_for_something_else(tmp_path: Path, more: dict[str, Any]) -> None:
    entry = ONE.entry(**{"annotations": {REF: "chat:1"}, **more})
    made = {**layout([ONE]), "index.json": index([entry])}
    source = LayoutSource(write(tmp_path, made), ("linux/amd64",))
    assert [each.reference for each in source.resolve()] == ["chat:1"]
    assert source.note() is None


def test_a_layer_of_an_unknown_kind_among_others_is_a_fault_of_the_image(tmp_path: Path) -> None:
    manifest = ONE.manifest.replace(b'"layers":[', b'"layers":[' + dumps(descriptor(b"x", SIGNED)) + b",")
    files = {BLOBS + digest(manifest)[7:]: manifest}
    entry = {**descriptor(manifest, documents.MANIFEST), "annotations": {REF: "chat:2"}}
    with pytest.raises(UnfitInputError, match="not a supported layer type"):
        LayoutSource(write(tmp_path, beside(entry, files)), ("linux/amd64",)).resolve()


def test_a_layout_with_signatures_only_says_what_it_has(tmp_path: Path) -> None:
    manifest, files = other(documents.CONFIG, SIGNED, {})
    made = {**files, "oci-layout": LAYOUT, "index.json": index([descriptor(manifest, documents.MANIFEST)])}
    with pytest.raises(UnfitInputError, match="contains no image, but 1 signature") as raised:
        LayoutSource(write(tmp_path, made), ("linux/amd64",), "chat:1").resolve()
    assert (raised.value.where, bool(raised.value.hint)) == (str(tmp_path), True)


def test_a_reference_to_a_signature_is_told_from_an_image(lying: Lying) -> None:
    manifest, _ = other(documents.CONFIG, SIGNED, {})
    lying.tags["sig"] = manifest
    with pytest.raises(UnfitInputError, match="contains no image, but 1 signature"):
        RegistrySource(f"{lying.name}/chat:sig", ("linux/amd64",)).resolve()


def test_signatures_in_a_registry_are_in_the_note(lying: Lying) -> None:
    source = RegistrySource(f"{lying.name}/chat:1", ("linux/amd64",))
    source.resolve()
    assert source.note() is None
    tag = "sha256-" + digest(AMD.manifest)[7:]
    referrer = {**descriptor(b"x", documents.MANIFEST), "artifactType": "application/spdx+json"}
    lying.tags |= {f"{tag}.sig": b"{}", f"{tag}.att": b"{}", tag: index([referrer])}
    source = RegistrySource(f"{lying.name}/chat:1", ("linux/amd64",))
    assert [each.reference for each in source.resolve()] == [f"{lying.name}/chat:1"]
    note = source.note()
    assert note is not None
    assert note.what == "left out what is not an image: 1 SBOM, 1 attestation, 1 signature"
    # Whatever answers there, the image is taken.
    lying.tags |= {tag: b'{"no":"index"}', f"{tag}.sig": b"{}" + b" " * documents.MAX_DOCUMENT}
    source = RegistrySource(f"{lying.name}/chat:1", ("linux/amd64",))
    assert len(source.resolve()) == 1
    note = source.note()
    assert note is not None
    assert note.what.endswith(": 1 attestation")


def test_a_long_list_is_cut_and_never_prints_what_it_was_given() -> None:
    assert listed(["text/spdx", "a/sigs", "b/sigs"]) == "1 SBOM, 2 signatures"
    assert listed([f"type/{number}" for number in range(8)]).endswith("(type/4) and 3 further kinds")
    assert listed(["\x1b[2J" + "x" * 900]) == f"1 artifact ([2J{'x' * 77})"


@pytest.mark.parametrize("program", ["cosign", "cosign3"])
def test_what_cosign_signed_and_saved_is_taken(tmp_path: Path, registry: Registry, program: str) -> None:
    cosign, saved = needs(program), tmp_path / "saved"
    push(registry, f"signed/{program}", ONE)
    image = f"{registry.name}/signed/{program}:1"
    environment = {"COSIGN_PASSWORD": "", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    plain = ["--allow-insecure-registry"]
    signing = ["--yes", "--key", "k.key", "--tlog-upload=false", *plain]
    newer = ["--use-signing-config=false"] if program == "cosign3" else []
    for words in (
        ["generate-key-pair", "--output-key-prefix", "k"],
        ["sign", *signing, *newer, image],
        ["save", "--dir", str(saved), *plain, image],
    ):
        done = subprocess.run(
            [cosign, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    in_registry = RegistrySource(f"http://{image}", ("linux/amd64",))
    in_registry.resolve()
    note = in_registry.note()
    assert note is not None
    assert note.what.startswith("left out what is not an image: 1 ")
    source = LayoutSource(saved, ("linux/amd64",), "chat:1")
    assert [each.reference for each in source.resolve()] == ["chat:1"]
    assert [each.manifest for each in source.pack(MemorySink())] == [digest(ONE.manifest)]
