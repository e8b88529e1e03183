"""Open a bundle to look at it or to add to it, without any decision about its signatures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

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
