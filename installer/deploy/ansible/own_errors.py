"""What Ansible itself says of a playbook that it cannot run, before any task has failed."""

from __future__ import annotations

import re

from installer.core.errors import Problem
from installer.shared.secrecy.known import Secrets

# Of 2.19 and later, and of earlier versions. The text may be wrapped; behind it come the lines of the file.
_ERROR = re.compile(
    r"^(?:\[ERROR\]: |ERROR! )(.+(?:\n(?!Origin: |<<<|The error appears|\s*$).+)*)", re.MULTILINE
)
_PLACE = re.compile(
    r"^Origin: (?P<file>.+?):(?P<line>\d+)|^The error appears to be in '(?P<old>.+?)': line (?P<number>\d+)",
    re.MULTILINE,
)
_WIDTH = 500


def own_error(said: bytes, directory: str, secrets: Secrets) -> Problem | None:
    """Return the first error that Ansible reports of itself, with the line of the file; None for none.

    Args:
        said: What it wrote to its standard error.
        directory: The private copy, which is gone by the time that somebody reads this.
        secrets: What is hidden.
    """
    text = said.decode("utf-8", "replace").replace(f"{directory}/", "")
    error = _ERROR.search(text)
    if error is None:
        return None
    what = " ".join(secrets.hide(" ".join(error[1].split()))[:_WIDTH].split())
    place = _PLACE.search(text, error.end())
    if place is None:
        return Problem("", what)
    return Problem(f"{place['file'] or place['old']}:{place['line'] or place['number']}", what)
