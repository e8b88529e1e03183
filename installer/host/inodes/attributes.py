"""Attributes of files besides mode and owner: ACLs, capabilities, security labels, `user.*`.

The site decides about ACLs, labels and `user.*`: they stay with a path when its file is replaced.
Capabilities grant rights to the content of a file: they come from the release, never from the old file.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from installer.core.format.entries import capabilities
from installer.host.inodes.acl import with_mode

ACL = "system.posix_acl_access"
CAPABILITY = "security.capability"
_DEFAULT_ACL = "system.posix_acl_default"
_LABELS = ("security.selinux", "security.SMACK64")
_USER = "user."
_NONE = (errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.ENOSYS)
"""What getxattr(2) fails with where there is no such attribute, or none that this user may see."""
_SELINUX = Path("/sys/fs/selinux/enforce")


class Attributes(NamedTuple):
    """The attributes of a file or directory, as `Seen` has them."""

    acl: str = ""
    capabilities: str = ""
    others: str = ""


def read(fd: int) -> dict[str, bytes]:
    """Return all attributes that are compared, backed up and restored; by name."""
    found: dict[str, bytes] = {}
    with suppress(OSError):  # a file system without attributes
        for name in os.listxattr(fd):
            if name in (ACL, _DEFAULT_ACL, CAPABILITY, *_LABELS) or name.startswith(_USER):
                value = _value(fd, name)
                found |= {name: value} if value is not None else {}
    return found


def summary(fd: int) -> Attributes:
    """Return the attributes of an open file or directory."""
    rows = read(fd)
    if not rows:
        return Attributes()
    acl, granted = rows.pop(ACL, b""), rows.pop(CAPABILITY, b"")
    digest = hashlib.sha256()
    for name in sorted(rows):
        digest.update(f"{name}\0{len(rows[name])}\0".encode() + rows[name])
    return Attributes(
        acl.hex(),
        capabilities.text_of(granted) if granted else "",
        digest.hexdigest()[:32] if rows else "",
    )


def kept(rows: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return those of a file's attributes that stay with its path when its content is replaced."""
    return {name: value for name, value in rows.items() if name != CAPABILITY}


def apply(fd: int, rows: Mapping[str, bytes]) -> None:
    """Give an open file or directory these attributes, and take from it all others that can be given.

    Raises:
        OSError: One cannot be set.
    """
    # What is new may have the ACL that its directory passes on.
    for name in sorted(read(fd).keys() - rows.keys() - {*_LABELS}):
        os.removexattr(fd, name)
    for name in sorted(rows):
        if _value(fd, name) == rows[name]:
            continue
        try:
            os.setxattr(fd, name, rows[name])
        except OSError:
            # Without SELinux a label is only text, and a container may not write it.
            if name not in _LABELS or _SELINUX.exists():
                raise


def set_owner_mode(fd: int, mode: int, uid: int, gid: int, *, keep_acl: bool = False) -> None:
    """Set the owner, then the mode, of an open file or directory.

    Args:
        fd: The file or directory.
        mode: Its permission bits.
        uid: Its owner; -1 to leave it.
        gid: Its group; -1 to leave it.
        keep_acl: Whether users and groups that an ACL names keep their rights. Otherwise the mode bounds
            these, too: 0700 closes a directory, whatever its ACL.

    Raises:
        OSError: They cannot be set.
    """
    # The owner first: chown(2) clears setuid and setgid bits of a mode set before, and capabilities.
    if (uid, gid) != (-1, -1):
        os.fchown(fd, uid, gid)
    acl = _value(fd, ACL) if keep_acl else None
    # By the descriptor, whatever the umask: between a check and chmod(2) by name, somebody could put a link
    # in its place.
    os.fchmod(fd, mode)
    if acl:
        # chmod(2) alone sets the mask of the ACL where the bits of the group are meant, and takes their
        # rights from the users and groups it names.
        os.setxattr(fd, ACL, with_mode(acl, mode))


def _value(fd: int, name: str) -> bytes | None:
    try:
        return os.getxattr(fd, name)
    except OSError as error:
        if error.errno not in _NONE:
            raise
        return None
