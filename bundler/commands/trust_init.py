"""`bundle trust init` and `show`: create and show `root.json`, the keys and policies that hosts trust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bundler.archive.new_file import write_new
from bundler.archive.reading import read_limited
from bundler.config.durations import parse_expiry
from bundler.signing.gpg import export_public
from bundler.signing.secret_source import refuse_private_key
from bundler.trust.root_files import checked_bytes
from installer.core.errors import TamperedError, UsageError
from installer.core.limits import KIB
from installer.core.trust.root import Role, Root, is_owner_name
from installer.core.trust.root_json import load_root
from installer.core.trust.root_view import RootView, view
from installer.core.trust.signatures import TrustedKey

_PUBLIC_BYTES = 256 * KIB


def init_root(
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
    """Create the first version of a root.

    Args:
        path: The file to write; it must not exist.
        release_keys: `.pub` files with the role release.
        gpg_release: Fingerprints of GPG keys with the role release.
        owners: Owners of the release keys: one for all, or one for each, `.pub` files first. Without any, a
            `.pub` file is owned by its stem, and a GPG key by `gpg-` and its short id.
        expires: How long the root is valid: `365d`, or a time of the form 2030-01-31T00:00:00Z.
        threshold: The number of owners that must sign a release.
        root_keys: `.pub` files with the role root, each owned by its stem.
        gpg_root: Fingerprints of GPG keys with the role root.
        root_threshold: The number of owners that must sign the next root.
        gpg_home: The GnuPG home; None: GNUPGHOME, or GPG's default.
        now: The current time; None: the system clock.

    Returns:
        The content of the root, with the fingerprint that travels apart from it.

    Raises:
        UsageError: The file exists, there is no key, or a key, owner, time or threshold is not valid.
        HostNotReadyError: GPG is needed and not installed.
    """
    now = now or datetime.now(UTC)
    keys = [key_from_file(file) for file in release_keys]
    keys += [key_from_gpg(fingerprint, gpg_home) for fingerprint in gpg_release]
    if not keys:
        raise UsageError(
            "a root needs at least one release key",
            hint="give --release-key NAME.pub or --gpg-release FINGERPRINT",
        )
    # Owners count in policies, so each key needs one.
    keys = _owned(keys, owners)
    # The parser would reject it with a message about JSON; here it can name the key.
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
        # Without the role, hosts accept no successor; that is allowed for a first trial.
        roles["root"] = Role(tuple(sorted({key.keyid for key in heads})), root_threshold)
    # A release key wins over the same key given for the role root: its owner was named.
    held = {key.keyid: key for key in (*heads, *keys)}
    root = Root(1, parse_expiry(expires, now), held, roles)
    data = checked_bytes(root, path, "this root")
    write_new(path, data, 0o644)
    return view(root, data, now)


def show_root(path: Path, now: datetime | None = None) -> RootView:
    """Read a root for people.

    Args:
        path: The root.
        now: The current time; None: the system clock.

    Raises:
        UntrustedError: There is no such file.
        MediaError: It cannot be read.
        TamperedError: It is not a root.
    """
    root, data = load_root(path)
    return view(root, data, now or datetime.now(UTC))


def key_from_file(path: Path) -> TrustedKey:
    """Read a public key from a file; its owner is the stem of the file's name.

    Raises:
        UsageError: It cannot be read, or is not a public key.
    """
    data = read_limited(path, _PUBLIC_BYTES)
    text = data.decode("ascii", "replace")
    # A private key in a root would be published to every host.
    refuse_private_key(text, str(path))
    return _parse(text, path.name.removesuffix(".pub").removesuffix(".asc"), str(path))


def key_from_gpg(fingerprint: str, home: Path | None = None) -> TrustedKey:
    """Read a public key from a GPG keyring; its owner is `gpg-` and its short id.

    Raises:
        UsageError: GPG does not have it.
        HostNotReadyError: GPG is not installed.
    """
    key = _parse(export_public(fingerprint, home), "gpg", fingerprint)
    return replace(key, owner=f"gpg-{key.keyid8}")


def _parse(text: str, owner: str, where: str) -> TrustedKey:
    try:
        return TrustedKey.from_public(text, owner, where=where)
    except TamperedError as error:
        raise UsageError(error.what, where=error.where, hint=error.hint) from error


def _owned(keys: list[TrustedKey], owners: Sequence[str]) -> list[TrustedKey]:
    if owners and len(owners) not in (1, len(keys)):
        raise UsageError(
            f"{len(owners)} owners for {len(keys)} keys",
            hint="give --owner once for all, or once for each key",
        )
    # One owner for all, one for each, or the names of the files.
    names = list(owners) * (len(keys) if len(owners) == 1 else 1) or [key.owner for key in keys]
    for name in names:
        if not is_owner_name(name):
            raise UsageError(
                "is not a valid owner", where=repr(name[:100]), hint="use 1 to 100 printable characters"
            )
    return [replace(key, owner=name) for key, name in zip(keys, names, strict=True)]
