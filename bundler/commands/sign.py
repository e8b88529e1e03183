"""`bundle sign`: sign a bundle in place, with a key at hand or one that is elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundler.archive.reading import unverified_bundle
from bundler.signing import Signer
from bundler.signing.bundle import Signed, add_signatures, sign
from bundler.signing.detached import Prepared, match_signatures, prepare, read_public
from installer.core.format.manifest import SUMS


def sign_bundle(path: Path, signers: Sequence[Signer]) -> Signed:
    """Sign a bundle with one key or several.

    Args:
        path: The bundle.
        signers: The keys; at least one.

    Returns:
        What was added.

    Raises:
        UsageError: There is no such file.
        UnfitInputError: The bundle cannot be written to, or has no reserved space left.
        BusyError: Another process signs it.
        TamperedError: It is not a bundle.
    """
    results = [sign(path, signer) for signer in signers]
    # Each signer sees the bundle as the one before has left it.
    added = tuple(name for result in results for name in result.added)
    return Signed(results[-1].identity, added, results[-1].signatures)


def prepare_sums(path: Path, output: Path | None = None) -> Prepared:
    """Write the bytes of a bundle that are to be signed elsewhere.

    Args:
        path: The bundle.
        output: The file to write; None: `BUNDLE.SHA256SUMS`.

    Raises:
        UsageError: The file exists, or cannot be written.
        TamperedError: It is not a bundle.
    """
    with unverified_bundle(path) as bundle:
        sums = bundle.head.sums
    return prepare(output or path.with_name(f"{path.name}.{SUMS}"), sums, bundle.identity)


def attach_signatures(path: Path, signatures: Sequence[Path], public: Path) -> Signed:
    """Add signatures that were made elsewhere to a bundle.

    Args:
        path: The bundle.
        signatures: Files as cosign, GPG or openssl write them.
        public: The public key, or a `root.json` that has it.

    Returns:
        What was added.

    Raises:
        UsageError: A file cannot be read, or is not a signature of this bundle by that key.
        UnfitInputError: The bundle cannot be written to, or has no reserved space left.
        BusyError: Another process signs it.
        TamperedError: It is not a bundle.
    """
    # Read before the bundle is locked: a typing error should not keep others waiting.
    keys = read_public(public).keys

    def matched(sums: bytes) -> dict[str, bytes]:
        found = match_signatures(signatures, keys, {SUMS: sums})
        return {each.signature.name: each.signature.data for each in found}

    return add_signatures(path, matched)
