"""The commands of `bundle` that sign, countersign and verify: `sign`, `approve`, `verify`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.options import BundleFile, GpgKey, Json, Key, console, prompt
from installer.core.errors import UsageError

if TYPE_CHECKING:
    from bundler.signing import Signer
    from installer.core.trust.verifier import Trust

Approvals = Annotated[
    list[Path] | None,
    typer.Option(
        "--approvals",
        metavar="DIR",
        help="Besides those in the bundle and in BUNDLE.approvals.",
        show_default=False,
    ),
]


Attach = Annotated[
    list[Path] | None,
    typer.Option("--attach", metavar="FILE", help="A signature made elsewhere.", show_default=False),
]
Public = Annotated[
    Path | None,
    typer.Option("--public", help="For --attach: the key's public half, or a root.json.", show_default=False),
]


def sign(
    bundle: BundleFile,
    key: Key = None,
    gpg_key: GpgKey = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only write the bytes to sign, for a key that lives elsewhere.")
    ] = False,
    attach: Attach = None,
    public: Public = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="For --prepare [default: BUNDLE.SHA256SUMS]", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Sign a bundle in place; its payload is not moved."""
    from bundler.signing.bundle import sign as add

    console.json_output = json
    if prepare:
        _prepare(bundle, output)
        return
    if attach:
        _attach(bundle, attach, public)
        return
    signers = signers_of(key, gpg_key, need=True)
    with closing(signers):
        results = [add(bundle, signer) for signer in signers]
    added = [name for result in results for name in result.added]
    _signed(results[-1].identity, added, results[-1].signatures)


def _signed(identity: str, added: list[str], signatures: tuple[str, ...]) -> None:
    text = "\n".join(f"added {name}" for name in added) or "this key had signed it already"
    console.result(
        f"{text}\nidentity {identity}",
        lambda: {"identity": identity, "added": added, "signatures": list(signatures)},
    )


def _prepare(bundle: Path, output: Path | None) -> None:
    from bundler.signing.detached import prepare

    made = prepare(bundle, output)
    said = made.lines(f"bundle sign {bundle} --attach SIG --public KEY.pub")
    console.result("\n".join([*said[:1], f"identity {made.identity}", *said[1:]]), made.as_json)


def _attach(bundle: Path, signatures: list[Path], public: Path | None) -> None:
    from bundler.signing.detached import attach

    done = attach(bundle, signatures, _given(public))
    _signed(done.identity, list(done.added), done.signatures)


def _given(public: Path | None) -> Path:
    if public is None:
        raise UsageError(
            "a signature is attached only after it was verified",
            hint="give --public KEY.pub or --public root.json",
        )
    return public


def approve(
    bundle: BundleFile,
    role: Annotated[
        str, typer.Option(help="provenance, security, ops or break-glass.", show_default=False)
    ] = "",
    env: Annotated[str, typer.Option(help="For which environment.", show_default=False)] = "",
    key: Key = None,
    gpg_key: GpgKey = None,
    change_id: Annotated[str, typer.Option(help="The change that this belongs to.", show_default=False)] = "",
    rollback_to: Annotated[
        str, typer.Option(help="The version to go back to, or `none` for a first one.", show_default=False)
    ] = "",
    expires: Annotated[str, typer.Option(help="For how long, or until when.")] = "14d",
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", metavar="HOST", help="Only for this host; may be repeated.", show_default=False
        ),
    ] = None,
    note: Annotated[str, typer.Option(help="For people; break-glass needs one.", show_default=False)] = "",
    sidecar: Annotated[
        bool, typer.Option("--sidecar", help="Leave the bundle as it is: write into BUNDLE.approvals/.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Write into DIR instead; with --prepare, the file [default: BUNDLE.ROLE.json]",
            show_default=False,
        ),
    ] = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only write the statement, for a key that lives elsewhere.")
    ] = False,
    attach: Attach = None,
    public: Public = None,
    statement: Annotated[
        Path | None,
        typer.Option(help="For --attach: what was signed [default: BUNDLE.ROLE.json]", show_default=False),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Finish, or take back, an approval that was cut short.")
    ] = False,
    json: Json = False,
) -> None:
    """Countersign a bundle: for one environment, in one role, for a time. Verify it first."""
    from bundler.approvals.approval import Request
    from bundler.commands import approve as verb

    console.json_output = json
    if repair:
        repaired = verb.repair(bundle)
        console.result(repaired.text(), lambda: {"outcome": repaired.outcome, "name": repaired.name})
        return
    if attach:
        from bundler.approvals.detached import attach as put

        taken = put(bundle, attach, _given(public), statement, directory=output, sidecar=sidecar)
        console.result(taken.text(), taken.as_json)
        return
    if not role or not env:
        raise UsageError(
            "say in which role and for which environment", hint="give --role ROLE and --env NAME"
        )
    request = Request(role, env, expires, tuple(target or ()), change_id, rollback_to, note)
    if prepare:
        from bundler.approvals.detached import prepare as write

        made = write(bundle, request, datetime.now(UTC), output)
        said = made.lines(f"bundle approve {bundle} --attach SIG --public KEY.pub")
        console.result("\n".join(said), made.as_json)
        return
    signers = signers_of(key, gpg_key, need=True)
    with closing(signers):
        done = [
            verb.approve(bundle, signer, request, datetime.now(UTC), directory=output, sidecar=sidecar)
            for signer in signers
        ]
    console.result("\n".join(each.text() for each in done), done[-1].as_json)


