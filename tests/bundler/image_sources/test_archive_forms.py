"""Archives as many tools write them, made by code: plain, and compressed as a whole."""

from __future__ import annotations

import bz2
import hashlib
import io
import lzma
import struct
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bundler.image_sources import content
from bundler.image_sources.archive import ArchiveSource
from bundler.image_sources.layers import MAX_XZ_MEMORY, expand
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Image
from installer.core.limits import MIB
from tests.rig.engine import Engines
from tests.rig.imagebuild import BLOBS, Built, digest, dumps, layer, layout, packed, saved_old
from tests.rig.memorysink import MemorySink

Members = Sequence[tuple[str, bytes | Path]]
ONE = Built("demo/app:1", [layer("base of forms"), layer("app")])
TWO = Built("demo/more:1", [layer("base of forms"), layer("tools")])
CONFIG = digest(ONE.config)
PACKERS = {
    "tar": bytes,
    "gzip": lambda data: packed(data, "gzip"),
    "zstd": lambda data: packed(data, "zstd"),
    "xz": lzma.compress,
    "xz in two streams": lambda data: lzma.compress(data[:700]) + bytes(8) + lzma.compress(data[700:]),
    "bzip2": bz2.compress,
    "bzip2 in two streams": lambda data: bz2.compress(data[:700], 1) + bz2.compress(data[700:]),
}


def tarred(members: Members, kind: int = tarfile.USTAR_FORMAT, **options: Any) -> bytes:
    """Makes a tar in which names may come again; a path is a link, a hard one if it is absolute."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind, **options) as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            if isinstance(data, Path):
                hard = data.is_absolute()
                member.type = tarfile.LNKTYPE if hard else tarfile.SYMTYPE
                member.linkname = str(data)[1:] if hard else str(data)
                archive.addfile(member)
            else:
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def described(config: str, *layers: str, tags: Sequence[str] | None = (ONE.tag,)) -> tuple[str, bytes]:
    """Makes the manifest.json of one image."""
    return "manifest.json", dumps([{"Config": config, "RepoTags": tags, "Layers": layers}])


def crane(image: Built) -> tuple[list[tuple[str, bytes]], dict[str, Any]]:
    """Gives the members and the description that go-containerregistry writes: crane, ko, kaniko."""
    blobs = [packed(each, "gzip") for each in image.layers]
    names = [digest(each)[7:] + ".tar.gz" for each in blobs]
    config = digest(image.config)
    entry = {"Config": config, "RepoTags": [image.tag], "Layers": names}
    return [(config, image.config), *zip(names, blobs, strict=True)], entry


def of_crane(*images: Built) -> bytes:
    """Makes such an archive; what images share comes again in those of several tags."""
    made = [crane(image) for image in images]
    members = [member for found, _ in made for member in found]
    return tarred([*members, ("manifest.json", dumps([entry for _, entry in made]))])


def of_podman() -> bytes:
    """Makes an archive of Podman, Buildah and Skopeo: files by digest, and links for old engines."""
    names = [digest(each)[7:] + ".tar" for each in ONE.layers]
    legacy: list[tuple[str, bytes | Path]] = []
    for name in names:
        own = hashlib.sha256(name.encode()).hexdigest()
        legacy += [(f"{own}/layer.tar", Path("..", name)), (f"{own}/VERSION", b"1.0"), (f"{own}/json", b"{}")]
    files = [*zip(names, ONE.layers, strict=True), (CONFIG[7:] + ".json", ONE.config)]
    return tarred([*files, *legacy, described(CONFIG[7:] + ".json", *names), ("repositories", b"{}")])


def of_pack() -> bytes:
    """Makes an archive of the buildpacks' `pack`: absolute names."""
    names = [f"/{digest(each)}.tar" for each in ONE.layers]
    config = f"/{CONFIG[7:]}.json"
    return tarred([*zip(names, ONE.layers, strict=True), (config, ONE.config), described(config, *names)])


def of_jib() -> bytes:
    """Makes an archive of Jib: a configuration whose name is no digest."""
    blobs = [packed(each, "gzip") for each in ONE.layers]
    names = [digest(each)[7:] + ".tar.gz" for each in ONE.layers]
    return tarred(
        [*zip(names, blobs, strict=True), ("config.json", ONE.config), described("config.json", *names)]
    )


def packed_by_hand(folder: str, kind: int, **options: Any) -> bytes:
    """Makes an archive of files in a directory: names with a prefix, of any characters."""
    names = [f"{folder}/Schicht {number} (β\\1).tar" for number in range(len(ONE.layers))]
    return tarred(
        [
            *((f"./{name}", data) for name, data in zip(names, ONE.layers, strict=True)),
            (f"./{folder}/config", ONE.config),
            described(f"{folder}/config", f"{folder}/x/..{names[0].removeprefix(folder)}", f".//{names[1]}"),
        ],
        kind,
        **options,
    )


def linked(*chain: tuple[str, Path]) -> bytes:
    """Makes an archive whose first layer is `layer`, which is found over links."""
    return tarred(
        [
            ("real/base", ONE.layers[0]), *chain, ("top", ONE.layers[1]), ("c", ONE.config),
            described("c", "layer", "top"),
        ]
    )  # fmt: skip


