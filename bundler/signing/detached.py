"""Signatures that are made elsewhere: `--prepare` and `--attach` of `sign`, `approve` and `trust sign`.

For keys in an HSM, on a smart card, or on another machine. `--prepare` writes the bytes to sign as a file;
any tool that holds the key signs it; `--attach` verifies the signature before it takes it in. All three
commands use the functions of this module; they differ in what is signed and where the signature goes.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.archive.new_file import write_new
from bundler.archive.reading import read_limited
from bundler.signing.secret_source import refuse_private_key
from installer.core.digest import sha256_hex
from installer.core.errors import CheckFailedError, Problem, UsageError, WaybillError
from installer.core.limits import LIMITS, MIB
from installer.core.trust.root import Root
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
        name = shlex.quote(self.path.name)
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


@dataclass(frozen=True, slots=True)
class Matched:
    """A signature that was made elsewhere, verified.

    Attributes:
        signature: Named `NAME.<keyid8>.<form>` by the document that it is of.
        document: The name of that document.
        key: The key that made it.
    """

    signature: Signature
    document: str
    key: TrustedKey


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What `--public` names: one public key, or a root with all of its keys.

    Attributes:
        keys: The keys.
        root: The root that has them; None for a single key, of which nobody says what it may sign.
    """

    keys: Sequence[TrustedKey]
    root: Root | None = None


def read_public(path: Path) -> PublicKeys:
    """Read one public key, or all keys of a `root.json`.

    Raises:
        UsageError: It is neither, or cannot be read.
    """
    data = read_limited(path, MIB)
    try:
        if data.lstrip()[:1] == b"{":
            root = parse_root(data, str(path))
            return PublicKeys(list(root.keys.values()), root)
        text = data.decode("ascii", "replace")
        refuse_private_key(text, str(path))
        return PublicKeys([TrustedKey.from_public(text, "the key", where=str(path))])
    except UsageError:
        raise
    except WaybillError as error:
        raise UsageError(error.what, where=error.where, problems=error.problems) from error


def match_signatures(
    paths: Sequence[Path], keys: Sequence[TrustedKey], documents: Mapping[str, bytes]
) -> list[Matched]:
    """Find out which document each signature is of, and by which key.

    Args:
        paths: Signature files as cosign, GPG or openssl write them.
        keys: Keys that may have made them.
        documents: Documents that may have been signed, by name.

    Returns:
        The signatures, each verified, in the order of `paths`.

    Raises:
        UsageError: One of them fits no document and key, or cannot be read.
    """
    return [_match(path, keys, documents) for path in paths]


def _match(path: Path, keys: Sequence[TrustedKey], documents: Mapping[str, bytes]) -> Matched:
    data = read_limited(path, LIMITS.signature_bytes)
    form = _form(data)
    if not _is_signature(form, data):
        raise UsageError(
            "is no signature in a form that hosts read: armored (GPG), or base64 (cosign, openssl)",
            where=str(path),
            hint="sign the file that --prepare wrote with one of the commands that it printed",
        )
    problems, unchecked = list[Problem](), list[Problem]()
    for name, content in documents.items():
        for key in keys:
            if (form == "asc") != (key.scheme == "gpg"):
                continue
            signature = Signature(f"{name}.{key.keyid8}.{form}", form, key.keyid8, data)
            try:
                verify(key, signature, content)
            except WaybillError as error:
                # Without gpgv, nobody knows whether the key made it.
                told = unchecked if isinstance(error, CheckFailedError) else problems
                told.append(Problem(f"{name}, key {key.keyid8}", error.what, error.hint))
                continue
            return Matched(signature, name, key)
    named = " or ".join(documents)
    if unchecked:
        raise UsageError(f"cannot be checked as a signature of {named}", where=str(path), problems=unchecked)
    if len(keys) > 1:
        # Of each key it is true that it has not made it: that says nothing more.
        raise UsageError(
            f"no key of the root made this signature of {named}",
            where=str(path),
            hint="give the key that made it, `--public KEY.pub`; hosts count it once the root has the key: "
            "`bundle trust add-key root.json KEY.pub --role ROLE`. If the root has it, sign the file that "
            "--prepare wrote again",
        )
    raise UsageError(
        f"is not a signature of {named} by the key {keys[0].keyid8 if keys else 'of the root'}",
        where=str(path),
        hint="sign the file that --prepare wrote, and give the public key of the key that signed it",
        problems=problems,
    )


def _is_signature(form: str, data: bytes) -> bool:
    """Return whether a file has the form of a signature, of whatever and by whomever."""
    if form != "sig":
        return True
    try:
        raw = base64.b64decode(b"".join(data.split()), validate=True)
    except ValueError:
        return False
    # ECDSA: a sequence in DER; Ed25519: 64 bytes.
    return raw[:1] == b"\x30" or len(raw) == 64


def _form(data: bytes) -> str:
    start = data.lstrip()[:32]
    if start.startswith(b"-----BEGIN PGP SIGNATURE"):
        return "asc"
    return "sigstore.json" if start.startswith(b"{") else "sig"
