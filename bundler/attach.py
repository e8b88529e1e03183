"""VERBS `bundle sign --prepare` and `--attach`: for keys in an HSM, on a card, or on another machine.

The signed bytes are handed out as a file, are signed by whatever tool holds the key, and the signature is put
into the bundle. It is verified before: a signature that does not fit never gets in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler.keygen import write_new
from bundler.sign import Signed, add_files
from installer.core.archive import open_bundle, unsafe_no_decision
from installer.core.errors import Problem, UsageError, WaybillError
from installer.core.limits import KIB, LIMITS
from installer.core.medium import FileMedium
from installer.core.rootio import parse_root
from installer.core.signatures import SUMS, Signature, TrustedKey, verify

_PUBLIC_BYTES = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` wrote: the bytes to be signed, and the bundle's identity, which is their SHA-256."""

    path: Path
    identity: str


def prepare(path: Path, output: Path | None = None) -> Prepared:
    """Writes the bytes that are to be signed.

    Args:
        path: The bundle.
        output: Where to; None: `BUNDLE.SHA256SUMS`.

    Returns:
        Where they are.

    Raises:
        UsageError: The file exists, or cannot be written.
        TamperedError: It is not a bundle.
    """
    medium = FileMedium(path)
    try:
        bundle = open_bundle(medium, unsafe_no_decision)
    finally:
        medium.close()
    target = output or path.with_name(f"{path.name}.{SUMS}")
    if not (target.is_file() and target.read_bytes() == bundle.head.sums):
        write_new(target, bundle.head.sums, 0o644)
    return Prepared(target, bundle.identity)


def attach(path: Path, signatures: Sequence[Path], public: Path) -> Signed:
    """Puts signatures that were made elsewhere into a bundle.

    Args:
        path: The bundle.
        signatures: Files as cosign or GPG wrote them.
        public: The public key, or a `root.json` in which it is.

    Returns:
        What was added.

    Raises:
        UsageError: A file cannot be read, or is no signature of this bundle by that key.
        UnfitInputError: The bundle cannot be written, or has no room left.
        BusyError: Another process signs it.
        TamperedError: It is not a bundle.
    """
    keys = _keys(public)

    def make(sums: bytes) -> dict[str, bytes]:
        return dict(_fitting(each, keys, sums) for each in signatures)

    return add_files(path, make)


def _keys(public: Path) -> list[TrustedKey]:
    data = _read(public, _PUBLIC_BYTES)
    try:
        if data.lstrip()[:1] == b"{":
            return list(parse_root(data, str(public)).keys.values())
        return [TrustedKey.from_public(data.decode("ascii", "replace"), "the key", where=str(public))]
    except WaybillError as error:
        raise UsageError(error.what, where=error.where, problems=error.problems) from error


def _fitting(path: Path, keys: Sequence[TrustedKey], sums: bytes) -> tuple[str, bytes]:
    data = _read(path, LIMITS.signature_bytes)
    form = _form(data)
    problems = []
    for key in keys:
        if (form == "asc") != (key.scheme == "gpg"):
            continue
        signature = Signature(f"{SUMS}.{key.keyid8}.{form}", form, key.keyid8, data)
        try:
            verify(key, signature, sums)
        except WaybillError as error:
            problems.append(Problem(f"key {key.keyid8}", error.what, error.hint))
            continue
        return signature.name, data
    raise UsageError(
        f"is no signature of this bundle's {SUMS} by the given key",
        where=str(path),
        hint="sign what `bundle sign BUNDLE --prepare` wrote, and give the public half of that key",
        problems=problems,
    )


def _form(data: bytes) -> str:
    start = data.lstrip()[:32]
    if start.startswith(b"-----BEGIN PGP SIGNATURE"):
        return "asc"
    return "sigstore.json" if start.startswith(b"{") else "sig"


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if len(data) > limit:
        raise UsageError(f"has more than {limit} bytes", where=str(path))
    return data
