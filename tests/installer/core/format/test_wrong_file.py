"""Copies that people make of a bundle, and other files in its place: each error names the remedy."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import shlex
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from installer.core.errors import TamperedError, UsageError, WaybillError
from installer.core.format.archive import open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import FileSource, StreamSource, open_source
from installer.core.format.manifest import SUMS
from installer.core.format.payload import check_payload
from installer.core.format.tar_header import BLOCK
from installer.core.format.wrong_file import STANDARD_INPUT
from installer.core.limits import MIB
from tests.rig import bundlebuild as build
from tests.rig.imagebuild import Built, layer, saved_old, tar
from tests.rig.needs import needs


def read(data: bytes, path: Path | None = None) -> WaybillError:
    """Reads a file, or a pipe, to its end; it has to refuse."""
    if path is None:
        medium: FileSource | StreamSource = StreamSource(
            io.BufferedReader(io.BytesIO(data)),
            STANDARD_INPUT,  # type: ignore[arg-type]
        )
    else:
        path.write_bytes(data)
        medium = FileSource(path)
    with pytest.raises(WaybillError) as caught:
        check_payload(open_bundle(medium, unsafe_trust_anyone))
    return caught.value


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.tar", data)
    return out.getvalue()


PACKED: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "gzip": ("b.tar.gz", gzip.compress, "gzip"),
    "gzip, by a short name": ("b.tgz", gzip.compress, "gzip"),
    "gzip, under the old name": ("b.tar", gzip.compress, "gzip"),
    "xz": ("b.tar.xz", lzma.compress, "xz"),
    "zstd": ("b.tar.zst", lambda data: zstandard.ZstdCompressor().compress(data), "zstd"),
    "bzip2": ("b.tar.bz2", bz2.compress, "bzip2"),
    "zip": ("a bundle.zip", zipped, "zip"),
}


@pytest.mark.parametrize("case", PACKED)
def test_a_compressed_bundle_is_told_with_the_command_that_undoes_it(case: str, tmp_path: Path) -> None:
    name, pack, form = PACKED[case]
    good = build.plan().tar()
    path = tmp_path / name
    packed = pack(good)
    error = read(packed, path)
    assert error.what == f"is compressed with {form}; a bundle is a plain tar file"
    assert (error.where, error.exit_code) == (str(path), 11)
    # The command is typed as it stands.
    command = error.hint.removeprefix("undo it, then use the new file: ")
    if form != "gzip":
        needs("unzip" if form == "zip" else form)
    subprocess.run(["bash", "-c", command], check=True)
    made = Path(shlex.split(command)[-1])
    assert made.read_bytes() == good
    assert path.read_bytes() == packed
    piped = read(packed)
    assert (piped.what, piped.where) == (error.what, STANDARD_INPUT)
    assert piped.hint.startswith("undo it in the pipe, before Waybill: … | ")


def repacked(mode: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=mode) as archive:
        for name in (SUMS, "bundle.json"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return out.getvalue()


OTHERS: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "ends at byte 0", "the copy is not complete"),
    "zeros": (bytes(4096), "begins with zeros", "copy it again, then run sync"),
    "a login page": (b"\n<!DOCTYPE html>\n<html><body>Log in</body>", "is a web page", "log in"),
    "a short page": (b"<html>404</html>", "is a web page", "download the bundle again"),
    "a raw signature": (
        b"MEUCIQDxWmvyoIqg0yhcIsyz9NxP6dN6SmDT0BsNOmpNRIyjngIgYaBlM0E5ZXo=\n",
        "is a signature",
        "not of its signature",
    ),
    "an OpenPGP signature": (b"-----BEGIN PGP SIGNATURE-----\n\niHUE", "is an OpenPGP signature", "itself"),
    "a key": (b"-----BEGIN PUBLIC KEY-----\nMFkw", "is a key or a certificate", "bundle itself"),
    "a root": (b'{"schema": "waybill/root/v1"}', "is a JSON document", "bundle itself"),
    "a list": (b"0" * 64 + b"  bundle.json\n", "is a list of checksums", "bundle itself"),
    "a text": (b"Dear operator,\n\nthe bundle follows.\n", "is a text file", "bundle itself"),
    "a program": (b"#!/usr/bin/env python3\n" + bytes(600), "is a program", "bundle itself"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid x\n", "Git LFS pointer", "git lfs pull"),
    "a stick": (b"\xeb\x58\x90mkfs.fat" + bytes(499) + b"\x55\xaa", "is a file system", "mount it"),
    "images": (tar({"blobs/sha256/x": b"x"}), "is an archive of container images", "copy the bundle again"),
    "images of an old engine": (
        tar(saved_old([Built("a:1", [layer("x")])])),
        "VERSION is not in the only form",
        "",
    ),
    "another tar": (
        tar({"etc/passwd": b""}).replace(b"ustar\x0000", b"ustar  \0"),
        "is a tar file that begins with 'etc/passwd', not a bundle",
        "tar -tf",
    ),
    "a bundle packed again": (repacked(tarfile.GNU_FORMAT), "unpacked and packed again", "tar -tf"),
    "a directory packed again": (
        tar({"./SHA256SUMS": b"x"}),
        "begins with './SHA256SUMS'",
        "copy the bundle again",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("piped", [False, True], ids=["file", "pipe"])
def test_another_file_in_its_place_is_named_with_the_remedy(case: str, piped: bool, tmp_path: Path) -> None:
    data, what, hint = OTHERS[case]
    error = read(data, None if piped else tmp_path / "b.tar")
    assert isinstance(error, TamperedError)
    assert re.search(what, error.what), error
    assert hint in error.hint, error


def test_what_is_not_known_is_refused_as_before(tmp_path: Path) -> None:
    error = read(b"\x99" * 2000, tmp_path / "b.tar")
    assert error.what == "is not a ustar header"


@pytest.mark.parametrize("count", [1, BLOCK, 10 * BLOCK, MIB, 3 * MIB + 7])
def test_zeros_after_a_whole_bundle_are_told_with_the_command_that_cuts_them(
    count: int, tmp_path: Path
) -> None:
    good, path = build.plan().tar(), tmp_path / "b.tar"
    error = read(good + bytes(count), path)
    assert error.what.startswith(f"the bundle is complete, but {count} zero bytes follow it")
    assert error.where == f"{path}@{len(good)}"
    subprocess.run(["bash", "-c", error.hint.removeprefix("cut them off, then try again: ")], check=True)
    assert path.read_bytes() == good
    piped = read(good + bytes(count))
    assert (piped.what, piped.hint) == (
        error.what,
        f"cut them off, then try again: … | head -c {len(good)} | …",
    )


def test_more_zeros_than_any_block_are_other_bytes(tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    path.write_bytes(build.plan().tar())
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 100 * MIB)
    with pytest.raises(TamperedError, match="followed by other bytes"):
        check_payload(open_bundle(FileSource(path), unsafe_trust_anyone))


def test_a_copy_in_text_mode_is_told(tmp_path: Path) -> None:
    data = build.plan().tar().replace(b"\n", b"\r\n")
    for path in (tmp_path / "b.tar", None):
        error = read(data, path)
        assert "Windows line ends (CR LF)" in error.what
        assert "binary mode" in error.hint


def test_an_incomplete_copy_says_how_much_is_there(tmp_path: Path) -> None:
    good = build.plan().tar()
    for length in (len(good) - 1, len(good) - 3 * BLOCK):
        error = read(good[:length], tmp_path / "b.tar")
        assert error.what == f"ends at byte {length}, but the bundle is longer"
        assert f"{length:,} of at least {len(good):,} bytes are there" in error.hint


def test_a_directory_is_told_with_what_is_in_it(tmp_path: Path) -> None:
    def refused() -> UsageError:
        with pytest.raises(UsageError) as caught:
            open_source(str(tmp_path))
        return caught.value

    assert refused().what == "is a directory, not a bundle"
    (tmp_path / "a b.tar").touch()
    assert refused().hint == f"give the path of the file in it: '{tmp_path}/a b.tar'"
    (tmp_path / "c.tar").touch()
    assert refused().hint == "give the path of a bundle file, or -"
    (tmp_path / SUMS).touch()
    (tmp_path / "bundle.json").touch()
    assert refused().what == "is a directory with an unpacked bundle"
    assert "tar file that it was unpacked from" in refused().hint
