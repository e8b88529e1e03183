"""Private copies for programs: of files that they execute, and, in memory, of secrets that they read.

Between a check and the start of a program its file could change. The copy has a random name, is in the
installer's own directory, and its content is what was hashed while it was written.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from installer.host import syscalls
from installer.host.host import Host
from installer.host.kernel import started
from installer.host.system import System

PREFIX = ".run-"
"""Starts the name of every such directory; one that a kill left is removed with the next."""
TEMPORARY = "tmp"
"""The directory for temporary files in one in memory, which programs of other users reach."""
_MEMORY = ".waybill"
_PLACES = ("/dev/shm", "/run")  # noqa: S108 - names in it cannot be guessed, and are made by mkdir(2)
_IN_MEMORY = ("tmpfs", "ramfs")
_NOEXEC = 8
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
Listed = Mapping[str, Sequence[object]]
"""SHA-256 in hex and permission bits of each file, by its path below the directory."""
_in_use: set[str] = set()
"""Names of the copies of this process: a second one must not remove the first."""


def new_name() -> str:
    """Return a name for a private copy, which says whose it is: a copy goes with the process that made it."""
    pid = os.getpid()
    return f"{PREFIX}{pid}-{started(pid) or 0}-{secrets.token_hex(8)}"


@contextmanager
def _used_name() -> Iterator[str]:
    """Yield such a name, which is in use meanwhile: nothing of this process removes what has it."""
    name = new_name()
    _in_use.add(name)
    try:
        yield name
    finally:
        _in_use.discard(name)


def _is_used(name: str) -> bool:
    """Return whether a private copy is in use: by this process, or by another one that still runs."""
    owner, *more = name.removeprefix(PREFIX).split("-")
    if name in _in_use or not more or not owner.isdigit() or int(owner) == os.getpid():
        return name in _in_use
    # Commands that only look, such as `status`, hold no lock, and must not clear what an upgrade is using.
    # Names of earlier versions have no time.
    began = started(int(owner))
    return began != "" and (len(more) == 1 or more[0] == began)


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
    with _used_name() as name:
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
    with _used_name() as name:
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


@contextmanager
def memory_file(system: System, data: bytes) -> Iterator[str]:
    """Yield the path of a file in memory, for the programs that are run meanwhile: no disk has its bytes."""
    fd, inherited = syscalls.memory_file("waybill"), system.inherited
    try:
        _write(fd, data)
        system.inherited = (*inherited, fd)
        yield f"/proc/self/fd/{fd}"
    finally:
        system.inherited = inherited
        os.close(fd)


def memory_place() -> str:
    """Return a directory of this machine that is in memory; empty where there is none.

    One from which programs can be executed comes first: engines put scripts of a release there.
    """
    found = [place for place in _PLACES if _type_of(place) in _IN_MEMORY and os.access(place, os.W_OK)]
    return min(found, key=lambda place: bool(os.statvfs(place).f_flag & _NOEXEC), default="")


def _type_of(place: str) -> str:
    """Return the type of the file system that is mounted on a directory; empty where none is."""
    found = ""
    with suppress(OSError):
        for row in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
            before, _, after = row.partition(" - ")
            if before.split(" ")[4] == place:
                found = after.split(" ")[0]  # the last mount is the one that is seen
    return found


@contextmanager
def memory_directory(files_of: Callable[[str], Mapping[str, bytes]]) -> Iterator[str]:
    """Yield a private directory in memory with some files, for a program that is run meanwhile.

    It is on this machine, whatever `--root` is: programs run outside of that. No effect of the transaction
    depends on it.

    Args:
        files_of: Returns the contents of the files by their paths below the directory, which it gets.

    Raises:
        OSError: There is no file system in memory, or no space in it.
    """
    place = memory_place()
    if not place:
        raise FileNotFoundError(2, "no file system in memory", " or ".join(_PLACES))
    clear_memory()
    with _used_name() as name:
        top = f"{place}/{_MEMORY}{name}"
        try:
            for folder in ("", f"/{TEMPORARY}"):
                os.mkdir(f"{top}{folder}", 0o700)  # noqa: PTH102
                # States may run a script as the user of a service. All else in here is for this user only.
                os.chmod(f"{top}{folder}", 0o711)  # noqa: PTH101, S103
            for path, data in files_of(top).items():
                Path(top, path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                fd = os.open(f"{top}/{path}", _NEW, 0o600)
                with open(fd, "wb") as file:  # noqa: PTH123
                    file.write(data)
            yield top
        finally:
            # A program may have left something that cannot be removed: the next run tries again.
            shutil.rmtree(top, ignore_errors=True)


def forget(path: str) -> None:
    """Remove a file of such a directory before its time; one that is gone is no error."""
    with suppress(OSError):
        Path(path).unlink()


def clear_memory() -> None:
    """Remove what killed runs left; what cannot be removed is left for the next time."""
    for place in _PLACES:
        with suppress(OSError):
            for path in Path(place).glob(f"{_MEMORY}.*"):
                status = path.lstat()
                # Everybody may write to /dev/shm: what another user has put there is not ours.
                if status.st_uid == os.geteuid() and not _is_used(path.name.removeprefix(_MEMORY)):
                    shutil.rmtree(path, ignore_errors=True)


def opened_program(host: Host, path: str, sha256: str) -> int:
    """Open a program for as long as the process lives, and return the descriptor.

    Args:
        host: The host.
        path: A host path.
        sha256: What the program has to have, in hex.

    Raises:
        DifferentError: It has other content, or is no file.
        OSError: It cannot be read.
    """
    # Not a link, and nothing that is no file: opening a pipe would wait for ever.
    if host.observe(path, digest=False).kind != "file":
        raise DifferentError(path)
    with host.open_parent(path) as at:
        fd = os.open(at.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.fd)
    # By the descriptor: another file of that name is not what was compared.
    with os.fdopen(os.dup(fd), "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            os.close(fd)
            raise DifferentError(path)
    return fd


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
