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
import zlib
from importlib.resources import files
from pathlib import Path
from types import CodeType

from installer.core.errors import UnfitInputError
from installer.shared.frozen import HEAD, LIST, head_digest

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
    names = _names(app)
    paths = [app / name for name in names]
    # The payload is next to the files while it is unpacked; it is not larger than if compressed quickly.
    sizes = [(len(content), len(zlib.compress(content, 1))) for content in map(Path.read_bytes, paths)]
    space = sum(map(sum, sizes)) // 1_000_000 + 1
    template = files("bundler.freeze").joinpath("self_extract.sh").read_text(encoding="utf-8")
    filled = {
        "@NAME@": name,
        "@VERSION@": version,
        "@SPACE@": f"'{space} MB'",
        "@FILES@": "\n".join((LIST, HEAD, *names)),
    }
    for placeholder, value in filled.items():
        template = template.replace(placeholder, value)
    # Inside the payload, so that the program can tell a whole copy of the script from a damaged one.
    (app / HEAD).write_text(head_digest(_with_digests(template, "0" * 64, "0" * 64)), encoding="ascii")
    sums = "".join(f"{_digest((app / each).read_bytes())}  {each}\n" for each in (HEAD, *names))
    (app / LIST).write_text(sums, encoding="ascii")
    # gzip and tar are on every host; mtime=0 keeps the bytes equal from build to build.
    payload = gzip.compress(_tar(app), compresslevel=9, mtime=0)
    return _with_digests(template, _digest(payload), _digest(sums.encode("ascii"))) + payload


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _names(app: Path) -> list[str]:
    """Return the paths of all files in `app`, sorted, without the two that `pack` adds.

    Raises:
        UnfitInputError: The head cannot list a name.
    """
    names = sorted(path.relative_to(app).as_posix() for path in app.rglob("*") if path.is_file())
    names = [name for name in names if name not in (HEAD, LIST)]
    # The names stand between single quotes in the head, one on each line.
    if odd := [name for name in names if not SPEAKABLE.fullmatch(name)]:
        raise UnfitInputError("the executable cannot contain a file of this name", where=odd[0])
    return names


def _with_digests(template: str, payload: str, listed: str) -> bytes:
    return _with_offset(template.replace("@DIGEST@", payload).replace("@LIST@", listed))


def _with_offset(template: str) -> bytes:
    offset, head = 0, b""
    # The head contains its own length, whose digits change the length.
    while offset != len(head) + 1:
        offset = len(head) + 1
        head = template.replace("@OFFSET@", str(offset)).encode()
    return head


def _tar(app: Path) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(app.rglob("*"), key=lambda p: p.relative_to(app).as_posix()):
            if not path.is_file():
                continue
            content = path.read_bytes()
            member = tarfile.TarInfo(path.relative_to(app).as_posix())
            member.size, member.mode = len(content), EXECUTABLE if _runs(content) else PLAIN
            member.mtime = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


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
