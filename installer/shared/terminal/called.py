"""How this program was called, for hints and help that can be typed as they are.

coreutils has an `install`, too: on a host, a hint that says `install status` would run that one.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

from installer.core.remedies import change_commands
from installer.shared.frozen import executable

EXAMPLE = "Example: "
"""What the first line after a help begins with: the example of the command follows, without backticks."""


def called_as(program: str) -> str:
    """Return the words that start this program again: its own name where the shell finds it, else its path.

    Args:
        program: `bundle` or `install`; the answer for a program that runs from source.
    """
    file = executable()
    return program if file is None else words_for(file, Path.cwd(), os.environ.get("PATH", os.defpath))


def words_for(file: Path, here: Path, path: str) -> str:
    """Return the words that start an executable, for a shell.

    Args:
        file: The executable, an absolute path.
        here: The current directory.
        path: Where the shell looks for programs.
    """
    name = file.name
    found = shutil.which(name, path=path)
    # Only where the shell finds this very file: another program may have the name.
    if found and os.path.realpath(found) == os.path.realpath(file):
        return shlex.quote(name)
    shown = f"./{name}" if file.parent == here else str(file)
    # Media without modes, or mounted noexec: there it was started with sh.
    return shlex.quote(shown) if os.access(file, os.X_OK) else f"sh {shlex.quote(shown)}"


def rename(text: str, program: str, called: str) -> str:
    """Return a text whose commands start with the words of `called` instead of the name of the program."""
    if called == program:
        return text
    text = change_commands(text, program, lambda words: f"{called}{words}")
    example = rf"^{EXAMPLE}{re.escape(program)}(?= )"
    return re.sub(example, lambda _: f"{EXAMPLE}{called}", text, flags=re.MULTILINE)
