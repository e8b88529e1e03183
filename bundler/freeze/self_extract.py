"""Packs frozen directories into one self-extracting file, the same bytes every time.

The file is a POSIX shell head (`self_extract.sh`), then a gzipped tar of the files that all platforms share,
then one for each platform of the files that are its own. `installer/shared/standalone/one_file.py` has the
layout.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

from bundler.freeze.platforms import GLIBC_FLOOR, MUSL_FLOOR, PLATFORMS
from bundler.freeze.settle import ELF
from installer.core.errors import UnfitInputError
from installer.core.limits import MIB
from installer.shared.frozen import HEAD, LIST
from installer.shared.standalone.one_file import HEAD_LIMIT, Payload, Table, script_digest, split

SPEAKABLE = re.compile(r"[A-Za-z0-9_+@%:,=][A-Za-z0-9_+@%:,=./-]*")
EXECUTABLE, PLAIN = 0o755, 0o644
LEVEL = 9
LICENSES = "licenses/"
"""What every platform has of its own, besides programs and libraries: it says what is in them."""


def pack(apps: Mapping[str, Path], name: str, version: str) -> bytes:
    """Pack frozen directories.

    Args:
        apps: The directory of each platform; the program to start in it is called `name`.
        name: The program's name; it names the unpacked directory too.
        version: The program's version, for the head's first line.

    Returns:
        The whole self-extracting file; the same directories give the same bytes. The parts of a platform are
        the same, whichever other platforms there are.

    Raises:
        UnfitInputError: The head cannot list a name, or two directories differ where they must not.
    """
    shared, owned = _divided(apps, name)
    script = _script(name, version, [*shared])
    common = _compressed(_tar(shared))
    parts = {each: _part(script, shared, own) for each, own in owned.items()}
    payloads = []
    for platform, (listed, part) in parts.items():
        contents = [*shared.values(), *owned[platform].values(), listed]
        payloads.append(
            Payload(
                platform,
                len(part),
                _space(contents),
                _digest(common + part),
                _digest(listed),
                tuple(owned[platform]),
            )
        )
    head, _ = _headed(script, len(common), payloads)
    return head + common + b"".join(part for _, part in parts.values())


def _divided(apps: Mapping[str, Path], program: str) -> tuple[dict[str, bytes], dict[str, dict[str, bytes]]]:
    """Return the files that all directories share, and those of each platform."""
    shared: dict[str, bytes] = {}
    owned: dict[str, dict[str, bytes]] = {}
    for platform in sorted(apps, key=[*PLATFORMS].index):
        app = apps[platform]
        found = {each: (app / each).read_bytes() for each in _names(app)}
        own = {each for each, content in found.items() if _is_own(each, content, program)}
        owned[platform] = {each: found[each] for each in found if each in own}
        rest = {each: content for each, content in found.items() if each not in own}
        if odd := sorted(each for each in rest.keys() | shared.keys() if rest.get(each) != shared.get(each)):
            if len(owned) > 1:
                raise UnfitInputError(f"is another file for {platform}", where=odd[0])
            shared = rest
    return shared, owned


def _is_own(name: str, content: bytes, program: str) -> bool:
    return content.startswith(ELF) or name == program or name.startswith(LICENSES)


def _names(app: Path) -> list[str]:
    """Return the paths of all files in `app`, sorted.

    Raises:
        UnfitInputError: The head cannot list a name.
    """
    names = sorted(path.relative_to(app).as_posix() for path in app.rglob("*") if path.is_file())
    # The names stand between single quotes in the head, one on each line.
    if odd := [name for name in names if not SPEAKABLE.fullmatch(name)]:
        raise UnfitInputError("the executable cannot contain a file of this name", where=odd[0])
    return names


def _script(name: str, version: str, shared: Sequence[str]) -> str:
    script = files("bundler.freeze").joinpath("self_extract.sh").read_text(encoding="utf-8")
    filled = {
        "@NAME@": name,
        "@VERSION@": version,
        "@GLIBC@": ".".join(map(str, GLIBC_FLOOR)),
        "@MUSL@": ".".join(map(str, MUSL_FLOOR)),
        "@FILES@": "\n".join((LIST, HEAD, *shared)),
    }
    for placeholder, value in filled.items():
        script = script.replace(placeholder, value)
    return script


def _part(script: str, shared: Mapping[str, bytes], own: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    """Return the list of all files of a platform, and the part of the payload that only it has."""
    # Inside the payload, so that the program can tell a whole copy of the script from a damaged one.
    head = script_digest(script).encode("ascii")
    everything = {HEAD: head, **dict(sorted({**shared, **own}.items()))}
    listed = "".join(f"{_digest(content)}  {name}\n" for name, content in everything.items()).encode("ascii")
    # The end of the archive: the shared part before it has none.
    end = bytes(2 * tarfile.BLOCKSIZE)
    return listed, _compressed(_tar({LIST: listed, HEAD: head, **own}) + end)


def _space(contents: Sequence[bytes]) -> int:
    # The payload is next to the files while it is unpacked; it is not larger than if compressed quickly.
    return sum(len(content) + len(zlib.compress(content, 1)) for content in contents) // 1_000_000 + 1


def _headed(script: str, common: int, payloads: Sequence[Payload]) -> tuple[bytes, Table]:
    table, head = Table(0, common, tuple(payloads)), b""
    # The head contains its own length, whose digits change the length.
    while table.start != len(head) or not head:
        table = Table(len(head), common, tuple(payloads))
        head = table.head(script)
    return head, table


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _compressed(content: bytes) -> bytes:
    # gzip and tar are on every host; mtime=0 keeps the bytes equal from build to build.
    return gzip.compress(content, compresslevel=LEVEL, mtime=0)


def _tar(contents: Mapping[str, bytes]) -> bytes:
    """Return the members of an archive, without its end."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), EXECUTABLE if _runs(content) else PLAIN
            member.mtime = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))
            tar.addfile(member, io.BytesIO(content))
        return raw.getvalue()


def _runs(content: bytes) -> bool:
    return content.startswith((ELF, b"#!"))


def table(file: BinaryIO) -> Table:
    """Return where the parts of an executable lie.

    Raises:
        UnfitInputError: The file is no such executable, or is damaged.
    """
    return _read(file)[1]


def selected(file: BinaryIO, platforms: Sequence[str]) -> Iterator[bytes]:
    """Yield an executable for some of the platforms that another one is for: what `pack` makes for these.

    Args:
        file: The executable.
        platforms: Platforms that it is for.

    Raises:
        UnfitInputError: The file is no such executable, or is damaged.
    """
    script, whole = _read(file)
    wanted = [each for each in whole.payloads if each.platform in platforms]
    yield _headed(script, whole.common, wanted)[0]
    yield from _range(file, whole.start, whole.common)
    offsets = whole.offsets()
    for each in wanted:
        yield from _range(file, offsets[each.platform], each.size)


def _read(file: BinaryIO) -> tuple[str, Table]:
    file.seek(0)
    if not (found := split(file.read(HEAD_LIMIT))):
        raise UnfitInputError("is no executable of Waybill, or is damaged", where=getattr(file, "name", ""))
    return found


def _range(file: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    file.seek(start)
    while size and (piece := file.read(min(size, MIB))):
        size -= len(piece)
        yield piece
    if size:
        raise UnfitInputError("is shorter than it must be", where=getattr(file, "name", ""))
