"""`install setup`: the executable gets a place on the host that is not a stick, and a name on the PATH.

coreutils has an `install` too, so ours is linked as `waybill-install`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from installer.core.digest import hashed
from installer.core.errors import UsageError
from installer.core.limits import CHUNK
from installer.deploy.files import make_directory
from installer.system import System

PLACE = "/opt/waybill/bin/install"
NAME = "/usr/local/bin/waybill-install"


@dataclass(frozen=True, slots=True)
class SetUp:
    """Where the executable now is, and the SHA-256 of what was copied."""

    path: str
    link: str
    sha256: str

    def text(self) -> str:
        """Gives it for people."""
        return f"{self.path} is this executable, sha256 {self.sha256}\n{self.link} links to it"

    def as_json(self) -> dict[str, Any]:
        """Gives it as `--json` prints it."""
        return asdict(self)


def setup(system: System) -> SetUp:
    """Copies the running executable; doing it again replaces it.

    Raises:
        UsageError: This is no executable, but a run from source.
        OSError: A place cannot be written to.
    """
    own = os.environ.get("WAYBILL_EXE", "")
    if not own or not Path(own).is_file():
        raise UsageError(
            "this is a run from source", hint="run `./install setup` with the standalone executable"
        )
    for path in (PLACE, NAME):
        make_directory(system, path.rsplit("/", 1)[0])
    temporary = f"{PLACE}.new"
    if system.observe(temporary, digest=False).kind != "absent":
        system.unlink(temporary)
    digest = hashlib.sha256()
    system.write_new(temporary, hashed(_chunks(Path(own)), digest), 0o755)
    system.rename(temporary, PLACE)
    system.sync_dir(PLACE.rsplit("/", 1)[0])
    seen = system.observe(NAME)
    if (seen.kind, seen.target) != ("link", PLACE):
        if seen.kind != "absent":
            raise UsageError(
                "is something else already", where=NAME, hint="move it away, then run setup again"
            )
        system.symlink(PLACE, NAME)
        system.sync_dir(NAME.rsplit("/", 1)[0])
    return SetUp(PLACE, NAME, digest.hexdigest())


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
