"""The commands of `install` that look at, apply and take back releases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from installer.cli_audit import audit, metrics
from installer.cli_host import recover, selftest, setup, trust_app
from installer.cli_options import (
    BundleName,
    Choice,
    Judging,
    Product,
    Where,
    Yes,
    attempting,
    clock,
    console,
    context,
    host,
    loud,
    names,
    product_of,
    shaped,
    trust_of,
)
from installer.core.errors import UsageError
from installer.core.medium import open_medium
from installer.core.trust import Trust
from installer.evidence import Keeper

if TYPE_CHECKING:
    from installer.apply import Applied
    from installer.core.summary import Trail
    from installer.core.verification import Opened
    from installer.decide import Judge
    from installer.operations import Context
    from installer.plan import Options, Plan
    from installer.values import Layer

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
app.command(epilog="Example: install audit --since 7d")(audit)
app.command(epilog="Example: install metrics")(metrics)
app.command()(recover)
app.command()(setup)
app.command(hidden=True)(selftest)

Values = Annotated[
    list[Path] | None,
    typer.Option(
        "--values", metavar="FILE", help="Values on top of the site's; may be repeated.", show_default=False
    ),
]


@app.command("apply", hidden=True)
@shaped
def apply_(
    bundle: BundleName,
    *,
    verify_: Annotated[
        bool, typer.Option("--verify", help="Print each signature, approval and check.")
    ] = False,
    verify_only: Annotated[bool, typer.Option("--verify-only", help="Stop after verification.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the plan; change nothing.")] = False,
    judging: Judging,
    values: Values = None,
    choice: Choice,
    yes: Yes = False,
    where: Where,
) -> None:
    """Verify a bundle, show the plan, apply it, watch its health; commit or go back."""
    console.json_output = where.json
    if verify_only:
        _verify(bundle, judging, where)
    elif dry_run:
        _plan(bundle, judging, choice, values, where)
    else:
        layers = _layers(values)
        keeper = Keeper(host(where.root), clock, loud)
        with attempting(keeper.system, "apply", medium=bundle) as doing, keeper.watching():
            doing.about = keeper.known
            judge = _judge(where.root, judging, bundle, keeper.trail)
            doing.about = lambda: {**judge.known(), **keeper.known()}
            keeper.notes = judge.notes
            options = _options(choice, layers, judge.environment)
            applied = _apply(bundle, judge, options, yes, verify_, keeper)
        _applied(applied)


@app.command(epilog="Example: install verify lan-chat-1.4.0.tar")
@shaped
def verify(bundle: BundleName, judging: Judging, where: Where) -> None:
    """Verify a bundle and stop; needs no rights and no space."""
    console.json_output = where.json
    _verify(bundle, judging, where)


def _verify(bundle: str, judging: Judging, where: Where) -> None:
    from installer.core.verification import check_all, payload_extent, report

    judge = _judge(where.root, judging, bundle)
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


def _judge(root: Path, judging: Judging, bundle: str, trail: Trail | None = None) -> Judge:
    from installer.decide import judge

    return judge(host(root), trust_of, judging.env, bundle, judging.approvals or (), trail)


@app.command(epilog="Example: install plan lan-chat-1.4.0.tar")
@shaped
def plan(
    bundle: BundleName, *, judging: Judging, values: Values = None, choice: Choice, where: Where
) -> None:
    """Verify a bundle, look at the host and say what would change; change nothing."""
    console.json_output = where.json
    _plan(bundle, judging, choice, values, where)


def _plan(bundle: str, judging: Judging, choice: Choice, values: Values, where: Where) -> None:
    from installer.plan import plan_apply
    from installer.plantext import text
    from installer.preview import previewed
    from installer.state import load

    judge = _judge(where.root, judging, bundle)
    options = _options(choice, _layers(values), judge.environment)
    system, medium = judge.system, open_medium(bundle)
    try:
        opened = judge.open(medium)
        within = context(system, opened.bundle.manifest.product, console.progress())
        with previewed(opened, system, within.progress) as staged:
            state, judged = load(system, within.layout), judge.staged(opened, staged)
            found = _noted(plan_apply(within, state, judged, options), judge)
            console.result(text(found), found.as_json)
            found.require_ready()
    finally:
        medium.close()


def _options(choice: Choice, values: tuple[Layer, ...], env: str) -> Options:
    from installer.plan import Options

    return Options(names(choice.only), names(choice.skip), choice.overwrite, values, env)


def _layers(values: Sequence[Path] | None) -> tuple[Layer, ...]:
    from installer.values import Layer
    from installer.yamlio import MAX_BYTES

    layers = []
    for path in values or ():
        try:
            with path.open("rb") as file:
                layers.append(Layer(str(path), file.read(MAX_BYTES + 1)))
        except OSError as error:
            raise UsageError(f"the values cannot be read: {error.strerror}", where=str(path)) from None
    return tuple(layers)


def _noted(found: Plan, judge: Judge) -> Plan:
    return replace(found, notes=(*judge.notes, *found.notes))


def _apply(
    bundle: str, judge: Judge, options: Options, yes: bool, show_evidence: bool, keeper: Keeper
) -> Applied:
    medium = open_medium(bundle)
    try:
        opened = judge.open(medium)
        where = context(judge.system, opened.bundle.manifest.product, console.progress())
        return _apply_trusted(judge, opened, where, options, yes, show_evidence, keeper)
    finally:
        medium.close()


def _apply_trusted(
    judge: Judge,
    opened: Opened,
    where: Context,
    options: Options,
    yes: bool,
    show_evidence: bool,
    keeper: Keeper,
) -> Applied:
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
                found = keeper.passed(found)
            began = not found.nothing
            applied = _carry_out(where, found)
            remember_time(system, clock())
        finally:
            if not began:
                clear(system, staged.directory)
    return applied


def _log_plan(found: Plan) -> None:
    """Before anything is done the plan goes to stderr: stdout has the result."""
    from installer.plantext import text

    console.log(text(found) if console.log_format == "text" else "plan", plan=found.as_json())


def _applied(applied: Applied) -> None:
    console.result(applied.text(), applied.as_json)


@app.command(epilog="Example: install status")
@shaped
def status(*, product: Product = None, where: Where) -> None:
    """Show what runs, since when, who signed it, and whether the host still is as installed."""
    from installer.status import products
    from installer.status import status as look

    console.json_output = where.json
    system = host(where.root)
    wanted = [product_of(system, product)] if product else products(context(system, ""))
    found = [look(context(system, name)) for name in wanted]
    text = "\n\n".join(each.text() for each in found) or "nothing is installed here"
    console.result(text, lambda: {"products": [each.as_json() for each in found]})


@app.command(epilog="Example: install history")
@shaped
def history(*, product: Product = None, where: Where) -> None:
    """Show what was installed, rolled back, removed and refused, when, and where the evidence is."""
    from installer.evidence import refusals
    from installer.history import history as look
    from installer.history import text
    from installer.status import products

    console.json_output = where.json
    system = host(where.root)
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
@shaped
def rollback(
    *,
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION]", help="A kept release; default: the one before.", show_default=False
        ),
    ] = None,
    product: Product = None,
    choice: Choice,
    yes: Yes = False,
    where: Where,
) -> None:
    """Go back to a release that is kept on this host, verified again."""
    from installer.rollback import plan_rollback

    console.json_output = where.json
    system = host(where.root)

    def check(entry: Any) -> Any:
        from installer.retained import verify_retained

        # expiry never stops what was installed: the keys have to have been good then, and not revoked since
        then = Trust(trust.root, lambda: datetime.fromtimestamp(entry.installed, UTC))
        directory = within.layout.release(entry.name)
        return verify_retained(system, directory, system.platform(), then, within.progress).manifest

    options = _options(choice, (), "")
    with attempting(system, "rollback", product_of(system, product)) as doing:
        doing.about = lambda: {"version": version or ""}
        trust = trust_of(system)
        within = context(system, doing.product, console.progress())
        applied = _execute(within, yes, lambda state: plan_rollback(within, state, version, options, check))
    _applied(applied)


@app.command(epilog="Example: install remove lan-chat")
@shaped
def remove(
    product: Annotated[str, typer.Argument(metavar="PRODUCT", show_default=False)],
    *,
    yes: Yes = False,
    where: Where,
) -> None:
    """Take the running release of a product off the host: exactly what was installed."""
    from installer.plan import plan_remove

    console.json_output = where.json
    system = host(where.root)
    with attempting(system, "remove", product_of(system, product)) as doing:
        within = context(system, doing.product, console.progress())
        applied = _execute(within, yes, lambda state: plan_remove(within, state))
    _applied(applied)


def _execute(where: Context, yes: bool, make_plan: Any) -> Applied:
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
        return _carry_out(where, found)


def _carry_out(where: Context, found: Plan) -> Applied:
    from installer.apply import apply
    from installer.witness import happened

    applied = apply(where, found)
    if not applied.changed and applied.new:
        of = {"verb": found.verb, "product": found.product, "version": applied.new.version}
        happened(where.system, "unchanged", {**of, "identity": applied.new.identity, "exit": 0}, loud)
    return applied
