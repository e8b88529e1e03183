"""What is at a path of a host, and the space of its file system, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from installer.host.inodes.acl import declared

_ATTRIBUTES = ("acl", "capabilities", "others")


@dataclass(frozen=True, slots=True)
class Seen:
    """What is at a path; only the fields of its kind are set.

    Attributes:
        kind: `absent`, `file`, `link`, `dir`, or `other` (device, socket, pipe).
        sha256: Of the bytes of a file, in hex; empty if it was not requested.
        size: Of a file.
        mode: Permission bits of a file or directory, as stat(2) has them.
        uid: Owner of a file or directory.
        gid: Group of a file or directory.
        target: Of a link.
        acl: Its ACL as the kernel has it, in hex; empty for none, and if attributes were not requested.
        capabilities: Of a file, as `setcap` takes them; empty as for the ACL.
        others: Digest of its other attributes: security label, default ACL, `user.*`.
        links: How many names a file has. It says nothing about the file, so it is neither compared nor
            recorded.
    """

    kind: Literal["absent", "file", "link", "dir", "other"]
    sha256: str = ""
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    target: str = ""
    acl: str = ""
    capabilities: str = ""
    others: str = ""
    links: int = field(default=1, compare=False)

    @property
    def bits(self) -> int:
        """The permission bits of owner, group and others, without what an ACL grants by name."""
        return declared(bytes.fromhex(self.acl), self.mode)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object; attributes that it does not have are left out, as most have none."""
        rows = {name: getattr(self, name) for name in self.__slots__ if name != "links"}
        return {name: value for name, value in rows.items() if value or name not in _ATTRIBUTES}


A_KIND = {"file": "a file", "link": "a link", "dir": "a directory", "other": "a device, socket or pipe"}
"""What may be at a path, in words, for messages."""


@dataclass(frozen=True, slots=True)
class Space:
    """Free space of a file system.

    Attributes:
        device: Number that distinguishes file systems.
        bytes: Bytes free for this user.
        inodes: Inodes free for this user; -1 if the file system does not count them.
        block: Size of one block.
        readonly: Mounted read-only.
        noexec: Mounted so that no program on it can be run.
        nosuid: Mounted so that capabilities of its files do not count.
    """

    device: int
    bytes: int
    inodes: int
    block: int
    readonly: bool
    noexec: bool
    nosuid: bool = False
