"""The commands of `install` that look at, apply and take back releases."""

from __future__ import annotations

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
    OnDrift,
    Product,
    Where,
    WorkDir,
    Yes,
    attempting,
    clock,
    console,
    context,
    host,
    layers_of,
    loud,
    options_of,
    product_of,
    shaped,
    trust_of,
)
from installer.core.errors import HostNotReadyError
from installer.core.medium import open_medium
from installer.core.trust import Trust

if TYPE_CHECKING:
    from installer.apply import Applied
    from installer.core.verification import Opened
    from installer.decide import Judge
    from installer.operations import Context
    from installer.plan import Options, Plan
    from installer.state import State

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
    work_dir: WorkDir = None,
    yes: Yes = False,
    where: Where,
) -> None:
    """Verify a bundle, show the plan, apply it, watch its health; commit or go back."""
    console.json_output = where.json
    if verify_only:
        _verify(bundle, judging, where)
    elif dry_run:
        _plan(bundle, judging, choice, values, work_dir, where)
    else:
        layers = layers_of(values)
        with attempting(host(where.root), "apply", medium=bundle) as doing:
            judge = _judge(where.root, judging, bundle)
            doing.about = judge.known
            options = options_of(choice, layers, judge.environment)
            applied = _apply(bundle, judge, options, work_dir, yes, show_evidence=verify_)
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


def _judge(root: Path, judging: Judging, bundle: str) -> Judge:
    from installer.decide import judge

    return judge(host(root), trust_of, judging.env, bundle, judging.approvals or ())


@app.command(epilog="Example: install plan lan-chat-1.4.0.tar")
@shaped
def plan(
    bundle: BundleName,
    *,
    judging: Judging,
    values: Values = None,
    choice: Choice,
    work_dir: WorkDir = None,
    where: Where,
) -> None:
    """Verify a bundle, look at the host and say what would change; change nothing."""
    console.json_output = where.json
    _plan(bundle, judging, choice, values, work_dir, where)


def _plan(
    bundle: str, judging: Judging, choice: Choice, values: Values, work_dir: WorkDir, where: Where
) -> None:
    from installer.plan import plan_apply
    from installer.plantext import text
    from installer.preview import previewed
    from installer.state import load

    judge = _judge(where.root, judging, bundle)
    options = options_of(choice, layers_of(values), judge.environment)
    system, medium = judge.system, open_medium(bundle)
    try:
        opened = judge.open(medium)
        within = context(system, opened.bundle.manifest.product, console.progress())
        state = load(system, within.layout)
        work, apart = _work(within, opened, state, options, work_dir)
        with previewed(opened, system, within.layout, within.progress, work=work, apart=apart) as staged:
            judged = judge.staged(opened, staged)
            found = _noted(plan_apply(within, state, judged, options), judge)
            console.result(text(found), found.as_json)
            found.require_ready()
    finally:
        medium.close()


def _noted(found: Plan, judge: Judge) -> Plan:
    return replace(found, notes=(*judge.notes, *found.notes))


def _work(
    where: Context, opened: Opened, state: State, options: Options, typed: Path | None
) -> tuple[str, bool]:
    """Gives the work directory as a host path, and whether blobs of images are staged in it."""
    from installer.selection import blobs_apart
    from installer.workdir import work_dir

    if typed is None:
        return "", False
    running = frozenset(state.current.methods if state.current else ())
    apart = blobs_apart(
        opened.bundle.manifest, live=where.live, only=options.only, skip=options.skip, running=running
    )
    return work_dir(where.system, where.layout, typed), apart


def _apply(
    bundle: str, judge: Judge, options: Options, work: Path | None, yes: bool, *, show_evidence: bool
) -> Applied:
    medium = open_medium(bundle)
    try:
        opened = judge.open(medium)
        where = context(judge.system, opened.bundle.manifest.product, console.progress())
        return _apply_trusted(judge, opened, where, options, work, yes, show_evidence)
    finally:
        medium.close()


def _apply_trusted(
    judge: Judge,
    opened: Opened,
    where: Context,
    options: Options,
    work_dir: Path | None,
    yes: bool,
    show_evidence: bool,
) -> Applied:
    from installer.core.verification import report
    from installer.hosttrust import remember_time
    from installer.plan import plan_apply
    from installer.recover import exclusive
    from installer.stage import KEPT, stage
    from installer.staging import discard

    system, manifest, identity = where.system, opened.bundle.manifest, opened.bundle.identity
    with exclusive(replace(where, resume=identity)) as (state, recovered):
        for each in recovered:
            console.log(each.text(), "warning")
        judge.again(opened, state)
        work, apart = _work(where, opened, state, options, work_dir)
        verified, staged = stage(
            opened, system, where.layout, system.platform(), where.progress, work=work if apart else ""
        )
        wanted = False
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
            wanted = not found.nothing
            applied = _carry_out(where, found)
            remember_time(system, clock())
        except (HostNotReadyError, KeyboardInterrupt):
            if not wanted:
                console.log(KEPT)
            wanted = True
            raise
        finally:
            if not wanted:
                discard(system, where.layout, where.progress, identity)
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
    """Show what was installed, rolled back and removed, and when."""
    from installer.history import history as look
    from installer.history import text

    console.json_output = where.json
    system = host(where.root)
    events = look(context(system, product_of(system, product)))
    console.result(text(events), lambda: {"events": [event.as_json() for event in events]})


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
        return verify_retained(
            system, directory, system.platform(), then, within.progress, blobs=entry.blobs
        ).manifest

    options = options_of(choice, (), "")
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
    on_drift: OnDrift = None,
    yes: Yes = False,
    where: Where,
) -> None:
    """Take the running release of a product off the host: exactly what was installed."""
    from installer.plan import plan_remove

    console.json_output = where.json
    system = host(where.root)
    with attempting(system, "remove", product_of(system, product)) as doing:
        within = context(system, doing.product, console.progress())
        options = options_of(Choice(on_drift=on_drift), (), "")
        applied = _execute(within, yes, lambda state: plan_remove(within, state, options))
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
