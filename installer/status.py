"""VERB status: what runs, since when, who signed it, whether the host still is as installed. Read-only."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from installer import journal as journals
from installer.core.errors import NotUndoneError, Problem
from installer.core.manifest import Source
from installer.deploy.base import Release, Target, method
from installer.drift import Drifted, drift
from installer.housekeeping import committed
from installer.journal import Journal
from installer.layout import STATE, Layout
from installer.operations import Context
from installer.selection import Selection, jobs
from installer.state import Entry, State, load, open_release


@dataclass(frozen=True, slots=True)
class Status:
    """The truth about one product on this host.

    Attributes:
        product: Its name.
        current: What runs; None where nothing does.
        kept: All releases that are kept.
        highest: The highest sequence that was ever committed; -1 for none.
        drift: Where the host is not what was installed.
        edited: Files that were edited here and are kept by policy; they are no drift.
        unfinished: A transaction that was cut short, in words; empty where there is none.
        manifest: Facts of the running release: where it was made from.
    """

    product: str
    current: Entry | None
    kept: tuple[Entry, ...]
    highest: int
    drift: tuple[Problem, ...]
    unfinished: str
    source: Mapping[str, Any]
    edited: tuple[Drifted, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Gives it as a JSON object."""
        return {
            "product": self.product,
            "current": self.current.as_json() if self.current else None,
            "kept": [entry.as_json() for entry in self.kept],
            "highest": self.highest,
            "drift": [{"where": p.where, "what": p.what, "hint": p.hint} for p in self.drift],
            "edited": [each.as_json() for each in self.edited],
            "unfinished": self.unfinished,
            "source": dict(self.source),
            "break_glass": list(self.broken),
        }

    @property
    def broken(self) -> tuple[str, ...]:
        """What was missing when the glass was broken for what runs; empty where the rule was kept."""
        return tuple(self.current.evidence.get("policy", {}).get("break_glass", ())) if self.current else ()

    def text(self) -> str:
        """Gives it in words for people."""
        lines = []
        if self.current is None:
            lines.append(f"{self.product}: nothing is installed")
        else:
            lines.append(
                f"{self.product} {self.current.version} is installed since {_when(self.current.installed)}"
            )
            lines.append(f"  identity   {self.current.identity}")
            lines += [f"  signed by  {name}" for name in signers(self.current)]
            if self.source.get("commit"):
                lines.append(f"  made from  {Source(**self.source).text()}")
            policy = self.current.evidence.get("policy", {})
            lines += [f"  built by   {policy['builder']}"] if policy.get("builder") else []
            lines += [f"  BREAK-GLASS without {what}" for what in self.broken]
            lines.append(f"  methods    {', '.join(self.current.methods)}")
        others = [entry for entry in self.kept if self.current is None or entry.name != self.current.name]
        if others:
            lines.append(f"  kept       {', '.join(map(self._kept, others))} (install rollback VERSION)")
        if self.current and self.current.incomplete:
            lines.append(f"  NOT WHOLE  {self.current.incomplete}")
            lines.append("             install the same bundle again, or a newer one")
        lines += [f"  edited     {each.text()}" for each in self.edited]
        if self.unfinished:
            lines.append(f"  UNFINISHED {self.unfinished}")
        if self.drift:
            lines.append(f"  DRIFT      {len(self.drift)} found:")
            lines += [f"    {problem.where} {problem.what}" for problem in self.drift]
        elif self.current is not None and not self.unfinished:
            besides = " but for what was edited and is kept" if self.edited else ""
            lines.append(f"  drift      none: the host is as it was installed{besides}")
        return "\n".join(lines)

    def _kept(self, entry: Entry) -> str:
        past = State(self.current, self.kept).past(entry)
        return entry.version + (" only with --data-fits" if any(each.irreversible for each in past) else "")


def signers(entry: Entry) -> list[str]:
    """Gives who signed a release, from its evidence."""
    found = entry.evidence.get("signers", [])
    return [str(name) for name in found] if isinstance(found, (list, tuple)) else []


def _when(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def products(context: Context) -> list[str]:
    """Gives the products that this host knows."""
    system = context.system
    names = system.names(STATE)
    return [name for name in names if system.observe(Layout(name).lock, digest=False).kind == "file"]


def status(context: Context) -> Status:
    """Looks at one product. Needs no lock and changes nothing, not even what recovery would.

    Raises:
        NotUndoneError: The state is damaged.
        HostNotReadyError: This user may not read the state (it is root's).
    """
    state, unfinished = _now(context)
    found: list[Problem] = []
    edited: list[Drifted] = []
    source: dict[str, Any] = {}
    if state.current is not None:
        try:
            release = open_release(context.system, context.layout, state.current)
        except NotUndoneError as error:
            found.append(Problem(error.where, error.what, error.hint))
        else:
            found, edited = drift(context.system, release.installed)
            found += _link(context, state.current) if not unfinished else []
            found += _methods(context, state.current, release)
            origin = release.manifest.source
            source = {"commit": origin.commit, "tag": origin.tag, "dirty": origin.dirty}
    return Status(
        context.layout.product,
        state.current,
        state.kept,
        state.highest,
        tuple(found),
        unfinished,
        source,
        tuple(edited),
    )


def _link(context: Context, current: Entry) -> list[Problem]:
    seen = context.system.observe(context.layout.current)
    if seen.target == f"releases/{current.name}":
        return []
    words = {"link": f"points to {seen.target}", "absent": "is missing"}
    what = f"{words.get(seen.kind, f'is a {seen.kind}')}; it should point to releases/{current.name}"
    return [Problem(context.layout.current, what, "install recover says how to put it right")]


def _methods(context: Context, current: Entry, release: Release) -> list[Problem]:
    found: list[Problem] = []
    for job in jobs(None, release, Selection(frozenset(current.methods), {})):
        ask = getattr(method(job.name), "drift", None)
        if ask is not None and isinstance(job.new, Target):
            found += ask(context, job.new)
    return found


def _now(context: Context) -> tuple[State, str]:
    """Gives what stands, a committed transaction counted in whose clearing was cut short."""
    system, layout = context.system, context.layout
    state = load(system, layout)
    logs = [
        name for name in system.names(layout.transactions) if name.endswith(".log") and name[:-4].isdecimal()
    ]
    if not logs:
        return state, ""
    number = logs[-1].removesuffix(".log")
    path = layout.journal(number)
    tail = journals.Tail([], 0, "")
    with suppress(FileNotFoundError):  # ended while we looked
        tail = journals.read(system.read(path, journals.LIMIT), path)
    if not tail.records:
        return state, ""
    journal = Journal(system, path, tail, 0)
    if journal.has("COMMIT"):
        return committed(replace(context, transaction=number), journal), ""
    if journal.has("ROLLED-BACK"):
        return state, ""
    new = tail.records[0].fields["new"]
    what = f"to {new['version']}" if new else ""
    verb = tail.records[0].fields["verb"]
    return state, f"transaction {number} ({verb} {what}) runs or was cut short; if none runs: install recover"
