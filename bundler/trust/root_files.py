"""A root as files: `root.json`, its signatures `root.json.<keyid8>.sig`, its predecessors `N.root.json`."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from bundler.archive.new_file import write_new
from bundler.archive.output_file import fsync_directory
from installer.core.errors import TamperedError, UnfitInputError, UsageError
from installer.core.limits import LIMITS
from installer.core.trust.root import Root, fingerprint
from installer.core.trust.root_json import load_root, parse_root
from installer.core.trust.rotation import signing_owners
from installer.core.trust.signatures import Signature, split_name


@dataclass(frozen=True, slots=True)
class RootStanding:
    """How far the signing of a root has come, as one version of the root sees it.

    Attributes:
        version: Whose role `root` counts.
        needed: How many owners it asks for; 0: it names nobody.
        signed: Owners who have signed.
        open: Owners who could.
    """

    version: int
    needed: int
    signed: tuple[str, ...]
    open: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether enough owners have signed."""
        return 0 < self.needed <= len(self.signed)

    def text(self) -> str:
        """Gives it as a line for people."""
        if not self.needed:
            return f"version {self.version} names nobody for the role root: hosts cannot take a successor"
        who = f" ({', '.join(self.signed)})" if self.signed else ""
        rest = "" if self.complete else f"; can sign: {', '.join(self.open) or 'nobody'}"
        return f"{len(self.signed)} of {self.needed} owners of version {self.version} have signed{who}{rest}"


@dataclass(frozen=True, slots=True)
class RootFile:
    """A root with what lies beside it.

    Attributes:
        path: Where it is.
        root: What it says.
        data: Its exact bytes.
        signatures: The signatures beside it.
        before: Its predecessor, where `N.root.json` lies beside it.
    """

    path: Path
    root: Root
    data: bytes
    signatures: tuple[Signature, ...]
    before: Root | None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its bytes."""
        return fingerprint(self.data)

    def stands(self, now: datetime) -> list[RootStanding]:
        """Says how far the signing has come, by itself and by its predecessor.

        Raises:
            TamperedError: A signature is not of these bytes.
        """
        return [self._stand(root, now) for root in (self.before, self.root) if root is not None]

    def complete(self, now: datetime) -> bool:
        """Says whether hosts would take it: then it is out, and changes make a new version."""
        try:
            return bool(self.signatures) and all(stand.complete for stand in self.stands(now))
        except TamperedError:
            return False

    def _stand(self, root: Root, now: datetime) -> RootStanding:
        owners, _ = signing_owners(root, self.data, self.signatures, now)
        rest = sorted({key.owner for key in root.holders("root")} - set(owners.values()))
        needed = root.roles["root"].threshold if "root" in root.roles else 0
        return RootStanding(root.version, needed, tuple(sorted(owners.values())), tuple(rest))


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit did.

    Attributes:
        file: The root as it is now.
        kept: Where the version before lies now; None where the same version was changed.
        dropped: Names of signatures that were removed, since they were of other bytes.
    """

    file: RootFile
    kept: Path | None
    dropped: tuple[str, ...]


def load(path: Path) -> RootFile:
    """Reads a root and what lies beside it.

    Raises:
        UntrustedError: There is none.
        MediaError: It cannot be read.
        TamperedError: It is not a root.
    """
    root, data = load_root(path)
    before = numbered(path, root.version - 1)
    return RootFile(path, root, data, _signatures(path), load_root(before)[0] if before.exists() else None)


def numbered(path: Path, version: int) -> Path:
    """Gives where an older version lies: `N.root.json`."""
    return path.with_name(f"{version}.root.json")


def edit(path: Path, change: Callable[[Root], Root], now: datetime) -> Edited:
    """Changes a root. Where hosts may have it already, that makes the next version.

    Args:
        path: The root.
        change: Gives the new one; the version is seen to here.
        now: The time.

    Returns:
        What was written.

    Raises:
        UsageError: The new root would not be accepted.
        UnfitInputError: It cannot be written.
        TamperedError: The old one is not a root.
    """
    old = load(path)
    out = old.complete(now)
    new = replace(change(old.root), version=old.root.version + (1 if out else 0))
    data = root_bytes(new)
    try:
        parse_root(data, str(path))
    except TamperedError as error:
        raise UsageError(
            "the root would not be accepted like this; nothing was changed",
            where=str(path),
            problems=error.problems,
        ) from error
    kept = None
    try:
        if out:
            kept = numbered(path, old.root.version)
            _keep(old, kept)
        if data != old.data:
            _replace(path, data)
            for each in old.signatures:
                path.with_name(each.name).unlink(missing_ok=True)
    except OSError as error:
        raise UnfitInputError(f"cannot be written: {error.strerror}", where=str(path)) from None
    dropped = () if data == old.data else tuple(each.name for each in old.signatures)
    return Edited(load(path), kept, dropped)


def root_bytes(root: Root) -> bytes:
    """Gives the bytes of a root: the same root, the same bytes, laid out to be read and compared."""
    import json

    return (json.dumps(root.document(), ensure_ascii=False, sort_keys=True, indent=2) + "\n").encode()


def _signatures(path: Path) -> tuple[Signature, ...]:
    found = []
    for each in sorted(path.parent.iterdir()):
        if split_name(each.name, path.name):
            with each.open("rb") as file:
                data = file.read(LIMITS.signature_bytes)
            found.append(Signature.parse(each.name, data, path.name))
    return tuple(found)


def _keep(old: RootFile, kept: Path) -> None:
    if not kept.exists():
        write_new(kept, old.data, 0o644)
    for each in old.signatures:
        place = kept.with_name(kept.name + each.name.removeprefix(old.path.name))
        if not place.exists():
            write_new(place, each.data, 0o644)


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        write_new(partial, data, 0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    fsync_directory(path.parent)
