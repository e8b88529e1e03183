"""Memory and time stay bounded whatever a header claims: each reader in a process with 256 MiB."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from bundler.commands.inspect import inspect_bundle
from bundler.image_sources.archive import ArchiveSource
from bundler.image_sources.base import ExpectedLayer
from bundler.image_sources.layers import LayerTransform
from bundler.image_sources.tarscan import MAX_MEMBERS
from installer.core.digest import sha256_hex
from installer.core.format import manifest_json
from installer.core.format.manifest import MANIFEST, SUMS
from installer.core.format.tar_header import BLOCK, END
from installer.core.limits import LIMITS, MIB
from installer.core.oci import documents as oci
from installer.core.trust import approval, cosign
from installer.core.trust.quorum import assign_owners
from installer.core.trust.root_json import MOST_KEYS, parse_root
from installer.shared import strict_yaml
from installer.shared.rendering.template import render
from tests.attacks.box import bounded
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium, Part
from tests.rig.hang import ends
from tests.rig.imagebuild import Built, layer, saved_old, tar
from tests.rig.memorysink import MemorySink

EIB_8 = b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7


def test_the_bound_of_memory_is_in_force() -> None:
    assert bounded(lambda: len(bytearray(100 * MIB))) == str(100 * MIB)
    assert bounded(lambda: len(bytearray(300 * MIB))).startswith("MemoryError")


@pytest.mark.parametrize(
    "name", [SUMS, f"{SUMS}.0a1b2c3d.sig", f"{SUMS}.room", MANIFEST, "docs/CHANGELOG.md"]
)
@pytest.mark.parametrize("as_stream", [False, True], ids=["file", "pipe"])
def test_a_claim_of_8_eib_takes_nothing(name: str, as_stream: bool) -> None:
    plan = build.plan(signatures=[Part(f"{SUMS}.0a1b2c3d.sig", b"x")])
    block = next(part for part in plan.parts if part.name == name).tar()[:BLOCK]
    data = plan.changed(name, header=build.raw_header(block, size=EIB_8)).tar()
    said = bounded(lambda: build.read(build.stream(data) if as_stream else BytesMedium(data)))
    assert said.startswith("TamperedError: "), said


@pytest.mark.parametrize(
    "size", [EIB_8, b"77777777777\0", b"\xff" * 12, b"\x80" + bytes(6) + b"\1" + bytes(4)]
)
@pytest.mark.parametrize("kind", [b"0", b"x", b"2", b"5", b"L"])
def test_an_image_archive_that_claims_anything_takes_nothing(
    tmp_path: Path, size: bytes, kind: bytes
) -> None:
    path = tmp_path / "images.tar"
    header = build.raw_header(Part("blobs/x", b"").tar()[:BLOCK], size=size, type=kind)
    path.write_bytes(header + tar(saved_old([Built("a:1", [layer("x")])])))
    said = bounded(lambda: ArchiveSource(path, ("linux/amd64",)).resolve())
    assert said.startswith("UnfitInputError: ") or kind in b"25", said


def test_an_archive_of_a_hundred_thousand_members_is_refused_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    with path.open("wb") as file:
        for number in range(MAX_MEMBERS + 1):
            file.write(Part(f"d/{number:06d}", b"").tar())
        file.write(END)
    said = bounded(lambda: ArchiveSource(path, ("linux/amd64",)).resolve())
    assert f"has more than {MAX_MEMBERS} members" in said


EMPTY = sha256_hex(b"")
DEEP: dict[str, tuple[str, int, Callable[[int], str], Callable[[int], str]]] = {
    "paths": (
        "files",
        150_000,
        lambda n: f"trees/w/{n:06d}/" + "a/" * 117 + "b",
        lambda n: "",
    ),
    "destinations": (
        "files",
        44_000,
        lambda n: f"trees/w/{n:06d}",
        lambda n: f',"install":"/opt/{n:06d}/{"a/" * 505}b"',
    ),
    "links": (
        "links",
        50_000,
        lambda n: f"trees/w/{n:06d}/l",
        lambda n: f',"target":"{"a/" * 505}b"',
    ),
    "directories": (
        "directories",
        150_000,
        lambda n: f"trees/w/{n:06d}/" + "a/" * 117 + "b",
        lambda n: ',"mode":"0700"',
    ),
}


def deep(path: Path, kind: str) -> None:
    """Writes the head of a bundle that nobody signed, as large and deep as the format lets it be."""
    key, count, name, more = DEEP[kind]
    fields = f',"sha256":"{EMPTY}","size":0,"mode":"0644","kind":"tree"' if key == "files" else ""
    rows = ",\n".join(f'{{"path":"{name(n)}"{more(n)}{fields}}}' for n in range(count))
    lists = "".join(
        f',"{each}":[{rows if each == key else ""}]' for each in ("files", "links", "directories")
    )
    text = (
        '{"schema":"waybill/bundle/v1","product":"p","version":"1.0.0","sequence":1,'
        '"created":"2026-09-21T14:13:20Z","expires":"2027-09-21T14:13:20Z","platforms":["linux/amd64"]'
        f"{lists}}}"
    ).encode()
    listed = [(sha256_hex(text), MANIFEST)]
    listed += [(EMPTY, name(n)) for n in range(count)] if key == "files" else []
    sums = "".join(f"{digest}  {each}\n" for digest, each in listed).encode()
    with path.open("wb") as file:
        file.write(Part(SUMS, sums).tar() + Part(MANIFEST, text).tar())
        file.truncate(file.tell() + (BLOCK * count if key == "files" else 0) + len(END))


@pytest.mark.parametrize("kind", DEEP)
def test_a_bundle_that_nobody_signed_is_inspected_in_little_memory(tmp_path: Path, kind: str) -> None:
    """Gigabytes would be taken by a set of everything that is above something."""
    deep(tmp_path / "b.tar", kind)
    said = bounded(lambda: inspect_bundle(tmp_path / "b.tar").text.count("lan-chat"))
    assert said == "0", said


def test_many_large_documents_are_not_shown_together(tmp_path: Path) -> None:
    files = {f"docs/{n:02d}.md": b"x" * (10 * MIB) for n in range(20)}
    (tmp_path / "b.tar").write_bytes(build.plan(files).tar())
    del files
    said = bounded(lambda: len(inspect_bundle(tmp_path / "b.tar", "docs").text), 96 * MIB)
    assert 10 * MIB < int(said) < 17 * MIB


def bomb(form: str) -> bytes:
    """A few hundred kilobytes that are two gigabytes."""
    zeros = bytes(64 * MIB)
    one = gzip.compress(zeros, 1) if form == "gzip" else zstandard.ZstdCompressor().compress(zeros)
    return one * 32


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_a_layer_that_expands_without_end_is_refused_in_little_memory(form: str) -> None:
    """zstd may give 64 MiB at once, and a few such pieces are on their way from one thread to the next."""
    data = bomb(form)
    written = bytearray()
    transform = LayerTransform("none", max_expanded=1024 * MIB)
    said = bounded(lambda: transform.run(io.BytesIO(data), written.extend), 768 * MIB)
    assert "expands to more than the 1073741824 bytes allowed" in said


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_an_archive_that_expands_without_end_is_read_in_little_memory(tmp_path: Path, form: str) -> None:
    (tmp_path / "images.tar").write_bytes(bomb(form))
    said = bounded(lambda: ArchiveSource(tmp_path / "images.tar", ("linux/amd64",)).resolve())
    assert said.startswith("UnfitInputError: "), said
    assert "has data after its end-of-archive marker" in said


def test_a_window_that_is_too_wide_is_refused_in_little_memory() -> None:
    """The frame's header asks for 2 GiB before a byte of content came."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0b0000_0000, 21 << 3]) + bytes([1, 0, 0])
    said = bounded(lambda: LayerTransform().run(io.BytesIO(frame), lambda _: None))
    assert "the zstd stream has a window of more than 128 MiB" in said
    assert "MemoryError" not in said


