"""Attributes of files in tests: ACLs, capabilities, attributes of users, as the kernel keeps them."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

from tests.rig.needs import lacks

ACL, DEFAULT_ACL, CAPABILITY = "system.posix_acl_access", "system.posix_acl_default", "security.capability"
NOBODY = 65534
_ANY = 0xFFFFFFFF


def acl(owner: int = 6, named: int = 4, group: int = 4, mask: int = 4, other: int = 4) -> bytes:
    """Return an ACL that names one user, as `setfacl -m u:nobody:…` would make it."""
    rows = [(1, owner, _ANY), (2, named, NOBODY), (4, group, _ANY), (16, mask, _ANY), (32, other, _ANY)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


def give(path: Path, **attributes: bytes) -> None:
    """Set attributes, by the last part of their names; skip the test where the file system has none."""
    names = {"acl": ACL, "default": DEFAULT_ACL, "capability": CAPABILITY}
    try:
        for name, value in attributes.items():
            os.setxattr(path, names.get(name, f"user.{name}"), value)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
            raise
        lacks("attributes", f"a file system and a user that set attributes: {error}")


def attributes(path: Path) -> dict[str, bytes]:
    """Return all attributes of a path."""
    return {name: os.getxattr(path, name) for name in sorted(os.listxattr(path))}
