"""A root as files: `root.json`, its signatures `root.json.<keyid8>.sig`, earlier versions `N.root.json`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from shlex import quote

from bundler.archive.new_file import replace_file, write_new
from installer.core.document_file import read_document
from installer.core.errors import Problem, TamperedError, UnfitInputError, UsageError, os_errors_as
from installer.core.limits import LIMITS
from installer.core.trust.quorum import Unmet, unmet
from installer.core.trust.root import Root, fingerprint
from installer.core.trust.root_json import load_root, parse_root
from installer.core.trust.rotation import open_signers, signing_owners
from installer.core.trust.signatures import Signature, split_name


@dataclass(frozen=True, slots=True)
class RootStanding:
    """How many of the signatures of a root are present, counted by one version of the root.

    Attributes:
        version: The version whose role `root` counts.
        needed: The number of owners that must sign; 0: the version has nobody in the role.
        signed: Owners who have signed.
        open: Owners who can still sign.
    """

    version: int
    needed: int
    signed: tuple[str, ...]
    open: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether enough owners have signed."""
        return 0 < self.needed <= len(self.signed)

    @property
    def missing(self) -> int:
        """The number of signatures still needed; at least 1 if nobody has the role."""
        return max(0, (self.needed or 1) - len(self.signed))

    def as_text(self) -> str:
        """Return it as a line for people."""
        if not self.needed:
            return (
                f"version {self.version} has no key with the role root: hosts cannot accept a newer version"
            )
        who = f" ({', '.join(self.signed)})" if self.signed else ""
        rest = "" if self.complete else f"; can still sign: {', '.join(self.open) or 'nobody'}"
        return f"{len(self.signed)} of {self.needed} owners of version {self.version} have signed{who}{rest}"


