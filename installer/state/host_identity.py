"""The name and the environment of this host."""

from __future__ import annotations

import os
from contextlib import suppress

from installer.core.errors import HostNotReadyError, RefusedError
from installer.core.trust.root import ENVIRONMENT
from installer.host.layout import CONFIG
from installer.host.ownership import require_protected
from installer.host.system import System

ENVIRONMENT_FILE = f"{CONFIG}/environment"
HOSTNAME_FILE = "/etc/hostname"
_SMALL = 4096


def environment(system: System, given: str) -> str:
    """Return the environment of this host: its own setting, or the argument of the operator if it has none.

    Args:
        system: The host.
        given: From `--env`; empty if not given.

    Raises:
        UntrustedError: Somebody else could have changed the setting.
        HostNotReadyError: The setting is damaged.
        RefusedError: The setting and the argument differ.
    """
    # It selects the policy: whoever can write it chooses which approvals are needed.
    require_protected(system, ENVIRONMENT_FILE)
    try:
        text = system.read(ENVIRONMENT_FILE, _SMALL).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return given
    except OSError as error:
        raise HostNotReadyError(f"cannot be read: {error.strerror}", where=ENVIRONMENT_FILE) from None
    if not ENVIRONMENT.fullmatch(text):
        raise HostNotReadyError(
            "does not contain the name of an environment",
            where=ENVIRONMENT_FILE,
            hint="write one word, for example: production",
        )
    # The setting of the host wins: else `--env test` would be a way around the approvals of production.
    if given not in ("", text):
        raise RefusedError(
            f"this host belongs to the environment {text}, not {given}",
            where=ENVIRONMENT_FILE,
            hint="omit --env, or run the command on a host of that environment",
        )
    return text


def host_name(system: System) -> str:
    """Return the name of this host, lower case; below `--root` what /etc/hostname there says."""
    # The name of this machine is not that of the system below the root directory.
    if not system.live:
        with suppress(OSError):
            text = system.read(HOSTNAME_FILE, _SMALL).decode("ascii", "replace").strip()
            if text:
                return text.lower()
    return os.uname().nodename.lower()
