"""Packs a frozen directory into one self-extracting file, the same bytes every time.

The file is a POSIX shell head (`self_extract.sh`) followed by a gzipped tar of the directory.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import marshal
import os
import re
import tarfile
import zipfile
from importlib.resources import files
from pathlib import Path
from types import CodeType

from installer.core.errors import UnfitInputError

LIST = ".files"
"""The file in the directory that lists all others, each with its SHA-256."""

SPEAKABLE = re.compile(r"[A-Za-z0-9_+@%:,=][A-Za-z0-9_+@%:,=./-]*")
SQUASHED_DATE = (1980, 1, 1, 0, 0, 0)
PYC_HEADER = 16
ELF = b"\x7fELF"
SHF_ALLOC = 2
EXECUTABLE, PLAIN = 0o755, 0o644


def pack(app: Path, name: str, version: str) -> bytes:
    """Pack the frozen directory `app`.

    Args:
        app: The directory; the program to start in it is called `name`.
        name: The program's name; it names the unpacked directory too.
        version: The program's version, for the head's first line.

    Returns:
        The whole self-extracting file; the same directory gives the same bytes.
    """
    names, sums = _listed(app)
    raw, unpacked = _tar(app)
    # gzip and tar are on every host; mtime=0 keeps the bytes equal from build to build.
    payload = gzip.compress(raw, compresslevel=9, mtime=0)
    template = files("bundler.freeze").joinpath("self_extract.sh").read_text(encoding="utf-8")
    room = f"{(unpacked + len(payload)) // 1_000_000 + 1} MB"
    filled = {
        "@NAME@": name,
        "@VERSION@": version,
        "@DIGEST@": hashlib.sha256(payload).hexdigest(),
        "@ROOM@": f"'{room}'",
        "@LIST@": hashlib.sha256(sums).hexdigest(),
        "@FILES@": "\n".join(names),
    }
    for placeholder, value in filled.items():
        template = template.replace(placeholder, value)
    return _with_offset(template) + payload


def _listed(app: Path) -> tuple[list[str], bytes]:
    """Write the list of all files with their SHA-256 into `app`, as sha256sum reads it.

    The head compares its digest, and the files with it, where something in the cache looks changed.

    Raises:
        UnfitInputError: The head cannot list a name.
    """
    (app / LIST).unlink(missing_ok=True)
    names = sorted(path.relative_to(app).as_posix() for path in app.rglob("*") if path.is_file())
    # The names stand between single quotes in the head, one on each line.
    if odd := [name for name in names if not SPEAKABLE.fullmatch(name)]:
        raise UnfitInputError("the head cannot list this name", where=odd[0])
    sums = "".join(f"{hashlib.sha256((app / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (app / LIST).write_text(sums, encoding="ascii")
    return [LIST, *names], sums.encode("ascii")


def _with_offset(template: str) -> bytes:
    offset, head = 0, b""
    # The head contains its own length, whose digits change the length.
    while offset != len(head) + 1:
        offset = len(head) + 1
        head = template.replace("@OFFSET@", str(offset)).encode()
    return head


def _tar(app: Path) -> tuple[bytes, int]:
    raw, total = io.BytesIO(), 0
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(app.rglob("*"), key=lambda p: p.relative_to(app).as_posix()):
            if not path.is_file():
                continue
            content = path.read_bytes()
            member = tarfile.TarInfo(path.relative_to(app).as_posix())
            member.size, member.mode = len(content), EXECUTABLE if _runs(content) else PLAIN
            member.mtime = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))
            tar.addfile(member, io.BytesIO(content))
            total += len(content)
    return raw.getvalue(), total


def _runs(content: bytes) -> bool:
    return content.startswith((ELF, b"#!"))


def settle(app: Path) -> None:
    """Remove from the frozen directory `app` what differs between builds, and what is never loaded.

    Dates and build paths go, so that the same inputs make the same bytes; debugging symbols are blanked.
    """
    for path in app.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            keep = _settled_zip(content) if path.suffix == ".zip" else settled(path.name, content)
            if keep != content:
                path.write_bytes(keep)


def settled(name: str, content: bytes) -> bytes:
    """Return the content of the file `name` without dates, build paths and debugging symbols."""
    if name.endswith(".pyc"):
        return _settled_pyc(name, content)
    return without_symbols(content) if content.startswith(ELF) else content


def _settled_zip(content: bytes) -> bytes:
    squashed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(squashed, "w") as target:
        for name in sorted(source.namelist()):
            # cx_Freeze writes the time of the build into it.
            if name == "BUILD_CONSTANTS.pyc":
                continue
            member = zipfile.ZipInfo(name, SQUASHED_DATE)
            member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, PLAIN << 16
            target.writestr(member, settled(name.rpartition("/")[2], source.read(name)))
    return squashed.getvalue()


def without_symbols(content: bytes) -> bytes:
    """Blank the debugging sections of an ELF file: they are never loaded, and zeros pack to nothing."""
    from elftools.elf.elffile import ELFFile

    blanked = bytearray(content)
    elf = ELFFile(io.BytesIO(content))
    for section in elf.iter_sections():
        keep = section["sh_flags"] & SHF_ALLOC or section["sh_type"] in ("SHT_NULL", "SHT_NOBITS")
        if not keep and section.name.startswith((".debug_", ".zdebug_", ".symtab", ".strtab")):
            start, size = section["sh_offset"], section["sh_size"]
            blanked[start : start + size] = bytes(size)
    return bytes(blanked)


def _settled_pyc(name: str, content: bytes) -> bytes:
    body = content[PYC_HEADER:]
    if name.startswith("__main__"):
        body = marshal.dumps(_renamed(marshal.loads(body), "main.py"))  # noqa: S302 - our own build's output
    # Zeros for the modification time and size of the source.
    return content[:8] + bytes(8) + body


def _renamed(code: CodeType, file: str) -> CodeType:
    constants = [_renamed(item, file) if isinstance(item, CodeType) else item for item in code.co_consts]
    return code.replace(co_filename=file, co_consts=tuple(constants))
