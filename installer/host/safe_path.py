"""Resolves host paths below a root directory as in a chroot: no link and no `..` leads out of it."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import NamedTuple

from installer.host.syscalls import open_below

MAX_LINKS = 40
MAX_HELD = 128
"""Directories that are held open at a time; the limit of open files is often 1024."""
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class ParentDir(NamedTuple):
    """The open parent directory of a path.

    Attributes:
        fd: The directory.
        name: The last component of the path; `.` for the root itself.
        parts: All components below the root, without links except in the last.
    """

    fd: int
    name: str
    parts: tuple[str, ...]


class ForeignLinkError(PermissionError):
    """A link on the way to a path belongs to another user, who could lead the installer anywhere.

    Attributes:
        link: The link, as a host path without links.
    """

    def __init__(self, link: str, owner: int, path: str) -> None:
        what = f"the symbolic link {link} on the way to it belongs to user {owner}, not to root"
        super().__init__(errno.EPERM, what, path)
        self.link = link


@contextmanager
def open_parent(root: str, path: str, *, follow: bool = False) -> Iterator[ParentDir]:
    """Open the directory that holds `path`.

    Each component is opened with `O_NOFOLLOW`, so that nobody can replace a directory by a link during the
    walk; links are read and followed here. A link counts only if root or this user owns it: a service account
    must not be able to redirect what the installer writes.

    Args:
        root: The directory that represents `/`.
        path: An absolute path as the host sees it.
        follow: Whether a link as last component is followed too.

    Yields:
        The parent directory; its descriptor is closed afterwards.

    Raises:
        OSError: A component is missing, is not a directory, or is a link that does not count.
    """
    if not path.startswith("/"):
        raise ValueError(f"not an absolute path: {path!r}")
    todo = [part for part in path.split("/") if part not in ("", ".")]
    # Every link starts the walk again from the root: each component of its target is checked too.
    for _ in range(MAX_LINKS):
        found = _walk(root, todo, path, follow)
        if isinstance(found, ParentDir):
            try:
                yield found
            except OSError as error:
                _name(error, found, path)
                raise
            finally:
                os.close(found.fd)
            return
        todo = found
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _name(error: OSError, at: ParentDir, path: str) -> None:
    """Let an error name the whole path: the call that failed knew the last component, or a descriptor."""
    if error.filename in (None, at.name) or isinstance(error.filename, int):
        error.filename = path


@contextmanager
def removed_after_error(at: ParentDir, remove: Callable[..., None]) -> Iterator[None]:
    """Remove a new entry again if what completes it fails: half of one must not be taken for a whole one.

    Args:
        at: The entry.
        remove: `os.unlink`, or `os.rmdir` for a directory.
    """
    try:
        yield
    # Not BaseException: a killed process cannot clean up, and tests imitate that.
    except (Exception, KeyboardInterrupt):
        with suppress(OSError):
            remove(at.name, dir_fd=at.fd)
        raise


@contextmanager
def naming(*arguments: object) -> Iterator[None]:
    """Let an error inside name the path that the first argument is, unless it names a whole path itself.

    A failure of a system call by a descriptor names nothing; "Operation not permitted" alone helps nobody.
    """
    try:
        yield
    except OSError as error:
        named = isinstance(error.filename, str) and error.filename.startswith("/")
        if not named and arguments and isinstance(arguments[0], str):
            error.filename = arguments[0]
        raise


def _walk(root: str, todo: list[str], path: str, follow: bool) -> ParentDir | list[str]:
    """Walk to the end, or to the first link; then return the components to walk instead."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd, start = _ahead(fd, todo)
        for index, part in enumerate(todo[start:], start):
            last = index == len(todo) - 1
            # Resolved in the text, and stopping at the root: `..` of an open directory could lead out of it.
            if part == "..":
                return _and_close(fd, todo[: max(index - 1, 0)] + todo[index + 1 :])
            # The caller decides what to do with the last component, which may be absent.
            if last and not follow:
                return ParentDir(fd, part, tuple(todo))
            try:
                child = os.open(part, _DIRECTORY, dir_fd=fd)
            except OSError as error:
                target = (
                    _link(fd, todo[: index + 1], path)
                    if error.errno in (errno.ENOTDIR, errno.ELOOP)
                    else None
                )
                if target is not None:
                    # An absolute link starts at the root directory, as in a chroot.
                    before = [] if target.startswith("/") else todo[:index]
                    steps = [step for step in target.split("/") if step not in ("", ".")]
                    return _and_close(fd, before + steps + todo[index + 1 :])
                if last:
                    return ParentDir(fd, part, tuple(todo))
                raise OSError(error.errno, os.strerror(error.errno or 0), path) from None
            if last:
                os.close(child)
                return ParentDir(fd, part, tuple(todo))
            os.close(fd)
            fd = child
    # Also after Ctrl-C: a leaked descriptor would keep a file system from being unmounted.
    except BaseException:
        os.close(fd)
        raise
    return ParentDir(fd, ".", tuple(todo))


