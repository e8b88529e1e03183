"""The method `files`: what every release has on the host.

`installer.planning.file_changes` plans the changes; here is what is looked for after a removal.
"""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from typing import ClassVar

from installer.core.errors import Problem
from installer.deploy.file_backups import remove_empty
from installer.deploy.file_operations import ChangeFiles
from installer.deploy.inventory import InventoryItem, Residue, contents
from installer.deploy.method import Method, Target, full_path
from installer.deploy.operation import Handler, Op
from installer.host.context import Context
from installer.host.directories import parent
from installer.host.system import System


class Files(Method):
    """The method `files`."""

    name = "files"
    item_kinds: ClassVar = ("file", "link", "directory")

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Return nothing: the plan looks at the destinations."""
        return []

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return nothing: the plan lists files itself."""
        return []

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return nothing: the plan makes the operations on files."""
        return []

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Look for files and links first, then for directories: those that are not empty say why."""
        system = context.system
        kept = {item.name for item in items if item.why and item.kind != "directory"}
        with system.hold_directories():
            for item in sorted(items, key=lambda item: self.item_kinds.index(item.kind)):
                try:
                    yield _residue(context, item, kept)
                except OSError as error:
                    yield Residue("left", item.kind, item.name, f"cannot be read: {error.strerror}")
            # Backups and new files of a transaction are in the directories of the files that it changed.
            for directory in sorted({parent(item.name) for item in items if item.kind != "directory"}):
                # A transaction writes next to the files that it changes; see `file_operations`.
                for name in _names(system, directory):
                    if name.startswith(".waybill-"):
                        path = f"{directory}/{name}"
                        hint = f"run `rm {shlex.quote(full_path(context, path))}`"
                        yield Residue("left", "file", path, "was left by a transaction", hint)

    def remove_residue(self, context: Context, items: Sequence[InventoryItem]) -> bool:
        """Remove the directories that are empty by now: what others had in them kept them."""
        system, went = context.system, False
        with system.hold_directories():
            # What is in a directory comes before it.
            for item in sorted(items, key=lambda item: item.name, reverse=True):
                if item.kind == "directory" and not item.why:
                    # The check after this says of what is left that it could not be removed.
                    with suppress(OSError):
                        if remove_empty(system, item.name):
                            went = True
                            system.sync_dir(parent(item.name))
        return went


def _names(system: System, directory: str) -> list[str]:
    try:
        return system.names(directory)
    except OSError:
        return []  # each item in it is named with the reason


def _residue(context: Context, item: InventoryItem, kept: Container[str]) -> Residue:
    system, kind, name = context.system, item.kind, item.name
    seen = system.observe(name)
    if seen.kind == "absent":
        return Residue("gone", kind, name)
    if seen.kind == "dir" and kind != "directory":
        return Residue("stays", kind, name, "is a directory that somebody else created")
    if seen.kind == "dir" and item.why:
        return Residue("stays", kind, name, item.why)
    if seen.kind == "dir":
        names = system.names(name)
        if not names:
            hint = f"unmount it if it is mounted; then run `rmdir {shlex.quote(full_path(context, name))}`"
            return Residue("left", kind, name, "is empty, but could not be removed", hint)
        return Residue("stays", kind, name, contents(name, names, kept))
    if item.why:
        return Residue("stays", kind, name, item.why)
    # By content, not by name: a file of somebody else may have the name by now.
    if seen.kind == kind and item.mark == (seen.sha256 or seen.target):
        hint = f"run `rm {shlex.quote(full_path(context, name))}`"
        return Residue("left", kind, name, "is still there", hint)
    return Residue("stays", kind, name, "was replaced by somebody else")


HANDLERS: dict[str, Handler] = {"files.change": ChangeFiles()}
METHOD = Files()
