"""Signatures that are made elsewhere: `--prepare` and `--attach` of `sign`, `approve` and `trust sign`.

For keys in an HSM, on a smart card, or on another machine. `--prepare` writes the bytes to sign as a file;
any tool that holds the key signs it; `--attach` verifies the signature before it takes it in. All three
commands use the functions of this module; they differ in what is signed and where the signature goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.archive.new_file import write_new
from bundler.archive.reading import read_limited
from installer.core.digest import sha256_hex
from installer.core.errors import Problem, UsageError, WaybillError
from installer.core.limits import LIMITS, MIB
from installer.core.trust.root_json import parse_root
from installer.core.trust.signatures import Signature, TrustedKey, verify


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file that is to be signed elsewhere.

    Attributes:
        path: The file.
        identity: Identity of the bundle, or fingerprint of the root, that it is about.
        sha256: SHA-256 of the file, 64 hex digits.
    """

    path: Path
    identity: str
    sha256: str

    def instructions(self, then: str) -> list[str]:
        """Return what a person does with the file, in lines; `then` is the command that comes after."""
        name = self.path.name
        return [
            f"wrote {self.path}",
            f"sha256   {self.sha256}    (compare before signing)",
            "sign this file on the machine that has the key, with one of these commands",
            f"  cosign sign-blob --key KEY --tlog-upload=false --use-signing-config=false {name} > SIG",
            f"  gpg --armor --detach-sign --local-user FPR --output SIG {name}",
            f"  openssl dgst -sha256 -sign KEY.pem {name} | openssl base64 -A > SIG",
            f"next: {then}",
        ]

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {"changed": True, "path": str(self.path), "identity": self.identity, "sha256": self.sha256}


def prepare(target: Path, data: bytes, identity: str) -> Prepared:
    """Write bytes that are to be signed; the file may exist with the same bytes.

    Args:
        target: The file to write.
        data: The bytes.
        identity: What they are about.

    Raises:
        UsageError: The file exists with other content, or cannot be written.
    """
    if not (target.is_file() and target.read_bytes() == data):
        write_new(target, data, 0o644)
    return Prepared(target, identity, sha256_hex(data))


def public_keys(path: Path) -> list[TrustedKey]:
    """Read one public key, or all keys of a `root.json`.

    Raises:
        UsageError: It is neither, or cannot be read.
    """
    data = read_limited(path, MIB)
    try:
        if data.lstrip()[:1] == b"{":
            return list(parse_root(data, str(path)).keys.values())
        return [TrustedKey.from_public(data.decode("ascii", "replace"), "the key", where=str(path))]
    except WaybillError as error:
        raise UsageError(error.what, where=error.where, problems=error.problems) from error


def match_signatures(
    paths: Sequence[Path], keys: Sequence[TrustedKey], documents: Mapping[str, bytes]
) -> list[Signature]:
    """Find out which document each signature is of, and by which key.

    Args:
        paths: Signature files as cosign, GPG or openssl write them.
        keys: Keys that may have made them.
        documents: Documents that may have been signed, by name.

    Returns:
        The signatures, each verified and named `NAME.<keyid8>.<form>`, in the order of `paths`.

    Raises:
        UsageError: One of them fits no document and key, or cannot be read.
    """
    return [_match(path, keys, documents) for path in paths]


def _match(path: Path, keys: Sequence[TrustedKey], documents: Mapping[str, bytes]) -> Signature:
    data = read_limited(path, LIMITS.signature_bytes)
    form = _form(data)
    problems = []
    for name, content in documents.items():
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
        f"is not a signature of {' or '.join(documents)} by the given key",
        where=str(path),
        hint="sign the file that --prepare wrote, and give the public key of the key that signed it",
        problems=problems,
    )


def _form(data: bytes) -> str:
    start = data.lstrip()[:32]
    if start.startswith(b"-----BEGIN PGP SIGNATURE"):
        return "asc"
    return "sigstore.json" if start.startswith(b"{") else "sig"
