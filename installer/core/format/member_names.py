"""The grammar of member names and destinations, and how a path is split into ustar's prefix and name.

The grammar is a subset of POSIX portable file names that holds Helm's `_helpers.tpl`, systemd's
`name@.service` and ordinary release trees. No name can contain `..`, start with `-`, or need quoting in a
shell.
"""

from __future__ import annotations

import re

_WORD = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._@+%=,][A-Za-z0-9._@+%=,~-]*"
COMPONENT = re.compile(_WORD)
_PATH = re.compile(rf"{_WORD}(?:/{_WORD})*")
"""Matches a whole path at once: a bundle may have 250,000."""
MAX_NAME = 100
MAX_PREFIX = 155
MAX_COMPONENT = 255
"""The longest name in a directory that Linux file systems accept."""
_PLAIN = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._@+%=,:~-]{1,255})+")
"""Destinations as nearly all are; others are checked one component at a time."""
WAYBILL_DIRECTORIES = ("/var/lib/waybill", "/etc/waybill", "/var/cache/waybill", "/opt/waybill")
"""Trust, state and the installer itself: a release that could write there could change what verifies it."""
_WAYBILL_DIRECTORIES = tuple(f"{path}/" for path in WAYBILL_DIRECTORIES)


def path_fault(path: str) -> str | None:
    """Return why `path` cannot be a member's name.

    Args:
        path: A relative path with `/` between its components.

    Returns:
        The fault in a few words, or None where the path is good.
    """
    # Whole paths in one match, also deep ones; the rest finds out which rule was broken.
    if _PATH.fullmatch(path) and (len(path) <= MAX_NAME or split_ustar(path)):
        return None
    for component in path.split("/"):
        if component in ("", ".", ".."):
            return "has an empty, `.` or `..` component"
        if not COMPONENT.fullmatch(component):
            return (
                "has characters other than A-Z a-z 0-9 . _ @ + % = , ~ -, or a component starts with - or ~"
            )
    if split_ustar(path) is None:
        return "is too long for a tar header (at most 255 bytes, and a component of at most 100)"
    return None


def split_ustar(path: str) -> tuple[str, str] | None:
    """Split a path into (prefix, name) in the one way the format knows: the shortest prefix that fits.

    Args:
        path: A path of ASCII characters.

    Returns:
        The two fields, with an empty prefix for paths of up to 100 bytes; None where no split fits.
    """
    if len(path) <= MAX_NAME:
        return "", path
    # The first slash from which the rest fits into `name`: a reader that picks another one sees another
    # header.
    cut = path.find("/", len(path) - MAX_NAME - 1)
    if cut < 1 or cut > MAX_PREFIX:
        return None
    return path[:cut], path[cut + 1 :]


def destination_fault(path: str) -> str | None:
    """Return why `path` cannot be a place on the host where a file is put.

    Args:
        path: What `install:` names.

    Returns:
        The fault in a few words, or None where the path is good.
    """
    ours = f"{path}/".startswith(_WAYBILL_DIRECTORIES)
    if _PLAIN.fullmatch(path) and len(path) <= 1024 and not ours:
        return None
    if not path.startswith("/"):
        return "is not an absolute path"
    if len(path) > 1024:
        return "is longer than 1024 bytes"
    if path == "/" or path.endswith("/"):
        return "names a directory, not a file"
    if ours:
        return "is reserved for Waybill"
    for component in path[1:].split("/"):
        if component in ("", ".", ".."):
            return "has an empty, `.` or `..` component"
        if len(component) > MAX_COMPONENT:
            return f"has a component of more than {MAX_COMPONENT} bytes"
        # Destinations appear in shell commands, units and logs of the operator.
        if any(ord(c) < 33 or ord(c) > 126 or c in "\\'\"`$*?[]{}<>|&;!#" for c in component):
            return "has characters that are not printable or need quoting"
    return None


def link_target_fault(path: str, target: str, top: str) -> str | None:
    """Return why a link at `path` may not point to `target`.

    Args:
        path: Where the link is, in the bundle.
        target: What it points to.
        top: The directory that the target must stay in, as a bundle path.

    Returns:
        The fault in a few words, or None: the target is relative and stays below `top`.
    """
    if not target or target.startswith("/") or len(target) > 1024:
        return "is not a relative path"
    if any(ord(c) < 33 or ord(c) > 126 for c in target):
        return "has characters that are not printable"
    here = path.split("/")[:-1]
    climbing = True
    for component in target.split("/"):
        if component == "..":
            # After a name, `..` would start from wherever that name leads if it is itself a link.
            if not climbing:
                return "has a `..` after a name"
            if not here:
                return "points outside the bundle"
            here.pop()
        elif component not in ("", "."):
            climbing = False
            here.append(component)
    # Compared after resolving, not by the text: `../x/..` stays inside or not only at the end.
    if here[: len(top.split("/"))] != top.split("/"):
        return f"points outside {top}"
    return None
