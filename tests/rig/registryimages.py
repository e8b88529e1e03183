"""The images that `Lying` serves, and what packing them from a registry gives."""

from __future__ import annotations

from bundler.image_sources.registry import RegistrySource
from installer.core.format.manifest import Image
from tests.rig.imagebuild import Built, index, layer
from tests.rig.memorysink import MemorySink

AMD64 = ("linux/amd64",)
AMD = Built("chat:1", [layer("base"), layer("amd", 300_000)], form="gzip")
ARM = Built("chat:1", [layer("base"), layer("arm")], "linux/arm64", form="zstd")
BOTH = index([AMD.platform_entry(), ARM.platform_entry()])


def pack(location: str, platforms: tuple[str, ...] = AMD64, name: str = "") -> tuple[list[Image], MemorySink]:
    """Return the images that a registry source resolves and packs, and what they were written to."""
    sink = MemorySink()
    source = RegistrySource(location, platforms, name)
    resolved = source.resolve()
    images = source.pack(sink)
    assert [each.platform for each in resolved] == [each.platform for each in images]
    return images, sink
