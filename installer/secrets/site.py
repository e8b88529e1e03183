"""The secrets among the values of a site: references of the merged layers, resolved all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from installer.core import jsonio
from installer.core.errors import Problem
from installer.core.schema_errors import dotted
from installer.host.context import Context
from installer.secrets.digest import Digests
from installer.secrets.references import Path, Reference
from installer.secrets.registry import references_in
from installer.secrets.resolve import Resolution, examine
from installer.secrets.store import Secret
from installer.shared.configuration.merge import Merged
from installer.shared.configuration.substitution import Hidden, Substitution, dotted_group


class SiteSecrets:
    """Resolves the references among the values of a site, for one command: each store is asked once.

    Args:
        context: The host, the product, and what is hidden: the values are among it at once.
        keeps_key: Whether the key of digests is created if this host has none.

    Attributes:
        references: The references of the values that were resolved last, by their paths.
        notes: What the operator should know of the secrets.
    """

    def __init__(self, context: Context, *, keeps_key: bool = False) -> None:
        self._context = context
        self._digests = Digests(context.system, keeps=keeps_key)
        self._asked: tuple[frozenset[Reference], Resolution] | None = None
        self._secrets: Mapping[Reference, Secret] = {}
        self._keys: frozenset[str] = frozenset()
        self.references: dict[Path, Reference] = {}
        self.notes: tuple[str, ...] = ()

    def substitute(self, merged: Merged) -> Substitution:
        """Return the secrets for the references among values, and what is wrong with others.

        Args:
            merged: The values, and which layer set them.

        Raises:
            HostNotReadyError: There are too many, or they could not be kept secret.
        """
        found, problems = references_in(merged.values, merged.where)
        resolution = self._resolved(frozenset(found.values()))
        self.references, self.notes = found, resolution.notes
        self._secrets = resolution.secrets
        self._keys = frozenset(dotted_group(path) for path in found)
        problems += _unresolved(found, resolution, merged)
        return Substitution(
            {
                path: Hidden(self._secrets[each].reveal(), f"<{each}>")
                for path, each in found.items()
                if each in self._secrets
            },
            frozenset(path for path, each in found.items() if each not in self._secrets),
            tuple(problems),
        )

    def _resolved(self, wanted: frozenset[Reference]) -> Resolution:
        # A plan that rebuilds a record needs the values twice.
        if self._asked is None or self._asked[0] != wanted:
            self._asked = (wanted, examine(self._context, wanted))
        return self._asked[1]

    def values(self) -> list[str]:
        """Return the secrets themselves, to look for them."""
        return [each.reveal() for each in self._secrets.values()]

    def keyed(self, key: str, value: Any) -> str:
        """Return the digest of a value that has secrets in it; empty for any other value.

        Args:
            key: Its key, with dots.
            value: The value, its references resolved.

        Raises:
            HostNotReadyError: The key of digests cannot be read or created.
        """
        if key not in self._keys:
            return ""
        return self._digests.of_value(jsonio.dumps({"key": key, "value": value}))

    def digests(self) -> list[tuple[str, str, str]]:
        """Return the key of each value that is a secret, its reference, and the digest of the secret.

        Raises:
            HostNotReadyError: The key of digests cannot be read or created.
        """
        return [
            (dotted(path), str(each), self._digests.of_secret(self._secrets[each]))
            for path, each in sorted(self.references.items(), key=lambda row: dotted(row[0]))
            if each in self._secrets
        ]


def _unresolved(found: Mapping[Path, Reference], resolution: Resolution, merged: Merged) -> list[Problem]:
    """Return why references are not resolved, with the places that have them; the same reason once."""
    groups: dict[Problem, list[Path]] = {}
    for path, reference in found.items():
        if reference in resolution.unresolved:
            groups.setdefault(resolution.unresolved[reference], []).append(path)
    problems = []
    for problem, paths in groups.items():
        more = f" (and {len(paths) - 1} more values)" if len(paths) > 1 else ""
        # The path of a file belongs to what is wrong: the value is where the operator looks first.
        why = f"{problem.where}: {problem.what}" if problem.where else problem.what
        what = f"{dotted(paths[0])} is {found[paths[0]]}{more}, which cannot be resolved: {why}"
        problems.append(replace(problem, where=merged.where(paths[0]), what=what))
    return problems
