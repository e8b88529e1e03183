"""VERB recover: finish or undo what was interrupted; every command that changes something does it first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from installer.commands.common.attempt import attempt
from installer.commands.common.recovery import Recovered, exclusive
from installer.commands.common.session import Session
from installer.core.errors import IncompleteError, Problem
from installer.shared.terminal import interrupts


@dataclass(frozen=True, slots=True)
class RecoverResult:
    """What was recovered: each product with one transaction or repair."""

    recovered: tuple[tuple[str, Recovered], ...]

    def text(self) -> str:
        """Return it for people, a line each."""
        lines = [f"{name}: {each.text()}" for name, each in self.recovered]
        return "\n".join(lines) or "nothing to recover"

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        rows = [{"product": name, **each.as_json()} for name, each in self.recovered]
        return {"changed": bool(rows), "recovered": rows}

    def require_complete(self) -> None:
        """Raise where a release is committed of which a step failed.

        Raises:
            IncompleteError: There is one.
        """
        failed = [
            Problem(name, each.text(), "run `install status`")
            for name, each in self.recovered
            if each.incomplete
        ]
        if failed:
            raise IncompleteError(
                "a transaction was past the point of no return, and a step of it failed", problems=failed
            )


def recover(session: Session, product: str | None = None, *, wait: float = 0.0) -> RecoverResult:
    """Recover one product, or all that this host knows.

    Args:
        session: The host.
        product: The product; None for all.
        wait: Seconds to wait for another install, for each product.

    Raises:
        WaybillError: Another install runs, or something can be neither finished nor undone.
    """
    done: list[tuple[str, Recovered]] = []
    # To stop half way would leave what this command is there to end; every step of it has a time limit.
    with interrupts.deferred() as whole:
        whole.shield()
        for name in [session.product(product)] if product else session.products():
            # The lock recovers by itself: there is nothing to do inside.
            with (
                attempt(session, "recover", product=name),
                exclusive(session.context(name), wait) as (_, recovered),
            ):
                done += [(name, each) for each in recovered]
        interrupts.finish()
    return RecoverResult(tuple(done))
