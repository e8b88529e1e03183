"""VERB status: what runs, since when, who signed it, and whether the host has drifted. Read-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from installer.commands.common.health_report import HealthReport, ask_health
from installer.commands.common.host_look import HostLook, look
from installer.commands.common.session import Session
from installer.commands.common.unfinished import Found, find_unfinished
from installer.core.errors import Problem, WaybillError
from installer.core.format.manifest import Source
from installer.host.context import Context
from installer.planning.drift import Drifted
from installer.planning.views.content_diff import diff_lines
from installer.planning.views.drift_lines import drifted_rows, problem_rows
from installer.secrets.rotation import RotationCheck
from installer.shared.command.run_record import problem_row
from installer.shared.secrecy.redaction import Diff
from installer.shared.terminal.listing import listed
from installer.state.documents import release_document
from installer.state.host_identity import recorded_environment
from installer.state.public import AS_ROOT
from installer.state.recorded_values import read_secrets
from installer.state.releases.damage import Damage
from installer.state.standing import Fallen, fallen
from installer.state.state import Entry, State, host_readable
from installer.state.trust_store import load_trust, trusted_bytes
from installer.transaction.activity import Activity
from installer.transaction.failed_release import FailedRelease, last_failed
from installer.transaction.failures import brief


@dataclass(frozen=True, slots=True)
class Status:
    """What one product is on this host.

    Attributes:
        product: Its name.
        current: The running release; None where there is none.
        kept: All retained releases, including the running one.
        highest: The highest sequence that was ever committed; -1 for none.
        drift: Where the host differs from the installed release.
        unfinished: An interrupted transaction, in words; empty where there is none.
        source: What the running release was built from.
        edited: Files that were edited here and are kept by policy; they are not drift.
        leftover: What should have been cleared and could not be.
        fallen: Retained releases that the root of the host does not admit any more.
        distrust: Why the root of the host cannot be used; empty where it can, or where none is set up.
        activity: The command that is at work on it; None where none is seen.
        differences: How edited files differ from the installed release.
        hidden: What this user may not see, in words; empty for nothing.
        failed: The newest release whose installation failed; until it, or a newer one, is installed.
        secrets_changed: Values that refer to a secret which has changed since; this is drift, too.
        notes: What to warn of.
        damaged: Retained releases whose stored files are missing or were changed: no rollback to them.
        health: What the health checks say now; None where they were not to be asked.
    """

    product: str
    current: Entry | None
    kept: tuple[Entry, ...]
    highest: int
    drift: tuple[Problem, ...]
    unfinished: str
    source: Mapping[str, Any]
    edited: tuple[Drifted, ...] = ()
    leftover: tuple[Problem, ...] = ()
    fallen: tuple[Fallen, ...] = ()
    distrust: str = ""
    activity: Activity | None = None
    differences: tuple[Diff, ...] = ()
    hidden: str = ""
    failed: FailedRelease | None = None
    secrets_changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    damaged: tuple[Damage, ...] = ()
    health: HealthReport | None = None

    @property
    def is_changing(self) -> bool:
        """Whether a command is changing the host, so that differences mean nothing."""
        return self.activity is not None and bool(self.activity.transaction)

    @property
    def differs(self) -> bool:
        """Whether the host is not as its installed release has it, or the release is not complete."""
        incomplete = self.current is not None and bool(self.current.incomplete)
        return bool(self.drift or self.unfinished or incomplete)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "product": self.product,
            "installed": release_document(self.current) if self.current else None,
            "retained": [release_document(entry) for entry in self.kept],
            "highest": self.highest if self.highest >= 0 else None,
            "drift": [problem_row(problem) for problem in self.drift],
            "edited": [asdict(each) for each in self.edited],
            "unfinished": self.unfinished or None,
            "in_progress": self.activity.as_json() if self.activity else None,
            "hidden": self.hidden or None,
            "differences": [asdict(each) for each in self.differences],
            "leftover": [problem_row(problem) for problem in self.leftover],
            "damaged": [each.as_json() for each in self.damaged],
            "not_admitted": [asdict(each) for each in self.fallen],
            "distrust": self.distrust or None,
            "source": dict(self.source) or None,
            "break_glass": list(self.broken),
            "failed": self.failed.as_json() if self.failed else None,
            "secrets_changed": list(self.secrets_changed),
            "health": self.health.as_json() if self.health else None,
        }

    @property
    def broken(self) -> tuple[str, ...]:
        """What was missing and break-glass stood in for; empty where the policy was kept."""
        return self.current.evidence.break_glass if self.current else ()

    def text(self, *, everything: bool = False) -> str:
        """Return it for people; of a long list only the first entries, unless `everything` is to be shown."""
        lines = []
        if self.current is None:
            lines.append(f"{self.product}: nothing is installed")
        else:
            lines.append(
                f"{self.product} {self.current.version} is installed (since {_when(self.current.installed)})"
            )
            lines.append(f"  identity   {self.current.identity}")
            lines += [f"  signed by  {name}" for name in self.current.evidence.signers]
            if self.source.get("commit"):
                lines.append(f"  built from {Source(**self.source).text()}")
            builder = self.current.evidence.builder
            lines += [f"  built by   {builder}"] if builder else []
            lines += [f"  BREAK-GLASS used instead of {what}" for what in self.broken]
            lines.append(f"  methods    {', '.join(self.current.methods)}")
        running = self.current.name if self.current else ""
        unfit = {running, *(each.entry.name for each in self.damaged)}
        others = [entry for entry in self.kept if entry.name not in unfit]
        if others:
            lines.append(f"  retained   {', '.join(map(self._kept, others))} (`install rollback VERSION`)")
        lines += [f"  DAMAGED    {each.text(installed=each.entry.name == running)}" for each in self.damaged]
        lines += [f"  NOT ADMITTED {each.version} {each.why}" for each in self.fallen]
        lines += [f"  NO TRUST   {self.distrust}"] if self.distrust else []
        if self.current and self.current.incomplete:
            why = brief(self.current.incomplete)
            lines.append(f"  INCOMPLETE {f'(reason: {why})' if why == AS_ROOT else why}")
            lines.append("             install the same bundle again, or a newer one")
        if self.failed:
            lines.append(
                f"  FAILED     {self.failed.version} on {self.failed.date()}: {brief(self.failed.why)}"
            )
            lines.append("             it was rolled back, and is not applied again without --retry-failed")
        edited = drifted_rows(self.edited)
        lines += [f"  edited     {line}" for line in listed(edited, everything=everything)]
        if self.activity:
            lines.append(f"  in progress: {self.activity.text()}")
        if self.unfinished:
            lines.append(f"  UNFINISHED {self.unfinished}")
        lines += self._drift(everything)
        lines += self.health.lines() if self.health else []
        lines += [f"  not shown  {self.hidden}: {AS_ROOT}"] if self.hidden else []
        for problem in self.leftover:
            lines += [f"  NOT CLEARED {problem.where}: {problem.what}", f"    hint: {problem.hint}"]
        return "\n".join(lines)

    def _drift(self, everything: bool) -> Iterator[str]:
        if self.is_changing:
            yield "  drift      not looked at while the host is being changed"
        elif self.drift:
            yield f"  DRIFT      {len(self.drift)} difference{'s' if len(self.drift) > 1 else ''}:"
            yield from (f"    {line}" for line in listed(problem_rows(self.drift), everything=everything))
        elif self.current is not None and not self.unfinished:
            besides = ", except for the edited files above" if self.edited else ""
            yield f"  drift      none{besides}"
        shown = list(diff_lines(self.differences, everything=everything))
        if shown:
            yield "  differences (- on this host, + in the release):"
            yield from (f"    {line}" if line else "" for line in shown[1:])

    def _kept(self, entry: Entry) -> str:
        past = State(self.current, self.kept).past(entry)
        return entry.version + (
            " only with --data-restored" if any(each.irreversible for each in past) else ""
        )


def _when(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@dataclass(frozen=True, slots=True)
class StatusResult:
    """The products of this host.

    Attributes:
        products: Those whose state can be read.
        failures: Why the state of others cannot.
    """

    products: tuple[Status, ...]
    failures: tuple[WaybillError, ...]

    def text(self, *, everything: bool = False) -> str:
        """Return it for people."""
        shown = [each.text(everything=everything) for each in self.products]
        return "\n\n".join(shown) or "nothing is installed here"

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"products": [each.as_json() for each in self.products]}

    @property
    def differs(self) -> bool:
        """Whether a product differs from its installed release; see `Status.differs`."""
        return any(each.differs for each in self.products)

    @property
    def unhealthy(self) -> bool:
        """Whether a health check failed, or could not be asked, of those that were to be asked."""
        return any(each.health is not None and not each.health.is_healthy for each in self.products)

    def require_readable(self) -> None:
        """Raise the first failure, with all that could be read.

        Raises:
            WaybillError: There is one.
        """
        for error in self.failures:
            raise error


def status(
    session: Session, product: str | None = None, *, verify_retained: bool = False, health: bool = False
) -> StatusResult:
    """Return what runs here: of one product, or of all. Needs no lock and changes nothing.

    Args:
        session: The host.
        product: The product; None for all of them.
        verify_retained: Whether every byte of retained releases is read, not only the sizes of their files.
        health: Whether the health checks of the running releases are asked, each once.

    Raises:
        WaybillError: This user may not read the host, or does not know the product.
    """
    found, failures = list[Status](), list[WaybillError]()
    rotation = RotationCheck()
    for name in [session.product(product)] if product else session.products():
        try:
            context = session.context(name)
            found.append(product_status(context, rotation, verify_retained=verify_retained))
            if health:
                asked = ask_health(context, found[-1].current, is_changing=found[-1].is_changing)
                found[-1] = replace(found[-1], health=asked)
            for note in found[-1].notes:
                session.ui.warn(note)
        except WaybillError as error:  # the others are shown all the same
            failures.append(error)
    return StatusResult(tuple(found), tuple(failures))


def product_status(
    context: Context, rotation: RotationCheck | None = None, *, verify_retained: bool = False
) -> Status:
    """Look at one product. Needs no lock and changes nothing, not even what recovery would.

    Args:
        context: The product.
        rotation: Asks the stores of its secrets whether these have changed; None: no store is asked.
        verify_retained: Whether every byte of retained releases is read, not only the sizes of their files.

    Raises:
        NotUndoneError: The state is damaged, missing, or behind the journal.
        HostNotReadyError: This user may not read the state (it is root's), or it cannot be looked at.
    """
    with host_readable(context.layout.base):
        return _status(context, rotation, verify_retained)


_LOOKS = 3
"""How often the host is looked at, where a command begins or ends meanwhile."""


def _status(context: Context, rotation: RotationCheck | None, verify_retained: bool) -> Status:
    open_ = find_unfinished(context)
    for _ in range(_LOOKS):
        seen = HostLook() if open_.is_changing else look(context, open_, verify_retained=verify_retained)
        before, open_ = open_, find_unfinished(context)
        # A look may take minutes: what a command has changed meanwhile is no drift.
        if open_ == before:
            break
    state = open_.state
    changed, notes = _rotated(context, open_, rotation)
    fell, distrust = _standing(context, state)
    return Status(
        context.layout.product,
        state.current,
        state.retained,
        state.highest,
        (*seen.drift, *(Problem(f"secret {key}", _CHANGED, _RENEW) for key in changed)),
        open_.unfinished,
        seen.source,
        tuple(seen.edited),
        tuple(seen.leftovers),
        fell,
        distrust,
        open_.activity,
        seen.differences,
        seen.hidden,
        last_failed(context),
        changed,
        notes,
        seen.damaged,
    )


_CHANGED = "has changed since it was installed"
_RENEW = "install the same bundle again: that renders the configuration with the secrets of today"


def _rotated(
    context: Context, open_: Found, rotation: RotationCheck | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the values whose secret has changed, and what to warn of."""
    current = open_.state.current
    if rotation is None or current is None or open_.unfinished or open_.is_changing:
        return (), ()
    # An ordinary user cannot read what was recorded, and is told nothing of it.
    then = read_secrets(context.system, context.layout, current.record)
    return rotation.changed(context, [(each.key, each.reference, each.digest) for each in then.secrets])


def _standing(context: Context, state: State) -> tuple[tuple[Fallen, ...], str]:
    """Return what the root does not admit any more, and why it cannot be asked; a host may have no trust."""
    system = context.system
    try:
        if not state.retained or trusted_bytes(system) is None:
            return (), ""
        root, _ = load_trust(system)
        return fallen(root, recorded_environment(system), context.layout.product, state), ""
    except WaybillError as error:
        return (), f"{error.where}: {error.what}"
