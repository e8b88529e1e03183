"""Where destinations lead: two paths are the same place if they end in the same directory of one file system.

The text of a path says little: `/proc/1/root/etc`, a link of an administrator and a bind mount all lead to
`/etc`. What a release may write to, and what belongs to another product, is decided by the place.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from contextlib import suppress

from installer.core.format.destinations import OWN_LINK, forbidden, within
from installer.core.format.member_names import WAYBILL_DIRECTORIES
from installer.host.host import Host

_DEPTH = 2
"""Levels below Waybill's directories that are told apart by their inode too: a bind mount can show any."""
Inode = tuple[int, int]


class Resolver:
    """Resolves paths of a host, each directory once. What it knows is as old as the object.

    Args:
        host: The host.
        replaced: Links that directories are about to replace: nothing leads through them any more.
    """

    def __init__(self, host: Host, replaced: Collection[str] = ()) -> None:
        self._host = host
        self._replaced = frozenset(replaced)
        self._directories: dict[str, str] = {}
        self._inside: dict[str, bool] = {}
        self._own: tuple[tuple[str, ...], frozenset[Inode]] | None = None

    def place(self, path: str) -> str:
        """Return where a path leads, its last component not followed: what a rename to it replaces.

        Raises:
            OSError: A directory on the way cannot be examined, or a link in it does not count.
        """
        head, _, name = path.rpartition("/")
        return f"{self.directory(head or '/').rstrip('/')}/{name}"

    def directory(self, directory: str) -> str:
        """Return where a directory leads; what does not exist yet is taken as it is written.

        Raises:
            OSError: It cannot be examined, or a link in it does not count.
        """
        if directory not in self._directories:
            self._directories[directory] = self._lookup(directory)
        return self._directories[directory]

    def _lookup(self, directory: str) -> str:
        if any(within(directory, (link,)) for link in self._replaced):
            return self.place(directory)
        try:
            with self._host.open_directory(directory) as at:
                return "/" + "/".join(at.parts)
        except (FileNotFoundError, NotADirectoryError):
            return self.place(directory) if directory != "/" else "/"

    def forbidden(self, path: str, product: str) -> str:
        """Return why no release may put anything at a path, in a few words; empty where it may.

        Raises:
            OSError: A directory on the way cannot be examined, or a link in it does not count.
        """
        place = self.place(path)
        if why := forbidden(path, product):
            return why
        # Where no link leads away, it is the same place once more.
        if why := forbidden(place, product):
            return f"leads to {place}, which {why}"
        own, _ = self._waybill()
        if f"{place}/".startswith(own) or self._is_inside(place.rpartition("/")[0] or "/"):
            return f"leads to {place}, which is reserved for Waybill"
        return ""

    def _is_inside(self, directory: str) -> bool:
        """Return whether a directory, or one above it, is one of Waybill's under another name."""
        if directory not in self._inside:
            above = directory != "/" and self._is_inside(directory.rpartition("/")[0] or "/")
            self._inside[directory] = above or self._inode(directory) in self._waybill()[1]
        return self._inside[directory]

    def _inode(self, directory: str) -> Inode | None:
        """Return the inode of a directory; None for what is none. A link is not followed."""
        with suppress(FileNotFoundError, NotADirectoryError), self._host.open_parent(directory) as at:
            status = os.stat(at.name, dir_fd=at.fd, follow_symlinks=False)
            return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
        return None

    def _waybill(self) -> tuple[tuple[str, ...], frozenset[Inode]]:
        """Return where Waybill's own places lead, each with a slash, and their inodes, whatever the mount."""
        if self._own is None:
            found: set[Inode] = set()
            for directory in WAYBILL_DIRECTORIES:
                self._collect(self.directory(directory), _DEPTH, found)
            places = (*(self.directory(each) for each in WAYBILL_DIRECTORIES), self.place(OWN_LINK))
            self._own = tuple(f"{place}/" for place in places), frozenset(found)
        return self._own

    def _collect(self, directory: str, depth: int, found: set[Inode]) -> None:
        inode = self._inode(directory)
        if inode is None:
            return
        found.add(inode)
        # What this user may not list it cannot write to either.
        with suppress(PermissionError):
            for name in self._host.names(directory) if depth else ():
                # The evidence can be thousands of files; no product has a dot in its name.
                self._collect(f"{directory}/{name}", 0 if "." in name else depth - 1, found)
