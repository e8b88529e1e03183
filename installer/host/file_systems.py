"""Which file systems keep neither modes nor owners: FAT, exFAT, NTFS and shares.

They answer chmod(2) with success and do nothing. What they cannot keep cannot be compared, backed up or
restored, so it is not; what an undo needs and they cannot do is refused while planning.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from installer.host.directories import parent
from installer.host.host import Host

_FAT = ("vfat", "msdos", "exfat", "fuse.exfat")
_POOR = (*_FAT, "fuseblk", "ntfs", "ntfs3", "cifs", "smb3", "smbfs", "9p", "vboxsf", "fuse.vmhgfs-fuse")
"""Types as the kernel names them that may keep no modes and owners."""
_NOT_IN_NAMES = '"*/:<>?\\|'
"""What FAT, exFAT and NTFS do not allow in a name."""


class FileSystems:
    """Answers for directories of a host; the table of mounts is read once.

    Args:
        host: The host.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._types: dict[int, str] | None = None
        self._known: dict[str, str] = {}

    def poor(self, directory: str) -> str:
        """Return the type of the file system of a directory if it keeps no modes and owners; or empty.

        Raises:
            OSError: The directory cannot be examined.
        """
        if self._types is None:
            self._types = _poor_types()
        # Most hosts have none: then nothing has to be looked up.
        if not self._types:
            return ""
        if directory not in self._known:
            self._known[directory] = self._types.get(self._host.space(directory).device, "")
        return self._known[directory]

    def fault(self, path: str, kind: str) -> str:
        """Return why a file system cannot hold a path, in a few words; empty where it can.

        Args:
            path: A host path.
            kind: `file`, `link` or `dir`.

        Raises:
            OSError: Its directory cannot be examined.
        """
        type_ = self.poor(parent(path))
        if not type_:
            return ""
        if kind == "link" and type_ in _FAT:
            return f"would be a symbolic link, which {type_} does not have"
        name = path.rpartition("/")[2]
        if wrong := [char for char in name if char in _NOT_IN_NAMES]:
            return f"has {wrong[0]!r} in its name, which {type_} does not allow"
        if name.endswith((".", " ")):
            return f"ends in a {'dot' if name.endswith('.') else 'blank'}, which {type_} does not keep"
        return ""


def _poor_types() -> dict[int, str]:
    """Return the types of such file systems by device number; without /proc none is known."""
    found: dict[int, str] = {}
    with suppress(OSError):
        for row in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
            before, _, after = row.partition(" - ")
            type_, source = after.split(" ")[:2]
            if type_ in _POOR:
                major, _, minor = before.split(" ")[2].partition(":")
                found[os.makedev(int(major), int(minor))] = _real_type(type_, source)
    return found


def _real_type(type_: str, source: str) -> str:
    """Return what a file system in user space is, by the first block of its device if that can be read."""
    if type_ == "fuseblk":
        with suppress(OSError), Path(source).open("rb") as device:
            if device.read(11)[3:] == b"EXFAT   ":
                return "exfat"
    return type_
