"""The grammar of names: members of the tar, true names of files, destinations, and how a path is split.

A member's name is a subset of POSIX portable file names that holds Helm's `_helpers.tpl`, systemd's
`name@.service` and ordinary release trees. No such name can contain `..`, start with `-`, or need quoting in
a shell. A file whose true name does not fit travels under an encoded name, which is made from the true name
and never decoded (`encoded_name`).
"""

from __future__ import annotations

import re
import unicodedata

from installer.core.digest import sha256_hex

_WORD = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._@+%=,][A-Za-z0-9._@+%=,~-]*"
COMPONENT = re.compile(_WORD)
_PATH = re.compile(rf"{_WORD}(?:/{_WORD})*")
"""Matches a whole path at once: a bundle may have 250,000."""
MAX_NAME = 100
MAX_PREFIX = 155
MAX_COMPONENT = 255
"""The longest name in a directory that Linux file systems accept, in bytes."""
MAX_PATH = 1024
"""The longest path, in bytes of UTF-8; Linux takes 4096, with the directories above it."""
_PLAIN = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._@+%=,:~-]{1,255})+")
"""Destinations as nearly all are; others are checked one component at a time."""
WAYBILL_DIRECTORIES = ("/var/lib/waybill", "/etc/waybill", "/var/cache/waybill", "/opt/waybill")
"""Trust, state and the installer itself: a release that could write there could change what verifies it."""
_WAYBILL_DIRECTORIES = tuple(f"{path}/" for path in WAYBILL_DIRECTORIES)
_DOTS = "has an empty, `.` or `..` component"

# A fixed list, not categories: those grow with the Unicode version of the interpreter, and two readers must
# agree. U+200C and U+200D stay: Persian and Indic words have them.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef"
    "\ufeff\ufff9-\uffff\U000e0000-\U000e0fff]"
)
_JOINERS = re.compile("[\u200c\u200d]")
_KEPT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+=,~-")
"""Bytes that an encoded name has as they are; a component does not begin with `-` or `~`."""
_SHELL = frozenset("\\'\"`$*?[]{}<>|&;!#")


def path_fault(path: str) -> str | None:
    """Return why `path` cannot be a member's name.

    Args:
        path: A relative path with `/` between its components.

    Returns:
        The fault in a few words, or None where the path is good.
    """
    if is_plain_path(path):
        return None
    for component in path.split("/"):
        if component in ("", ".", ".."):
            return _DOTS
        if not COMPONENT.fullmatch(component):
            return (
                "has characters other than A-Z a-z 0-9 . _ @ + % = , ~ -, or a component starts with - or ~"
            )
    if split_ustar(path) is None:
        return "is too long for a tar header (at most 255 bytes, and a component of at most 100)"
    return None


def is_plain_path(path: str) -> bool:
    """Return whether a path can be a member's name as it is."""
    # Whole paths in one match, also deep ones; `path_fault` finds out which rule was broken.
    return _PATH.fullmatch(path) is not None and (len(path) <= MAX_NAME or split_ustar(path) is not None)


def name_fault(path: str) -> str | None:
    """Return why a path cannot be carried at all, also not under an encoded name.

    Args:
        path: The true name: a relative path with `/` between its components.

    Returns:
        The fault in a few words, or None where the path is good.
    """
    if any(component in ("", ".", "..") for component in path.split("/")):
        return _DOTS
    if found := _INVISIBLE.search(path):
        if "\ud800" <= found[0] <= "\udfff":
            return "is not UTF-8"
        return f"has the invisible or control character U+{ord(found[0]):04X}"
    # Two spellings of one name would be two files to Linux, and one to people and to other systems.
    if not unicodedata.is_normalized("NFC", path):
        return "is not in the normal form NFC"
    if len(path.encode()) > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes"
    if any(len(component.encode()) > MAX_COMPONENT for component in path.split("/")):
        return f"has a component of more than {MAX_COMPONENT} bytes"
    return None


def unassigned(text: str) -> str:
    """Return the first character that has no meaning in this interpreter's Unicode version; empty if none.

    A later version may give it a lower-case form or a decomposition, and its readers could refuse the name.
    """
    return next((c for c in text if not c.isascii() and unicodedata.category(c) == "Cn"), "")


def encoded_name(path: str) -> str:
    """Return the name in the tar of a file whose true name does not fit; empty where it fits.

    Args:
        path: The true name, in which `name_fault` finds no fault.

    Returns:
        The path with each byte outside of the grammar as `%XX`; where that is too long, the beginning of the
        path, `%` and the SHA-256 of the whole.
    """
    if is_plain_path(path):
        return ""
    parts = [_percent(component.encode()) for component in path.split("/")]
    # A digest has a fixed length, and nothing to decode; people find the file in bundle.json. It stays in its
    # section and tree, unless the name of the tree is too long itself.
    digest, top = ["%", sha256_hex(path.encode())], 2 if parts[0] == "trees" else 1
    choices = (parts, [*parts[:top], *digest], [parts[0], *digest])
    return next(name for name in map("/".join, choices) if is_plain_path(name))


def _percent(component: bytes) -> str:
    return "".join(
        chr(byte) if byte in _KEPT and not (index == 0 and byte in b"-~") else f"%{byte:02X}"
        for index, byte in enumerate(component)
    )


def fold_name(path: str) -> str:
    """Return a path without regard to case: equal for two paths that a file system may take for one."""
    if path.isascii():
        # Nearly all paths are in lower case: no second copy of 250,000 of them.
        return path if (lower := path.lower()) == path else lower
    # Unicode 3.13, D145: canonical caseless matching. Joiners are not seen.
    decomposed = unicodedata.normalize("NFD", _JOINERS.sub("", path)).casefold()
    return unicodedata.normalize("NFD", decomposed)


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
    if _PLAIN.fullmatch(path) and len(path) <= MAX_PATH and not ours:
        return None
    if not path.startswith("/"):
        return "is not an absolute path"
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes"
    if path == "/" or path.endswith("/"):
        return "names a directory, not a file"
    if ours:
        return "is reserved for Waybill"
    return name_fault(path[1:])


def is_plain_destination(path: str) -> bool:
    """Return whether a destination without fault is printable ASCII that needs no quoting in a shell."""
    return _PLAIN.fullmatch(path) is not None or all("!" <= c <= "~" and c not in _SHELL for c in path)


def link_target_fault(path: str, target: str, top: str) -> str | None:
    """Return why a link at `path` may not point to `target`.

    Args:
        path: Where the link is, in the bundle.
        target: What it points to.
        top: The directory that the target must stay in, as a bundle path.

    Returns:
        The fault in a few words, or None: the target is relative and stays below `top`.
    """
    if not target or target.startswith("/") or len(target) > MAX_PATH:
        return "is not a relative path"
    names = "/".join(component for component in target.split("/") if component not in ("", ".", ".."))
    if not is_plain_target(target) and (fault := name_fault(names)):
        return fault
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


def is_plain_target(target: str) -> bool:
    """Return whether the target of a link is printable ASCII without blanks."""
    return all("!" <= c <= "~" for c in target)
