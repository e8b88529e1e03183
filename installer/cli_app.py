"""The commands of `install` that look at, apply and take back releases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from installer.cli_host import recover, selftest, setup, trust_app
from installer.cli_options import (
    BundleName,
    Json,
    Overwrite,
    Product,
    Root,
    Yes,
    clock,
    console,
    context,
    host,
    names,
    product_of,
    trust_of,
)
from installer.core.errors import UsageError
from installer.core.medium import open_medium
from installer.core.trust import Trust
from installer.evidence import Witness

if TYPE_CHECKING:
    from installer.apply import Applied
    from installer.core.summary import Trail
    from installer.core.verification import Opened
    from installer.decide import Judge
    from installer.operations import Context
    from installer.plan import Options, Plan

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Verify a release bundle and apply it to this host; go back if it is not healthy.",
    epilog="Example: ./install lan-chat-1.4.0.tar --verify",
)


@app.callback()
def options(
    _log_format: Annotated[
        str, typer.Option("--log-format", help="How lines on stderr look, text or json; may stand anywhere.")
    ] = "text",
    _show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Says in the help which options every command takes; both are taken before."""


app.add_typer(trust_app, name="trust")
app.command()(recover)
app.command()(setup)
app.command(hidden=True)(selftest)

Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="METHOD", help="Drive only these; may be repeated.", show_default=False),
]
Skip = Annotated[
    list[str] | None,
    typer.Option("--skip", metavar="METHOD", help="Do not drive these; may be repeated.", show_default=False),
]
Values = Annotated[
    list[Path] | None,
    typer.Option(
        "--values", metavar="FILE", help="Values on top of the site's; may be repeated.", show_default=False
    ),
]
Env = Annotated[
    str, typer.Option("--env", help="Where /etc/waybill/environment does not say it.", show_default=False)
]
Approvals = Annotated[
    list[Path] | None,
    typer.Option(
        "--approvals",
        metavar="DIR",
        help="Besides those in the bundle and in BUNDLE.approvals.",
        show_default=False,
    ),
]


