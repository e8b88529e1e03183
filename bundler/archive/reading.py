"""Read bundles without any decision about their signatures, and small files with a limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from installer.core.document_file import REMEDY, encoding_damage
from installer.core.errors import UsageError, os_errors_as
from installer.core.format.archive import Bundle, open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import FileSource


@contextmanager
def unverified_bundle(path: Path) -> Iterator[Bundle]:
    """Open a bundle whose signatures nobody has checked; head and manifest stay usable after closing.

    Args:
        path: The bundle.

    Yields:
        The bundle; its list and its manifest agree, nothing else is known.

    Raises:
        UsageError: There is no such file.
        TamperedError: It is not a bundle, or its list and manifest do not agree.
    """
    with closing(FileSource(path)) as medium:
        yield open_bundle(medium, unsafe_trust_anyone)


def read_with_tail(path: Path) -> Bundle:
    """Read head and tail of a bundle, and close it.

    Args:
        path: The bundle.

    Returns:
        The bundle with its approvals read (`read_tail`).

    Raises:
        UsageError: There is no such file.
        TamperedError: It is not a bundle.
    """
    with unverified_bundle(path) as bundle:
        bundle.read_tail()
        return bundle


def read_limited(path: Path, limit: int, hint: str = "") -> bytes:
    """Read a small file.

    Raises:
        UsageError: It cannot be read, has more than `limit` bytes, or is a text in another encoding.
    """
    with os_errors_as(UsageError, "cannot be read", path, hint), path.open("rb") as file:
        # One byte more than allowed tells a file that is too large, without reading all of it.
        data = file.read(limit + 1)
    if len(data) > limit:
        raise UsageError(f"has more than {limit} bytes", where=str(path), hint=hint)
    if damage := encoding_damage(data):
        raise UsageError(damage, where=str(path), hint=REMEDY)
    return data
