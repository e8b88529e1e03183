"""Approvals next to a bundle: the directory `BUNDLE.approvals/`, for media that cannot be written to."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from installer.core.errors import MediaError, TamperedError, UsageError, WaybillError
from installer.core.format.approval_names import DIRECTORY, NAME, is_known
from installer.core.limits import LIMITS

SUFFIX = ".approvals"
_NUMBERED = re.compile(r" ?\([0-9]{1,3}\)(?=(\.tar)?\Z)")
# O_NOFOLLOW: a link could lead to any file of the host. O_NONBLOCK: a FIFO must not block the open.
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


ApprovalSources = Sequence[tuple[str, Mapping[str, bytes]]]
"""Approvals that are not in the bundle: their directory, as errors name it, and files as `approvals/…`."""


@dataclass(frozen=True, slots=True)
class Sidecars:
    """Approvals that are not in the bundle.

    Attributes:
        sources: The directories, as errors name them, and their files as a bundle would name them,
            `approvals/…`; nothing about the files was checked.
        damaged: What is wrong with files and directories that could not be read.
        looked: Where approvals were looked for and what was there, in words.
        nowhere: Why there is no directory next to the bundle, in words; empty where there may be one.
    """

    sources: ApprovalSources = ()
    damaged: tuple[WaybillError, ...] = ()
    looked: tuple[str, ...] = ()
    nowhere: str = ""

    def looked_in(self) -> str:
        """Return in words where approvals were looked for; empty where only the bundle could have them."""
        places = f", and in {', '.join(self.looked)}" if self.looked else ""
        nowhere = f"; {self.nowhere} (--approvals names one)" if self.nowhere else ""
        return f"looked in the bundle{places}{nowhere}" if places or nowhere else ""


def sidecar_path(bundle: Path) -> Path:
    """Return the directory that belongs to a bundle."""
    return bundle.with_name(bundle.name + SUFFIX)


def find_sidecars(bundle: str, more: Sequence[Path] = (), *, published: bool = False) -> Sidecars:
    """Read the approvals next to a bundle, and those in further directories.

    Copies lose names: a browser adds a number, media without long names change the letters, a link has a name
    of its own. All directories that may belong to the bundle are read: an approval counts for the bundle that
    was signed, wherever it is. What cannot be read is set aside, because it may not be needed.

    Args:
        bundle: The bundle as the command names it; `-` for standard input.
        more: Directories that must exist.
        published: Whether it is named by its address on a server.

    Raises:
        UsageError: One of `more` does not exist.
    """
    sources: dict[str, Mapping[str, bytes]] = {}
    damaged: list[WaybillError] = []
    looked: list[str] = []
    what = "an address" if published else "standard input" if bundle == "-" else ""
    beside = [] if what else sidecar_directories(Path(bundle))
    for directory in dict.fromkeys([*beside, *more]):
        names, fault = _names(directory, required=directory in more)
        if fault is not None:
            damaged.append(fault)
        files: dict[str, bytes] = {}
        for name, file in names.items():
            try:
                files[name] = _read(directory / file)
            except WaybillError as error:
                damaged.append(error)
        if names:
            sources[str(directory)] = files
        there = (
            "cannot be read" if fault else f"{sum(bool(NAME.fullmatch(name)) for name in names)} approvals"
        )
        looked.append(f"{directory} ({there if directory.is_dir() else 'no such directory'})")
    nowhere = f"{what} has no directory next to it" if what else ""
    return Sidecars(tuple(sources.items()), tuple(damaged), tuple(looked), nowhere)


def sidecar_directories(bundle: Path) -> list[Path]:
    """Return the directory that belongs to a bundle, and those that may do so by another name of it.

    Args:
        bundle: The bundle.

    Returns:
        The directories in which hosts look; the first one need not exist.
    """
    # `.` and `/` have no name: opening them says what they are.
    if not bundle.name:
        return []
    own = sidecar_path(bundle)
    names = [bundle]
    with suppress(OSError):
        # A link such as `latest.tar`: the approvals are next to the file that it leads to.
        names.append(bundle.resolve(strict=True))
    # `shop-1.4.0 (1).tar`, as a browser names a second download.
    plain = [(name, _NUMBERED.sub("", name.name)) for name in names]
    names += [name.with_name(left) for name, left in plain if left]  # a link may lead to `/`
    found = [own]
    for name in names:
        wanted = _plain_name(name.name) + SUFFIX
        with suppress(OSError):
            found += sorted(
                each for each in name.parent.iterdir() if _plain_name(each.name) == wanted and each.is_dir()
            )
    return found


def _plain_name(name: str) -> str:
    """Return a name without what ISO 9660 does to it: upper case, and a version after a semicolon."""
    return name.lower().removesuffix(";1").removesuffix(".")


def read_sidecar(directory: Path, *, required: bool = False) -> dict[str, bytes]:
    """Read the approvals of a directory; files with other names are ignored.

    Args:
        directory: The directory that holds the files.
        required: Whether the directory must exist.

    Returns:
        The files as a bundle would name them, `approvals/…`; nothing about them was checked.

    Raises:
        UsageError: It does not exist, and must.
        MediaError: It cannot be read.
        TamperedError: There are too many files, or one is too large or not a regular file.
    """
    names, fault = _names(directory, required=required)
    if fault is not None:
        raise fault
    return {name: _read(directory / file) for name, file in names.items()}


def sidecar_files(directory: Path) -> list[tuple[str, Path]]:
    """Return the approvals and signatures of a directory, with the files that have their names.

    Args:
        directory: The directory.

    Returns:
        Names as a bundle has them, `approvals/…`, and paths. A name occurs twice where a copy has changed its
        letters; the last one is what hosts read.

    Raises:
        OSError: The directory cannot be read.
    """
    files = sorted(each.name for each in directory.iterdir())
    # Files with their proper names last, so that they win over those of an odd copy.
    files.sort(key=lambda each: _plain_name(each) == each)
    named = [(f"{DIRECTORY}{_plain_name(file)}", directory / file) for file in files]
    return [(name, path) for name, path in named if is_known(name)]


def _names(directory: Path, *, required: bool) -> tuple[dict[str, str], WaybillError | None]:
    """Return the approvals and signatures in a directory with the names of their files, or what is wrong."""
    try:
        names = {name: path.name for name, path in sidecar_files(directory)}
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise UsageError("is not a directory with approvals", where=str(directory)) from None
        return {}, None
    except OSError as error:
        return {}, MediaError(f"cannot be read: {error.strerror}", where=str(directory))
    if sum(bool(NAME.fullmatch(name)) for name in names) > LIMITS.approvals:
        return {}, TamperedError(f"has more than {LIMITS.approvals} approvals", where=str(directory))
    return dict(sorted(names.items())), None


def _read(path: Path) -> bytes:
    try:
        fd = os.open(path, _OPEN)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise TamperedError("is not a regular file", where=str(path))
            # One byte more than allowed, to tell a file at the limit from one beyond it.
            data = file.read(LIMITS.approval_bytes + 1)
    except IsADirectoryError:
        raise TamperedError("is not a regular file", where=str(path)) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise TamperedError(
                "is a symbolic link, which Waybill does not follow", where=str(path)
            ) from None
        raise MediaError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if len(data) > LIMITS.approval_bytes:
        raise TamperedError(f"has more than {LIMITS.approval_bytes} bytes", where=str(path))
    return data
