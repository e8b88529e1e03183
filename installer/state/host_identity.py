"""The name, the environment and the cluster of this host."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from installer.core.errors import HostNotReadyError, RefusedError, UsageError
from installer.core.schema_errors import spelling_hint
from installer.core.trust.root import ENVIRONMENT, Root
from installer.host.atomic_file import replace_file
from installer.host.directories import make_directory
from installer.host.layout import CONFIG
from installer.host.ownership import require_protected
from installer.host.system import System

ENVIRONMENT_FILE = f"{CONFIG}/environment"
CLUSTER_FILE = f"{CONFIG}/cluster"
HOSTNAME_FILE = "/etc/hostname"
_SMALL = 4096
_ANSWERS = 3
"""How often a person may name the environment."""


def recorded_environment(system: System) -> str:
    """Return the environment that this host is set to; empty where it is not set.

    Raises:
        UntrustedError: Somebody else could have changed the setting.
        HostNotReadyError: The setting is damaged.
    """
    # It selects the policy: whoever can write it chooses which approvals are needed.
    return _one_name(system, ENVIRONMENT_FILE, "an environment", "production")


def recorded_cluster(system: System) -> str:
    """Return the cluster that this host is set to belong to; empty where it is not set.

    Raises:
        UntrustedError: Somebody else could have changed the setting.
        HostNotReadyError: The setting is damaged.
    """
    # It selects values of files that root renders, and so what services of root do.
    return _one_name(system, CLUSTER_FILE, "a cluster", "plant-3")


def _one_name(system: System, path: str, what: str, example: str) -> str:
    require_protected(system, path)
    try:
        text = system.read(path, _SMALL).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise HostNotReadyError(f"cannot be read: {error.strerror}", where=path) from None
    if not ENVIRONMENT.fullmatch(text):
        raise HostNotReadyError(
            f"does not contain the name of {what}",
            where=path,
            hint=f"write one word, for example: {example}",
        )
    return text


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
    text = recorded_environment(system)
    # The setting of the host wins: else `--env test` would be a way around the approvals of production.
    if text and given not in ("", text):
        raise RefusedError(
            f"this host belongs to the environment {text}, not {given}",
            where=ENVIRONMENT_FILE,
            hint="omit --env, or run the command on a host of that environment",
        )
    return text or given


def environment_to_record(system: System, root: Root, given: str, ask: Callable[[str], str]) -> str:
    """Return the environment that this host is to be set to; empty where it is set, or needs none.

    Args:
        system: The host.
        root: The root that it trusts, or is about to.
        given: From `--env`; empty if not given.
        ask: Asks a person for a line; an answer that is no environment is asked for again, a few times.

    Raises:
        UntrustedError: Somebody else could have changed the setting.
        HostNotReadyError: The setting is damaged.
        RefusedError: The host belongs to another environment.
        UsageError: The root has no such environment.
    """
    if recorded_environment(system):
        environment(system, given)
        return ""
    # Without policies a release signature is enough everywhere: nothing depends on the environment.
    return _asked(root, ask) if root.environments and not given else _chosen(root, given.strip())


def _asked(root: Root, ask: Callable[[str], str]) -> str:
    known, told = ", ".join(sorted(root.environments)), ""

    def answer() -> str:
        try:
            return ask(f"{told}Which environment does this host belong to: {known}? ").strip()
        except UsageError as error:
            # Whoever wrote a script has to know what to choose from.
            raise UsageError(error.what, hint=f"give --env with one of: {known}") from None

    # Whoever is asked may just have typed a whole fingerprint: one wrong letter must not cost that.
    for _ in range(_ANSWERS - 1):
        chosen = answer()
        try:
            return _chosen(root, chosen)
        except UsageError as error:
            # An empty line is how people leave.
            if not chosen:
                raise
            told = f"{error.what}: {error.hint}\n"
    return _chosen(root, answer())


def _chosen(root: Root, chosen: str) -> str:
    """Return an environment if a root has it; empty where none is chosen and none is needed."""
    known = ", ".join(sorted(root.environments))
    if not chosen:
        if known:
            raise UsageError("no environment was chosen", where="--env", hint=f"choose one of: {known}")
        return ""
    if not ENVIRONMENT.fullmatch(chosen) or (known and chosen not in root.environments):
        raise UsageError(
            f"{chosen!r:.80} is not an environment of this root",
            where="--env",
            hint=spelling_hint(chosen, root.environments, f"environments with a policy: {known or 'none'}"),
        )
    return chosen


def record_environment(system: System, name: str) -> None:
    """Set the environment of the host; one that is set is never changed by a command.

    Raises:
        OSError: It cannot be written.
    """
    make_directory(system, CONFIG)
    replace_file(system, ENVIRONMENT_FILE, f"{name}\n".encode(), 0o644)


def host_name(system: System) -> str:
    """Return the name of this host, lower case; below `--root` what /etc/hostname there says."""
    # The name of this machine is not that of the system below the root directory.
    if not system.live:
        with suppress(OSError):
            text = system.read(HOSTNAME_FILE, _SMALL).decode("ascii", "replace").strip()
            if text:
                return text.lower()
    return os.uname().nodename.lower()
