"""Archives that others made to break readers: an error of ours, at once, and never a crash."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.attacks.corpora import corpus, refused
from tests.rig import bundlebuild as build


def test_every_archive_of_other_peoples_tests_is_refused() -> None:
    for path in corpus():
        refused(path.read_bytes())


def test_every_member_of_them_is_refused_behind_a_good_head() -> None:
    """The same archives where payload is due: the header there is compared with the one that was signed."""
    plan = build.plan()
    head = plan.tar()[: plan.offset("docs/CHANGELOG.md")]
    for path in corpus():
        refused(head + path.read_bytes())


def with_tarfile(form: int, fill: Callable[[tarfile.TarFile], None]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        fill(tar)
    return buffer.getvalue()


def regular(tar: tarfile.TarFile, name: str = "SHA256SUMS", data: bytes = b"x\n", **fields: object) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    for key, value in fields.items():
        setattr(entry, key, value)
    tar.addfile(entry, io.BytesIO(data))


def of_type(kind: bytes) -> Callable[[tarfile.TarFile], None]:
    return lambda tar: regular(tar, data=b"", type=kind, linkname="/etc/passwd")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    "fill",
    [
        regular,
        of_type(tarfile.SYMTYPE),
        of_type(tarfile.LNKTYPE),
        of_type(tarfile.DIRTYPE),
        of_type(tarfile.CHRTYPE),
        of_type(tarfile.BLKTYPE),
        of_type(tarfile.FIFOTYPE),
        of_type(tarfile.CONTTYPE),
        of_type(tarfile.GNUTYPE_SPARSE),
        lambda tar: regular(tar, mode=0o4755),
        lambda tar: regular(tar, uid=1000, uname="evil"),
        lambda tar: regular(tar, mtime=-1) if tar.format != tarfile.USTAR_FORMAT else regular(tar),
        lambda tar: regular(tar, "../SHA256SUMS"),
        lambda tar: regular(tar, "/SHA256SUMS"),
        lambda tar: regular(tar, "./SHA256SUMS"),
        lambda tar: regular(tar, "d/" * 50 + "SHA256SUMS"),
        lambda tar: None,
    ],
)
def test_what_tarfile_writes_is_no_bundle(form: int, fill: Callable[[tarfile.TarFile], None]) -> None:
    refused(with_tarfile(form, fill))


@pytest.mark.parametrize("key", ["path", "size", "linkpath", "GNU.sparse.realsize", "mtime", "comment"])
@pytest.mark.parametrize("kind", [b"x", b"g"])
def test_pax_headers_are_refused_wherever_they_stand(kind: bytes, key: str) -> None:
    record = f" {key}=docs/evil\n"
    length = len(record) + 2
    data = f"{length}{record}".encode()
    plan = build.plan()
    pax = build.Part("docs/PaxHeader", data)
    pax = replace(pax, header=build.raw_header(pax.tar()[:512], type=kind))
    for at in range(len(plan.parts) + 1):
        parts = [*plan.parts[:at], pax, *plan.parts[at:]]
        refused(b"".join(part.tar() for part in parts) + plan.end)


@pytest.mark.parametrize("kind", [b"L", b"K"])
def test_gnu_long_names_are_refused_wherever_they_stand(kind: bytes) -> None:
    plan = build.plan()
    long = build.Part("docs/LongLink", b"../" * 40 + b"etc/cron.d/x\0")
    long = replace(long, header=build.raw_header(long.tar()[:512], type=kind))
    for at in range(len(plan.parts) + 1):
        parts = [*plan.parts[:at], long, *plan.parts[at:]]
        refused(b"".join(part.tar() for part in parts) + plan.end)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<I", 0xFD2FB528) + bytes(600),
        b"\x1f\x8b\x08" + bytes(600),
        b"BZh9" + bytes(600),
        b"\xfd7zXZ\0" + bytes(600),
        b"PK\x03\x04" + bytes(600),
        b"070701" + b"0" * 600,
        b"!<arch>\n" + b"x" * 600,
        b"\x7fELF" + bytes(600),
        b"<!doctype html>" + b" " * 600,
        bytes(4096),
        b"\xff" * 4096,
    ],
    ids=["zstd", "gzip", "bzip2", "xz", "zip", "cpio", "ar", "elf", "html", "zeros", "ones"],
)
def test_what_is_not_even_a_tar_is_no_bundle(data: bytes) -> None:
    refused(data)
