"""`--prepare` and `--attach` of `bundle sign`, `bundle approve` and `bundle trust sign`.

For keys in an HSM, on a card, or on another machine: the bytes are handed out as a file, are signed by
whatever tool holds the key, and the signature is taken in. It is verified before: one that does not fit never
gets in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.new_file import write_new
from bundler.signing.bundle import Signed, add_files
from installer.core.digest import sha256_hex
from installer.core.errors import Problem, UsageError, WaybillError
from installer.core.format.archive import open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import FileSource
from installer.core.format.manifest import SUMS
from installer.core.limits import KIB, LIMITS
from installer.core.trust.root_json import parse_root
from installer.core.trust.signatures import Signature, TrustedKey, verify

_PUBLIC_BYTES = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Prepared:
    """Where the bytes are that are to be signed, and what they are about.

    Attributes:
        path: The file.
        identity: The bundle's; the fingerprint of a root.
        sha256: Of the file, in hex.
    """

    path: Path
    identity: str
    sha256: str

    def lines(self, then: str) -> list[str]:
        """Says to people what to do with it; `then` is the command that comes after."""
        name = self.path.name
        return [
            f"wrote {self.path}",
            f"sha256   {self.sha256}    (compare before you sign)",
            "sign this file where the key is, with one of",
            f"  cosign sign-blob --key KEY --tlog-upload=false --use-signing-config=false {name} > SIG",
            f"  gpg --armor --detach-sign --local-user FPR --output SIG {name}",
            f"  openssl dgst -sha256 -sign KEY.pem {name} | openssl base64 -A > SIG",
            f"then: {then}",
        ]

    def as_json(self) -> dict[str, str]:
        """Gives it as `--json` prints it."""
        return {"path": str(self.path), "identity": self.identity, "sha256": self.sha256}


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
    medium = FileSource(path)
    try:
        bundle = open_bundle(medium, unsafe_trust_anyone)
    finally:
        medium.close()
    target = output or path.with_name(f"{path.name}.{SUMS}")
    return write_prepared(target, bundle.head.sums, bundle.identity)


def write_prepared(target: Path, data: bytes, identity: str) -> Prepared:
    """Writes bytes that are to be signed; the same bytes may be there already.

    Raises:
        UsageError: Something else has the name, or it cannot be written.
    """
    if not (target.is_file() and target.read_bytes() == data):
        write_new(target, data, 0o644)
    return Prepared(target, identity, sha256_hex(data))


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
    keys = public_keys(public)

    def make(sums: bytes) -> dict[str, bytes]:
        found = fitting(signatures, keys, {SUMS: sums})
        return {each.name: each.data for each in found}

    return add_files(path, make)


def public_keys(public: Path) -> list[TrustedKey]:
    """Reads one public key, or those of a `root.json`.

    Raises:
        UsageError: It is neither, or cannot be read.
    """
    data = read(public, _PUBLIC_BYTES)
    try:
        if data.lstrip()[:1] == b"{":
            return list(parse_root(data, str(public)).keys.values())
        return [TrustedKey.from_public(data.decode("ascii", "replace"), "the key", where=str(public))]
    except WaybillError as error:
        raise UsageError(error.what, where=error.where, problems=error.problems) from error


def fitting(
    paths: Sequence[Path], keys: Sequence[TrustedKey], signed: Mapping[str, bytes]
) -> list[Signature]:
    """Finds out what each signature is of, and by which key.

    Args:
        paths: Files as cosign, GPG or openssl wrote them.
        keys: Those that may have made them.
        signed: What they may be of, by name.

    Returns:
        The signatures, each named `NAME.<keyid8>.<form>`.

    Raises:
        UsageError: One of them fits none.
    """
    return [_fitting(path, keys, signed) for path in paths]


def _fitting(path: Path, keys: Sequence[TrustedKey], signed: Mapping[str, bytes]) -> Signature:
    data = read(path, LIMITS.signature_bytes)
    form = _form(data)
    problems = []
    for name, content in signed.items():
        for key in keys:
            if (form == "asc") != (key.scheme == "gpg"):
                continue
            signature = Signature(f"{name}.{key.keyid8}.{form}", form, key.keyid8, data)
            try:
                verify(key, signature, content)
            except WaybillError as error:
                problems.append(Problem(f"{name}, key {key.keyid8}", error.what, error.hint))
                continue
            return signature
    raise UsageError(
        f"is no signature of {' or '.join(signed)} by the given key",
        where=str(path),
        hint="sign the file that --prepare wrote, and give the public half of that key",
        problems=problems,
    )


def _form(data: bytes) -> str:
    start = data.lstrip()[:32]
    if start.startswith(b"-----BEGIN PGP SIGNATURE"):
        return "asc"
    return "sigstore.json" if start.startswith(b"{") else "sig"


def read(path: Path, limit: int) -> bytes:
    """Reads a small file.

    Raises:
        UsageError: It cannot be read, or has more than `limit` bytes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if len(data) > limit:
        raise UsageError(f"has more than {limit} bytes", where=str(path))
    return data