OCI_ONLY = "an OCI layout with a prefix"
"""The form without a manifest.json, which needs the containerd store."""
FORMS: dict[str, bytes] = {
    "crane, ko, kaniko": of_crane(ONE),
    "crane, the same image twice": of_crane(ONE, ONE),
    "crane, two images on one base": of_crane(ONE, TWO),
    "podman, buildah, skopeo": of_podman(),
    "pack": of_pack(),
    "jib": of_jib(),
    "long names of PAX": packed_by_hand("n" * 90 + "/" + "m" * 90, tarfile.PAX_FORMAT),
    "long names of GNU": packed_by_hand("n" * 90 + "/" + "m" * 90, tarfile.GNU_FORMAT),
    "a global header": packed_by_hand("a", tarfile.PAX_FORMAT, pax_headers={"comment": "0123"}),
    "a symbolic link": linked(("layer", Path("real/base"))),
    "a chain of links": linked(("d/layer", Path("../real/base")), ("layer", Path("d/layer"))),
    "a hard link": linked(("layer", Path("/real/base"))),
    OCI_ONLY: tarred([(f"./{name}", data) for name, data in layout([ONE]).items()]),
}


def pack(path: Path, name: str = "") -> tuple[list[Image], MemorySink]:
    sink = MemorySink()
    source = ArchiveSource(path, ("linux/amd64",), name)
    source.resolve()
    return source.pack(sink), sink


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("form", FORMS)
def test_what_docker_load_takes_is_taken(tmp_path: Path, form: str, packing: str) -> None:
    path = tmp_path / "image.tar"
    data = FORMS[form]
    path.write_bytes(PACKERS[packing](data))
    images, sink = pack(path)
    assert images[0].reference == ONE.tag
    assert sink.blobs[images[0].config] == ONE.config
    assert [each.diff_id for each in images[0].layers] == [digest(each) for each in ONE.layers]
    assert {image.reference for image in images} <= {ONE.tag, TWO.tag}


@pytest.mark.parametrize("kind", ["20", "28"])
def test_docker_loads_what_is_taken_here(engines: Engines, kind: str) -> None:
    """What these archives stand for is not made up: engines of before and after the new form load them."""
    engine = engines.get(kind)
    for form in FORMS.keys() - {OCI_ONLY}:
        for packing in ("tar", "xz")[: 1 + (form == "jib")]:
            engine.client.images.load(PACKERS[packing](FORMS[form]))
            assert engine.client.images.get(ONE.tag).id == CONFIG, form
            engine.docker("rmi", "-f", ONE.tag)


def test_compressed_layers_keep_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "crane.tar"
    path.write_bytes(of_crane(ONE, TWO))
    images, sink = pack(path)
    for built, image in zip((ONE, TWO), images, strict=True):
        assert [sink.blobs[each.digest] for each in image.layers] == [
            packed(each, "gzip") for each in built.layers
        ]


def wide_xz() -> bytes:
    """Makes an xz stream whose dictionary has 4 GiB."""
    data = bytearray(lzma.compress(of_podman()))
    end = 12 + (data[12] + 1) * 4
    at = data.index(b"\x21\x01", 12, end) + 2
    data[at] = 40
    data[end - 4 : end] = struct.pack("<I", zlib.crc32(data[12 : end - 4]))
    return bytes(data)


NAMES = [digest(each)[7:] + ".tar" for each in ONE.layers]
FILES = [*zip(NAMES, ONE.layers, strict=True), ("c", ONE.config), described("c", *NAMES)]
EVIL = described("c", *NAMES, tags=["nginx:latest"])
BAD: dict[str, tuple[bytes, str, str]] = {
    "a layer twice with other bytes": (
        tarred([*FILES, (NAMES[0], bytes(len(ONE.layers[0])))]), "occurs twice with different", NAMES[0],
    ),
    "a layer twice in another size": (
        tarred([*FILES, (NAMES[0], b"x")]), "occurs twice with different content", NAMES[0],
    ),
    "a configuration twice": (
        tarred([*FILES, ("./c", ONE.config.replace(b"/bin/sh", b"/bin/xx"))]),
        "occurs twice with different", "c",
    ),
    "manifest.json twice": (tarred([*FILES, EVIL]), "occurs twice with different content", "manifest.json"),
    "a file and a link of one name": (
        tarred([*FILES, ("c", Path("manifest.json"))]), "occurs twice with different content", "c",
    ),
    "a link that goes in a circle": (
        linked(("layer", Path("other")), ("other", Path("layer"))), "does not contain layer", "",
    ),
    "a link that leads out": (
        linked(("layer", Path("../../etc/shadow"))), "points outside the archive", "layer",
    ),
    "a link to a file of this machine": (
        linked(("layer", Path("etc/hostname"))), "does not contain layer", "",
    ),
    "a hard link that leads out": (
        linked(("layer", Path("/../etc/shadow"))), "points outside the archive", "layer",
    ),
    "a layer that is not in the archive": (
        tarred([*FILES[1:], (NAMES[0], b"")]), "its bytes are not in the archive", NAMES[0],
    ),
    "a configuration that is not what its name says": (
        tarred([*FILES[:2], (CONFIG, ONE.config + b" "), described(CONFIG, *NAMES)]),
        "has the digest", CONFIG,
    ),
    "an escape sequence in a name": (
        tarred([*FILES[:3], described("c", "\x1b[2J", NAMES[1])]), r"does not contain \\x1b\[2J", "",
    ),
    "an archive of an engine before 1.10": (
        tarred([(name, data) for name, data in saved_old([ONE]).items() if name != "manifest.json"]),
        "before Docker 1.10", "",
    ),
}  # fmt: skip


