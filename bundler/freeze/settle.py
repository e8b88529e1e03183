"""Takes out of a frozen directory what differs between builds, and what is never loaded."""

from __future__ import annotations

import io
import marshal
import zipfile
from pathlib import Path
from types import CodeType

ELF = b"\x7fELF"
SHF_ALLOC = 2
SQUASHED_DATE = (1980, 1, 1, 0, 0, 0)
PYC_HEADER = 16
PLAIN = 0o644


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
