"""VERB `bundle trust`: makes `root.json`, which tells a host whom to trust, and shows it.

Here are `init` and `show`; `trustedit` maintains what is made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bundler.archive.new_file import write_new
from bundler.config.durations import parse_expiry
from bundler.signing.gpg import export_public
from bundler.trust.root_files import root_bytes
from installer.core.errors import TamperedError, UsageError
from installer.core.limits import KIB
from installer.core.trust.root import Role, Root, is_owner_name
from installer.core.trust.root_json import load_root, parse_root
from installer.core.trust.root_view import RootView, view
from installer.core.trust.signatures import TrustedKey

_PUBLIC_BYTES = 256 * KIB


def init(
    path: Path,
    release_keys: Sequence[Path],
    gpg_release: Sequence[str] = (),
    *,
    owners: Sequence[str] = (),
    expires: str = "365d",
    threshold: int = 1,
    root_keys: Sequence[Path] = (),
    gpg_root: Sequence[str] = (),
    root_threshold: int = 1,
    gpg_home: Path | None = None,
    now: datetime | None = None,
) -> RootView:
    """Makes the first root and writes it.

    Args:
        path: Where; nothing is written over.
        release_keys: `.pub` files of those who may release.
        gpg_release: Fingerprints of GPG keys, of those who may release.
        owners: Who holds the keys: one for all, or one for each, `.pub` files first. Without any, a file's
            stem names its owner, and `gpg-` with the short id that of a GPG key.
        expires: For how long the root is good: `365d`, or a time of the form 2030-01-31T00:00:00Z.
        threshold: How many owners must sign a release.
        root_keys: `.pub` files of those who may sign the next root, each owned by its file's stem.
        gpg_root: Fingerprints of GPG keys, of those who may sign the next root.
        root_threshold: How many of them must.
        gpg_home: The GnuPG home; None: GNUPGHOME, or GPG's default.
        now: The time; None: what the clock says.

    Returns:
        What the root says, with the fingerprint that is to travel apart from it.

    Raises:
        UsageError: The file exists; there is no key; a key, an owner, time or threshold makes no sense.
        HostNotReadyError: GPG is needed and not installed.
    """
    now = now or datetime.now(UTC)
    keys = [key_from_file(file) for file in release_keys]
    keys += [key_from_gpg(fingerprint, gpg_home) for fingerprint in gpg_release]
    if not keys:
        raise UsageError(
            "a root needs at least one key", hint="give --release-key NAME.pub or --gpg-release FINGERPRINT"
        )
    keys = _owned(keys, owners)
    twice = next(
        (key.keyid8 for at, key in enumerate(keys) if key.keyid in {k.keyid for k in keys[:at]}), None
    )
    if twice is not None:
        raise UsageError(f"the key {twice} is given twice", where=str(path))
    roles = {"release": Role(tuple(sorted(key.keyid for key in keys)), threshold)}
    heads = [
        *(key_from_file(file) for file in root_keys),
        *(key_from_gpg(f, gpg_home) for f in gpg_root),
    ]
    if heads:
        roles["root"] = Role(tuple(sorted({key.keyid for key in heads})), root_threshold)
    held = {key.keyid: key for key in (*heads, *keys)}
    root = Root(1, parse_expiry(expires, now), held, roles)
    data = root_bytes(root)
    try:
        parse_root(data, str(path))
    except TamperedError as error:
        raise UsageError(
            "this root would not be accepted", where=str(path), problems=error.problems
        ) from error
    write_new(path, data, 0o644)
    return view(root, data, now)


def show(path: Path, now: datetime | None = None) -> RootView:
    """Reads a root and says what it says.

    Args:
        path: The root.
        now: The time; None: what the clock says.

    Returns:
        The view.

    Raises:
        UntrustedError: There is no such file.
        MediaError: It cannot be read.
        TamperedError: It is not a root.
    """
    root, data = load_root(path)
    return view(root, data, now or datetime.now(UTC))


def key_from_file(path: Path) -> TrustedKey:
    """Reads a public key; its file's stem names the owner.

    Raises:
        UsageError: It cannot be read, or is not a public key.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_PUBLIC_BYTES)
    except OSError as error:
        raise UsageError(f"the public key cannot be read: {error.strerror}", where=str(path)) from error
    text = data.decode("ascii", "replace")
    if "PRIVATE KEY" in text[:200]:
        raise UsageError(
            "is a PRIVATE key", where=str(path), hint="give the public half, NAME.pub; hosts never need this"
        )
    return _made(text, path.name.removesuffix(".pub").removesuffix(".asc"), str(path))


def key_from_gpg(fingerprint: str, home: Path | None = None) -> TrustedKey:
    """Takes a public key from a GPG keyring; `gpg-` with its short id names the owner.

    Raises:
        UsageError: It is not there.
        HostNotReadyError: GPG is not installed.
    """
    key = _made(export_public(fingerprint, home), "gpg", fingerprint)
    return replace(key, owner=f"gpg-{key.keyid8}")


def _made(text: str, owner: str, where: str) -> TrustedKey:
    try:
        return TrustedKey.from_public(text, owner, where=where)
    except TamperedError as error:
        raise UsageError(error.what, where=error.where, hint=error.hint) from error


def _owned(keys: list[TrustedKey], owners: Sequence[str]) -> list[TrustedKey]:
    if owners and len(owners) not in (1, len(keys)):
        raise UsageError(
            f"{len(owners)} owners are given for {len(keys)} keys",
            hint="give --owner once for all, or once for each key",
        )
    names = list(owners) * (len(keys) if len(owners) == 1 else 1) or [key.owner for key in keys]
    for name in names:
        if not is_owner_name(name):
            raise UsageError(
                "cannot name an owner", where=repr(name[:100]), hint="1 to 100 printable characters"
            )
    return [replace(key, owner=name) for key, name in zip(keys, names, strict=True)]
