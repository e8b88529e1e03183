"""The store `systemd-credential`: what systemd hands to services as credentials.

Looked for as systemd does: `$CREDENTIALS_DIRECTORY` of this process, then the encrypted credential stores of
the host, then the plain ones. Encrypted ones are read by `systemd-creds`, which has the key of the host.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import ClassVar

from installer.core.errors import Problem
from installer.core.limits import MIB
from installer.secrets.private_file import read_private
from installer.secrets.references import Form, Reference
from installer.secrets.store import LARGEST, Outcome, SecretStore

PLACES = ("/etc", "/run", "/usr/local/lib", "/usr/lib")
"""Where `credstore` and `credstore.encrypted` are, the first one wins."""
PROGRAM = "systemd-creds"
SECONDS = 30.0
"""For one credential: a TPM is slow."""
# systemd gives the credentials of a service to its user by an access list, whose mask is the group's bits.
_OTHERS = 0o007
_WRITABLE = 0o022


class SystemdCredentialStore(SecretStore):
    """The store `systemd-credential`."""

    name = "systemd-credential"
    form: ClassVar = Form(
        "secret://systemd-credential/NAME",
        name=(r"[!-9;-~]+", "one of systemd: printable ASCII without a colon"),
    )

    def resolve(self, references: Sequence[Reference]) -> Mapping[Reference, Outcome]:
        """Read or decrypt one file for each reference."""
        return {each: self._find(each) for each in references}

    def _find(self, reference: Reference) -> Outcome:
        system, name = self.context.system, reference.path
        # The directory is one of this machine: nothing outside of a root directory is touched.
        own = os.environ.get("CREDENTIALS_DIRECTORY", "") if system.live else ""
        try:
            if own.startswith("/") and system.observe(f"{own}/{name}", digest=False).kind != "absent":
                return self._plain(reference, f"{own}/{name}", _OTHERS)
            for kind in ("credstore.encrypted", "credstore"):
                for top in PLACES:
                    path = f"{top}/{kind}/{name}"
                    if system.observe(path, digest=False).kind != "absent":
                        plain = kind == "credstore"
                        return self._plain(reference, path) if plain else self._decrypt(reference, path)
        except OSError as error:
            return Problem("", f"cannot be looked for: {error.filename}: {error.strerror}", "run as root")
        hint = f"{PROGRAM} encrypt --name={name} FILE /etc/credstore.encrypted/{name}"
        where = "$CREDENTIALS_DIRECTORY, /etc/credstore.encrypted and /etc/credstore"
        return Problem("", f"is in none of {where}", hint)

    def _plain(self, reference: Reference, path: str, refused: int = 0o077) -> Outcome:
        data = read_private(self.context.system, path, refused=refused)
        # Its bytes as they are: systemd takes no line break away either.
        return data if isinstance(data, Problem) else self.secret(reference, data)

    def _decrypt(self, reference: Reference, path: str) -> Outcome:
        system = self.context.system
        if not system.live:
            what = "is encrypted with the key of a host, which a directory does not have"
            return Problem(path, what, "use secret://file/NAME below --root")
        program = system.which(PROGRAM)
        if program is None:
            what = f"is encrypted, and this host has no {PROGRAM} (systemd 250 or later)"
            return Problem(path, what, "put it into /etc/credstore, mode 0600, or use secret://file/NAME")
        # It is not secret as it is, but nobody else may put another one there.
        sealed = read_private(system, path, refused=_WRITABLE, limit=MIB)
        if isinstance(sealed, Problem):
            return sealed
        # By its input, not by the path: what was checked is what is decrypted.
        done = system.run(
            [program, "decrypt", f"--name={reference.path}", "-", "-"], timeout=SECONDS, stdin=sealed
        )
        if done.ok:
            return self.secret(reference, done.stdout[: LARGEST + 1])
        # Only what it says on the other stream: this one may have a part of the secret.
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = "it took too long" if done.timed_out else (lines[-1][:200] if lines else f"exit {done.status}")
        hint = f"encrypt it again on this host: {PROGRAM} encrypt --name={reference.path} FILE {path}"
        return Problem(path, f"cannot be decrypted: {why}", hint)
