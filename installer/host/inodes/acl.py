"""POSIX ACLs as the kernel keeps them: what they say of owner, group and others, apart from their names."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x04, 0x10, 0x20


def declared(acl: bytes, mode: int) -> int:
    """Return permission bits without what an ACL grants by name.

    Args:
        acl: The value of the attribute; empty for none.
        mode: The bits as stat(2) has them: it shows the mask of the ACL in place of the group's bits.
    """
    rights = {tag: bits for tag, bits, _ in _entries(acl)} if acl else {}
    if _MASK not in rights:
        return mode
    return mode & ~0o070 | (rights[_GROUP_OBJ] & rights[_MASK]) << 3


def with_mode(acl: bytes, mode: int) -> bytes:
    """Return an ACL with the permission bits of owner, group and others, and the rest as it was."""
    new = {_USER_OBJ: mode >> 6 & 7, _GROUP_OBJ: mode >> 3 & 7, _OTHER: mode & 7}
    rows = []
    for tag, bits, who in _entries(acl):
        # The mask bounds the group, too.
        wanted = bits | new[_GROUP_OBJ] if tag == _MASK else new.get(tag, bits)
        rows.append(_ENTRY.pack(tag, wanted, who))
    return acl[: _HEADER.size] + b"".join(rows)


def _entries(acl: bytes) -> Iterator[tuple[int, int, int]]:
    yield from _ENTRY.iter_unpack(acl[_HEADER.size :])