@dataclass(frozen=True, slots=True)
class RootFile:
    """A root with the files next to it.

    Attributes:
        path: The file.
        root: Its content.
        data: Its exact bytes.
        signatures: The signatures next to it.
        previous: The previous version, if `N.root.json` is next to it.
    """

    path: Path
    root: Root
    data: bytes
    signatures: tuple[Signature, ...]
    previous: Root | None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its bytes, 64 hex digits."""
        return fingerprint(self.data)

    def standings(self, now: datetime) -> list[RootStanding]:
        """Return the state of its signing: as the previous version counts, if there is one, and as it does.

        Raises:
            TamperedError: A signature is not of these bytes.
        """
        return [self._standing(root, now) for root in (self.previous, self.root) if root is not None]

    def complete(self, now: datetime) -> bool:
        """Return whether hosts would accept it: then it may be in use, and a change makes a new version."""
        try:
            return bool(self.signatures) and all(each.complete for each in self.standings(now))
        except TamperedError:
            return False

    def _standing(self, root: Root, now: datetime) -> RootStanding:
        # Owners are counted, not keys: a person with two keys signs once.
        owners, _ = signing_owners(root, self.data, self.signatures, now)
        rest = sorted({key.owner for key in open_signers(root, owners, now)})
        needed = root.roles["root"].threshold if "root" in root.roles else 0
        return RootStanding(root.version, needed, tuple(sorted(owners.values())), tuple(rest))


@dataclass(frozen=True, slots=True)
class Edited:
    """A root after an edit.

    Attributes:
        file: The root as it is now.
        archived: The file of the version before; None if the same version was changed.
        dropped: Names of signatures that were removed, since they were of other bytes.
        warnings: What nobody can satisfy any more, each with what to type.
    """

    file: RootFile
    archived: Path | None
    dropped: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def load(path: Path) -> RootFile:
    """Read a root and the files next to it.

    Raises:
        UntrustedError: There is no such file.
        MediumError: It cannot be read.
        TamperedError: It is not a root.
    """
    root, data = load_root(path)
    previous = numbered(path, root.version - 1)
    return RootFile(
        path, root, data, _signatures(path), load_root(previous)[0] if previous.exists() else None
    )


def numbered(path: Path, version: int) -> Path:
    """Return the path of an earlier version: `N.root.json`."""
    return path.with_name(f"{version}.root.json")


def edit(
    path: Path,
    change: Callable[[Root], Root],
    now: datetime,
    *,
    part: str = "",
    allow: Callable[[Unmet], bool] = lambda _gap: False,
) -> Edited:
    """Change a root. If hosts may have it already, that makes the next version.

    Args:
        path: The root.
        change: Returns the new root; its version is set here.
        now: The current time.
        part: What is set, `environment NAME`: it has to be satisfiable, whatever it was before.
        allow: Returns whether the change may leave this unmet.

    Returns:
        What was written.

    Raises:
        UsageError: The new root would not be accepted, or nobody could satisfy it.
        UnfitInputError: It cannot be written.
        TamperedError: The old one is not a root.
    """
    old = load(path)
    # A root that is signed by all may be on hosts. They refuse other content under the same version.
    released = old.complete(now)
    new = replace(change(old.root), version=old.root.version + (1 if released else 0))
    # What was unmet before is no fault of this change and may take several changes to close. None widens it.
    known = {gap.place: gap.missing for gap in unmet(old.root) if gap.place != part}
    data = checked_bytes(
        new, path, "the changed root", lambda gap: gap.missing <= known.get(gap.place, 0) or allow(gap)
    )
    archived = None
    with os_errors_as(UnfitInputError, "cannot be written", path):
        if released:
            # The old version stays next to the new one: hosts that missed it take both, one after the other.
            archived = numbered(path, old.root.version)
            _archive(old, archived)
        if data != old.data:
            replace_file(path, data)
            # They are of the old bytes: next to the new ones they would look tampered with.
            for each in old.signatures:
                path.with_name(each.name).unlink(missing_ok=True)
    dropped = () if data == old.data else tuple(each.name for each in old.signatures)
    return Edited(load(path), archived, dropped, gap_warnings(new, path))


def root_bytes(root: Root) -> bytes:
    """Return the bytes of a root: the same root gives the same bytes, formatted to be read and compared."""
    import json

    # People compare this file by eye, and the fingerprint covers its bytes: one layout only.
    return (json.dumps(root.document(), ensure_ascii=False, sort_keys=True, indent=2) + "\n").encode()


def checked_bytes(
    root: Root, path: Path, name: str, allow: Callable[[Unmet], bool] = lambda _gap: False
) -> bytes:
    """Return the bytes of a root that hosts would accept, and whose owners can satisfy it.

    Args:
        root: The root.
        path: Its file, for errors.
        name: How errors name it.
        allow: Returns whether this may be unmet.

    Raises:
        UsageError: Hosts would not accept it, or nobody could satisfy it.
    """
    data = root_bytes(root)
    try:
        # The reader of the hosts decides whether it is valid.
        parse_root(data, str(path))
    except TamperedError as error:
        what = f"hosts would not accept {name}; nothing was written"
        raise UsageError(what, where=str(path), problems=error.problems) from error
    if gaps := [gap for gap in unmet(root) if not allow(gap)]:
        what = f"nobody could satisfy {name}; nothing was written"
        problems = [Problem(gap.place, gap.what, _remedy(gap, path)) for gap in gaps]
        raise UsageError(what, where=str(path), problems=problems)
    return data


def gap_warnings(root: Root, path: Path) -> tuple[str, ...]:
    """Return what nobody can satisfy in a root, in words, each with what to type."""
    return tuple(f"{gap.text}; {_remedy(gap, path)}" for gap in unmet(root))


def _remedy(gap: Unmet, path: Path) -> str:
    file, role = quote(str(path)), gap.roles[0]
    ways = [
        f"add an owner (`bundle trust add-key {file} KEY.pub --role {role} --owner NAME`)",
        f"replace a key (`bundle trust rotate {file} --replace ID=KEY.pub`)",
    ]
    kind, _, name = gap.place.partition(" ")
    if kind == "environment":
        ways.append(f"require less (`bundle trust set-policy {file} {name} --require ROLE`)")
    return f"{', '.join(ways[:-1])} or {ways[-1]}"


def _signatures(path: Path) -> tuple[Signature, ...]:
    signatures = []
    for each in sorted(path.parent.iterdir()):
        if split_name(each.name, path.name):
            # Bounded: any file whose name looks like a signature is read.
            data = read_document(each, LIMITS.signature_bytes)
            signatures.append(Signature.parse(each.name, data, path.name))
    return tuple(signatures)


def _archive(old: RootFile, archived: Path) -> None:
    """Write the old version and its signatures under its number, unless an earlier run has done so."""
    if not archived.exists():
        write_new(archived, old.data, 0o644)
    for each in old.signatures:
        path = archived.with_name(archived.name + each.name.removeprefix(old.path.name))
        # After an interrupted run some of the files exist already.
        if not path.exists():
            write_new(path, each.data, 0o644)
