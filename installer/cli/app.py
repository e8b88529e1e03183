"""The commands of `install` that look at, apply and take back releases."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from installer.audit.evidence import EvidenceRecorder
from installer.cli.apply import apply_bundle, execute, looked_again, noted, work_of
from installer.cli.audit import audit, metrics, support
from installer.cli.host import BY_HAND, recover, selftest, setup, trust_app
from installer.cli.options import (
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
    looking,
    loud,
    options_of,
    product_of,
    shaped,
    trust_of,
)
from installer.core.errors import WaybillError
from installer.core.format.bundle_source import open_source
from installer.core.trust.verifier import Trust

if TYPE_CHECKING:
    from installer.commands.bundle_verifier import BundleVerifier
    from installer.core.vsa import VerificationTrace

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
app.command(epilog="Example: install support /media/usb/airgap-7.tar")(support)
app.command(epilog=BY_HAND)(recover)
app.command(epilog="Example: install setup --env production --recover-at-boot")(setup)
app.command(hidden=True)(selftest)

Values = Annotated[
    list[Path] | None,
    typer.Option(
        "--values", metavar="FILE", help="Values on top of the site's; may be repeated.", show_default=False
    ),
]

Keep = Annotated[
    int | None,
    typer.Option(
        "--keep",
        metavar="N",
        min=1,
        max=100,
        help="Keep so many releases from now on, the running one too; 3 where nobody said so yet.",
        show_default=False,
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
    keep: Keep = None,
    yes: Yes = False,
    where: Where,
) -> None:
    """Verify a bundle, show the plan, apply it, watch its health; commit or go back."""
    console.json_output = where.json
    if verify_only:
        _verify(bundle, judging, where)
    elif dry_run:
        _plan(bundle, judging, choice, values, work_dir, keep, where)
    else:
        layers = layers_of(values)
        keeper = EvidenceRecorder(host(where.root), clock, loud)
        with attempting(keeper.system, "apply", medium=bundle) as doing, keeper.watching():
            doing.about = keeper.known
            verifier_for = _judge(where.root, judging, bundle, keeper.trail)
            doing.about = lambda: {**verifier_for.known(), **keeper.known()}
            keeper.notes = verifier_for.notes
            options = options_of(choice, layers, verifier_for.environment, keep)
            applied = apply_bundle(bundle, verifier_for, options, work_dir, yes, verify_, keeper)
        console.result(applied.text(), applied.as_json)


@app.command(epilog="Example: install verify lan-chat-1.4.0.tar")
@shaped
def verify(bundle: BundleName, judging: Judging, where: Where) -> None:
    """Verify a bundle and stop; needs no rights and no space."""
    console.json_output = where.json
    _verify(bundle, judging, where)


def _verify(bundle: str, judging: Judging, where: Where) -> None:
    from installer.core.verify import payload_extent, report, verify_payload

    verifier_for = _judge(where.root, judging, bundle)
    medium = open_source(bundle)
    try:
        opened = verifier_for.open(medium)
        progress = console.progress()
        progress.start("verify", payload_extent(opened))
        verified = verify_payload(opened, progress.advance)
        progress.done()
        decision = verifier_for.decide(opened)
    finally:
        medium.close()
    for note in verifier_for.notes:
        console.log(note, "warning")
    console.result(report(verified, decision), lambda: verified.as_json() | {"policy": decision.as_json()})


def _judge(
    root: Path, judging: Judging, bundle: str, trail: VerificationTrace | None = None
) -> BundleVerifier:
    from installer.commands.bundle_verifier import verifier_for

    return verifier_for(host(root), trust_of, judging.env, bundle, judging.approvals or (), trail)


@app.command(epilog="Example: install plan lan-chat-1.4.0.tar")
@shaped
def plan(
    bundle: BundleName,
    *,
    judging: Judging,
    values: Values = None,
    choice: Choice,
    work_dir: WorkDir = None,
    keep: Keep = None,
    where: Where,
) -> None:
    """Verify a bundle, look at the host and say what would change; change nothing."""
    console.json_output = where.json
    _plan(bundle, judging, choice, values, work_dir, keep, where)


def _plan(
    bundle: str, judging: Judging, choice: Choice, values: Values, work_dir: WorkDir, keep: Keep, where: Where
) -> None:
    from installer.commands.status import standing
    from installer.planning.plan_text import text
    from installer.planning.planner import plan_apply
    from installer.staging.preview import previewed

    verifier_for = _judge(where.root, judging, bundle)
    options = options_of(choice, layers_of(values), verifier_for.environment, keep)
    system, medium = verifier_for.system, open_source(bundle)
    try:
        opened = verifier_for.open(medium)
        within = context(system, opened.bundle.manifest.product, console.progress())
        with looking():
            state, unfinished = standing(within)
        verifier_for.notes += [f"UNFINISHED {unfinished}"] if unfinished else []
        work, apart = work_of(within, opened, state, options, work_dir)
        with previewed(opened, system, within.layout, within.progress, work=work, apart=apart) as staged:
            judged = verifier_for.staged(opened, staged)
            found = noted(plan_apply(within, state, judged, options), verifier_for)
            if not (found.problems and where.json):  # then the error has the one document
                console.result(text(found), found.as_json)
            found.require_ready()
    finally:
        medium.close()


@app.command(epilog="Example: install status")
@shaped
def status(*, product: Product = None, where: Where) -> None:
    """Show what runs, since when, who signed it, and whether the host still is as installed."""
    from installer.commands.status import products
    from installer.commands.status import status as look

    console.json_output = where.json
    system = host(where.root)
    wanted = [product_of(system, product)] if product else products(context(system, ""))
    found, failed = [], list[WaybillError]()
    for name in wanted:
        try:
            found.append(look(context(system, name)))
        except WaybillError as error:  # the others are shown all the same
            failed.append(error)
    text = "\n\n".join(each.text() for each in found) or "nothing is installed here"
    document = {"products": [each.as_json() for each in found]}
    if not failed or (found and not where.json):  # else the error has the one document
        console.result(text, lambda: document)
    for other in failed[1:]:
        console.log(f"error: {other}", "error")
    if failed:
        failed[0].document = document
        raise failed[0]


@app.command(epilog="Example: install history")
@shaped
def history(*, product: Product = None, where: Where) -> None:
    """Show what was installed, rolled back, removed and refused, when, and where the evidence is."""
    from installer.audit.evidence import refusals
    from installer.commands.history import history as look
    from installer.commands.history import text
    from installer.commands.status import products

    console.json_output = where.json
    system = host(where.root)
    name = product_of(system, product) if product or products(context(system, "")) else ""
    with looking():
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
    data_fits: Annotated[
        bool,
        typer.Option(
            "--data-fits",
            help="Go back past a step that cannot be undone: its data were brought back by hand, or fit.",
        ),
    ] = False,
    yes: Yes = False,
    where: Where,
) -> None:
    """Go back to a release that is kept on this host, verified again."""
    from installer.commands.rollback import plan_rollback

    console.json_output = where.json
    system = host(where.root)

    def check(entry: Any) -> Any:
        from installer.state.retained import verify_retained

        # expiry never stops what was installed: the keys have to have been good then, and not revoked since
        then = Trust(trust.root, lambda: datetime.fromtimestamp(entry.verified, UTC))
        directory = within.layout.release(entry.name)
        return verify_retained(
            system, directory, system.platform(), then, within.progress, blobs=entry.blobs
        ).manifest

    options = options_of(choice, data_fits=data_fits)
    with attempting(system, "rollback", product_of(system, product)) as doing:
        doing.about = lambda: {"version": version or ""}
        trust = trust_of(system)
        within = context(system, doing.product, console.progress())
        applied = execute(within, yes, lambda state: plan_rollback(within, state, version, options, check))
    console.result(applied.text(), applied.as_json)


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
    from installer.planning.planner import plan_remove

    console.json_output = where.json
    system = host(where.root)
    with attempting(system, "remove", product_of(system, product)) as doing:
        within = context(system, doing.product, console.progress())
        options = options_of(Choice(on_drift=on_drift))
        applied = looked_again(within) or execute(
            within, yes, lambda state: plan_remove(within, state, options)
        )
    proof = applied.removal
    if not where.json or proof is None or proof.exit_code == 0:
        console.result(applied.text(), applied.as_json)
    if proof is not None:
        proof.require_clean()
