"""Bundles on their way into a staging area, with what was read and written counted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from installer.core.format.archive import open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import BundleSource
from installer.core.trust.signature_check import SignatureEvidence
from installer.core.verify import OpenedBundle
from installer.host.layout import Layout
from installer.host.system import System
from installer.staging.stage import stage
from installer.staging.staged import Staged
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium, Plan
from tests.rig.faulty import FaultySystem
from tests.rig.imagebuild import Built, layer
from tests.rig.imageplan import Section, section
from tests.rig.releases import PRODUCT, Notes

LAYOUT = Layout(PRODUCT)
STAGING = LAYOUT.staging[1:]
EVIDENCE = SignatureEvidence("", "release", 1, 0, ())
IMAGES = section([Built("shop/app:1", [layer("one", 6000), layer("two", 6000)])])
FILES = {**build.FILES, **IMAGES.files}


def plan(files: dict[str, bytes] | None = None, version: str = "1.4.0", of: Section = IMAGES) -> Plan:
    """Gives a signed bundle with files, and the image of a section where its files are among them."""
    chosen = files or FILES
    entries = {path: {"kind": "image"} for path in chosen if path.startswith("images/")}
    images = tuple(of.images) if of.files.keys() <= chosen.keys() else ()
    return build.signed(build.plan(chosen, entries=entries, version=version, images=images))


@dataclass
class Reads:
    """A bundle in memory that remembers which of its bytes were read."""

    data: bytes
    ranges: list[tuple[int, int]] = field(default_factory=list)
    fail: Callable[[int], bool] = lambda _offset: False

    def medium(self) -> BytesMedium:
        return BytesMedium(self.data, self._read)

    def _read(self, offset: int, size: int) -> None:
        from installer.core.errors import MediaError

        if self.fail(offset):
            raise MediaError(f"cannot be read: {os.strerror(errno.EIO)}", where="b.tar")
        self.ranges.append((offset, offset + size))

    def touched(self, begin: int, end: int) -> bool:
        """Says whether one of these bytes was read."""
        return any(first < end and begin < last for first, last in self.ranges)


class Writes(FaultySystem):
    """A host that remembers which bytes of files were written."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.written: list[bytes] = []

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        if name == "write":
            self.written.append(bytes(args[1]))
        return super().around(name, args, call)


def opened(medium: BundleSource) -> OpenedBundle:
    """Opens a bundle without asking who signed it."""
    return OpenedBundle(open_bundle(medium, unsafe_trust_anyone), EVIDENCE)


def run(system: System, medium: BundleSource, notes: Notes | None = None, work: str = "") -> Staged:
    """Stages a bundle, the lock aside, as `install` does."""
    _, found = stage(opened(medium), system, LAYOUT, notes or Notes(), work=work)
    return found


def tree(root: Path, directory: str) -> dict[str, bytes]:
    """Gives all files below a host path, by their path in it."""
    top = root / directory.lstrip("/")
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
