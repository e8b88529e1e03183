"""What an executable says of itself: its versions, its licences, and whether it is whole."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from installer.core.errors import HostNotReadyError, UsageError, WaybillError, os_errors_as
from installer.shared import frozen


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of what runs.

    Attributes:
        program: `install` or `bundle`, with its version.
        python: Of the interpreter.
        library: Of the standard library; in an executable for hosts, that of the interpreter.
        openssl: As OpenSSL says it.
    """

    program: tuple[str, str]
    python: str
    library: str
    openssl: str

    def text(self) -> str:
        """Return it for people."""
        python = f"Python {self.python}"
        if self.library != self.python:
            python += f" with the standard library of {self.library} (a build for tests, not for hosts)"
        return f"{' '.join(self.program)}, {python}, {self.openssl}"

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        name, version = self.program
        python = {"interpreter": self.python, "library": self.library}
        return {"name": name, "version": version, "python": python, "openssl": self.openssl}


def version_document(name: str, version: str) -> str:
    """Return the document of `--version --json`."""
    from installer.shared.command.run_record import RunRecord
    from installer.shared.terminal.text import json_text

    run = RunRecord(name, command="version")
    run.answer(versions(name, version).as_json())
    return json_text(run.document(0), indent=1)


def versions(name: str, version: str) -> Versions:
    """Return the versions of this program.

    Args:
        name: `install` or `bundle`.
        version: Its version.
    """
    import platform
    import ssl

    library = python = platform.python_version()
    if getattr(sys, "frozen", False):
        described = json.loads((Path(sys.prefix) / frozen.VERSIONS).read_text(encoding="utf-8"))
        library = str(described["library"])
    return Versions((name, version), python, library, ssl.OPENSSL_VERSION.partition(" (")[0])


@dataclass(frozen=True, slots=True)
class Licences:
    """The licences of everything in an executable.

    Attributes:
        notices: Their texts.
        sbom: The SBOM, a CycloneDX document.
    """

    notices: str
    sbom: dict[str, Any]

    def text(self, *, sbom: bool) -> str:
        """Return the SBOM or the notices, for people."""
        return json.dumps(self.sbom, ensure_ascii=False, indent=1) if sbom else self.notices.rstrip()


def licences() -> Licences:
    """Read the licences of this executable.

    Raises:
        UsageError: This is a run from source.
        HostNotReadyError: They cannot be read.
    """
    if not getattr(sys, "frozen", False):
        raise UsageError(
            "only the standalone executables contain their licences", hint="build them with `make installer`"
        )
    home = Path(sys.prefix)
    with os_errors_as(HostNotReadyError, "cannot be read"):
        sbom = json.loads((home / frozen.SBOM).read_text(encoding="utf-8"))
        return Licences((home / frozen.NOTICES).read_text(encoding="utf-8"), sbom)


def selftest(name: str, version: str) -> tuple[str, dict[str, Any]]:
    """Read every file of this executable and import every module.

    Args:
        name: `install` or `bundle`.
        version: Its version.

    Returns:
        What was checked, for people and as a JSON object.

    Raises:
        WaybillError: A file is damaged, or a module cannot be imported.
    """
    if getattr(sys, "frozen", False) and (wrong := frozen.damaged()):
        raise HostNotReadyError(
            f"files are not as they were unpacked, the first of {len(wrong)} is {wrong[0]}",
            where=sys.prefix,
            hint="check the disk; the next start unpacks the program again",
        )
    every, failed = frozen.modules(), frozen.selftest()
    text = f"{len(every) - len(failed)} of {len(every)} modules can be imported"
    if failed:
        raise WaybillError(text, where="; ".join(f"{module}: {why}" for module, why in failed.items()))
    found = versions(name, version)
    return f"{text}\n{found.text()}", {"modules": len(every), **found.as_json()}
