"""System calls that Python has no function for, and those whose errors mean more than they say."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import resource

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_MEMFD_CREATE = {"x86_64": 319, "aarch64": 279}
_MFD_CLOEXEC = 1
_OPENAT2 = 437  # on every machine
_RESOLVE = 0x04 | 0x08  # RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH


_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EROFS)
"""What fsync(2) fails with where a file system does not support it."""


class SyncError(OSError):
    """A failed sync: what was written may not be on the disk, and a later sync will not report it again."""


class _OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def open_below(directory: int, path: str, flags: int) -> int | None:
    """Open what is below an open directory, if no component of the path is a link or `..`.

    Args:
        directory: A descriptor.
        path: A relative path.
        flags: As of open(2).

    Returns:
        A descriptor; None where it cannot be opened, for whatever reason: the kernel may be older than 5.6,
        or a sandbox may not know openat2(2).
    """
    # The kernel would read such a path up to there only, and open another directory.
    if "\0" in path:
        return None
    how, size = _OpenHow(flags, 0, _RESOLVE), ctypes.c_size_t(ctypes.sizeof(_OpenHow))
    fd: int = _libc().syscall(_OPENAT2, directory, os.fsencode(path), ctypes.byref(how), size)
    return fd if fd >= 0 else None


def fsync(fd: int) -> None:
    """Wait until an open file or directory is on the disk.

    Raises:
        SyncError: What was written may be lost.
        OSError: The file system cannot sync.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        # No write has failed: this file system cannot sync at all, and a reboot would not help.
        if error.errno in _NO_SYNC:
            raise OSError(error.errno, f"fsync is not supported here: {error.strerror}") from error
        # Never tried again: the kernel reports a failed write once and marks the pages clean. A second
        # fsync(2) would succeed although the data is lost.
        raise SyncError(error.errno, error.strerror) from error


def syncfs(fd: int) -> int:
    """Wait until a whole file system is on the disk; return 0 or the errno."""
    return 0 if _libc().syncfs(fd) == 0 else ctypes.get_errno()


def fallocate(fd: int, start: int, size: int) -> int:
    """Allocate space after the end of a file without changing its length; return 0 or the errno."""
    # posix_fallocate of Python would write zeros where the file system cannot reserve, and extend the file.
    done = _libc().fallocate(fd, _KEEP_SIZE, ctypes.c_int64(start), ctypes.c_int64(size))
    return 0 if done == 0 else ctypes.get_errno()


def memory_file(name: str) -> int:
    """Return a descriptor of a new file in memory, which no program inherits (memfd_create(2)).

    Raises:
        OSError: The kernel is older than 3.17, or this machine is of another kind.
    """
    # By its number: the Python of the executables is built for a C library that does not have the function.
    number = _MEMFD_CREATE.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    fd: int = _libc().syscall(number, name.encode(), _MFD_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


@functools.cache
def version() -> tuple[int, int]:
    """Return the first two numbers of the kernel's version."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


def forbid_dumps() -> None:
    """Let this process, and children that it forks, leave no core dump, and be read by no debugger.

    Raises:
        OSError: The kernel refuses.
    """
    # The limit alone does not count where dumps are piped to a program, as systemd-coredump has it; the flag
    # alone would be enough. The hard limit stays: a program that is started may want its own dumps.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    libc = _libc()
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 or libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno() or errno.EPERM
        raise OSError(number, os.strerror(number))
