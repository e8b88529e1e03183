"""Which secrets of stores have changed since a release was rendered with them.

A copy of this process asks the stores, and only digests come back: the secrets are never in the memory of a
command that only looks, and a store that does not answer ends with the copy.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from installer.core.errors import Problem
from installer.host.context import Context
from installer.secrets.digest import Digests
from installer.secrets.references import Reference
from installer.secrets.registry import parse
from installer.secrets.resolve import examine
from installer.shared.child.bounded_child import Bounds, ExceededError, run_bounded

WAIT = 12.0
"""Seconds that the stores have for all questions of a command; more than one of them takes by default."""
_LEAST = 0.1
_NAMED = 3
UNKNOWN = "whether secrets have changed is not known"
Row = tuple[str, str, str]
"""Key of a value, its reference, and the digest of the secret that it was."""


@dataclass(slots=True)
class RotationCheck:
    """Asks the stores for one command.

    Attributes:
        left: Seconds that they still have.
    """

    left: float = field(default_factory=lambda: WAIT)

    def changed(self, context: Context, rows: Sequence[Row]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the keys of the values whose secret has changed, and what to warn of; never raises.

        Args:
            context: The host and the product.
            rows: The secrets that a release was rendered with.
        """
        parsed = {text: parse(text) for _, text, _ in rows}
        wanted = [each for each in parsed.values() if isinstance(each, Reference)]
        notes = [
            f"{UNKNOWN}: {text} {each.what}" for text, each in parsed.items() if isinstance(each, Problem)
        ]
        if not wanted:
            return (), tuple(notes[:_NAMED])
        if self.left < _LEAST:
            return (), (f"{UNKNOWN}: the stores did not answer in time before",)
        began = time.monotonic()
        try:
            (data,) = run_bounded([lambda: _digests(context, wanted)], Bounds(wait=self.left))
        except ExceededError as error:
            late = time.monotonic() - began >= self.left
            why = f"the stores did not answer within {WAIT:g} s" if late else f"asking the stores {error}"
            return (), (f"{UNKNOWN}: {context.secrets.hide(why)}",)
        finally:
            self.left -= time.monotonic() - began
        found = json.loads(data)
        notes += [f"{UNKNOWN}: {each}" for each in found["problems"]]
        today = found["digests"]
        keys = tuple(key for key, text, digest in rows if today.get(text, digest) != digest)
        return keys, tuple(_some(notes))


def _digests(context: Context, wanted: Sequence[Reference]) -> bytes:
    found = examine(context, wanted)
    digests = Digests(context.system)
    return json.dumps(
        {
            "digests": {str(each): digests.of_secret(secret) for each, secret in found.secrets.items()},
            "problems": [f"{each.where}: {each.what}" for each in found.problems()],
        }
    ).encode()


def _some(notes: Sequence[str]) -> Iterator[str]:
    yield from notes[:_NAMED]
    if len(notes) > _NAMED:
        yield f"{UNKNOWN} for {len(notes) - _NAMED} more reasons: see `install secrets check`"
