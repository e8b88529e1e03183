"""Unit files: line endings, and what `systemd-analyze verify` says of their directives where it is there."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bundler.config.model import InputFile
from installer.core.errors import Problem
from installer.core.format.manifest import Kind
from installer.shared.process import run

KIND: Kind = "unit"
_SECONDS = 30
_MOST = 25
# It says many things about this machine, such as programs that are missing here. A line about the text of a
# unit has its path and number.
_ABOUT_TEXT = re.compile(
    r"^(?:(?P<path>/[^:\n]+):(?P<line>[0-9]+): (?P<what>[^\n]{1,300})"
    r"|(?P<unit>[^:\n /]+): (?P<refused>[^\n]{1,300} Refusing\.))$",
    re.MULTILINE,
)


def check(units: Sequence[tuple[InputFile, bytes]]) -> list[Problem]:
    """Return warnings about unit files.

    Args:
        units: The unit files with their content.
    """
    warnings = [
        Problem(
            f"{item.given}:1",
            "has CRLF line endings, which systemd may take for a part of the values",
            "save it with LF line endings",
            "unit",
        )
        for item, data in units
        if b"\r\n" in data
    ]
    # One start for all units: they may refer to each other.
    return [*warnings, *_verify(units)] if units else []


def _verify(units: Sequence[tuple[InputFile, bytes]]) -> list[Problem]:
    program = shutil.which("systemd-analyze")
    if program is None:
        return []
    with tempfile.TemporaryDirectory(prefix="waybill-units-") as directory:
        given = {}
        for item, data in units:
            path = Path(directory, item.source.name)
            path.write_bytes(data)
            given[str(path)] = item.given
        # Of this machine's own units nothing may be said, and no generator of it may run.
        env = {"SYSTEMD_UNIT_PATH": directory, "SYSTEMD_LOG_COLOR": "0", "SYSTEMD_LOG_LEVEL": "info"}
        argv = [program, "verify", "--man=no", "--generators=no", *given]
        done = run(argv, timeout=_SECONDS, env=env)
    found: dict[Problem, None] = {}
    for match in _ABOUT_TEXT.finditer(done.stderr.decode("utf-8", "replace")):
        name = given.get(match["path"] or f"{directory}/{match['unit']}")
        if name is not None:
            where = f"{name}:{match['line']}" if match["line"] else name
            what = f"systemd-analyze: {(match['what'] or match['refused']).rstrip('.')}"
            hint = "correct the unit; a newer systemd may accept it, but that of the host may not"
            found[Problem(where, what, hint, "unit")] = None
    return list(found)[:_MOST]
