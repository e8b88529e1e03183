"""Sign with GPG; the private key stays in gpg-agent or on a smart card.

The agent's own pinentry asks for a passphrase. Without a terminal (CI), it is taken from
WAYBILL_GPG_PASSPHRASE.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from bundler.signing import Signer
from bundler.signing.secret_source import holds_secret
from installer.core.errors import CheckFailedError, ExpiredError, HostNotReadyError, UsageError
from installer.core.trust import gpgv

PASSPHRASE_VARIABLE = "WAYBILL_GPG_PASSPHRASE"
_FINGERPRINT = re.compile(r"[0-9a-f]{40}")
# SHA-256, SHA-384 and SHA-512 by their OpenPGP numbers; hosts accept no other.
_HASHES = ("8", "9", "10")
_LISTING = "run `gpg --list-secret-keys` to see the fingerprints"


class GpgSigner(Signer):
    """Signs with one key of a GPG keyring.

    Args:
        fingerprint: The full fingerprint, of the primary key or of a signing subkey; spaces are allowed.
        home: The GnuPG home; None: GNUPGHOME, or GPG's default.
        passphrase: Unlocks the key; None: that of the variable, or of the agent.

    Attributes:
        keyid: The fingerprint of the primary key, 40 lower-case hex digits.
        keyid8: The last eight digits of it.
        public: The public key, armored, without other people's signatures.

    Raises:
        UsageError: It is not a fingerprint, or GPG has no such secret key.
        ExpiredError: The key is expired, revoked or disabled.
        HostNotReadyError: GPG is not installed.
    """

    def __init__(self, fingerprint: str, home: Path | None = None, passphrase: str | None = None) -> None:
        self._passphrase = passphrase
        wanted = normal_fingerprint(fingerprint)
        self._gpg = _gpg(home)
        found = self._gpg.list_keys(secret=True, keys=[wanted])
        # A short id could match two keys; a full fingerprint matches one or none.
        if len(found) != 1:
            raise UsageError("GPG has no secret key with this fingerprint", where=wanted, hint=_LISTING)
        listed = self._gpg.list_keys(keys=[wanted])
        trust = listed[0]["trust"] if listed else ""
        # GPG would sign with an expired key and exit 0, and hosts would then refuse the bundle.
        if trust in ("r", "e", "d"):
            state = {"r": "revoked", "e": "expired", "d": "disabled"}[trust]
            raise ExpiredError(f"the GPG key is {state}", where=wanted, hint="sign with a valid key")
        self.keyid = str(found[0]["fingerprint"]).lower()
        self.keyid8 = self.keyid[-8:]
        self.public = _exported(self._gpg, self.keyid)
        computed, self._ring = gpgv.load_public_key(self.public, f"GPG key {self.keyid}")
        # What hosts pin is computed here from the exported bytes; GPG's own word is not enough.
        if computed != self.keyid:
            raise UsageError("GPG exported another key", where=wanted)

    @property
    def _look(self) -> str:
        """Where the passphrase is to be looked for."""
        if self._passphrase:
            return "check what --password-from names"
        return f"{'check' if os.environ.get(PASSPHRASE_VARIABLE) else 'set'} {PASSPHRASE_VARIABLE}"

    def sign(self, data: bytes) -> dict[str, bytes]:
        """Sign `data` with a detached, armored signature, and verifies it.

        Args:
            data: The exact bytes.

        Returns:
            The `.asc` file.

        Raises:
            UsageError: The passphrase is wrong, or nobody can be asked for it.
            ExpiredError: The key expired or was revoked.
        """
        # python-gnupg 0.5.7 announces an empty passphrase but does not send it: GPG then takes the first line
        # of the data for it. So an empty one counts as none.
        passphrase = self._passphrase or os.environ.get(PASSPHRASE_VARIABLE) or None
        # GPG reads one line; what follows it would be signed.
        if passphrase and any(each in passphrase for each in "\n\r\0"):
            what = "the passphrase has a line break or a zero byte in it, which ends it for GPG"
            raise UsageError(what, where=self.keyid, hint=self._look)
        # SHA-256 and binary mode, whatever gpg.conf of the user says.
        arguments = ["--local-user", self.keyid, "--digest-algo", "SHA256", "--no-textmode"]
        made = self._gpg.sign(
            data, keyid=self.keyid, detach=True, clearsign=False, passphrase=passphrase, extra_args=arguments
        )
        if made.status in ("key expired", "key revoked") and not made.data:
            raise ExpiredError(f"the GPG {made.status}", where=self.keyid)
        # python-gnupg does not raise an error: each of the three can fail alone.
        if made.returncode != 0 or made.type != "D" or made.hash_algo not in _HASHES:
            raise UsageError(
                f"GPG did not sign: {_reason(made)}",
                where=self.keyid,
                hint=self._look if passphrase else f"{self._look}, or unlock the key in gpg-agent",
            )
        # Armor with CR LF verifies, but is not the same bytes on every machine.
        signature = bytes(made.data).replace(b"\r\n", b"\n")
        with suppress(CheckFailedError):  # Signing needs no gpgv; hosts that verify do, and say so.
            gpgv.verify(self.keyid, self._ring, signature, data, f"{self.keyid8}.asc")
        return {"asc": signature}


def export_public(fingerprint: str, home: Path | None = None) -> str:
    """Export a public key of a GPG keyring, its secret half not being needed.

    Args:
        fingerprint: The full fingerprint; spaces are allowed.
        home: The GnuPG home; None: GNUPGHOME, or GPG's default.

    Returns:
        The armored key, without other people's signatures.

    Raises:
        UsageError: It is not a fingerprint, or GPG has no such key.
        HostNotReadyError: GPG is not installed.
    """
    wanted = normal_fingerprint(fingerprint)
    exported = _exported(_gpg(home), wanted)
    if not exported.strip():
        raise UsageError(
            "GPG has no public key with this fingerprint",
            where=wanted,
            hint="run `gpg --list-keys` to see the fingerprints",
        )
    return exported


def normal_fingerprint(text: str) -> str:
    """Return a fingerprint as 40 lower-case hex digits.

    Args:
        text: The fingerprint as typed, with or without spaces and `0x`.

    Returns:
        The digits.

    Raises:
        UsageError: It is a user id, a short key id, or something else.
    """
    digits = "".join(text.lower().split()).removeprefix("0x").removesuffix("!")
    if not _FINGERPRINT.fullmatch(digits):
        # Somebody may have given the key itself.
        where = "--gpg-key" if holds_secret(text) else text[:80]
        raise UsageError("is not a full GPG fingerprint (40 hex digits)", where=where, hint=_LISTING)
    return digits


def _exported(gpg: Any, fingerprint: str) -> str:
    # Without other people's signatures the same key always exports to the same bytes.
    return str(gpg.export_keys([fingerprint], minimal=True)).replace("\r\n", "\n").strip() + "\n"


def _gpg(home: Path | None) -> Any:
    import gnupg

    try:
        return gnupg.GPG(gnupghome=str(home) if home else None, env=_environment())
    except (OSError, ValueError) as error:
        raise HostNotReadyError(
            f"GPG cannot be used: {error}", hint="install GPG (Debian: package gnupg; Red Hat: gnupg2)"
        ) from error


def _environment() -> dict[str, str]:
    """Return an environment that tells pinentry which terminal to use: GPG's own input is a pipe."""
    environment = dict(os.environ)
    if "GPG_TTY" not in environment:
        with suppress(OSError):
            environment["GPG_TTY"] = os.ttyname(2)
    return environment


def _reason(made: Any) -> str:
    # python-gnupg keeps the log of gpg; its last line is the reason.
    lines = [line for line in str(made.stderr).splitlines() if line.startswith("gpg: ")]
    if lines and "Inappropriate ioctl" in lines[-1]:
        return "its passphrase is needed, but no terminal is available"
    last = lines[-1].removeprefix("gpg: ") if lines else made.status or "no reason given"
    return repr(str(last)[:200])
