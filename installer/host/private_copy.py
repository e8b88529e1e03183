"""A private copy of files that are about to be executed, made of the very bytes that were checked.

Between a check and the start of a program its file could change. The copy has a random name, is in the
installer's own directory, and its content is what was hashed while it was written.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from installer.host.host import Host

PREFIX = ".run-"
"""Starts the name of every such directory; one that a kill left is removed with the next."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
Listed = Mapping[str, Sequence[object]]
"""SHA-256 in hex and permission bits of each file, by its path below the directory."""
_in_use: set[str] = set()
"""Names of the copies of this process: a second one must not remove the first."""


def new_name() -> str:
    """Return a name for a private copy, which says whose it is: a copy goes with the process that made it."""
    return f"{PREFIX}{os.getpid()}-{secrets.token_hex(8)}"


def _is_used(name: str) -> bool:
    owner, dash, _ = name.removeprefix(PREFIX).partition("-")
    # Commands that only look, such as `status`, hold no lock, and must not clear what an upgrade is using.
    is_other = bool(dash) and owner.isdigit() and int(owner) != os.getpid()
    return name in _in_use or (is_other and Path(f"/proc/{owner}").exists())


class DifferentError(Exception):
    """A file is not what it should be; the argument is its path."""


@contextmanager
def private_copy(
    host: Host, directory: str, files: Listed, base: str, *, alone: bool = False
) -> Iterator[str]:
    """Check files and yield a directory that is like `directory`, with a private copy of these files.

    What else is in `directory` is there as links, so that a script finds its files from its own place.

    Args:
        host: The host.
        directory: Where the files are.
        files: The files.
        base: Where the copy is made: a directory of the installer from which programs can be executed.
        alone: Whether nothing else of `directory` is there: for programs that look for more files themselves.

    Yields:
        The directory with the copy; `directory` itself where there is no space for one.

    Raises:
        DifferentError: A file has other content, or is missing.
    """
    remove_copies(host, base)
    name = new_name()
    _in_use.add(name)
    try:
        try:
            _copy(host, directory, files, base, name, alone=alone)
            place = f"{base}/{name}"
        except OSError:
            # On a full disk an undo still has to run: the files are checked where they are.
            for path in files:
                _check(host, directory, path, files)
            place = directory
        yield place
    finally:
        _remove(host, base, name)
        _in_use.discard(name)


@contextmanager
def private_file(host: Host, data: bytes, base: str) -> Iterator[str]:
    """Yield the path of a private file with some bytes, for a program that reads them from a file.

    Args:
        host: The host.
        data: The bytes.
        base: Where it is made: a directory of the installer.

    Raises:
        OSError: It cannot be written.
    """
    remove_copies(host, base)
    name = new_name()
    _in_use.add(name)
    try:
        with host.open_directory(base) as at:
            fd = os.open(f"{at.name}/{name}", _NEW, 0o600, dir_fd=at.fd)
            try:
                _write(fd, data)
            finally:
                os.close(fd)
        yield f"{base}/{name}"
    finally:
        _remove(host, base, name)
        _in_use.discard(name)


def _copy(host: Host, directory: str, files: Listed, base: str, name: str, *, alone: bool) -> None:
    real = host.real(directory)
    folders = sorted({path[:end] for path in files for end, letter in enumerate(path) if letter == "/"})
    with host.open_directory(base) as at:
        top = f"{at.name}/{name}"
        for folder in ("", *(f"/{folder}" for folder in folders)):
            os.mkdir(f"{top}{folder}", 0o700, dir_fd=at.fd)
            # As a release: a script may call itself as the user of a service. mkdir(2) applies the umask.
            os.chmod(f"{top}{folder}", 0o755, dir_fd=at.fd)  # noqa: S103
            for entry in () if alone else host.names(f"{directory}{folder}"):
                path = f"{folder}/{entry}"
                if path[1:] not in files and path[1:] not in folders:
                    os.symlink(f"{real}{path}", f"{top}{path}", dir_fd=at.fd)
        for path, (sha256, mode) in files.items():
            seen = hashlib.sha256()
            fd = os.open(f"{top}/{path}", _NEW, 0o600, dir_fd=at.fd)
            try:
                for chunk in _chunks(host, f"{directory}/{path}", path):
                    seen.update(chunk)
                    _write(fd, chunk)
                os.fchmod(fd, int(str(mode)))
            finally:
                os.close(fd)
            if seen.hexdigest() != sha256:
                raise DifferentError(path)


def _check(host: Host, directory: str, path: str, files: Listed) -> None:
    seen = hashlib.sha256()
    for chunk in _chunks(host, f"{directory}/{path}", path):
        seen.update(chunk)
    if seen.hexdigest() != files[path][0]:
        raise DifferentError(path)


def _chunks(host: Host, where: str, path: str) -> Iterator[bytes]:
    # Not a link, and nothing that is no file: opening a pipe would wait for ever.
    if host.observe(where, digest=False).kind != "file":
        raise DifferentError(path)
    yield from host.chunks(where)


def _write(fd: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(fd, view) :]


def remove_copies(host: Host, base: str) -> None:
    """Remove what killed runs left; what cannot be removed is left for the next time."""
    with suppress(OSError):
        for name in host.names(base):
            if name.startswith(PREFIX) and not _is_used(name):
                _remove(host, base, name)


def _remove(host: Host, base: str, name: str) -> None:
    with suppress(OSError), host.open_directory(base) as at:
        # Links in it are removed, never followed.
        shutil.rmtree(f"{at.name}/{name}", ignore_errors=True, dir_fd=at.fd)
        os.unlink(f"{at.name}/{name}", dir_fd=at.fd)  # a file; a directory is gone by now