def verify(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="The bundle, or - for stdin.", show_default=False)
    ],
    key: Annotated[
        Path | None, typer.Option("--key", help="One pinned public key, cosign or GPG.", show_default=False)
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="The hosts' root.json.", show_default=False)
    ] = None,
    env: Annotated[
        str, typer.Option(help="With --root: would hosts of this environment take it?", show_default=False)
    ] = "",
    target: Annotated[
        str, typer.Option(metavar="HOST", help="With --env: would this one?", show_default=False)
    ] = "",
    approvals: Approvals = None,
    json: Json = False,
) -> None:
    """Do the installer's own verification on this side, with one pinned key or a root."""
    from installer.core.format.bundle_source import open_source
    from installer.core.trust.approval_sidecar import read_sidecar, sidecar_path
    from installer.core.trust.policy import HostFacts
    from installer.core.verify import check_approvals, open_trusted, payload_extent, report, verify_payload

    console.json_output = json
    trust = _trust(key, root)
    if root is None and (env or target or approvals):
        raise UsageError("one key alone knows no environments", hint="give --root root.json")
    host = HostFacts(environment=env, name=target.lower())
    found = (
        [] if bundle == "-" else [(str(sidecar_path(Path(bundle))), read_sidecar(sidecar_path(Path(bundle))))]
    )
    found += [(str(each), read_sidecar(each, required=True)) for each in approvals or ()]
    medium = open_source(bundle)
    try:
        opened = open_trusted(medium, trust, lambda _manifest: host)
        # of a file the approvals are looked at before the payload: a refusal comes at once
        decision = check_approvals(opened, trust, found) if env and medium.parallel else None
        progress = console.progress()
        progress.start("verify", payload_extent(opened))
        verified = verify_payload(opened, progress.advance)
        progress.done()
        if env and decision is None:
            decision = check_approvals(opened, trust, found)
    finally:
        medium.close()
    if decision and decision.warning():
        console.log(decision.warning(), "warning")
    policy = {"policy": decision.as_json()} if decision else {}
    console.result(report(verified, decision), lambda: {**verified.as_json(), **policy})


def _trust(key: Path | None, root: Path | None) -> Trust:
    from installer.core.trust.root_json import load_root
    from installer.core.trust.verifier import Trust, pinned_key_trust

    if (key is None) == (root is None):
        raise UsageError("say whom to trust", hint="give either --key NAME.pub or --root root.json")
    if root is not None:
        return Trust(load_root(root)[0], lambda: datetime.now(UTC))
    if key is None:
        raise AssertionError
    try:
        with key.open("rb") as file:
            text = file.read(1 << 20).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read as a public key: {error}", where=str(key)) from None
    return pinned_key_trust(text, str(key))


def signers_of(
    key: Path | None, gpg_key: str | None, *, need: bool, variable: str = "COSIGN_PASSWORD"
) -> list[Signer]:
    """Gives who signs by what was typed; `variable` of the environment may have the password of the key.

    Raises:
        UsageError: A key cannot be used, or none is given and one is needed.
    """
    signers: list[Signer] = []
    if key is not None:
        from bundler.signing.cosign import CosignSigner

        signers.append(CosignSigner.load(key, prompt, variable))
    if gpg_key is not None:
        from bundler.signing.gpg import GpgSigner

        signers.append(GpgSigner(gpg_key))
    if need and not signers:
        raise UsageError("no key is given", hint="give --key NAME.key or --gpg-key FINGERPRINT")
    return signers


@contextlib.contextmanager
def closing(signers: list[Signer]) -> Iterator[None]:
    """Lets go of what signers hold."""
    with contextlib.ExitStack() as stack:
        for signer in signers:
            close: Callable[[], None] | None = getattr(signer, "close", None)
            if close is not None:
                stack.callback(close)
        yield
