"""Check that an input exists, has the right type, can be read, and has a name that the format allows."""

from __future__ import annotations

import os
import posixpath
import stat
import sys
from itertools import islice
from pathlib import Path

from installer.core.errors import Problem
from installer.core.format.member_names import name_fault, unassigned
from installer.core.schema_errors import did_you_mean

# One hint for all names that the format does not allow.
NAME_HINT = "rename it, or ship it inside an archive file such as a tar"
NFC_HINT = (
    "macOS and some archives write names in another form: rename the files "
    "(`convmv -r -f utf8 -t utf8 --nfc --notest DIR` renames a whole directory), or ship them inside an "
    "archive file"
)
_COMPARED = 1000
"""How many files of its directory a missing one is compared with."""
_ELF_MACHINES = {3: "386", 21: "ppc64le", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64"}


def file_problem(
    source: Path, given: str, where: str, *, may_be_empty: bool = False, suggest: bool = True
) -> Problem | None:
    """Return a problem if a path is not a readable regular file.

    Args:
        source: The file.
        given: Its path in bundle.yaml, for messages.
        where: `bundle.yaml:LINE`.
        may_be_empty: Whether a size of 0 is allowed.
        suggest: Whether a file that does not exist is compared with its neighbours, which takes its time.
    """
    try:
        status = source.stat()
    except OSError as error:
        return _missing(source, given, where, error, suggest=suggest)
    if stat.S_ISDIR(status.st_mode):
        return Problem(
            where,
            f"{given} is a directory, but a file is needed",
            "name the file; list directories under trees",
        )
    if not stat.S_ISREG(status.st_mode):
        return Problem(
            where, f"{given} is not a regular file", "devices, pipes and sockets cannot be shipped"
        )
    try:
        # Opened, not asked with access(2): that would ignore mounts and security modules.
        os.close(os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return _unreadable(given, where, error, "owner and permissions of the file")
    # An empty binary or script is nearly always an interrupted build.
    if status.st_size == 0 and not may_be_empty:
        return Problem(where, f"{given} is empty", "check that the build completed")
    return None


def directory_problem(source: Path, given: str, where: str, *, suggest: bool = True) -> Problem | None:
    """Return a problem if a path is not a readable directory; arguments as for `file_problem`."""
    try:
        status = source.stat()
    except OSError as error:
        return _missing(source, given, where, error, suggest=suggest)
    if not stat.S_ISDIR(status.st_mode):
        return Problem(
            where, f"{given} is a file, but a directory is needed", "list single files under binaries"
        )
    try:
        with os.scandir(source):
            return None
    except OSError as error:
        return _unreadable(given, where, error, "owner and permissions of the directory")


def member_problem(member: str, given: str, where: str) -> Problem | None:
    """Return a problem if the format does not allow the name of a member."""
    if (fault := carried_fault(member)) is None:
        return None
    return Problem(where, f"the name of {on_one_line(given)} {fault}", name_hint(fault))


def on_one_line(name: str) -> str:
    """Return a name for a message: what comes behind a line feed in it would look like a message of ours."""
    return name.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n")


def carried_fault(path: str) -> str | None:
    """Return why a bundle cannot carry a file of this path in the bundle, or None where it can."""
    return name_fault(path) or misread_fault(path) or unknown_character_fault(path)


def misread_fault(name: str) -> str | None:
    """Return why what the file system says may be another text than Python read, or None where it is not."""
    # Python would have read the bytes of the name as other characters, and the bundle would carry those.
    if not name.isascii() and (encoding := sys.getfilesystemencoding()) != "utf-8":
        return f"is not ASCII, and this locale reads names as {encoding}, not as UTF-8"
    return None


def unknown_character_fault(text: str) -> str | None:
    """Return why readers may disagree on a name, destination or link target, or None where none can.

    Every text that `name_fault` checks needs this when a bundle is created, and only then.
    """
    # Readers with another Unicode version could find another normal form or letter case.
    if character := unassigned(text):
        return f"has the character U+{ord(character):04X}, which this version of Waybill does not know"
    return None


def name_hint(fault: str) -> str:
    """Return what to do about a name with a fault."""
    if "locale" in fault:
        return "run the command with LC_ALL=C.UTF-8"
    return NFC_HINT if "NFC" in fault else NAME_HINT


def member_name(section: str, given: str, group: str = "") -> str:
    """Return the bundle path of an input: its own path if that is in the section already, else its name.

    Args:
        section: For example `config`.
        given: The path in bundle.yaml.
        group: A directory in the section for inputs that are not in it.
    """
    path = posixpath.normpath(given)
    if path.startswith(section + "/"):
        return path
    return "/".join(part for part in (section, group, posixpath.basename(path)) if part)


def machine(source: Path) -> str:
    """Return the architecture that an ELF file is built for; empty for another file or an unknown one."""
    try:
        with source.open("rb") as file:
            head = file.read(20)
    except OSError:
        return ""
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return ""
    # ELF stores the byte order of all further fields in its sixth byte.
    order = "little" if head[5] == 1 else "big"
    return _ELF_MACHINES.get(int.from_bytes(head[18:20], order), "")  # type: ignore[arg-type]


def machine_problem(source: Path, given: str, platform: str, where: str) -> Problem | None:
    """Return a problem if an ELF file is built for another architecture than its platform."""
    found = machine(source)
    # Unknown machines are not reported: a wrong warning would be worse than none.
    if not found or found == platform.partition("/")[2]:
        return None
    return Problem(
        where, f"{given} is built for {found}, but listed for {platform}", "build it for that platform"
    )


def _unreadable(given: str, where: str, error: OSError, check: str) -> Problem:
    return Problem(where, f"{given} cannot be read: {error.strerror}", f"check the {check}")


def _missing(source: Path, given: str, where: str, error: OSError, *, suggest: bool) -> Problem:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        return _unreadable(given, where, error, "permissions of the directories above it")
    try:
        with os.scandir(source.parent) as entries:
            beside = [entry.name for entry in islice(entries, _COMPARED)] if suggest else []
    except OSError:
        beside = []
    close = did_you_mean(source.name, beside)
    shown = posixpath.join(posixpath.dirname(given), close)
    return Problem(
        where,
        f"{given} does not exist",
        f"did you mean {shown}?" if close else "build it first, or correct the path",
    )