OTHER = ONE.config.replace(b"/bin/sh", b"/bin/xx")
HEAD, TAIL = ONE.config[:-1], b',"x":"' + b"x" * 900 + b'"}'
TWO_FACED: dict[str, tuple[bytes, bytes, bytes]] = {
    "documents that fill the space are between them": (ONE.config, dumps(["x" * 6000]), OTHER),
    "one begins with white space": (ONE.config + b" " * 600, b"", b" " * 600 + OTHER),
    "one looks like a tar archive": (
        HEAD + TAIL, b"", (HEAD + TAIL)[:257] + b"ustar" + (HEAD + TAIL)[262:],
    ),
}  # fmt: skip


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("fault", TWO_FACED)
def test_a_second_configuration_cannot_hide_in_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, swapped: bool
) -> None:
    first, between, second = TWO_FACED[fault][:: -1 if swapped else 1]
    members = [("c", first), ("between", between), ("c", second), *FILES[:2], described("c", *NAMES)]
    path = tmp_path / "image.tar.gz"
    path.write_bytes(packed(tarred(members), "gzip"))
    monkeypatch.setattr(content, "MAX_HELD", 5000)
    with pytest.raises(UnfitInputError, match="occurs twice with different content"):
        pack(path)


@pytest.mark.parametrize("packing", ["tar", "xz"])
@pytest.mark.parametrize("fault", BAD)
def test_an_archive_that_could_be_read_in_two_ways_is_refused(
    tmp_path: Path, fault: str, packing: str
) -> None:
    data, words, member = BAD[fault]
    path = tmp_path / "image.tar"
    path.write_bytes(PACKERS[packing](data))
    with pytest.raises(UnfitInputError, match=words) as raised:
        pack(path)
    assert raised.value.where == (f"{path}: {member}" if member else str(path))
    assert raised.value.hint
    # The word is kept for bytes that do not have their digest.
    assert ("damaged" in raised.value.hint) == ("has the digest" in words)


PACKED = {"xz": lzma.compress(FORMS["jib"]), "bzip2": bz2.compress(FORMS["jib"])}
BROKEN = {
    "xz, truncated": (PACKED["xz"][:-20], "ends early"),
    "bzip2, truncated": (PACKED["bzip2"][:-20], "ends early"),
    "xz, changed": (PACKED["xz"][:60] + b"xxxx" + PACKED["xz"][64:], "xz stream is damaged"),
    "bzip2, changed": (PACKED["bzip2"][:60] + b"xxxx" + PACKED["bzip2"][64:], "bzip2 stream is damaged"),
    "xz with text after it": (PACKED["xz"] + b"more of it, and more", "xz stream is damaged"),
    "xz that fills the memory": (wide_xz(), f"more than {MAX_XZ_MEMORY // MIB} MiB of memory"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_compressed_archive_is_refused(tmp_path: Path, fault: str) -> None:
    data, words = BROKEN[fault]
    path = tmp_path / "image.tar.x"
    path.write_bytes(data)
    with pytest.raises(UnfitInputError, match=words) as raised:
        pack(path)
    assert (raised.value.where, bool(raised.value.hint)) == (str(path), True)


@pytest.mark.parametrize("form", ["xz", "bzip2", "gzip", "zstd"])
def test_an_archive_that_expands_without_end_is_stopped(form: str) -> None:
    stream, sizes = io.BytesIO(PACKERS[form](bytes(8 * MIB))), list[int]()
    pieces = expand(stream, form, "a.tar.x", MIB)  # type: ignore[arg-type]
    with pytest.raises(UnfitInputError, match=f"expands to more than the {MIB} bytes allowed"):
        sizes.extend(map(len, pieces))
    assert sum(sizes) <= MIB


def test_documents_that_nothing_asks_for_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.tar.gz"
    sbom = dumps({"packages": "x" * 6000})
    files = [*layout([ONE]).items()]
    monkeypatch.setattr(content, "MAX_HELD", 5000)
    path.write_bytes(packed(tarred([*files, (BLOBS + digest(sbom)[7:], sbom)]), "gzip"))
    assert pack(path)[0][0].config == CONFIG
    path.write_bytes(packed(tarred([(BLOBS + digest(sbom)[7:], sbom), *files]), "gzip"))
    with pytest.raises(UnfitInputError, match="has more than 5000 bytes of documents"):
        pack(path)
