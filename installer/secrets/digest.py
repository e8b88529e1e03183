"""Keyed digests of secrets: a rotated value is seen as a change, and neither shown nor guessed.

The key belongs to this host and never leaves it. Without it a digest says nothing, not even that two hosts
have the same password; with a plain hash, a list of common passwords would be enough to find one.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
from contextlib import suppress

from installer.core.errors import HostNotReadyError, Problem, os_errors_as
from installer.core.remedies import remedy
from installer.host.directories import make_directory, parent
from installer.host.layout import STATE
from installer.host.system import System
from installer.secrets.private_file import read_private
from installer.secrets.store import Secret

KEY_FILE = f"{STATE}/secret-digest.key"
KEY_BYTES = 32
_TRIES = 16
_PURPOSE = b"waybill secret v1\0"
_OF_VALUE = b"waybill value v1\0"


class Digests:
    """Digests of what has secrets in it, with one key: that of this host.

    Args:
        system: The host.
        keeps: Whether the key is created if there is none. A command that changes nothing takes one for
            itself; what it says of secrets is then that all have changed, as after the loss of a key.
    """

    def __init__(self, system: System, *, keeps: bool = False) -> None:
        self._system, self._keeps = system, keeps
        self._made = b""

    def of_secret(self, secret: Secret) -> str:
        """Return the digest of a secret, in hex.

        Raises:
            HostNotReadyError: The key cannot be read or created.
        """
        return self._hmac(_PURPOSE + secret.reveal().encode())

    def of_value(self, data: bytes) -> str:
        """Return the digest of a value with secrets in it, in hex.

        Args:
            data: Its canonical bytes.

        Raises:
            HostNotReadyError: The key cannot be read or created.
        """
        return self._hmac(_OF_VALUE + data)

    def _hmac(self, data: bytes) -> str:
        if not self._made:
            there = self._keeps or _is_there(self._system)
            self._made = _key(self._system) if there else os.urandom(KEY_BYTES)
        return hmac.new(self._made, data, hashlib.sha256).hexdigest()


def secret_digest(system: System, secret: Secret) -> str:
    """Return the HMAC-SHA-256 of a secret with the key of this host, in hex.

    Args:
        system: The host; its key is created if there is none.
        secret: The secret.

    Raises:
        HostNotReadyError: The key cannot be read or created.
    """
    return Digests(system, keeps=True).of_secret(secret)


def _is_there(system: System) -> bool:
    # An ordinary user may not even look.
    with suppress(OSError):
        return system.observe(KEY_FILE, digest=False).kind != "absent"
    return False


@os_errors_as(HostNotReadyError, "the key for digests of secrets cannot be created", KEY_FILE, remedy)
def _key(system: System) -> bytes:
    for _ in range(_TRIES):
        if system.observe(KEY_FILE, digest=False).kind != "absent":
            return _read(system)
        _create(system)
    raise OSError(errno.EBUSY, "somebody removes it again and again", KEY_FILE)


def _read(system: System) -> bytes:
    found = read_private(system, KEY_FILE, limit=KEY_BYTES)
    if isinstance(found, bytes) and len(found) != KEY_BYTES:
        found = Problem(KEY_FILE, f"has {len(found)} bytes, not {KEY_BYTES}")
    if isinstance(found, Problem):
        hint = f"rm {KEY_FILE}: every secret then counts as changed once"
        raise HostNotReadyError(found.what, where=KEY_FILE, hint=found.hint or hint)
    return found


def _create(system: System) -> None:
    make_directory(system, parent(KEY_FILE))
    for name in system.names(parent(KEY_FILE)):
        # Left by a kill. If another process is at it just now, one of the two tries again.
        if f"{STATE}/{name}".startswith(f"{KEY_FILE}."):
            with suppress(FileNotFoundError):
                system.unlink(f"{STATE}/{name}")
    new = f"{KEY_FILE}.{os.urandom(8).hex()}"
    system.write_new(new, os.urandom(KEY_BYTES), 0o600)
    try:
        # A link, not a rename: the first of two processes wins, and both use its key.
        with suppress(FileExistsError, FileNotFoundError):
            system.link(new, KEY_FILE)
    finally:
        with suppress(FileNotFoundError):
            system.unlink(new)
    system.sync_dir(parent(KEY_FILE))
