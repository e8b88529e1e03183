"""ansible-core that travels with a step: a directory as `pip install --target` makes it, or what is wrong.

Every package has a list of its files with their digests, `RECORD`. What travels is what these lists have,
and is as they say: a directory that was copied in part is found here, not on a host. Only Python travels:
compiled modules fit one version of Python on one platform, and ansible-core runs playbooks without them.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path

from bundler.config.checks.inputs import directory_problem, machine
from bundler.config.folders.folder_files import MOST, Folder, files_below
from installer.core.errors import Problem
from installer.core.format.entries.ansible_core_files import FIRST
from installer.core.format.entries.version_range import is_in_range
from installer.core.limits import LIMITS, MIB

_CORE = "ansible-core"
_MAKE = "make it again in an empty directory: `pip install --target DIRECTORY ansible-core==VERSION`"
_LEFT_OUT = ("cryptography", "cffi", "pycparser", "pip", "setuptools", "wheel")
"""Packages that do not travel: they are for files of Ansible Vault, which no step can have, or for pip."""
_WITHOUT = ("pyyaml", "markupsafe")
"""Packages whose compiled modules do not travel: they only make them faster."""
_COMPILED = (".so", ".pyd", ".dll", ".dylib", ".exe")
_FIELDS = 3
"""Of a line of RECORD: name, digest, size."""
_SKIPPED = ("__pycache__", "bin")
_DIGESTS = ("sha256", "sha384", "sha512")
_LICENCE = re.compile(
    r"[^/]+\.dist-info/(?:licen[cs]es/.+|(?:LICEN[CS]E|COPYING|NOTICE)[^/]*)", re.IGNORECASE
)
_MOST_BYTES = 64 * MIB


@dataclass(slots=True)
class _Package:
    """A package in the directory.

    Attributes:
        folder: The directory with what is known of it.
        name: Its name, in lower case with hyphens.
        version: Its version.
        needs: The names of the packages that it needs, whatever the version of Python is.
        listed: Digest and size of its files, as its RECORD has them, by their names; None without one.
        files: Those of them that travel.
    """

    folder: str
    name: str
    version: str
    needs: list[str]
    listed: dict[str, tuple[str, str]] | None
    files: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def read(directory: Path, given: str, bounds: str, where: str) -> Folder:
    """Read a directory with ansible-core.

    Args:
        directory: Of bundle.yaml.
        given: The directory, as a path from there.
        bounds: The versions that the step works with; empty for any.
        where: `bundle.yaml:LINE`.
    """
    given = posixpath.normpath(given)
    source, folder = directory / given, Folder()
    if problem := directory_problem(source, given, where):
        folder.problems.append(problem)
        return folder
    packages = [_package(path) for path in sorted(source.glob("*.dist-info")) if path.is_dir()]
    core = next((each for each in packages if each.name == _CORE), None)
    if core is None:
        what = f"{given} has no ansible-core, or only a part of it: there is no ansible_core-*.dist-info"
        folder.problems.append(Problem(where, what, _MAKE))
        return folder
    carried = [each for each in packages if each.name not in _LEFT_OUT]
    problems = [
        *_versions(core, bounds),
        *_missing_packages(carried, packages),
        *(problem for each in carried for problem in _take(source, each)),
        *_strangers(files_below(source, given, where, folder.problems, _SKIPPED), packages),
    ]
    if FIRST not in core.files and not problems:
        problems.append((f"has no {FIRST}", _MAKE))
    names = sorted({name for each in carried for name in each.files}, key=lambda name: (name != FIRST, name))
    problems += _too_large(source, names)
    folder.problems += [Problem(where, f"{given} {what}", hint) for what, hint in problems]
    base = given if given.startswith("deploy/") else f"deploy/{source.resolve().name}"
    if not problems:
        folder.files = [(f"{given}/{name}", f"{base}/{name}") for name in names]
    return folder


_Fault = tuple[str, str]
"""What is wrong with the directory, and what to do."""


def _package(path: Path) -> _Package:
    name, _, version = path.name.removesuffix(".dist-info").rpartition("-")
    unknown = _Package(path.name, _plain(name), version, [], None)
    texts = [path / name for name in ("METADATA", "RECORD")]
    if any(not each.is_file() or each.stat().st_size > LIMITS.document_bytes for each in texts):
        return unknown
    try:
        head = message_from_bytes(texts[0].read_bytes())
        rows = csv.reader(texts[1].read_text("utf-8").splitlines())
        listed = {row[0]: (row[1], row[2]) for row in rows if len(row) == _FIELDS}
    except (OSError, UnicodeDecodeError, csv.Error):
        return unknown
    asked = map(str, head.get_all("Requires-Dist", []))
    # With a condition it is for some version of Python or for an extra: pip has looked at that.
    needs = [_plain(re.split(r"[^A-Za-z0-9._-]", each)[0]) for each in asked if ";" not in each]
    return _Package(path.name, _plain(name), version, needs, listed)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _versions(core: _Package, bounds: str) -> Iterator[_Fault]:
    if bounds and not is_in_range(core.version, bounds):
        what = f"has ansible-core {core.version}, but the step needs {bounds} (`ansible_core`)"
        yield what, "install such a version there, or correct the range"


def _missing_packages(carried: list[_Package], packages: list[_Package]) -> Iterator[_Fault]:
    known = {each.name for each in packages} | {*_LEFT_OUT}
    for package in carried:
        for name in package.needs:
            if name not in known:
                yield f"has no {name}, which {package} needs", _MAKE


def _take(source: Path, package: _Package) -> Iterator[_Fault]:
    """Yield what is wrong with a package, and note those of its files that travel."""
    if package.listed is None:
        yield f"has no RECORD of {package}, or no METADATA: nobody can say whether it is whole", _MAKE
        return
    missing, changed = [], []
    for name, (digest, size) in package.listed.items():
        file = source / name
        # Programs of a package are elsewhere, or in `bin`: they name the Python of this machine.
        if _is_skipped(name):
            continue
        if name.endswith(_COMPILED) or _is_elf(file):
            yield from _compiled(file, name, package)
        elif not file.is_file() or file.is_symlink():
            missing.append(name)
        elif not _is_as_listed(file, digest, size):
            changed.append(name)
        else:
            package.files.append(name)
    for names, what in ((missing, "is missing"), (changed, "is not as it was installed")):
        if names:
            yield f"is incomplete or was changed: {names[0]} of {package} {what}{_more(names)}", _MAKE
    # Also one that somebody has put there: some packages have none in their wheels.
    own = (path for path in (source / package.folder).rglob("*") if path.is_file())
    found = [path.relative_to(source).as_posix() for path in own]
    package.files += [name for name in found if _LICENCE.fullmatch(name) and name not in package.listed]
    if not missing and not any(_LICENCE.fullmatch(name) for name in package.files):
        what = f"has no licence of {package}: who passes it on has to pass on its licence"
        yield what, f"put it into its directory {package.folder}, as LICENSE"


def _compiled(file: Path, name: str, package: _Package) -> Iterator[_Fault]:
    """Yield why a compiled file cannot travel, if its package cannot do without it."""
    if package.name not in _WITHOUT:
        platform = machine(file)
        built = f"is compiled{f' for {platform}' if platform else ''}"
        what = f"has {name} of {package}, which {built}, and fits one version of Python only"
        yield what, f"only Python files travel: leave {package.name} out, or take a version without it"


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _is_skipped(name: str) -> bool:
    parts = name.split("/")
    # ansible_test tests collections, and is a third of the files of ansible-core.
    return (
        name.startswith("/")
        or ".." in parts
        or parts[0] in ("bin", "ansible_test")
        or "__pycache__" in parts
        # Where it was installed from is a matter of this machine.
        or name.endswith((".pyc", ".dist-info/direct_url.json"))
    )


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _is_as_listed(file: Path, digest: str, size: str) -> bool:
    # RECORD has no digest of itself, and none of what was compiled after the installation.
    if not digest:
        return True
    mode, _, wanted = digest.partition("=")
    try:
        if mode not in _DIGESTS or (size and str(file.stat().st_size) != size):
            return False
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, mode).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(found).decode().rstrip("=") == wanted


def _strangers(names: Iterable[str], packages: list[_Package]) -> Iterator[_Fault]:
    """Yield files that belong to no package: nobody could say where they come from."""
    listed = {name for each in packages for name in each.listed or {}}
    folders = {each.folder for each in packages}
    found = [
        name
        for name in names
        if name not in listed and name.partition("/")[0] not in folders and not name.startswith(".")
    ]
    if found:
        hint = "remove it; what a playbook needs, such as collections, belongs next to the playbook"
        yield f"has {found[0]}, which belongs to no package in it{_more(found)}", hint


def _too_large(source: Path, names: list[str]) -> Iterator[_Fault]:
    sizes = {name: (source / name).stat().st_size for name in names}
    hint = "take ansible-core alone: collections belong next to the playbook"
    if len(names) > MOST:
        yield f"has {len(names)} files; a step can have {MOST}", hint
    elif sum(sizes.values()) > _MOST_BYTES:
        yield f"has {sum(sizes.values()) // MIB} MiB; a step can have {_MOST_BYTES // MIB} MiB", hint
    else:
        large = next((name for name, size in sizes.items() if size > LIMITS.document_bytes), "")
        if large:
            yield f"has {large}, which is larger than {LIMITS.document_bytes // MIB} MiB", hint
