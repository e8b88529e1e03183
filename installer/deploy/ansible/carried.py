"""Which Ansible runs the playbooks of a step: the one that its release carries, else the one of the host.

A carried one is what the playbooks were tested with. It is run by the Python of the host, from a private copy
whose files were compared with their signed digests. Python is told to look nowhere else for packages, and to
write nothing next to them. The journal has the digest of the list of these files, not the list: an undo
months later uses the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from installer.core.digest import sha256_hex
from installer.core.errors import Problem
from installer.core.format.entries.ansible_core_files import KIND, directory_of
from installer.core.format.entries.version_range import is_in_range
from installer.core.format.manifest import Manifest
from installer.deploy import release_files
from installer.deploy.method import Target
from installer.deploy.operation import Json, StepError
from installer.host.context import Context
from installer.host.system import Completed

PROGRAM = "ansible-playbook"
_KEY = "ansible"
"""The option of a step, and what operations have of it."""
_NAMES = ("python3", *(f"python3.{minor}" for minor in range(9, 20)))
"""Where the host may have a Python that is new enough: its own one, else the oldest that will do."""
_ISOLATED = ("-I", "-S", "-B")
"""No variables, no user's packages and no packages of the host, and no compiled files next to the others."""
_PROBE = """\
import sys
print(".".join(map(str, sys.version_info[:3])), flush=True)
import ctypes, json, logging, multiprocessing.queues, zipfile
"""
_START = """\
import sys
sys.path.insert(0, sys.argv.pop(1))
sys.argv[0] = "ansible-playbook"
from ansible.cli.playbook import main
main()
"""
_SECONDS = 60
_SHOWN = 5
"""Changed files that are named; the directory may be gone as a whole."""
_SKIP = "or use --skip ansible"
_OTHER = f"install such a Python next to it: it is found by a name such as python3.12, too; {_SKIP}"


@dataclass(frozen=True, slots=True)
class Python:
    """A Python of the host.

    Attributes:
        path: Where it is.
        version: Its version, such as `3.11.2`.
    """

    path: str
    version: str


def recorded(target: Target) -> Json:
    """Return what operations have to know of the ansible-core of a step; empty where it carries none."""
    if _KEY not in target.options:
        return {}
    release, top = target.release, directory_of(target.options[_KEY])
    # Where it is staged: there until it is moved into its place, and after an undo again.
    return {_KEY: {"top": top, "files": _digest(_files(release.manifest, top)), "staged": release.staged}}


def changed(context: Context, target: Target) -> list[Problem]:
    """Return which of these files in the directory of a release are not as they were verified."""
    if _KEY not in target.options:
        return []
    place = f"{target.release.directory}/{directory_of(target.options[_KEY])}/"
    found = release_files.changed(context, target.release, KIND)
    found = [each for each in found if each.where.startswith(place)]
    if len(found) <= _SHOWN:
        return found
    first = found[0]
    what = f"and {len(found) - _SHOWN} more files of ansible-core are missing or were changed"
    return [*found[:_SHOWN], Problem(first.where, what, first.hint)]


def require(context: Context, target: Target) -> str:
    """Return where the Ansible of a step comes from, in words for a plan; empty for that of the host.

    Raises:
        StepError: This host does not have it, or no Python that can run it.
        ChangedFileError: The file that says which Python it needs is not what was verified.
    """
    if _KEY not in target.options:
        _program(context)
        return ""
    top, manifest = recorded(target)[_KEY]["top"], target.release.manifest
    python = _python(context, target.release.staged, top, _files(manifest, top))
    return f" from the release, on Python {python.version} of the host ({python.path})"


def remedy_of(target: Target) -> str:
    """Return what to do about a playbook that Ansible cannot load."""
    if _KEY in target.options:
        return "ask the publisher: the playbook or the ansible-core that the release carries is wrong"
    return "ask the publisher: the playbook is wrong, or needs another version than the Ansible of this host"


