"""The health checks that a release passed before it was committed, as they are recorded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from installer.shared.secrecy.known import Secrets, shortened

NAMES_BYTES = 8 * 1024
"""Largest size of all names in one record: COMMIT is written in space that was reserved before."""
_NAME = 200
"""Characters of one name."""
SHOWN = 5
"""How many names a line for people has."""


@dataclass(frozen=True, slots=True)
class PassedChecks:
    """Which health checks passed.

    Attributes:
        count: How many.
        names: The checks in words, without secrets: all of them, or the first ones if they are long. None:
            this user may not see them.
    """

    count: int
    names: tuple[str, ...] | None = ()

    @classmethod
    def of(cls, names: Iterable[str], secrets: Secrets) -> PassedChecks:
        """Return what is recorded of checks that passed.

        Args:
            names: The checks in words; their targets may have been rendered with secrets.
            secrets: Hides these.
        """
        known = [shortened(secrets.hide(name), _NAME) for name in names]
        kept, space = list[str](), NAMES_BYTES
        for name in known:
            space -= len(json.dumps(name)) + 1
            if space < 0:
                break
            kept.append(name)
        return cls(len(known), tuple(kept))

    @classmethod
    def read(cls, value: object) -> PassedChecks | None:
        """Return what was recorded; None for what is damaged, and for nothing: older versions record none."""
        if not isinstance(value, dict) or type(value.get("passed")) is not int or value["passed"] < 0:
            return None
        names = value.get("checks")
        if not isinstance(names, (list, tuple)):
            return cls(value["passed"], None)
        return cls(value["passed"], tuple(map(str, names)))

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object, which `read` takes."""
        return {"passed": self.count, "checks": None if self.names is None else list(self.names)}

    def public(self) -> dict[str, Any]:
        """Return what every user may read of it: the targets of checks are root's."""
        return {"passed": self.count}

    def text(self) -> str:
        """Return it as a line for people."""
        if not self.count:
            return "no health checks"
        head = f"{self.count} health check{'s' if self.count > 1 else ''} passed"
        if not self.names:
            return head
        left = self.count - len(self.names[:SHOWN])
        more = f" and {left} more" if left else ""
        return f"{head}: {', '.join(self.names[:SHOWN])}{more}"
