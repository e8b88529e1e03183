"""What of a retained release is missing or was changed, so that nobody is offered a rollback to it.

Presence and size of each file are looked at, which costs little; digests only where they are asked for. A
rollback verifies every byte in any case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from installer.core.errors import NeedsNewerError, TamperedError
from installer.core.format import manifest_json
from installer.core.format.manifest import BLOBS, MANIFEST, SUMS
from installer.core.trust.signatures import FORMS
from installer.host.layout import Layout
from installer.host.system import Seen, System
from installer.shared.progress import Progress
from installer.state.release import DamagedReleaseError, read_exact, read_record
from installer.state.state import Entry


@dataclass(frozen=True, slots=True)
class Damage:
    """A retained release whose stored files are damaged: no rollback to it is possible.

    Attributes:
        entry: The release.
        missing: Host paths of files that are not there.
        changed: Host paths of what is there, but is not what was stored.
    """

    entry: Entry
    missing: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def what(self) -> str:
        """What is damaged, for people: how many files, and the first of them."""
        counts = [
            f"{len(paths)} file{'s' if len(paths) > 1 else ''} {word}"
            for paths, word in ((self.missing, "missing"), (self.changed, "changed"))
            if paths
        ]
        first = (*self.missing, *self.changed)[0]
        many = len(self.missing) + len(self.changed) > 1
        return f"{', '.join(counts)}: {first}{' and others' if many else ''}"

    def text(self, *, installed: bool = False) -> str:
        """Return it as a line for people; `installed`: the release runs, see `find_blob_damage`."""
        if installed:
            what = f"is installed, but its stored images are damaged ({self.what})"
            return f"{self.entry.version} {what}; install the same bundle again"
        return f"{self.entry.version} is retained, but damaged ({self.what}); it cannot be rolled back to"

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "release": self.entry.name,
            "version": self.entry.version,
            "what": self.what,
            "missing": list(self.missing),
            "changed": list(self.changed),
        }


class _Stored(NamedTuple):
    """A file that a retained release consists of."""

    path: str
    size: int
    sha256: str

    def matches(self, seen: Seen) -> bool:
        """Return whether a file is this one; its digest counts where it was read."""
        return (seen.kind, seen.size) == ("file", self.size) and seen.sha256 in ("", self.sha256)


class _DocumentError(Exception):
    """One of the documents that say what is stored is itself damaged."""

    def __init__(self, path: str, missing: bool) -> None:
        super().__init__(path)
        self.path, self.missing = path, missing


def find_damage(
    system: System,
    layout: Layout,
    entry: Entry,
    *,
    digests: bool = False,
    progress: Progress | None = None,
) -> Damage | None:
    """Return what is damaged of a retained release; None where nothing is seen to be.

    What this user may not read counts as undamaged, and so does what only a newer version can read.

    Args:
        system: The host.
        layout: The paths of the product.
        entry: The release.
        digests: Whether every byte is read, too.
        progress: Receives the bytes read.
    """
    try:
        stored = [*_members(system, layout, entry), *_rendered(system, layout, entry)]
        signed = _is_signed(system, layout.release(entry.name)) or not entry.evidence.released_by
    except (PermissionError, NeedsNewerError):
        return None
    except _DocumentError as error:
        paths = (error.path,)
        return Damage(entry, paths if error.missing else (), () if error.missing else paths)
    missing = [] if signed else [f"{layout.release(entry.name)}/{SUMS}.*"]
    gone, changed = _compare(system, stored, digests, progress or Progress(), entry.version)
    missing += gone
    return Damage(entry, tuple(missing), tuple(changed)) if missing or changed else None


def find_blob_damage(system: System, layout: Layout, entry: Entry, progress: Progress) -> Damage | None:
    """Return which image blobs of the installed release are damaged; None for none. Every byte is read.

    Its other files are compared where they are installed, which is drift. Its blobs may be those of other
    retained releases, too, and what is damaged is damaged in each of them.
    """
    blobs = f"{layout.release(entry.name)}/{BLOBS}"
    try:
        stored = [each for each in _members(system, layout, entry) if each.path.startswith(blobs)]
    # Damage of the manifest of the installed release is drift.
    except (PermissionError, NeedsNewerError, _DocumentError):
        return None
    missing, changed = _compare(system, stored, True, progress, entry.version) if stored else ([], [])
    return Damage(entry, tuple(missing), tuple(changed)) if missing or changed else None


def all_damage(
    system: System, layout: Layout, entries: Iterable[Entry], progress: Progress, *, digests: bool = False
) -> tuple[Damage, ...]:
    """Return the damaged ones of several retained releases; see `find_damage`."""
    found = (find_damage(system, layout, each, digests=digests, progress=progress) for each in entries)
    return tuple(each for each in found if each is not None)


def _members(system: System, layout: Layout, entry: Entry) -> Iterator[_Stored]:
    """Yield the files in the directory of a release, as its manifest has them."""
    directory = layout.release(entry.name)
    _exact(system, f"{directory}/{SUMS}", entry.identity)
    # Only the bytes that were verified are parsed.
    path = f"{directory}/{MANIFEST}"
    data = _exact(system, path, entry.manifest)
    try:
        manifest = manifest_json.parse(data, retained=True)
    except TamperedError as error:
        raise _DocumentError(path, missing=False) from error
    for file in manifest.for_platform(system.platform()):
        # Without its blobs the release has its images in the engine only.
        if entry.blobs or not file.path.startswith(BLOBS):
            yield _Stored(f"{directory}/{file.path}", file.size, file.sha256)


def _rendered(system: System, layout: Layout, entry: Entry) -> Iterator[_Stored]:
    """Yield the files that were rendered on this host; none for an ordinary user, whose view lacks them."""
    if not entry.record_sha256:
        return
    directory = layout.record(entry.record)
    try:
        installed, _ = read_record(system, layout, entry)
    except DamagedReleaseError as error:
        raise _reason(error, f"{directory}/record.json") from error
    for item in installed:
        # Only what a rollback reads.
        if item.source.startswith(f"{directory}/") and item.policy != "beside":
            yield _Stored(item.source, item.size, item.sha256)


def _exact(system: System, path: str, sha256: str) -> bytes:
    try:
        return read_exact(system, path, sha256, "")
    except DamagedReleaseError as error:
        raise _reason(error, path) from error


def _reason(error: DamagedReleaseError, path: str) -> Exception:
    if isinstance(error.__cause__, PermissionError):
        return error.__cause__
    return _DocumentError(path, isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)))


def _is_signed(system: System, directory: str) -> bool:
    endings = tuple(f".{form}" for form in FORMS)
    return any(name.startswith(f"{SUMS}.") and name.endswith(endings) for name in system.names(directory))


def _compare(
    system: System, stored: list[_Stored], digests: bool, progress: Progress, version: str
) -> tuple[list[str], list[str]]:
    """Return which files are missing, and which are not what was stored."""
    missing, changed = list[str](), list[str]()
    if digests:
        progress.start(f"verify the retained release {version}", sum(each.size for each in stored))
    with system.hold_directories():
        for each in stored:
            try:
                seen = system.observe(each.path, digest=digests)
            except PermissionError:
                continue
            except OSError:
                changed.append(each.path)
                continue
            if digests:
                progress.advance(each.size)
            if seen.kind == "absent":
                missing.append(each.path)
            elif not each.matches(seen):
                changed.append(each.path)
    if digests:
        progress.done()
    return missing, changed