def lacking(context: Context, old: Target | None, new: Target | None) -> list[Problem]:
    """Return why this host cannot run the playbooks of a step, of the new release and of the one before."""
    for target in filter(None, (new, old)):
        try:
            require(context, target)
        except StepError as error:
            version = target.release.manifest.version
            why = f"; {version} needs it, which comes back if this fails" if new and target is old else ""
            return [Problem(error.where, f"{error.what}{why}", error.hint)]
    return []


@contextmanager
def command(context: Context, step: Json, planned: Target | None) -> Iterator[list[str]]:
    """Yield how the Ansible of a step is started meanwhile.

    Args:
        context: The host.
        step: What operations know of the step.
        planned: While planning, the step: its files are not in the directory of the release yet.

    Raises:
        StepError: This host does not have it, or no Python that can run it.
        ChangedFileError: A file is not what was verified. Nothing was run.
    """
    own = step.get(_KEY)
    if own is None:  # also in operations of earlier versions
        yield [_program(context)]
        return
    is_staged = planned or context.system.observe(own["staged"], digest=False).kind == "dir"
    directory = own["staged"] if is_staged else step["directory"]
    if planned:
        files = _files(planned.release.manifest, own["top"])
    else:
        listed = release_files.listed_there(context, directory, KIND)
        files = {path: row for path, row in listed.items() if path.startswith(f"{own['top']}/")}
        # The list in the directory of the release could have been exchanged together with the files.
        if _digest(files) != own["files"]:
            raise release_files.refusal(context, directory, own["top"])
    python = _python(context, directory, own["top"], files)
    with release_files.checked_directory(context, directory, files, KIND, alone=True) as copy:
        yield [python.path, *_ISOLATED, "-c", _START, context.system.real(f"{copy}/{own['top']}")]


def _program(context: Context) -> str:
    if found := context.system.which(PROGRAM):
        return found
    hint = "install ansible-core, with a link in /usr/local/bin if it is elsewhere; or use --skip ansible"
    raise StepError("is not installed", where=PROGRAM, hint=hint)


def _files(manifest: Manifest, top: str) -> Json:
    listed = release_files.listed(manifest, KIND)
    return {path: row for path, row in listed.items() if path.startswith(f"{top}/")}


def _digest(files: Json) -> str:
    rows = (f"{path}\0{sha256} {mode:o}\n" for path, (sha256, mode) in sorted(files.items()))
    return sha256_hex("".join(rows).encode())


def _python(context: Context, directory: str, top: str, files: Json) -> Python:
    metadata = re.compile(rf"{re.escape(top)}/ansible_core-[^/]+\.dist-info/METADATA")
    path = next((each for each in files if metadata.fullmatch(each)), "")
    text = (
        release_files.checked_bytes(context, directory, path, files, KIND).decode("utf-8", "replace")
        if path
        else ""
    )
    # The head of the file only: behind an empty line comes a text for people.
    head = dict(line.partition(": ")[::2] for line in reversed(text.partition("\n\n")[0].splitlines()))
    bounds = head.get("Requires-Python", "")
    needs = f"ansible-core {head.get('Version', '')} of the release needs Python {bounds}".rstrip()
    faults = []
    for name in _NAMES:
        place = context.system.which(name)
        if place is None:
            continue
        ended = context.system.run([place, *_ISOLATED, "-c", _PROBE], timeout=_SECONDS)
        version = ended.stdout.decode("ascii", "replace").strip()
        if fault := _fault(context, version, bounds, needs, ended):
            faults.append(StepError(fault[0], where=place, hint=fault[1]))
        else:
            return Python(place, version)
    if faults:
        raise faults[0]
    what = f"is not installed, and {needs}: a release carries ansible-core, but not Python"
    raise StepError(what, where=_NAMES[0], hint=f"install python3; {_SKIP}")


def _fault(
    context: Context, version: str, bounds: str, needs: str, ended: Completed
) -> tuple[str, str] | None:
    """Return why a Python cannot run it, and what to do; None where it can."""
    if version and bounds and not is_in_range(version, bounds):
        return f"is Python {version}, but {needs}", _OTHER
    if ended.ok:
        return None
    hint = f"install all of Python, on Debian python3 and not python3-minimal alone; {_SKIP}"
    return f"is no complete Python: {ended.reason(context.secrets)}", hint