WIDE = b"[" + b"[]," * 1_300_000 + b"[]]"
MANY = b"{" + b",".join(b'"%d":{}' % n for n in range(250_000)) + b"}"
READERS: dict[str, tuple[Callable[[bytes], object], tuple[bytes, ...], str]] = {
    "an approval": (lambda data: approval.parse(data, "a"), (b"[" * 65_000, MANY), "TamperedError"),
    "a root": (parse_root, (b"[" * 1_000_000, WIDE[:1_000_000], MANY), "TamperedError"),
    "a Sigstore bundle": (
        lambda data: cosign.verify_bundle(build.key()[0].key, data, b"x", "s"),
        (b"[" * 65_000, MANY),
        "TamperedError",
    ),
    "an image's document": (
        lambda data: oci.parse_document(data, "i"),
        (b"[" * 4_000_000, WIDE, MANY),
        "TamperedError",
    ),
    "an image's configuration": (lambda data: oci.parse_config(data, "c"), (WIDE, MANY), "TamperedError"),
    "a list of docker save": (
        lambda data: oci.parse_docker_manifest(data, "m"),
        (WIDE, MANY),
        "TamperedError",
    ),
    "a manifest": (manifest_json.parse, (b"[" * 4_000_000, MANY), "TamperedError"),
    "a YAML document": (
        lambda data: strict_yaml.load(data, "y").problems,
        (b"- " * 500_000, b"a: &a [x]\n" * 90_000, b"[" * 1_000_000, b"? " * 500_000, b"\t" * 1_000_000),
        "Problem",
    ),
    "a template": (
        lambda data: render(data, "t", {}),
        (
            b"{{ 'x' * 9**9 }}",
            b"{{ range(9**9)|list }}",
            b"{{ 9**(9**9) }}",
            b"{{ '%999999999d' % 1 }}",
            b"{{ " + b"(" * 99_999,
            b"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            b"{% set x = 'x' * 9999999 %}{{ x ~ x ~ x }}{{ x ~ x }}",
            b"{{ 'x'.ljust(9**9) }}",
            b"{{ [0] * 9**9 }}",
        ),
        "RenderError",
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_a_document_made_to_fill_memory_does_not(name: str) -> None:
    read, documents, kind = READERS[name]
    for data in documents:
        said = bounded(lambda data=data: read(data))  # type: ignore[misc]
        assert kind in said[:200], said[:300]
        assert "MemoryError" not in said


def test_the_largest_number_of_owners_of_a_root_is_assigned() -> None:
    """Each of them has to make room for the next: the deepest search there is."""
    names = frozenset(f"{n:05d}" for n in range(MOST_KEYS))
    with ends():
        filled = assign_owners(
            {"release": MOST_KEYS // 2, "ops": MOST_KEYS // 2}, {"release": names, "ops": names}
        )
    assert {role: len(owners) for role, owners in filled.items()} == {"release": 128, "ops": 128}


def test_layers_of_a_good_image_fit_too() -> None:
    data = layer("big", 4 * MIB)
    assert "Layer(" in bounded(lambda: MemorySink().layer(io.BytesIO(data), ExpectedLayer()))
    assert LIMITS.json_depth == 32
