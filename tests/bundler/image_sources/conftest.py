"""Fixtures of the image sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.image_sources import http
from tests.rig.imagebuild import digest
from tests.rig.lyingregistry import Lying
from tests.rig.registryimages import AMD, ARM, BOTH


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lying]:
    registry = Lying(tags={"1": AMD.manifest, "all": BOTH})
    for image in (AMD, ARM):
        registry.blobs |= {digest(each): each for each in (*image.blobs, image.config, image.manifest)}
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(http.time, "sleep", lambda _: None)
    with registry.serve():
        yield registry
