"""The stores of this version, and the references to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from installer.core.errors import Problem
from installer.secrets import references
from installer.secrets.file import FileStore
from installer.secrets.references import Path, Reference, has_reference, named, texts
from installer.secrets.store import SecretStore
from installer.secrets.systemd_credential import SystemdCredentialStore
from installer.secrets.vault.store import VaultStore

STORES: dict[str, type[SecretStore]] = {
    store.name: store for store in (FileStore, VaultStore, SystemdCredentialStore)
}


def parse(text: str) -> Reference | Problem:
    """Return the reference that a value is, or what is wrong with it."""
    return references.parse(text, {name: store.form for name, store in STORES.items()})


def references_in(values: Any, where: Callable[[Path], str]) -> tuple[dict[Path, Reference], list[Problem]]:
    """Return the references in values, by their paths, and what is wrong with others.

    Args:
        values: The values of a site, or of one file.
        where: Gives `file:line` of a path.
    """
    found: dict[Path, Reference] = {}
    problems: list[Problem] = []
    for path, text, is_key in texts(values):
        if not has_reference(text):
            continue
        result = parse(text)
        if is_key:
            result = Problem("", "is a key; only a value can be a reference", "write KEY: secret://…")
        if isinstance(result, Problem):
            # The key itself may have a secret next to the reference.
            problems.append(named(path[:-1] if is_key else path, result, where(path)))
        else:
            found[path] = result
    return found, problems
