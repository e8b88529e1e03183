"""The layout of an executable as one file: the shell script, what all platforms share, and a part for each.

The script ends with a table that says where each part lies. A payload is the shared part followed by the part
of one platform. Everything in the script but the table is the same, whichever platforms a file is for.
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from installer.shared.frozen import HEAD, LIST

if TYPE_CHECKING:
    from typing import BinaryIO

TABLE = "@TABLE@\n"
"""Stands in the script without its table."""

HEAD_LIMIT = 256 * 1024
"""Bytes of the script, which has 25 KiB and 6 KiB more for each further platform: names of files, mostly."""

_BEGIN, _END = "# The payloads.\n", "# The SHA-256 of the lines from `The payloads`: "
_SECTION = re.compile(f"^{_BEGIN}.*?^{_END}[0-9a-f]{{64}}\n".encode(), re.MULTILINE | re.DOTALL)
_START = re.compile(r"^begin=([0-9]{1,6}) common=([0-9]{1,9}) end=[0-9]{1,9} carried='", re.MULTILINE)
_ROW = re.compile(
    r"^    (?P<platform>[a-z0-9/-]+)\)\n"
    r"      offset=(?P<offset>[0-9]{1,9}) size=(?P<size>[0-9]{1,9}) space='(?P<space>[0-9]{1,5}) MB'\n"
    r"      digest=(?P<digest>[0-9a-f]{64})\n"
    r"      list=(?P<list>[0-9a-f]{64})\n"
    r"      files='(?P<files>[A-Za-z0-9_+@%:,=./\n-]+)' ;;\n",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Payload:
    """The payload of one platform.

    Attributes:
        platform: For example `linux/amd64-musl`.
        size: Bytes of the platform's own part.
        space: Megabytes that unpacking needs.
        digest: The SHA-256 of the payload.
        list: The SHA-256 of the file `.files` in it.
        files: The names of the files in its own part.
    """

    platform: str
    size: int
    space: int
    digest: str
    list: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Where the parts of an executable lie.

    Attributes:
        start: Bytes of the script; the shared part follows it.
        common: Bytes of the shared part; the parts of the platforms follow it, in the order of `payloads`.
        payloads: The payloads.
    """

    start: int
    common: int
    payloads: tuple[Payload, ...]

    @property
    def platforms(self) -> list[str]:
        """The platforms that the file is for."""
        return [each.platform for each in self.payloads]

    def offsets(self) -> dict[str, int]:
        """Return where the part of each platform begins, in bytes from the beginning of the file."""
        place, found = self.start + self.common, {}
        for each in self.payloads:
            found[each.platform] = place
            place += each.size
        return found

    def render(self) -> str:
        """Return the lines of the script."""
        offsets = self.offsets()
        end = self.start + self.common + sum(each.size for each in self.payloads)
        # tail counts from 1.
        place = f"begin={self.start + 1} common={self.common} end={end}"
        lines = [f"{place} carried='{' '.join(self.platforms)}'", "pick() {", "  case $1 in"]
        for each in self.payloads:
            lines += [
                f"    {each.platform})",
                f"      offset={offsets[each.platform] + 1} size={each.size} space='{each.space} MB'",
                f"      digest={each.digest}",
                f"      list={each.list}",
                "      files='{}' ;;".format("\n".join(each.files)),
            ]
        text = _BEGIN + "\n".join([*lines, "    *) return 1 ;;", "  esac", "}"]) + "\n"
        return f"{text}{_END}{hashlib.sha256(text.encode()).hexdigest()}\n"

    def head(self, script: str) -> bytes:
        """Return the script with this table in it."""
        return script.replace(TABLE, self.render()).encode()


def split(start: bytes) -> tuple[str, Table] | None:
    """Find the script and its table at the beginning of an executable.

    Args:
        start: The first bytes of the file, not fewer than the script has.

    Returns:
        The script with `TABLE` in place of its table, and the table; None where they are damaged, or where
        this is no such file.
    """
    section = _SECTION.search(start)
    try:
        text = section[0].decode("ascii") if section else ""
        place = _START.search(text)
        rows = [row.groupdict() for row in _ROW.finditer(text)]
        if not section or not place or not rows:
            return None
        payloads = [
            Payload(
                row["platform"],
                int(row["size"]),
                int(row["space"]),
                row["digest"],
                row["list"],
                tuple(row["files"].split("\n")),
            )
            for row in rows
        ]
        table = Table(int(place[1]) - 1, int(place[2]), tuple(payloads))
        head = start[: table.start]
        script = (head[: section.start()] + TABLE.encode() + head[section.end() :]).decode("utf-8")
    except UnicodeDecodeError:
        return None
    # The table decides what is run: it has the one form that it can have, or none.
    return (script, table) if table.head(script) == head else None


def script_digest(script: str) -> str:
    """Return the SHA-256 of the script without its table.

    It lies in every payload, whose digests stand in the table: neither could hold the digest of the other.
    """
    return hashlib.sha256(script.encode()).hexdigest()


def differing(file: BinaryIO, table: Table, rest: bytes) -> list[str]:
    """Read all payloads, and return the platforms whose payload is not the one that the table names.

    Args:
        file: The executable, after `rest`.
        table: Its table.
        rest: What was read of the file already, from the end of the script on.
    """
    rest, common = _hashed(file, rest, table.common, hashlib.sha256())
    wrong = []
    for each in table.payloads:
        payload = common.copy()
        rest, payload = _hashed(file, rest, each.size, payload)
        if payload.hexdigest() != each.digest:
            wrong.append(each.platform)
    # What lies behind the last part belongs to nothing.
    return table.platforms if rest or file.read(1) else wrong


def _hashed(file: BinaryIO, rest: bytes, size: int, into: hashlib._Hash) -> tuple[bytes, hashlib._Hash]:
    """Hash the next `size` bytes of `rest` and the file; return what of `rest` is left, and the hash."""
    into.update(rest[:size])
    left = size - len(rest[:size])
    while left and (piece := file.read(min(left, HEAD_LIMIT))):
        into.update(piece)
        left -= len(piece)
    return rest[size:], into


def is_same_program(file: BinaryIO, home: Path | None = None) -> bool:
    """Tell whether an executable is, byte by byte, the one that runs.

    The unpacked directory decides: its name is the digest of the payload, which the script compared before it
    unpacked it. The file that it came from may be on media that read differently the second time.

    Args:
        file: The executable, at its beginning.
        home: The unpacked directory; that of this process by default.

    Raises:
        OSError: It cannot be read.
    """
    home = home or Path(sys.prefix)
    start = file.read(HEAD_LIMIT)
    if not (found := split(start)):
        return False
    script, table = found
    listed = (home / LIST).read_bytes()
    own = [each for each in table.payloads if each.digest == home.name.rpartition("-")[2]]
    names = {line.partition("  ")[2] for line in listed.decode("ascii").splitlines()}
    return (
        len(own) == 1
        and own[0].list == hashlib.sha256(listed).hexdigest()
        and names.issuperset(own[0].files)
        and script_digest(script) == (home / HEAD).read_text(encoding="ascii")
        and not differing(file, table, start[table.start :])
    )
