"""Defaults of a person: `~/.config/waybill.yaml`."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from installer.core.errors import UsageError, os_errors_as
from installer.shared.command_tree.defaults import Rules, apply_defaults

MOST_BYTES = 64 * 1024
ALLOWED = (
    "key", "gpg-key", "password-from", "provenance-key", "provenance-gpg-key", "provenance-password-from",
    "builder", "platform", "root", "template", "owner", "tag-prefix", "require",
    "log-format", "quiet",
)  # fmt: skip
"""Options that belong to a person or a machine. What a release or an approval says is typed each time: role,
environment, change, rollback, hosts, expiry; and so is the answer to a question."""
APART = (
    ("installer", "platform"),
    ("verify", "key"),
    ("trust revoke", "key"),
    ("trust set-policy", "builder"),
    ("trust set-policy", "require"),
)
"""Options that mean something else, and are typed each time: what an executable runs on, the one key to
trust, keys to revoke, and what a policy asks for."""


def config_file() -> Path | None:
    """Return the path of the file; None where there is no home directory."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if base.startswith("/"):
        return Path(base, "waybill.yaml")
    home = os.environ.get("HOME", "")
    return Path(home, ".config", "waybill.yaml") if home.startswith("/") else None


def take_defaults(program: Any, words: Sequence[str]) -> dict[str, Any]:
    """Give the options of `bundle` the defaults of the person.

    Args:
        program: The parsed application; it is changed.
        words: The command line.

    Raises:
        UsageError: The file cannot be read, is not valid, or could have been changed by somebody else.
    """
    del words
    path = config_file()
    if path is None:
        return {}
    quoted = shlex.quote(str(path))
    with os_errors_as(
        UsageError, "cannot be read", str(path), f"make it a file that you can read, or remove it: {quoted}"
    ):
        try:
            # Without waiting for somebody who writes into a pipe.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            if path.is_symlink():  # it leads nowhere: somebody meant to have defaults
                raise
            return {}
        with os.fdopen(descriptor, "rb") as file:
            data = _read(file, path)
    if len(data) > MOST_BYTES:
        raise UsageError(f"has more than {MOST_BYTES} bytes", where=str(path))
    from bundler.signing.secret_source import SOURCES, has_key

    # Help shows what the file sets, and messages repeat what is wrong with it.
    if has_key(data.decode("utf-8", "replace")):
        raise UsageError(
            "contains a key, but only says where a key is", where=str(path), hint=f"as `key`, {SOURCES}"
        )
    return apply_defaults(program, data, Rules(str(path), ALLOWED, APART))


def _read(file: BinaryIO, path: Path) -> bytes:
    """Read the file, one byte more than allowed at most, if nobody else could have changed it.

    Raises:
        UsageError: It is no file, or somebody else could have changed it.
    """
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise UsageError("is not a file", where=str(path), hint="put a YAML file there, or remove it")
    # It names keys and where their passwords come from.
    if status.st_uid not in (0, os.geteuid()):
        raise UsageError(
            f"belongs to user {status.st_uid}, who can change it",
            where=str(path),
            hint=f"remove it, or run `chown {os.geteuid()} {shlex.quote(str(path))}`",
        )
    if status.st_mode & 0o022:
        raise UsageError(
            "can be written by other users",
            where=str(path),
            hint=f"check it, then run `chmod go-w {shlex.quote(str(path))}`",
        )
    return file.read(MOST_BYTES + 1)