def _ahead(fd: int, todo: list[str]) -> tuple[int, int]:
    """Go as far as the parent of the last component at once, if no link is on the way; else stay.

    Returns:
        The directory that was reached, and the number of components on the way to it.
    """
    above = todo[:-1]
    # For one component a call is a call. The kernel would follow `..`; here it is resolved in the text.
    if len(above) < 2 or ".." in todo:
        return fd, 0
    reached = open_below(fd, "/".join(above), _DIRECTORY)
    if reached is None:
        return fd, 0
    os.close(fd)
    return reached, len(above)


def _and_close(fd: int, todo: list[str]) -> list[str]:
    os.close(fd)
    return todo


def _link(fd: int, parts: list[str], path: str) -> str | None:
    """Return the target of a link if root or this user owns it; None for what is no link."""
    name = parts[-1]
    try:
        target = os.readlink(name, dir_fd=fd)
    except OSError:
        return None
    # The owner of the link itself, not of its target.
    owner = os.stat(name, dir_fd=fd, follow_symlinks=False).st_uid
    if owner not in (0, os.geteuid()):
        raise ForeignLinkError("/" + "/".join(parts), owner, path)
    return target


class HeldDir:
    """A duplicate of a directory that is held open; leaving the `with` closes only the duplicate."""

    __slots__ = ("_path", "_place")

    def __init__(self, fd: int, directory: str, name: str, parts: tuple[str, ...]) -> None:
        self._place = ParentDir(fd, name, parts if name == "." else (*parts, name))
        self._path = directory if name == "." else f"{directory.rstrip('/')}/{name}"

    def __enter__(self) -> ParentDir:
        return self._place

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            _name(error, self._place, self._path)
        os.close(self._place.fd)


class HeldDirs:
    """Directories that stay open while thousands of files in them are read or written.

    If somebody moves a directory meanwhile, files are still written into the moved one. Where the installer
    itself changes what a path leads to, it calls `forget`. Several threads may use it.

    Args:
        root: The directory that represents `/`.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._lock = Lock()
        self._open: OrderedDict[str, ParentDir] = OrderedDict()
        self._changes = 0

    def open(self, directory: str, name: str = ".") -> HeldDir:
        """Return the open directory of a path, opening it if necessary.

        Raises:
            OSError: It is missing, is not a directory, or a link in the path does not count.
        """
        with self._lock:
            # A duplicate for each caller: closing one must not close it for other threads.
            found = self._open.get(directory)
            if found is not None:
                self._open.move_to_end(directory)
                return HeldDir(os.dup(found.fd), directory, name, found.parts)
            changes = self._changes
        with open_parent(self._root, directory, follow=True) as at:
            found = ParentDir(os.open(at.name, _DIRECTORY, dir_fd=at.fd), ".", at.parts)
        self._keep(directory, found, changes)
        return HeldDir(found.fd, directory, name, found.parts)

    def _keep(self, directory: str, found: ParentDir, changes: int) -> None:
        with self._lock:
            # Opened before a `forget` by another thread: what it leads to may have changed since.
            if directory in self._open or changes != self._changes:
                return
            self._open[directory] = found._replace(fd=os.dup(found.fd))
            # The one that was used longest ago.
            if len(self._open) > MAX_HELD:
                os.close(self._open.popitem(last=False)[1].fd)

    def forget(self) -> None:
        """Close all of them: a path may lead to another directory from now on."""
        with self._lock:
            self._changes += 1
            while self._open:
                with suppress(OSError):
                    os.close(self._open.popitem()[1].fd)
