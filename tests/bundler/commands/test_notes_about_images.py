"""`create` says what it leaves out next to images: once, and before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.commands.create import plan_bundle, write_bundle
from bundler.config.loader import load
from bundler.image_sources.oci import LayoutSource
from installer.core.oci import documents
from installer.shared.progress import Progress
from tests.rig.imagebuild import REF, Built, descriptor, index, layer, layout, write
from tests.rig.products import add

IMAGE = Built("demo/app:1.0.0", [layer("app")], form="gzip")
ATTESTATION = {
    **descriptor(b"absent", documents.MANIFEST),
    "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
}


def prepare(product: Path) -> None:
    entries = [IMAGE.entry(annotations={REF: IMAGE.tag}), ATTESTATION]
    write(product / "layout", {**layout([IMAGE]), "index.json": index(entries)})
    add(product, "images: [{oci: layout}]\n")


def test_what_is_left_out_is_a_warning_of_the_plan_and_not_said_again(
    product_dir: Path, tmp_path: Path
) -> None:
    prepare(product_dir)
    planned = plan_bundle(load(product_dir, "1.4.0"))
    (found,) = [each for each in planned.warnings if each.code == "not-an-image"]
    assert found.what == "left out what is not an image: 1 attestation"
    created = write_bundle(planned, tmp_path / "a.tar", [], Progress())
    assert [image.reference for image in created.manifest.images] == [IMAGE.tag]
    assert not [each for each in created.warnings if each.code == "not-an-image"]


def test_what_becomes_known_while_packing_is_a_warning_of_the_result(
    product_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine tells only in its stream what it has next to an image."""
    prepare(product_dir)
    planned = plan_bundle(load(product_dir, "1.4.0"))
    (source,) = planned.sources
    assert isinstance(source, LayoutSource)
    pack = source.pack

    def late(sink):  # type: ignore[no-untyped-def]
        source.skipped.append("application/spdx+json")
        return pack(sink)

    monkeypatch.setattr(source, "pack", late)
    created = write_bundle(planned, tmp_path / "a.tar", [], Progress())
    (found,) = [each for each in created.warnings if each.code == "not-an-image"]
    assert found.what.endswith("1 SBOM, 1 attestation")
