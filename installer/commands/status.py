"""VERB status: what runs, since when, who signed it, and whether the host has drifted. Read-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from installer.commands.common.session import Session
from installer.commands.common.unfinished import Found, find_unfinished
from installer.core.errors import NotUndoneError, Problem, WaybillError
from installer.core.format.manifest import Source
from installer.host.context import Context
from installer.host.host import A_KIND
from installer.planning.drift import Drifted, drift
from installer.planning.method_selection import Selection, method_steps
from installer.planning.views.content_diff import diff_lines, drift_diffs
from installer.planning.views.drift_lines import drifted_rows, problem_rows
from installer.planning.views.visible_release import HIDDEN, visible_drift, visible_release
from installer.shared.redaction import Diff
from installer.shared.run_record import problem_row
from installer.shared.terminal.listing import listed
from installer.state.documents import release_document
from installer.state.host_identity import recorded_environment
from installer.state.public import AS_ROOT
from installer.state.release import Release
from installer.state.standing import Fallen, fallen
from installer.state.state import Entry, State, host_readable
from installer.state.trust_store import load_trust, trusted_bytes
from installer.transaction import leftovers
from installer.transaction.activity import Activity
from installer.transaction.failed_release import FailedRelease, last_failed


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
    activity: Activity | None = None
    differences: tuple[Diff, ...] = ()
    hidden: str = ""
    failed: FailedRelease | None = None

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
        edited = drifted_rows(self.edited)
        lines += [f"  edited     {line}" for line in listed(edited, everything=everything)]
        if self.activity:
            lines.append(f"  in progress: {self.activity.text()}")
        if self.unfinished:
            lines.append(f"  UNFINISHED {self.unfinished}")
        lines += self._drift(everything)
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


def product_status(context: Context) -> Status:
    """Look at one product. Needs no lock and changes nothing, not even what recovery would.

    Raises:
        NotUndoneError: The state is damaged, missing, or behind the journal.
        HostNotReadyError: This user may not read the state (it is root's), or it cannot be looked at.
    """
    with host_readable(context.layout.base):
        return _status(context)


_LOOKS = 3
"""How often the host is looked at, where a command begins or ends meanwhile."""


def _status(context: Context) -> Status:
    open_ = find_unfinished(context)
    for _ in range(_LOOKS):
        seen = _Looked() if open_.is_changing else _look(context, open_)
        before, open_ = open_, find_unfinished(context)
        # A look may take minutes: what a command has changed meanwhile is no drift.
        if open_ == before:
            break
    state = open_.state
    fell, distrust = _standing(context, state)
    return Status(
        context.layout.product,
        state.current,
        state.retained,
        state.highest,
        tuple(seen.drift),
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
    )


@dataclass(slots=True)
class _Looked:
    """What a look at the files and methods of the running release has found."""

    drift: list[Problem] = field(default_factory=list)
    edited: list[Drifted] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)
    differences: tuple[Diff, ...] = ()
    hidden: str = ""
    leftovers: list[Problem] = field(default_factory=list)


def _look(context: Context, open_: Found) -> _Looked:
    state, seen = open_.state, _Looked()
    # A transaction that is open clears later.
    if not open_.unfinished and not open_.partial:
        seen.leftovers += leftovers.look(context, state)
    if state.current is None:
        seen.drift = [] if open_.unfinished else _link(context, "")
        return seen
    try:
        # A record that cannot be read is drift of the worst kind, and no reason to show nothing.
        visible = visible_release(context, state.current)
    except NotUndoneError as error:
        seen.drift = [Problem(error.where, error.what, error.hint)]
        return seen
    release, origin = visible.release, visible.release.manifest.source
    seen.source = {"commit": origin.commit, "tag": origin.tag, "dirty": origin.dirty}
    if visible.partial:
        # An open transaction changes the host: what looks like drift then may be its work.
        if not open_.unfinished:
            seen.drift, unread = visible_drift(context.system, release.installed)
            seen.drift += _link(context, f"releases/{state.current.name}")
            files = f"; {unread} files that this user may not read" if unread else ""
            seen.hidden = f"{HIDDEN}{files}"
        return seen
    seen.drift, seen.edited = drift(context.system, release.installed)
    seen.differences = drift_diffs(context, release.installed, seen.drift, seen.edited)
    # Between switch and commit the link names the new release: that is not drift.
    seen.drift += _link(context, f"releases/{state.current.name}") if not open_.unfinished else []
    seen.drift += _methods(context, state.current, release)
    return seen


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
    what = f"{words.get(seen.kind, f'is {A_KIND.get(seen.kind)}')}; it should {should}"
    return [Problem(context.layout.current, what, "run `install recover`: it explains how to fix it")]


def _methods(context: Context, current: Entry, release: Release) -> list[Problem]:
    steps = method_steps(None, release, Selection(frozenset(current.methods), {}))
    # Two steps of one method look at the same files of the release.
    return list(dict.fromkeys(problem for step in steps for problem in step.drift(context)))
