"""Staging: what was verified lies under its bundle paths, and after a fault nothing does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from installer.core.errors import TamperedError
from installer.core.format.archive import open_bundle, unsafe_trust_anyone
from installer.core.format.manifest import DirectoryEntry, LinkEntry
from installer.core.trust.signature_check import SignatureEvidence
from installer.core.verify import OpenedBundle
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared.progress import Progress
from installer.staging.stage import stage
from installer.staging.staged import Staged
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium, Plan

EVIDENCE = SignatureEvidence("", "release", 1, 0, ())


def staged(root: Path, plan: Plan) -> Staged:
    opened = OpenedBundle(open_bundle(BytesMedium(plan.tar()), unsafe_trust_anyone), EVIDENCE)
    _, result = stage(opened, System(root), Layout("lan-chat"), Progress())
    return result


def below(root: Path, result: Staged) -> Path:
    return root / result.directory.lstrip("/")


def test_every_file_lies_under_its_bundle_path_with_its_mode(tmp_path: Path) -> None:
    result = staged(tmp_path, build.signed())
    place = below(tmp_path, result)
    for path, data in build.FILES.items():
        assert (place / path).read_bytes() == data
    assert (place / "bin/linux-amd64/chatd").stat().st_mode & 0o777 == 0o755
    assert sorted(each.name for each in place.iterdir() if each.is_file()) == sorted(
        ["SHA256SUMS", "bundle.json", *(part.name for part in build.signed().head[1:3])]
    )


def test_directories_of_trees_are_made_however_deep_and_empty_they_are(tmp_path: Path) -> None:
    directories = (
        DirectoryEntry("trees/web/deep/er/empty", 0o755),
        DirectoryEntry("trees/other/private", 0o700),
    )
    plan = build.plan(directories=directories, links=(LinkEntry("trees/web/l/i/nk", "../../index.html"),))
    place = below(tmp_path, staged(tmp_path, plan))
    assert (place / "trees/web/deep/er/empty").is_dir()
    assert (place / "trees/other/private").stat().st_mode & 0o777 == 0o700
    assert os.readlink(place / "trees/web/l/i/nk") == "../../index.html"


@pytest.mark.parametrize(
    ("mode", "kept"), [(0o777, 0o777), (0o1000, 0o755), (0o1777, 0o755), (0o2770, 0o755)], ids=oct
)
def test_special_bits_of_directories_are_for_the_host_and_not_for_staging(
    tmp_path: Path, mode: int, kept: int
) -> None:
    shared = DirectoryEntry("trees/other/shared", mode, install="/srv/shared")
    plan = build.plan(directories=(shared,))
    place = below(tmp_path, staged(tmp_path, plan))
    assert (place / "trees/other/shared").stat().st_mode & 0o7777 == kept


def test_files_for_other_platforms_are_checked_and_not_kept(tmp_path: Path) -> None:
    files = {"bin/linux-amd64/x": b"amd" * 9, "bin/linux-arm64/x": b"arm" * 2_000_000}
    entries = {path: {"platform": path[4:15].replace("-", "/")} for path in files}
    plan = build.plan(files, entries=entries, platforms=("linux/amd64", "linux/arm64"))
    place = below(tmp_path, staged(tmp_path, plan))
    assert (place / "bin/linux-amd64/x").exists()
    assert not (place / "bin/linux-arm64").exists()
    with pytest.raises(TamperedError, match="bin/linux-arm64/x does not match the signed list"):
        staged(tmp_path, plan.changed("bin/linux-arm64/x", data=b"ARM" * 2_000_000))


@pytest.mark.parametrize("path", [path for path, data in build.FILES.items() if data])
def test_after_a_wrong_byte_nothing_is_left_in_staging(tmp_path: Path, path: str) -> None:
    with pytest.raises(TamperedError):
        staged(tmp_path, build.plan().changed(path, data=b"?" * len(build.FILES[path])))
    assert list((tmp_path / "var/lib/waybill/lan-chat/staging").iterdir()) == []
