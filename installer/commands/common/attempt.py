"""What surrounds every command that may change the host: audit record of a refusal, then the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from installer.audit.recorder import AuditedCommand, audited
from installer.commands.common.session import Session
from installer.commands.metrics import publish
from installer.core.errors import WaybillError
from installer.core.remedies import host_error


@contextmanager
def attempt(
    session: Session,
    verb: str,
    *,
    product: str = "",
    medium: str = "",
    known: Callable[[], Mapping[str, Any]] = dict,
) -> Iterator[None]:
    """Record in the audit log where the command inside is refused or fails, and publish the metrics.

    Args:
        session: The host.
        verb: What the operator typed: a verb of the audit log, such as `apply` or `trust update`.
        product: The product, where it is known beforehand.
        medium: What the operator called the bundle or file.
        known: Returns what has become known of the bundle by the time it is asked.
    """
    command = AuditedCommand(verb, product, medium, known, session.secrets.hide)
    # Metrics come last: they report how the command ended, refusals included.
    try:
        with audited(session.system, command, session.ui.alert):
            try:
                yield
            except WaybillError as error:
                # Before it is recorded: the audit log is kept for ever.
                session.secrets.hide_error(error)
                raise
            # A disk that fails while a command looks at the host is a fault of the host, not of ours.
            except OSError as error:
                raise host_error(error) from error
    finally:
        publish(session.system, str(command.known().get("product", "")), session.ui.alert)
