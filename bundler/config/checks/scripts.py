"""Whether a host can run a script."""

from __future__ import annotations

from installer.core.errors import Problem
from installer.core.format.manifest import Kind

KIND: Kind = "script"


def check(head: bytes, name: str) -> list[Problem]:
    """Return what is wrong with the first line of a script.

    Args:
        head: The first bytes of the script.
        name: Its path, for problems.
    """
    if not head.startswith((b"#!", b"\x7fELF")):
        return [Problem(f"{name}:1", "does not start with #!", "start it with #!/bin/sh")]
    if head.partition(b"\n")[0].endswith(b"\r"):
        # The kernel would look for an interpreter whose name ends in a carriage return.
        return [Problem(f"{name}:1", "has CRLF line endings", "save it with LF line endings")]
    return []
