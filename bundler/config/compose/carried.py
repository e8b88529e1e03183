"""What is shipped with a Compose project, and what is refused because it would not work on a host."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bundler.config.checks import trees
from bundler.config.checks.inputs import carried_fault, name_hint, on_one_line
from bundler.config.model import InputTree
from bundler.config.secrets.allowances import Allowances
from installer.core.errors import Problem
from installer.core.limits import MIB
from installer.core.risk.compose_references import Reference

MAX_FILES = 1000
"""Files that are shipped with one project: each is checked before each use of the project."""
MAX_BYTES = 16 * MIB
_ELSEWHERE = "install it with trees or config, and use its absolute path on the host"
_VARIABLES = "name what the container needs under `environment`, such as NAME: ${NAME}"
_DATA = "use a named volume, or an absolute path of the host such as /var/lib/PRODUCT/data"


@dataclass(slots=True)
class Carried:
    """The files that are shipped with a project.

    Attributes:
        directory: Of bundle.yaml.
        written: The files that hosts write, each with the key of the step that asks for it.
        files: The permission bits of each, by its path there.
        problems: What would not work on a host.
        warnings: What should be known.
    """

    directory: Path
    written: Mapping[str, str]
    files: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    _bytes: int = 0

    def take(self, found: Reference, where: str) -> bool:
        """Ship what a reference leads to, or report why that is not possible.

        Returns:
            Whether it is there and is a file.
        """
        if found.target in self.written and found.role == "variables" and not found.required:
            return False  # `.env`, which Compose reads if it is there; the project has its variables already
        fault = self._fault(found)
        if fault:
            self.problems.append(Problem(where, *fault))
            return False
        source = self.directory / found.target
        if found.role == "mount" and source.is_dir():
            self._tree(found, source, where)
            return False
        if not os.path.lexists(source):
            return False
        mode = source.stat().st_mode
        self._add(found.target, source, mode & stat.S_IXUSR != 0, where)
        if found.what.startswith("secrets."):
            what = f"{found.what}: {found.path} is shipped, and everybody who has the bundle can read it"
            hint = "keep it on the host: use an absolute path there"
            self.warnings.append(Problem(where, what, hint, "compose-secret-file"))
        return True

    def _fault(self, found: Reference) -> tuple[str, str] | None:
        """Return what is wrong with a reference, and what to do."""
        shown, target = f"{found.path:.200}", found.target
        source = self.directory / target
        if found.role == "device":
            return f"{found.what} binds {shown}, a path without a fixed place on the host", _DATA
        if "://" in found.path or found.path.startswith("git@"):
            what = f"{found.what} is fetched from {shown}, but hosts have no network"
            return what, "put a copy of it into the directory of bundle.yaml"
        if "$" in found.path:
            return (
                f"{found.what} refers to {shown}: which file to ship depends on a variable",
                "write the path without a variable",
            )
        if target == ".." or target.startswith("../"):
            return (
                f"{found.what} refers to {shown}, which is outside of the directory of bundle.yaml",
                _ELSEWHERE,
            )
        if key := self.written.get(target):
            verb = "mounts" if found.role == "mount" else "refers to"
            what = f"{found.what} {verb} {shown}, but hosts write that file: the step has `{key}`"
            return what, _VARIABLES if key == "env" else "give it another name"
        if found.role == "mount":
            return self._mount_fault(found, shown, source)
        if not source.exists():
            missing = f"{found.what} refers to {shown}, which does not exist"
            return (missing, "create it, or correct the path") if found.required else None
        if not source.is_file():
            return f"{found.what} refers to {shown}, which is not a file", "name a file"
        return self._unreadable(found, shown, source)

    def _mount_fault(self, found: Reference, shown: str, source: Path) -> tuple[str, str] | None:
        if found.writable:
            what = (
                f"{found.what} mounts {shown} for writing, from the directory of the release: each release "
                "has its own, so data would stay behind at the next upgrade"
            )
            read_only = (
                "; if the container only reads it, mount it read-only (:ro)" if source.exists() else ""
            )
            return what, _DATA + read_only
        if not source.exists():
            return f"{found.what} mounts {shown}, which does not exist", f"create it; for data, {_DATA}"
        if not source.is_dir() and not source.is_file():
            return f"{found.what} mounts {shown}, which is not a file or directory", _ELSEWHERE
        if (
            found.base == found.target
            or f"{found.base}/".startswith(f"{found.target}/")
            or found.target == "."
        ):
            what = f"{found.what} mounts {shown}, the directory of the Compose file itself"
            return what, "move what the container needs to a directory of its own"
        return self._unreadable(found, shown, source)

    def _unreadable(self, found: Reference, shown: str, source: Path) -> tuple[str, str] | None:
        if fault := carried_fault(f"deploy/{found.target}"):
            return f"{found.what}: the name of {on_one_line(shown)} {fault}", name_hint(fault)
        if not os.access(source, os.R_OK):
            return f"{found.what} refers to {shown}, which cannot be read", "check its permissions"
        return None

    def _tree(self, found: Reference, source: Path, where: str) -> None:
        """Ship a directory that is mounted read-only."""
        tree, problems = trees.survey(InputTree(found.target, source, found.target), where, Allowances([]))
        self.problems += problems
        if tree.links:
            link = tree.links[0].path
            what = f"{found.what} mounts {found.path:.200}, which has symbolic links, such as {link}"
            self.problems.append(Problem(where, what, _ELSEWHERE))
            return
        for file in tree.files:
            path = f"{found.target}/{file.path}"
            if not self._add(path, source / file.path, bool(file.mode & stat.S_IXUSR), where):
                return

    def _add(self, path: str, source: Path, executable: bool, where: str) -> bool:
        if path in self.files:
            return True
        self._bytes += source.stat().st_size
        if len(self.files) >= MAX_FILES or self._bytes > MAX_BYTES:
            most = f"{MAX_FILES} files or {MAX_BYTES // MIB} MiB"
            what = f"the project refers to more than {most}, and all of it is checked before each use"
            problem = Problem(where, what, f"large content: {_ELSEWHERE}")
            self.problems += [] if any(each.what == what for each in self.problems) else [problem]
            return False
        # Not the bits of this checkout: they depend on the umask of whoever made it.
        self.files[path] = 0o755 if executable else 0o644
        return True


def variables_in(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the variables of a file `NAME=VALUE` whose values are plain; others are known to Compose only."""
    try:
        with path.open("rb") as file:
            lines = file.read(MIB).decode("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        name, sign, value = line.strip().removeprefix("export ").partition("=")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if sign and not name.startswith("#") and "$" not in value and "\\" not in value:
            yield name.strip(), value.partition(" #")[0]
