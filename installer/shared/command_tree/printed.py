"""What `completion` and `man` of both commands print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from installer.core import errors
from installer.core.errors import UsageError, WaybillError
from installer.core.schema_errors import spelling_hint
from installer.shared.command_tree.completion import SHELLS, script
from installer.shared.command_tree.manual import page
from installer.shared.command_tree.tree import commands


def completion(shell: str, names: Sequence[str], app: Any) -> str:
    """Return the completion script of a program for a shell.

    Raises:
        UsageError: The shell is not known.
    """
    if shell not in SHELLS:
        hint = spelling_hint(shell, SHELLS, f"use one of {', '.join(SHELLS)}")
        raise UsageError(f"there is no completion for {shell!r:.40}", hint=hint)
    return script(shell, names, commands(app)).rstrip("\n")


def manual(name: str, version: str, app: Any) -> str:
    """Return the manual page of a program."""
    return page(name, version, commands(app), _exits()).rstrip("\n")


def _exits() -> list[tuple[str, str]]:
    """Return the exit codes with what they mean, from the classes of errors."""
    found = {0: "done, or nothing to do", 3: "would change, or drifted; where --exit-code or --check asks"}
    for each in vars(errors).values():
        if isinstance(each, type) and issubclass(each, WaybillError) and each is not WaybillError:
            found.setdefault(
                each.exit_code, (each.__doc__ or "").partition(":")[0].partition("\n")[0].rstrip(".")
            )
    return [(str(code), meaning) for code, meaning in sorted(found.items())]
