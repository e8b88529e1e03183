"""The commands of `install` that account for what was done: audit log, metrics, support archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from installer.cli.options import Where, console
from installer.shared.command.cli_options import with_option_groups


@with_option_groups
def audit(
    *,
    product: Annotated[
        str,
        typer.Option(
            "--product", metavar="PRODUCT", help="Show only the records of this product.", show_default=False
        ),
    ] = "",
    since: Annotated[
        str,
        typer.Option(
            metavar="WHEN", help="Show only records since this time: 7d, 12h, 2026-11-24.", show_default=False
        ),
    ] = "",
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HASH",
            help="Check that the log contains the record with this hash, a head that you noted "
            "earlier. May be repeated.",
            show_default=False,
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the records shown to a new file.", show_default=False),
    ] = None,
    seal: Annotated[
        str,
        typer.Option(
            metavar="REASON",
            help="Set a broken log aside, unchanged, and start a new one.",
            show_default=False,
        ),
    ] = "",
    where: Where,
) -> None:
    """Verify and show the audit log of this host. Exit code 11 if records were changed or removed."""
    from installer.commands import audit as commands

    session = where.session()
    console.tell(product=product or None)
    done: dict[str, Any] = {"sealed": None, "exported": None}
    if seal:
        aside = commands.seal(session.system, seal)
        console.warn(
            f"the old log was moved to {aside}" if aside else ("started a new log: the old log was missing")
        )
        done["sealed"] = aside or None
        console.tell(changed=True)
    begin = commands.moment(since, session.clock()) if since else None
    found = commands.audit(session.system, begin, product or None, anchor or ())
    if export is not None:
        digest = commands.export(export, found.shown)
        done["exported"] = {"path": str(export), "records": len(found.lines), "sha256": digest}
        console.note(f"wrote {export}: {len(found.lines)} records, sha256 {digest}")
    # Problems do not hide the records: the intact part is evidence.
    if found.lines:
        console.rows(found.rows(), commands.alarming)
    elif unknown := found.unknown_product(product or None):
        console.warn_about(unknown)
    elif product or since:
        console.note(f"no record{f' of {product}' if product else ''}{f' since {since}' if since else ''}")
    console.result(found.summary(), lambda: {**found.as_json(), **done})
    found.require_intact()


@with_option_groups
def metrics(
    *,
    health: Annotated[
        bool,
        typer.Option(
            "--health", help="Also ask the health checks of the installed releases once: waybill_health."
        ),
    ] = False,
    where: Where,
) -> None:
    """Write Prometheus metrics to the directory given in /etc/waybill/metrics-directory."""
    from installer.commands.metrics import write

    files = write(where.session().system, health=health)
    console.result(
        "\n".join(f"wrote {path}" for path in files), lambda: {"changed": bool(files), "files": files}
    )


@with_option_groups
def support(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="The support archive, a new file.", show_default=False)
    ],
    *,
    where: Where,
) -> None:
    """Collect logs, journals and state, without secrets, in an archive to send to support."""
    from installer.commands.support import support

    session = where.session()
    written = support(session.system, path, session.clock)
    console.result(written.text(), written.as_json)
