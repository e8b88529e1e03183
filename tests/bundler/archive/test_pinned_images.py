"""A service that pins its image by digest gets the image with that digest, or no bundle is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.archive.images import resolve
from bundler.config.loader import load
from installer.core.errors import Problem
from installer.core.oci import documents
from installer.core.oci.pinned import loaded_reference
from tests.rig.imagebuild import (
    BLOBS,
    REF,
    Built,
    descriptor,
    digest,
    index,
    layer,
    layout,
    saved_new,
    saved_old,
    tar,
    write,
)
from tests.rig.products import add, faults, put

IMAGE = Built("demo/app:1.0.0", [layer("app")], form="gzip")
MANIFEST = digest(IMAGE.manifest)
INDEX = index([IMAGE.platform_entry()])
OTHER = "sha256:" + "a" * 64


def of_platforms() -> dict[str, bytes]:
    """Give a layout whose image is in an index of platforms, as registries have it."""
    outer = index([{**descriptor(INDEX, documents.INDEX), "annotations": {REF: IMAGE.tag}}])
    return {**layout([IMAGE]), BLOBS + digest(INDEX)[7:]: INDEX, "index.json": outer}


def problems(product: Path, reference: str, images: str) -> list[Problem]:
    put(product, "deploy/compose.yaml", f"services:\n  app:\n    image: {reference}\n")
    put(product, "old.tar", tar(saved_old([IMAGE])))
    put(product, "new.tar", tar(saved_new([IMAGE])))
    write(product / "layout", layout([IMAGE]))
    write(product / "index", of_platforms())
    add(product, f"images: [{images}]\ndeploy: [{{method: compose, file: deploy/compose.yaml}}]\n")
    found: list[Problem] = []
    resolve(load(product, "1.4.0"), found)
    return found


@pytest.mark.parametrize(
    ("reference", "images"),
    [
        (f"demo/app:1.0.0@{MANIFEST}", "{oci: layout}"),
        (f"docker.io/demo/app:1.0.0@{MANIFEST}", "{archive: new.tar}"),
        (f"demo/app@{MANIFEST}", "{oci: layout}"),
        (f"demo/app:1.0.0@{MANIFEST}", "{oci: index}"),
        (f"demo/app:1.0.0@{digest(INDEX)}", "{oci: index}"),
        (f"demo/app:2@{digest(INDEX)}", "{oci: index, as: 'demo/app:2'}"),
    ],
)
def test_the_digest_of_the_manifest_or_of_its_index_fits(
    product_dir: Path, reference: str, images: str
) -> None:
    assert problems(product_dir, reference, images) == []


@pytest.mark.parametrize(
    ("reference", "images", "what"),
    [
        (f"demo/app:1.0.0@{OTHER}", "{oci: layout}", f"but the image of the bundle has {MANIFEST}"),
        (f"demo/app@{OTHER}", "{oci: layout}", f"but the image of the bundle has {MANIFEST}"),
        (f"demo/app:1.0.0@{MANIFEST}", "{archive: old.tar}", "which cannot be compared"),
    ],
)
def test_another_digest_or_one_that_nobody_knows_is_refused(
    product_dir: Path, reference: str, images: str, what: str
) -> None:
    (problem,) = problems(product_dir, reference, images)
    assert problem.where == "deploy/compose.yaml:3"
    assert f"service app uses {reference}, {what}" in problem.what
    assert problem.hint


def test_a_digest_is_no_part_of_the_name_in_the_bundle(product_dir: Path) -> None:
    write(product_dir / "layout", layout([IMAGE]))
    add(product_dir, f"images: [{{oci: layout, as: 'demo/app:1.0.0@{MANIFEST}'}}]\n")
    (fault,) = faults(product_dir)
    assert "has a digest, which is the image's own" in fault


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("app:1", "app:1"),
        (f"app:1@{OTHER}", "app:1"),
        (f"docker.io/library/app:1@{OTHER}", "app:1"),
        (f"app:3@{OTHER}", f"app:3@{OTHER}"),
        (f"app@{OTHER}", "app:2"),
        (f"app@{MANIFEST}", f"app@{MANIFEST}"),
        (f"registry.lan:5000/web@{MANIFEST}", "registry.lan:5000/web:1"),
        (f"none@{OTHER}", f"none@{OTHER}"),
        ("not a reference@", "not a reference@"),
    ],
)
def test_the_name_under_which_an_engine_has_a_pinned_image(reference: str, wanted: str) -> None:
    images = [("app:1", "sha256:" + "b" * 64), ("app:2", OTHER), ("registry.lan:5000/web:1", OTHER)]
    assert loaded_reference(reference, images) == wanted
