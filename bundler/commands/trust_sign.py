"""`bundle trust sign`: sign a root, with a key at hand or one that is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any

from bundler.archive.new_file import write_new
from bundler.signing import Signer
from bundler.signing.detached import Prepared, match_signatures, prepare, read_public
from bundler.trust.root_files import RootFile, load
from installer.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class RootSigned:
    """A root after signing.

    Attributes:
        file: The root with its signatures.
        added: Names of the signature files that were written; empty if they were there already.
    """

    file: RootFile
    added: tuple[str, ...]

    def as_text(self, now: datetime) -> str:
        """Return it in words for people."""
        added = [f"wrote {name}" for name in self.added] or ["already signed by this key"]
        # Both versions count: hosts need the signatures of the old and of the new root's owners.
        standings = self.file.standings(now)
        missing = max(each.missing for each in standings)
        if self.file.complete(now):
            last = "valid: carry the root and its signatures to the hosts"
        else:
            last = f"not valid yet: {missing} more signature{'' if missing == 1 else 's'} needed"
        return "\n".join([*added, *(each.as_text() for each in standings), last])

    def as_json(self, now: datetime) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "changed": bool(self.added),
            "added": list(self.added),
            "fingerprint": self.file.fingerprint,
            "complete": self.file.complete(now),
            "signed": {str(each.version): list(each.signed) for each in self.file.standings(now)},
        }


def sign_root(path: Path, signers: Sequence[Signer], now: datetime) -> RootSigned:
    """Sign a root; the signatures are written next to it.

    Args:
        path: The root.
        signers: The keys to sign with.
        now: The current time.

    Raises:
        UsageError: A key may not sign this root.
        TamperedError: It is not a root, or a signature next to it is of other bytes.
    """
    file = _load_checked(path, now)
    added: list[str] = []
    for signer in signers:
        _require_role(file, signer.keyid, signer.keyid8)
        # Written at once: if the second key fails, the first signature is not lost.
        added += _write_signatures(file, signer.files(path.name, file.data))
    return RootSigned(load(path), tuple(added))


def prepare_root(path: Path, output: Path | None = None) -> Prepared:
    """Write the bytes of a root that are to be signed elsewhere.

    Args:
        path: The root.
        output: The file to write; None: `ROOT.unsigned`.

    Raises:
        TamperedError: It is not a root.
        UsageError: Another file has the name.
    """
    file = load(path)
    return prepare(output or path.with_name(f"{path.name}.unsigned"), file.data, file.fingerprint)


def attach_to_root(path: Path, signatures: Sequence[Path], public: Path | None, now: datetime) -> RootSigned:
    """Write signatures that were made elsewhere next to a root, after verifying them.

    Args:
        path: The root.
        signatures: Files as cosign, GPG or openssl write them.
        public: The public key, or a `root.json` that has it; None: the keys of this root and the previous
            one.
        now: The current time.

    Raises:
        UsageError: One is not a signature of this root, or its key may not sign it.
        TamperedError: It is not a root, or a signature next to it is of other bytes.
    """
    file = _load_checked(path, now)
    if public:
        keys = list(read_public(public).keys)
    else:
        keys = [key for root in (file.root, file.previous) if root for key in root.keys.values()]
    attached = match_signatures(signatures, keys, {path.name: file.data})
    # All are checked before the first is written.
    for each in attached:
        _require_role(file, each.key.keyid, each.key.keyid8)
    added = _write_signatures(file, {each.signature.name: each.signature.data for each in attached})
    return RootSigned(load(path), tuple(added))


def _load_checked(path: Path, now: datetime) -> RootFile:
    """Load a root whose existing signatures are all of its present bytes."""
    file = load(path)
    # Raises if a signature is of other bytes: signing on would hide that the root was changed.
    file.standings(now)
    return file


def _require_role(file: RootFile, keyid: str, keyid8: str) -> None:
    # Hosts take a successor that holders of the role in the previous version signed too.
    roots = [root for root in (file.previous, file.root) if root]
    if not any(key.keyid == keyid for root in roots for key in root.holders("root")):
        raise UsageError(
            f"the key {keyid8} does not have the role root, in this version or the previous one",
            where=str(file.path),
            hint=f"run `bundle trust add-key {quote(str(file.path))} KEY.pub --role root --owner NAME`",
        )


def _write_signatures(file: RootFile, signatures: Mapping[str, bytes]) -> list[str]:
    """Write signatures that do not exist yet; return their names."""
    present = {each.name for each in file.signatures}
    added = [name for name in signatures if name not in present]
    for name in added:
        write_new(file.path.with_name(name), signatures[name], 0o644)
    return added
