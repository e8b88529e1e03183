"""The commands of `install` that account for what was done: audit log, metrics, what helps elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from installer.cli.options import Where, clock, console, host, looking, shaped
from installer.core.errors import HostNotReadyError


@shaped
def audit(
    *,
    product: Annotated[
        str, typer.Option("--product", help="Show the records of one product only.", show_default=False)
    ] = "",
    since: Annotated[
        str,
        typer.Option(metavar="WHEN", help="Show from then on: 7d, 12h, 2026-11-24.", show_default=False),
    ] = "",
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HASH", help="A head that was noted elsewhere: is it in the log?", show_default=False
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what is shown to a file, as it is.", show_default=False),
    ] = None,
    seal: Annotated[
        str,
        typer.Option(
            metavar="REASON", help="Set a broken log aside, unchanged; begin a new one.", show_default=False
        ),
    ] = "",
    where: Where,
) -> None:
    """Check the log of everything that was done to this host, and show it; exit 11 where it was changed."""
    from installer.audit.log import LOG
    from installer.commands import audit as audits

    console.json_output = where.json
    system = host(where.root)
    if seal:
        try:
            aside = audits.seal(system, seal)
            console.log(f"set aside: {aside}" if aside else "begun anew: the old log was gone", "warning")
        except OSError as error:
            raise HostNotReadyError(f"the log cannot be sealed: {error.strerror}", where=LOG) from error
    begin = audits.moment(since, clock()) if since else None
    with looking():
        found = audits.audit(system, begin, product or None, anchor or ())
    if export is not None:
        digest = audits.export(export, found.shown)
        console.log(f"wrote {export}: {len(found.shown)} records, sha256 {digest}")
    if found.shown:
        console.rows(found.rows(), audits.alarming)
    if not (found.problems and where.json):  # then the error has the one document
        console.result(found.summary(), found.as_json)
    found.require_intact()


@shaped
def metrics(where: Where) -> None:
    """Write what Prometheus reads, into the directory that /etc/waybill/metrics-directory names."""
    from installer.commands.metrics import write

    console.json_output = where.json
    try:
        files = write(host(where.root))
    except OSError as error:
        raise HostNotReadyError(
            f"the metrics cannot be written: {error.strerror}", where=str(error.filename or "")
        ) from error
    console.result("\n".join(f"wrote {path}" for path in files), lambda: {"files": files})


@shaped
def support(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.", show_default=False)],
    *,
    where: Where,
) -> None:
    """Collect logs, journals and state into one tar to carry back, without secrets; change nothing."""
    from installer.commands.support import support as collect

    console.json_output = where.json
    written = collect(host(where.root), path, clock)
    console.result(written.text(), written.as_json)
