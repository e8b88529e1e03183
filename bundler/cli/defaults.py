"""Defaults of a person: `~/.config/waybill.yaml`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    if path is None or not path.exists():
        return {}
    with os_errors_as(UsageError, "cannot be read", str(path)), path.open("rb") as file:
        status = os.fstat(file.fileno())
        # It names keys and where their passwords come from.
        if status.st_uid not in (0, os.geteuid()):
            raise UsageError(
                f"belongs to user {status.st_uid}, who can change it",
                where=str(path),
                hint="remove it, or chown it",
            )
        if status.st_mode & 0o022:
            raise UsageError(
                "can be written by other users",
                where=str(path),
                hint=f"check it, then run `chmod go-w {path}`",
            )
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise UsageError(f"has more than {MOST_BYTES} bytes", where=str(path))
    return apply_defaults(program, data, Rules(str(path), ALLOWED))
