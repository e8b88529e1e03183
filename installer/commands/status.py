"""VERB status: what runs, since when, who signed it, and whether the host has drifted. Read-only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from installer.commands.common.session import Session
from installer.core.errors import NotUndoneError, Problem, WaybillError
from installer.core.format.manifest import Source
from installer.host.context import Context
from installer.planning.drift import Drifted, drift
from installer.planning.method_selection import Selection, method_steps
from installer.shared.run_record import problem_row
from installer.state.documents import release_document
from installer.state.host_identity import recorded_environment
from installer.state.release import Release, open_release
from installer.state.standing import Fallen, fallen
from installer.state.state import Entry, State, host_readable
from installer.state.trust_store import load_trust, trusted_bytes
from installer.transaction import leftovers
from installer.transaction.failed_release import FailedRelease, last_failed
from installer.transaction.finalize import committed_state
from installer.transaction.journal import Journal
from installer.transaction.state_repair import read_state, refuse_before_reboot, refuse_truncated


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
        failed: The release whose installation was the last thing that was done here, and failed.
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
    failed: FailedRelease | None = None

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
            "leftover": [problem_row(problem) for problem in self.leftover],
            "not_admitted": [asdict(each) for each in self.fallen],
            "distrust": self.distrust or None,
            "source": dict(self.source) or None,
            "break_glass": list(self.broken),
            "failed": self.failed.as_json() if self.failed else None,
        }

    @property
    def broken(self) -> tuple[str, ...]:
        """What was missing and break-glass stood in for; empty where the policy was kept."""
        return self.current.evidence.break_glass if self.current else ()

    def text(self) -> str:
        """Return it for people."""
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
        others = [entry for entry in self.kept if self.current is None or entry.name != self.current.name]
        if others:
            lines.append(f"  retained   {', '.join(map(self._kept, others))} (install rollback VERSION)")
        lines += [f"  NOT ADMITTED {each.version} {each.why}" for each in self.fallen]
        lines += [f"  NO TRUST   {self.distrust}"] if self.distrust else []
        if self.current and self.current.incomplete:
            lines.append(f"  INCOMPLETE {self.current.incomplete}")
            lines.append("             install the same bundle again, or a newer one")
        if self.failed:
            lines.append(f"  FAILED     {self.failed.version} on {self.failed.date()}: {self.failed.why}")
            lines.append("             it was rolled back, and is not applied again without --retry-failed")
        lines += [f"  edited     {each.text()}" for each in self.edited]
        if self.unfinished:
            lines.append(f"  UNFINISHED {self.unfinished}")
        if self.drift:
            lines.append(f"  DRIFT      {len(self.drift)} difference{'s' if len(self.drift) > 1 else ''}:")
            lines += [f"    {problem.where} {problem.what}" for problem in self.drift]
        elif self.current is not None and not self.unfinished:
            besides = ", except for the edited files above" if self.edited else ""
            lines.append(f"  drift      none{besides}")
        for problem in self.leftover:
            lines += [f"  NOT CLEARED {problem.where}: {problem.what}", f"    hint: {problem.hint}"]
        return "\n".join(lines)

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

    def text(self) -> str:
        """Return it for people."""
        return "\n\n".join(each.text() for each in self.products) or "nothing is installed here"

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"products": [each.as_json() for each in self.products]}

    @property
    def differs(self) -> bool:
        """Whether a product differs from its installed release; see `Status.differs`."""
        return any(each.differs for each in self.products)

    def require_readable(self) -> None:
        """Raise the first failure, with all that could be read.

        Raises:
            WaybillError: There is one.
        """
        for error in self.failures:
            raise error


def status(session: Session, product: str | None = None) -> StatusResult:
    """Return what runs here: of one product, or of all. Needs no lock and changes nothing.

    Raises:
        WaybillError: This user may not read the host, or does not know the product.
    """
    found, failures = list[Status](), list[WaybillError]()
    for name in [session.product(product)] if product else session.products():
        try:
            found.append(product_status(session.context(name)))
        except WaybillError as error:  # the others are shown all the same
            failures.append(error)
    return StatusResult(tuple(found), tuple(failures))


_SAYS = "run `install recover`"


def product_status(context: Context) -> Status:
    """Look at one product. Needs no lock and changes nothing, not even what recovery would.

    Raises:
        NotUndoneError: The state is damaged, missing, or behind the journal.
        HostNotReadyError: This user may not read the state (it is root's), or it cannot be looked at.
    """
    with host_readable(context.layout.base):
        return _status(context)


def _status(context: Context) -> Status:
    state, unfinished = unfinished_state(context)
    found: list[Problem] = []
    edited: list[Drifted] = []
    source: dict[str, Any] = {}
    if state.current is None and not unfinished:
        found = _link(context, "")
    elif state.current is not None:
        try:
            # A record that cannot be read is drift of the worst kind, and no reason to show nothing.
            release = open_release(context.system, context.layout, state.current)
        except NotUndoneError as error:
            found.append(Problem(error.where, error.what, error.hint))
        else:
            found, edited = drift(context.system, release.installed)
            # Between switch and commit the link names the new release: that is not drift.
            found += _link(context, f"releases/{state.current.name}") if not unfinished else []
            found += _methods(context, state.current, release)
            origin = release.manifest.source
            source = {"commit": origin.commit, "tag": origin.tag, "dirty": origin.dirty}
    fell, distrust = _standing(context, state)
    return Status(
        context.layout.product,
        state.current,
        state.retained,
        state.highest,
        tuple(found),
        unfinished,
        source,
        tuple(edited),
        # A transaction that is open clears later.
        () if unfinished else tuple(leftovers.look(context, state)),
        fell,
        distrust,
        last_failed(context),
    )


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


def _link(context: Context, expected: str) -> list[Problem]:
    seen = context.system.observe(context.layout.current)
    if seen.kind in ("link", "absent") and seen.target == expected:
        return []
    words = {"link": f"points to {seen.target}", "absent": "is missing"}
    should = f"point to {expected}" if expected else "not be there"
    what = f"{words.get(seen.kind, f'is a {seen.kind}')}; it should {should}"
    return [Problem(context.layout.current, what, "run `install recover`: it explains how to fix it")]


def _methods(context: Context, current: Entry, release: Release) -> list[Problem]:
    steps = method_steps(None, release, Selection(frozenset(current.methods), {}))
    # Two steps of one method look at the same files of the release.
    return list(dict.fromkeys(problem for step in steps for problem in step.drift(context)))


def unfinished_state(context: Context) -> tuple[State, str]:
    """Return the state, and what recovery has to do or would refuse, in words; empty where nothing.

    A committed transaction whose cleanup was interrupted counts as done.

    Raises:
        NotUndoneError: The state is damaged, missing, or behind the journal.
        HostNotReadyError: This user may not read it.
        OSError: It cannot be looked at.
    """
    state, unfinished = read_state(context), ""
    # Backups are listed before the journals are read: each has its record before it is made.
    there = set(context.system.names(context.layout.transactions))
    for number in sorted(name.partition(".")[0] for name in there if name.partition(".")[0].isdecimal()):
        within = replace(context, transaction=number)
        if f"{number}.log" in there:
            state, words = _open(within, state)
            unfinished = unfinished or words
        elif f"{number}.backup" in there and f"{number}.done" not in there:
            unfinished = unfinished or f"transaction {number}: its journal is missing; {_SAYS}"
    return state, unfinished


def _open(context: Context, state: State) -> tuple[State, str]:
    """Look at an open journal: of a transaction that is running, or was interrupted."""
    system, number = context.system, context.transaction
    backups = system.names(context.layout.backup(number))
    try:
        journal = Journal.open(system, context.layout.journal(number))
        refuse_truncated(context, journal, backups)
        if not journal.has("BEGIN"):
            return state, ""
        begin = journal.records[0].fields
        if journal.has("COMMIT"):
            state = committed_state(context, journal)
        refuse_before_reboot(context, journal)
    except FileNotFoundError:  # it ended meanwhile
        return state, ""
    except NotUndoneError as error:
        return state, f"transaction {number}: {error.what}; {_SAYS}"
    if journal.has("COMMIT") or journal.has("ROLLED-BACK"):
        return state, ""
    what = f"{begin['verb']} to {begin['new']['version']}" if begin["new"] else begin["verb"]
    return state, (
        f"transaction {number} ({what}) is running, or was interrupted (if interrupted, run: install recover)"
    )