@app.command("apply", hidden=True)
def apply_(
    bundle: BundleName,
    verify_: Annotated[
        bool, typer.Option("--verify", help="Print each signature, approval and check.")
    ] = False,
    verify_only: Annotated[bool, typer.Option("--verify-only", help="Stop after verification.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the plan; change nothing.")] = False,
    env: Env = "",
    approvals: Approvals = None,
    values: Values = None,
    yes: Yes = False,
    root: Root = Path("/"),
    only: Only = None,
    skip: Skip = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Verify a bundle, show the plan, apply it, watch its health; commit or go back."""
    if verify_only:
        verify(bundle, env, approvals, root, json)
    elif dry_run:
        plan(bundle, env, approvals, values, root, only, skip, overwrite, json)
    else:
        console.json_output = json
        witness = Witness(host(root), clock, lambda text: console.log(text, "warning"))
        with witness.watching():
            judge = _judge(root, env, bundle, approvals, witness.trail)
            witness.notes = judge.notes
            options = _options(only, skip, overwrite, values, judge.environment)
            _apply(bundle, judge, options, yes, verify_, witness)


@app.command(epilog="Example: install verify lan-chat-1.4.0.tar")
def verify(
    bundle: BundleName,
    env: Env = "",
    approvals: Approvals = None,
    root: Root = Path("/"),
    json: Json = False,
) -> None:
    """Verify a bundle and stop; needs no rights and no space."""
    from installer.core.verification import check_all, payload_extent, report

    console.json_output = json
    judge = _judge(root, env, bundle, approvals)
    medium = open_medium(bundle)
    try:
        opened = judge.open(medium)
        progress = console.progress()
        progress.start("verify", payload_extent(opened))
        verified = check_all(opened, progress.advance)
        progress.done()
        decision = judge.decide(opened)
    finally:
        medium.close()
    for note in judge.notes:
        console.log(note, "warning")
    console.result(report(verified, decision), lambda: verified.as_json() | {"policy": decision.as_json()})


def _judge(
    root: Path, env: str, bundle: str, approvals: Sequence[Path] | None, trail: Trail | None = None
) -> Judge:
    from installer.decide import judge

    return judge(host(root), trust_of, env, bundle, approvals or (), trail)


@app.command(epilog="Example: install plan lan-chat-1.4.0.tar")
def plan(
    bundle: BundleName,
    env: Env = "",
    approvals: Approvals = None,
    values: Values = None,
    root: Root = Path("/"),
    only: Only = None,
    skip: Skip = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Verify a bundle, look at the host and say what would change; change nothing."""
    from installer.plan import plan_apply
    from installer.preview import previewed
    from installer.state import load

    console.json_output = json
    judge = _judge(root, env, bundle, approvals)
    options = _options(only, skip, overwrite, values, judge.environment)
    system, medium = judge.system, open_medium(bundle)
    try:
        opened = judge.open(medium)
        where = context(system, opened.bundle.manifest.product, console.progress())
        with previewed(opened, system, where.progress) as staged:
            state, judged = load(system, where.layout), judge.staged(opened, staged)
            found = _noted(plan_apply(where, state, judged, options), judge)
            _show(found)
            found.require_ready()
    finally:
        medium.close()


def _show(found: Plan) -> None:
    from installer.plantext import text

    console.result(text(found), found.as_json)


def _options(
    only: Sequence[str] | None,
    skip: Sequence[str] | None,
    overwrite: bool,
    values: Sequence[Path] | None,
    env: str,
) -> Options:
    from installer.plan import Options
    from installer.values import Layer
    from installer.yamlio import MAX_BYTES

    layers = []
    for path in values or ():
        try:
            with path.open("rb") as file:
                layers.append(Layer(str(path), file.read(MAX_BYTES + 1)))
        except OSError as error:
            raise UsageError(f"the values cannot be read: {error.strerror}", where=str(path)) from None
    return Options(names(list(only or ())), names(list(skip or ())), overwrite, tuple(layers), env)


def _noted(found: Plan, judge: Judge) -> Plan:
    return replace(found, notes=(*judge.notes, *found.notes))


def _apply(
    bundle: str, judge: Judge, options: Options, yes: bool, show_evidence: bool, witness: Witness
) -> None:
    medium = open_medium(bundle)
    try:
        opened = judge.open(medium)
        where = context(judge.system, opened.bundle.manifest.product, console.progress())
        _apply_trusted(judge, opened, where, options, yes, show_evidence, witness)
    finally:
        medium.close()


def _apply_trusted(
    judge: Judge,
    opened: Opened,
    where: Context,
    options: Options,
    yes: bool,
    show_evidence: bool,
    witness: Witness,
) -> None:
    from installer.apply import apply
    from installer.core.verification import report
    from installer.hosttrust import remember_time
    from installer.plan import plan_apply
    from installer.recover import exclusive
    from installer.stage import clear, stage

    system, manifest = where.system, opened.bundle.manifest
    with exclusive(where) as (state, recovered):
        for each in recovered:
            console.log(each.text(), "warning")
        judge.again(opened, state)
        verified, staged = stage(opened, system, where.layout, system.platform(), where.progress)
        began = False
        try:
            decision, staged = judge.decide(opened), judge.staged(opened, staged)
            if show_evidence:
                console.log(report(verified, decision))
            found = _noted(plan_apply(where, state, staged, options), judge)
            if not found.nothing:
                _log_plan(found)
                found.require_ready()
                if not yes:
                    console.confirm(f"Apply {manifest.product} {manifest.version}?", "--yes")
                found = witness.passed(found)
            began = not found.nothing
            applied = apply(where, found)
            remember_time(system, clock())
        finally:
            if not began:
                clear(system, staged.directory)
    _applied(applied)


def _log_plan(found: Plan) -> None:
    """Before anything is done the plan goes to stderr: stdout has the result."""
    from installer.plantext import text

    console.log(text(found) if console.log_format == "text" else "plan", plan=found.as_json())


def _applied(applied: Applied) -> None:
    console.result(applied.text(), applied.as_json)


@app.command(epilog="Example: install status")
def status(root: Root = Path("/"), product: Product = None, json: Json = False) -> None:
    """Show what runs, since when, who signed it, and whether the host still is as installed."""
    from installer.status import products
    from installer.status import status as look

    console.json_output = json
    system = host(root)
    wanted = [product_of(system, product)] if product else products(context(system, ""))
    found = [look(context(system, name)) for name in wanted]
    text = "\n\n".join(each.text() for each in found) or "nothing is installed here"
    console.result(text, lambda: {"products": [each.as_json() for each in found]})


@app.command(epilog="Example: install history")
def history(root: Root = Path("/"), product: Product = None, json: Json = False) -> None:
    """Show what was installed, rolled back, removed and refused, when, and where the evidence is."""
    from installer.evidence import refusals
    from installer.history import history as look
    from installer.history import text
    from installer.status import products

    console.json_output = json
    system = host(root)
    name = product_of(system, product) if product or products(context(system, "")) else ""
    events, refused = look(context(system, name)) if name else [], refusals(system, name)
    console.result(
        text(events, refused),
        lambda: {
            "events": [event.as_json() for event in events],
            "refusals": [refusal.as_json() for refusal in refused],
        },
    )


@app.command(epilog="Example: install rollback    (to the release before), or: install rollback 1.4.0")
def rollback(
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION]", help="A kept release; default: the one before.", show_default=False
        ),
    ] = None,
    yes: Yes = False,
    root: Root = Path("/"),
    product: Product = None,
    only: Only = None,
    skip: Skip = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Go back to a release that is kept on this host, verified again."""
    from installer.rollback import plan_rollback

    console.json_output = json
    system = host(root)
    trust = trust_of(system)
    where = context(system, product_of(system, product), console.progress())

    def check(entry: Any) -> Any:
        from installer.retained import verify_retained

        # expiry never stops what was installed: the keys have to have been good then, and not revoked since
        then = Trust(trust.root, lambda: datetime.fromtimestamp(entry.installed, UTC))
        directory = where.layout.release(entry.name)
        return verify_retained(system, directory, system.platform(), then, where.progress).manifest

    options = _options(only, skip, overwrite, None, "")
    _execute(where, yes, lambda state: plan_rollback(where, state, version, options, check))


@app.command(epilog="Example: install remove lan-chat")
def remove(
    product: Annotated[str, typer.Argument(metavar="PRODUCT", show_default=False)],
    yes: Yes = False,
    root: Root = Path("/"),
    json: Json = False,
) -> None:
    """Take the running release of a product off the host: exactly what was installed."""
    from installer.plan import plan_remove

    console.json_output = json
    system = host(root)
    where = context(system, product_of(system, product), console.progress())
    _execute(where, yes, lambda state: plan_remove(where, state))


def _execute(where: Context, yes: bool, make_plan: Any) -> None:
    from installer.apply import apply
    from installer.recover import exclusive

    with exclusive(where) as (state, recovered):
        for each in recovered:
            console.log(each.text(), "warning")
        found: Plan = make_plan(state)
        if not found.nothing:
            _log_plan(found)
            found.require_ready()
            if not yes:
                console.confirm(f"{found.verb.capitalize()} {found.product}?", "--yes")
        applied = apply(where, found)
    _applied(applied)
