"""Limits: sizes at the borders of formats, claims without substance, and memory that stays flat."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.archive.head import make_sums
from installer.core.errors import TamperedError, WaybillError
from installer.core.format import manifest_json
from installer.core.format.archive import open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import FileSource
from installer.core.format.manifest import MANIFEST, SUMS, FileEntry
from installer.core.format.payload import check_payload
from installer.core.format.tar_header import BLOCK, Header, encode, extent
from installer.core.limits import LIMITS, MIB
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import CREATED, BytesMedium, Part, Plan

GIB = 1 << 30


@pytest.fixture
def memory() -> Iterator[Callable[[], int]]:
    """Gives the peak of Python's memory since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def sparse(directory: Path, size: int) -> tuple[Path, FileEntry]:
    """Writes a bundle of one file of `size` zero bytes, without the bytes, and its digest wrong."""
    entry = FileEntry("docs/big", size, "0" * 64, 0o644, "doc")
    last = FileEntry("docs/last", 5, hashlib.sha256(b"final").hexdigest(), 0o644, "doc")
    base = build.plan({})
    plan = base.resealed(replace(base.manifest, files=(entry, last)))
    head = b"".join(part.tar() for part in plan.head)
    path = directory / "big.tar"
    with path.open("wb") as file:
        file.write(head + encode(Header("docs/big", 0o644, size, CREATED)))
        file.seek(len(head) + extent(size))
        file.write(Part("docs/last", b"final").tar())
        file.truncate(file.tell() + 2 * BLOCK)
    return path, entry


@pytest.mark.parametrize("edge", [2 * GIB, 4 * GIB, 8 * GIB])
@pytest.mark.parametrize("step", [-1, 0, 1])
def test_files_around_2_4_and_8_gib_are_found_behind_by_us_and_by_tar(
    tmp_path: Path, edge: int, step: int
) -> None:
    path, _ = sparse(tmp_path, edge + step)
    medium = FileSource(path)
    bundle = open_bundle(medium, unsafe_trust_anyone)
    assert bundle.read_file("docs/last") == b"final"
    assert bundle.read_tail() == {}
    medium.close()
    with tarfile.open(path) as tar:
        assert tar.getmember("docs/big").size == edge + step
        assert tar.getnames()[-1] == "docs/last"
    listed = subprocess.run(["tar", "-tvf", str(path)], capture_output=True, text=True, check=True).stdout
    assert f" {edge + step} " in listed
    assert listed.endswith("docs/last\n")


def test_a_large_file_takes_no_memory(tmp_path: Path, memory: Callable[[], int]) -> None:
    path, _ = sparse(tmp_path, 400 * MIB)
    medium = FileSource(path)
    bundle = open_bundle(medium, unsafe_trust_anyone)
    with pytest.raises(TamperedError, match="docs/big does not match the signed list"):
        check_payload(bundle, workers=1)
    medium.close()
    assert memory() < 16 * MIB


def claiming(name: str, size: int) -> bytes:
    """A bundle whose member claims `size` bytes and has none; it ends there."""
    plan = build.plan(signatures=[Part(f"{SUMS}.0a1b2c3d.sig", b"x")])
    return plan.tar()[: plan.offset(name)] + encode(Header(name, 0o644, size, CREATED)) + bytes(3 * BLOCK)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        (SUMS, LIMITS.sums_bytes),
        (f"{SUMS}.0a1b2c3d.sig", LIMITS.signature_bytes),
        ("SHA256SUMS.room", LIMITS.reserved_bytes),
        (MANIFEST, LIMITS.manifest_bytes),
        (SUMS, 2**53),
        (MANIFEST, 2**53),
    ],
)
@pytest.mark.parametrize("as_stream", [False, True])
def test_a_claim_of_any_size_takes_no_memory(
    tmp_path: Path, memory: Callable[[], int], name: str, size: int, as_stream: bool
) -> None:
    data = claiming(name, size)
    (tmp_path / "b.tar").write_bytes(data)
    medium = build.stream(data) if as_stream else FileSource(tmp_path / "b.tar")
    with pytest.raises(WaybillError) as caught:
        build.read(medium)
    medium.close()
    assert memory() < 8 * MIB
    assert caught.value.exit_code == 11


def test_sizes_that_add_up_beyond_all_bounds_are_an_end_not_a_crash(tmp_path: Path) -> None:
    base = build.plan({})
    entries = tuple(FileEntry(f"docs/{n:05d}", 2**53, "0" * 64, 0o644, "doc") for n in range(2000))
    plan = base.resealed(replace(base.manifest, files=entries))
    medium = build.on_disk(tmp_path, plan.tar())
    with pytest.raises(TamperedError, match="but the bundle is longer"):
        build.read(medium)
    with pytest.raises(TamperedError, match="but the bundle is longer"):
        build.read(build.stream(plan.tar()[: -2 * BLOCK]))
    medium.close()


@pytest.mark.parametrize("size", [-1, 2**53 + 1, 2**63, 2**64])
def test_a_signed_size_out_of_range_is_refused(size: int) -> None:
    base = build.plan({"docs/a": b"x"})
    document = manifest_json.dump(base.manifest).replace(b'"size":1', b'"size":%d' % size)
    with pytest.raises(TamperedError, match=r"beyond 2\^53|must be an integer from 0"):
        build.read(base.resealed(document=document).tar())


def many(count: int) -> Plan:
    base = build.plan({})
    empty = hashlib.sha256(b"").hexdigest()
    entries = tuple(FileEntry(f"trees/t/{n:06d}", 0, empty, 0o644, "tree") for n in range(count))
    manifest = replace(base.manifest, files=entries)
    data = manifest_json.dump(manifest)
    return replace(
        base.changed(MANIFEST, data=data).changed(SUMS, data=make_sums(entries, data)), manifest=manifest
    )


def test_more_members_than_allowed_are_refused_by_the_list_alone() -> None:
    lines = b"".join(b"%064x  trees/t/%06d\n" % (0, n) for n in range(LIMITS.members + 1))
    plan = build.plan({}).changed(SUMS, data=lines)
    with pytest.raises(TamperedError, match="lists 250001 files, at most 250000 are allowed"):
        build.read(plan.tar())


def test_twenty_thousand_files_are_read_in_bounded_memory(memory: Callable[[], int]) -> None:
    plan = many(20_000)
    sums, document = plan.head[0].data, plan.head[-1].data
    head = io.BytesIO(b"".join(part.tar() for part in plan.head))
    files = plan.manifest.files
    del plan
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    bundle = open_bundle(BytesMedium(head.getvalue()), unsafe_trust_anyone)
    assert bundle.manifest.files == files
    # 100,000 files may take 250 MB all told
    assert memory() - before < 20_000 * 2000 + len(sums) + len(document) + 8 * MIB


def test_a_process_reads_a_large_bundle_in_little_memory(tmp_path: Path) -> None:
    """The whole process, not Python's own memory alone."""
    path, _ = sparse(tmp_path, 600 * MIB)
    script = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from installer.core.format.archive import open_bundle, unsafe_trust_anyone\n"
        "from installer.core.errors import TamperedError\n"
        "from installer.core.format.bundle_source import FileSource\n"
        "from installer.core.format.payload import check_payload\n"
        "try:\n"
        "    check_payload(open_bundle(FileSource(Path(sys.argv[1])), unsafe_trust_anyone))\n"
        "except TamperedError:\n"
        "    print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert int(done.stdout) < 60_000
