"""What an interrupted append may leave after the payload, in the one form that is told from tampering.

`bundle approve` writes after the last member, in this order, each made durable before the next:

1. into the second of the two zero blocks: the first block of the first new payload;
2. after it: the rest of the new members and the new end of the archive;
3. into the first of the two zero blocks: the header of the first new member. From now on they count.

Interrupted before 3, the archive ends at its first zero block, as every tar does; what follows is never
parsed. Interrupted within 3, the first block holds the beginning of a header of an approval,
and zeros.
"""

from __future__ import annotations

import re

from installer.core.format.bundle_source import BundleSource
from installer.core.format.tar_header import END, Header, encode, extent
from installer.core.limits import LIMITS

FILE_MODE = 0o644
FILES_PER_APPROVAL = 4
"""An approval is a statement and up to three signature files."""
MAX_APPEND_BYTES = FILES_PER_APPROVAL * extent(LIMITS.approval_bytes) + len(END)
"""The largest number of bytes that an append writes."""
_NAME = re.compile(rb"approvals/[a-z0-9.-]*")
_SIZE = slice(124, 136)
_OCTAL = re.compile(rb"[0-7]{0,12}")

STATEMENT_START = b'{"_type":"https://in-toto.io/Statement/v1","'
"""The first bytes of every statement of Waybill: they tell a truncated append from foreign bytes."""


def is_partial_header(block: bytes, mtime: int) -> bool:
    """Return whether a block is the beginning of a header of an approval, and zeros.

    Args:
        block: 512 bytes.
        mtime: The time that all headers of the bundle have.
    """
    begun = block.rstrip(b"\0")
    name, _, _ = begun[:100].partition(b"\0")
    # Only the header of an approval is ever appended: any other name is tampering.
    if not (_NAME.fullmatch(name) or b"approvals/".startswith(name)):
        return False
    if len(begun) <= 100:
        return name == begun
    digits = begun[_SIZE].rstrip(b"\0")
    if not _OCTAL.fullmatch(digits):
        return False
    # Digits that are missing cannot change the comparison: only the part that was written is compared.
    size = int(digits.ljust(11, b"0"), 8)
    try:
        whole = encode(Header(name.decode("ascii"), FILE_MODE, size, mtime))
    except ValueError:
        return False
    return begun != whole.rstrip(b"\0") and whole.startswith(begun)


def is_partial_append(first: bytes, second: bytes, mtime: int) -> bool:
    """Return whether the two blocks after the last member are what an interrupted append leaves.

    Args:
        first: The block where the archive ends, or a header would begin.
        second: The block after it.
        mtime: The time that all headers of the bundle have.
    """
    begun = second.rstrip(b"\0")
    if not begun:
        return False
    if any(first):
        # The header is written last: by then the whole statement is there.
        return second.startswith(STATEMENT_START) and is_partial_header(first, mtime)
    return second.startswith(STATEMENT_START) or STATEMENT_START.startswith(begun)


def ends_within(medium: BundleSource, offset: int) -> bool:
    """Return whether a source ends at `offset`, or no further after it than an append can reach.

    Args:
        medium: What is read.
        offset: After the two blocks that `is_partial_append` looked at.
    """
    if medium.parallel:
        return medium.at_end(offset + MAX_APPEND_BYTES)
    # A stream does not know its size: it is read on, at most as far as one append can reach.
    return any(medium.at_end(place) for place in range(offset, offset + MAX_APPEND_BYTES + 1))
