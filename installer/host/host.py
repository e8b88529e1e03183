"""Read access to the host, or to a directory that represents one; nothing is changed here."""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import platform
import pwd
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from installer.core.limits import CHUNK
from installer.host import kernel
from installer.host.http_probe import Answer
from installer.host.inodes import attributes as inode
from installer.host.inodes.seen import A_KIND, Seen, Space
from installer.host.safe_path import HeldDirs, ParentDir, naming, open_parent
from installer.shared.child import process
from installer.shared.terminal import interrupts

__all__ = ["A_KIND", "LIST", "READ", "Host", "Seen", "Space", "opened"]

# O_NOFOLLOW: a link that a service account plants must not make root read another file. O_NONBLOCK: opening
# a FIFO must not wait for a writer.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Host:
    """Read access to a host.

    Args:
        root: The directory that host paths are resolved below; `/` is the host itself.
    """

    def __init__(self, root: str | Path = "/") -> None:
        self.root = str(Path(root).resolve())
        self.live = self.root == "/"
        self.privileged = os.geteuid() == 0
        self._held: HeldDirs | None = None
        self.aside: dict[str, str] = {}  # first names of host paths that lie below another directory

    @contextmanager
    def hold_directories(self) -> Iterator[None]:
        """Hold directories open, so that a path is walked once per directory and not once per file.

        Use it around loops over many files, and no longer: others may replace a directory at any time.
        """
        if self._held is not None:
            yield
            return
        # Nested calls share the outermost one; it alone closes the directories.
        self._held = HeldDirs(self.root)
        try:
            yield
        finally:
            held, self._held = self._held, None
            held.forget()

    def open_parent(self, path: str, *, follow: bool = False) -> AbstractContextManager[ParentDir]:
        """Open the directory that holds `path`; see `safe_path.open_parent`."""
        head, _, name = path.rpartition("/")
        root = self._root_of(path)
        # Special names would lead out of the held directory.
        if self._held is None or follow or path[:1] != "/" or name in ("", ".", "..") or root != self.root:
            return open_parent(root, path, follow=follow)
        return self._held.open(head or "/", name)

    def open_directory(self, directory: str) -> AbstractContextManager[ParentDir]:
        """Open a directory itself, following links; the name in the result is `.`."""
        root = self._root_of(directory)
        if self._held is None or root != self.root:
            return open_parent(root, directory, follow=True)
        return self._held.open(directory)

    def _root_of(self, path: str) -> str:
        return self.aside.get(path.lstrip("/").partition("/")[0], self.root) if self.aside else self.root

    def real(self, path: str, *, follow: bool = True) -> str:
        """Return the path by which other programs reach a host path.

        Raises:
            OSError: A directory of the path does not exist.
        """
        with self.open_parent(path, follow=follow) as at:
            return str(Path(self._root_of(path), *at.parts))

    def observe(self, path: str, *, digest: bool = True, attributes: bool | None = None) -> Seen:
        """Return what is at `path`, without following a link in its last component.

        Args:
            path: A host path.
            digest: Whether to read a file and hash it.
            attributes: Whether to read its attributes; None: if it is hashed.

        Raises:
            OSError: It cannot be examined; if a parent is missing, the result is `absent`.
        """
        try:
            with naming(path), self.open_parent(path) as at:
                return self._observe(at, digest, digest if attributes is None else attributes)
        except (FileNotFoundError, NotADirectoryError):
            # What is below a file does not exist either.
            return Seen("absent")

    def _observe(self, at: ParentDir, digest: bool, attributes: bool) -> Seen:
        # Not followed: what a link points to is another path with an owner of its own.
        status = os.stat(at.name, dir_fd=at.fd, follow_symlinks=False)
        mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
        if stat.S_ISLNK(status.st_mode):
            return Seen("link", target=os.readlink(at.name, dir_fd=at.fd))
        is_directory = stat.S_ISDIR(status.st_mode)
        if not is_directory and not stat.S_ISREG(status.st_mode):
            return Seen("other", "", 0, mode, *owner)
        sha256, found = _inside(at, digest and not is_directory, attributes)
        if is_directory:
            return Seen("dir", "", 0, mode, *owner, "", *found)
        return Seen("file", sha256, status.st_size, mode, *owner, "", *found, status.st_nlink)

    def attributes(self, path: str) -> dict[str, bytes]:
        """Return the attributes of a file or directory, by name; see `inodes.attributes`.

        Raises:
            OSError: It cannot be opened.
        """
        with naming(path), self.open_parent(path) as at, opened(at, READ) as fd:
            return inode.read(fd)

    def is_dir(self, path: str) -> bool:
        """Return whether `path` is a directory or a link to one.

        Raises:
            OSError: It cannot be examined.
        """
        try:
            with self.open_parent(path, follow=True) as at:
                return stat.S_ISDIR(os.stat(at.name, dir_fd=at.fd, follow_symlinks=False).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def writable(self, directory: str) -> bool:
        """Return whether this user may create and remove names in an existing directory."""
        with self.open_parent(directory, follow=True) as at:
            return os.access(at.name, os.W_OK | os.X_OK, dir_fd=at.fd, effective_ids=True)

    def read(self, path: str, limit: int, *, follow: bool = False) -> bytes:
        """Read a whole file.

        Args:
            path: A host path.
            limit: Largest number of bytes that is read.
            follow: Whether a link in the last component is followed.

        Raises:
            OSError: It cannot be read, or is larger than `limit` (EFBIG).
        """
        data = bytearray()
        for chunk in self.chunks(path, follow=follow):
            data += chunk
            # Checked while reading: a file can grow after its size was asked.
            if len(data) > limit:
                raise OSError(errno.EFBIG, f"is larger than the {limit} bytes allowed", path)
        return bytes(data)

    def mode_of(self, path: str) -> int:
        """Return the permission bits of what a path leads to, links followed.

        Raises:
            OSError: Nothing is there, or it cannot be looked at.
        """
        with self.open_parent(path, follow=True) as at:
            return stat.S_IMODE(os.stat(at.name, dir_fd=at.fd, follow_symlinks=False).st_mode)

    def chunks(self, path: str, *, follow: bool = False, start: int = 0) -> Iterator[bytes]:
        """Read a file piece by piece, from the offset `start` on.

        Raises:
            OSError: It cannot be read.
        """
        with naming(path), self.open_parent(path, follow=follow) as at:
            fd = os.open(at.name, READ, dir_fd=at.fd)
        return _chunks(fd, start, path)

    def names(self, path: str) -> list[str]:
        """List a directory, sorted; a directory that does not exist is empty.

        Raises:
            OSError: It cannot be listed.
        """
        try:
            with naming(path), self.open_directory(path) as at, opened(at, LIST) as fd:
                return sorted(os.listdir(fd))  # noqa: PTH208
        except FileNotFoundError:
            return []

    def mounts(self, path: str) -> list[str]:
        """Return the mount points at and below a path, as host paths."""
        try:
            # The table of mounts has paths of this machine, not of the root directory.
            real = self.real(path, follow=False)
        except OSError:
            return []
        return [path + point.removeprefix(real) for point in kernel.mount_points(real)]

    def users(self, directory: str) -> list[int]:
        """Return the visible processes that run a program from a directory or work in it."""
        return kernel.users(self.real(directory, follow=False))

    def tree(self, directory: str) -> list[str]:
        """Return all paths below a directory, sorted, without following links.

        Raises:
            OSError: It cannot be listed.
        """
        found = []
        with self.hold_directories():
            for name in self.names(directory):
                path = f"{directory}/{name}"
                found.append(path)
                # Links are listed and never followed: a loop would not end.
                if self.observe(path, digest=False).kind == "dir":
                    found += self.tree(path)
        return sorted(found)

    def space(self, path: str) -> Space:
        """Return the free space of the file system that holds `path`, or would hold it.

        Raises:
            OSError: It cannot be determined.
        """
        while True:
            try:
                with self.open_parent(path, follow=True) as at, opened(at, _PATH) as fd:
                    found, device = os.fstatvfs(fd), os.fstat(fd).st_dev
                break
            except (FileNotFoundError, NotADirectoryError):
                path = path.rsplit("/", 1)[0] or "/"
        # btrfs and others create inodes as needed and report 0.
        inodes = found.f_favail if found.f_files else -1
        flags = found.f_flag
        return Space(
            device,
            found.f_bavail * found.f_frsize,
            inodes,
            found.f_frsize,
            bool(flags & os.ST_RDONLY),
            # 8 is ST_NOEXEC.
            bool(flags & 8),
            bool(flags & os.ST_NOSUID),
        )

    def user_id(self, name: str) -> int | None:
        """Return the id of a user, given by name or number; None if there is no such user."""
        return self._id(name, "/etc/passwd", lambda: pwd.getpwnam(name).pw_uid)

    def group_id(self, name: str) -> int | None:
        """Return the id of a group, given by name or number; None if there is no such group."""
        return self._id(name, "/etc/group", lambda: grp.getgrnam(name).gr_gid)

    def _id(self, name: str, table: str, lookup: Callable[[], int]) -> int | None:
        if name.isdigit():
            return int(name)
        if name == "root":
            return 0
        # Below a root directory the names of this machine mean nothing: its own tables are read.
        if self.live:
            with suppress(KeyError):
                return lookup()
            return None
        with suppress(OSError):
            for line in self.read(table, CHUNK, follow=True).decode("utf-8", "replace").splitlines():
                fields = line.split(":")
                if fields[0] == name and len(fields) > 2 and fields[2].isdigit():
                    return int(fields[2])
        return None

    def which(self, tool: str) -> str | None:
        """Return the path of a program on the PATH, or None."""
        return shutil.which(tool, path=process.environment().get("PATH"))

    def platform(self) -> str:
        """Return `os/arch` as manifests write it."""
        machine = platform.machine()
        return "linux/" + {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(machine, machine)

    def boot_id(self) -> str:
        """Return the id of this boot of the kernel."""
        return kernel.boot_id()

    def now(self) -> float:
        """Return the wall clock in seconds since 1970; it may be set, so use it for records only."""
        return time.time()

    def monotonic(self) -> float:
        """Return a clock in seconds that is never set back, for time-outs."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds; a signal that asks the program to stop ends the wait."""
        with interrupts.waiting():
            time.sleep(seconds)

    def http_get(self, url: str, timeout: float, *, ca: str = "", unix: str = "") -> Answer:
        """Send a GET request, without proxies and without following redirects.

        Args:
            url: The URL.
            timeout: Seconds until the answer has to be complete.
            ca: The file of the certificates that may have signed the server's own; empty: those of the host.
            unix: The socket of the server; empty: the address in the URL.

        Raises:
            OSError: There was no answer in time, or the server is not trusted.
        """
        from installer.host import http_probe

        trusted = http_probe.trust(self.certificates(ca)) if ca else None
        with interrupts.waiting():
            return http_probe.http_get(url, timeout, trusted, self.real(unix) if unix else "")

    def certificates(self, path: str) -> str:
        """Return a file with certificates in PEM form.

        Raises:
            OSError: It cannot be read, or is no such file.
        """
        from installer.host.http_probe import CA_LIMIT

        with naming(path):
            return self.read(path, CA_LIMIT, follow=True).decode("ascii", "replace")

    def tcp_connect(self, host: str, port: int, timeout: float) -> None:
        """Open a TCP connection and close it.

        Raises:
            OSError: The connection was refused or timed out.
        """
        with interrupts.waiting():
            socket.create_connection((host, port), timeout).close()


@contextmanager
def opened(at: ParentDir, flags: int) -> Iterator[int]:
    """Open what a path leads to, and close it again; a new file gets the mode 0600."""
    fd = os.open(at.name, flags, 0o600, dir_fd=at.fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _inside(at: ParentDir, digest: bool, attributes: bool) -> tuple[str, inode.Attributes]:
    """Return the digest and the attributes of a file or directory, as far as they are requested."""
    found = inode.Attributes()
    if not digest and not attributes:
        return "", found
    try:
        with opened(at, READ) as fd:
            found = inode.summary(fd) if attributes else found
            running = hashlib.sha256()
            while digest and (chunk := _read(fd, "")):
                running.update(chunk)
            return running.hexdigest() if digest else "", found
    except PermissionError:
        # An ordinary user may not open everything that can be looked at.
        if digest:
            raise
        return "", found


def _read(fd: int, path: str) -> bytes:
    try:
        return os.read(fd, CHUNK)
    except OSError as error:
        error.filename = error.filename or path or None  # a descriptor has no name
        raise


def _chunks(fd: int, start: int = 0, path: str = "") -> Iterator[bytes]:
    try:
        if start:
            os.lseek(fd, start, os.SEEK_SET)
        while chunk := _read(fd, path):
            yield chunk
    finally:
        os.close(fd)
