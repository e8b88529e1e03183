"""Any order of installs, rollbacks, removals, edits and kills: a host is always exactly one release.

A state machine of Hypothesis. The model knows which release runs, which are kept, what the steps that cannot
be undone have made of the data, and which files somebody edited; after every step the host is recovered, and
has to be what the model says: where the step was killed, what it was before or what it was to be.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.commands.rollback import plan_rollback
from installer.core.errors import WaybillError
from installer.host.context import Context
from installer.planning.drift import Policy
from installer.planning.plan import Options
from installer.planning.planner import plan_remove
from installer.state.state import State
from tests.faults.forward import FORWARD, SAVED, STARTED, Fast, stepped
from tests.faults.invariants import consistent
from tests.faults.stories import NEW, OLD, attempting, make_world, outside, recover
from tests.faults.stories import install as install_bundle
from tests.rig.faulty import Killed
from tests.rig.releases import Member, ReleaseSpec, context
from tests.rig.share import EVERYTHING

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SCRIPTED = frozenset({"script"})
REPLACE = Policy.parse(["replace"])
CONFIG, DATA = "etc/chat/chatd.conf", "etc/data"
MOST = 14
STEPS = {3: (FORWARD, STARTED), 5: (SAVED, STARTED)}
"""How a release is set to work, by its number modulo 6; the others start their service, no more."""


def changes_data(number: int) -> bool:
    """Says whether a release changes the data in a way that going back does not undo."""
    return number % 6 in STEPS


@cache
def release(number: int) -> ReleaseSpec:
    """Gives a release; their trees differ."""
    spec = replace((OLD, NEW)[number % 2], version=f"{number}.0.0", sequence=number)
    only = Member(b"%d" % number, f"/opt/chat/web/only-{number}.js", kind="tree")
    members = {**spec.members, "trees/web/only.js": only}
    return stepped(replace(spec, members=members), *STEPS.get(number % 6, (STARTED,)))


@cache
def tree(number: int) -> dict[str, tuple[object, ...]]:
    """Gives what a host looks like on which a release was installed at once; 0 is none."""
    with tempfile.TemporaryDirectory(prefix="waybill-test-") as name:
        root = Path(name) / "host"
        fresh(root)
        if number:
            install_bundle(context(Fast(root)), release(number), Options(only=SCRIPTED))
        found = outside(root)
        found.pop(DATA)
        return found


def fresh(root: Path) -> None:
    """Makes a host with data and no release."""
    make_world(root, "empty")
    (root / DATA).write_text("0.0.0\n")


class Booted(Fast):
    """A host that was booted anew since the step before."""

    def __init__(self, root: Path, boot: int, at: int = 0, fault: str = "") -> None:
        super().__init__(root, at, fault)
        self.boot = boot

    def boot_id(self) -> str:
        return str(self.boot)


@dataclass(frozen=True)
class Host:
    """What the model knows.

    Attributes:
        kept: Numbers of the releases that are kept, the one that runs first.
        data: Which release has changed the data last; 0 for none.
        edited: What somebody wrote into the configuration; empty for nothing.
        marked: Those of the kept ones that have changed the data for good.
    """

    kept: tuple[int, ...] = ()
    data: int = 0
    edited: bytes = b""
    marked: frozenset[int] = frozenset()

    @property
    def runs(self) -> int:
        """The release that runs; 0 for none."""
        return self.kept[0] if self.kept else 0

    def newer(self, number: int) -> set[int]:
        """Gives the newer releases that ran after a kept one last did."""
        since = self.kept[: self.kept.index(number)] if number in self.kept else ()
        return {each for each in since if each > number}

    def installed(self, number: int) -> Host:
        """Gives it once a release stands."""
        kept = (number, *(each for each in self.kept if each != number))[:3]
        marked = self.marked - self.newer(number) | ({number} if changes_data(number) else set())
        data = number if changes_data(number) else self.data
        return Host(kept, data, b"", frozenset(marked & set(kept)))

    def removed(self) -> Host:
        """Gives it once nothing is installed."""
        return Host(data=self.data)


FAULTS = st.one_of(
    st.none(),
    st.tuples(
        st.integers(1, 340), st.sampled_from(["kill before", "kill after", "ENOSPC", "EIO", "full", "short"])
    ),
)
AGAIN = st.one_of(st.none(), st.integers(1, 120))


class Machine(RuleBasedStateMachine):
    """A host, and its model."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="waybill-test-", dir=MEMORY))
        self.root = self.base / "host"
        self.model, self.highest, self.boots, self.begun = Host(), 0, 0, False

    def teardown(self) -> None:
        shutil.rmtree(self.base)

    @initialize()
    def begin(self) -> None:
        fresh(self.root)
        self.begun = True

    # -- what is done ------------------------------------------------------------------------------

    @rule(ahead=st.integers(-1, 2), fault=FAULTS, again=AGAIN)
    def install(self, ahead: int, fault: Any, again: Any) -> None:
        number = min(MOST, max(1, self.highest + ahead))
        older = number < self.highest and number != self.model.runs
        nothing = number == self.model.runs and not self.model.edited
        self._try(_installs(number), self.model.installed(number), fault, again, may=not (older or nothing))

    @precondition(lambda self: len(self.model.kept) > 1)
    @rule(which=st.integers(1, 2), fits=st.booleans(), fault=FAULTS, again=AGAIN)
    def roll_back(self, which: int, fits: bool, fault: Any, again: Any) -> None:
        number = self.model.kept[min(which, len(self.model.kept) - 1)]

        def do(within: Context) -> object:
            options = Options(drift=REPLACE, data_restored=fits)
            with attempting(within, "rollback"), exclusive(within) as (state, _):
                return execute_plan(within, plan_rollback(within, state, f"{number}.0.0", options))

        may = fits or not self.model.newer(number) & self.model.marked
        self._try(do, self.model.installed(number), fault, again, may=may)

    @precondition(lambda self: self.model.runs)
    @rule(fault=FAULTS, again=AGAIN)
    def remove(self, fault: Any, again: Any) -> None:
        def do(within: Context) -> object:
            with attempting(within, "remove"), exclusive(within) as (state, _):
                return execute_plan(within, plan_remove(within, state, Options(drift=REPLACE)))

        self._try(do, self.model.removed(), fault, again, may=True)

    @precondition(lambda self: self.model.runs)
    @rule(text=st.binary(min_size=1, max_size=30))
    def edit(self, text: bytes) -> None:
        self.model = replace(self.model, edited=b"# by hand\n" + text)
        (self.root / CONFIG).write_bytes(self.model.edited)

    def _try(self, do: Callable[[Context], object], then: Host, fault: Any, again: Any, *, may: bool) -> None:
        """Does something that fails or not, recovers, and learns from the state whether it stands."""
        at, how = fault or (0, "")
        before = self._state().transaction
        with suppress(Killed, WaybillError, OSError):
            do(self._booted(at, how))
        if again:
            with suppress(Killed, WaybillError, OSError):
                recover(self._booted(again, "kill after"))
        recover(self._booted())
        state = self._state()
        stands = state.transaction > before
        assert may or not stands, "it was not to be done"
        assert stands or fault or not may, "it was not done, and nothing failed"
        if not stands:
            return
        self.model = then
        if state.current is not None and state.current.incomplete:
            assert changes_data(then.runs)
            _installs(then.runs)(self._booted())

    def _booted(self, at: int = 0, how: str = "") -> Context:
        self.boots += 1
        return context(Booted(self.root, self.boots, at, how))

    # -- what has to be true -----------------------------------------------------------------------

    def _state(self) -> State:
        with exclusive(self._booted()) as (state, _):
            return state

    @invariant()
    def the_host_is_exactly_one_release(self) -> None:
        if not self.begun:
            return
        now, state = outside(self.root), self._state()
        assert now.pop(DATA)[1] == b"%d.0.0\n" % self.model.data
        wanted = dict(tree(self.model.runs))
        if self.model.edited:
            kind, _, *rest = wanted[CONFIG]
            wanted[CONFIG] = (kind, self.model.edited, *rest)
        assert now == wanted
        assert tuple(entry.sequence for entry in state.retained) == self.model.kept
        assert {entry.sequence for entry in state.retained if entry.irreversible} == self.model.marked
        assert state.highest >= self.highest or not self.highest
        self.highest = max(state.highest, 0)
        assert consistent(self.root, state, copies=True) == []


def _installs(number: int) -> Callable[[Context], object]:
    options = Options(only=SCRIPTED, drift=REPLACE)
    return lambda within: install_bundle(within, release(number), options)


Machine.TestCase.settings = settings(
    max_examples=300 if EVERYTHING else 8,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestAnyOrder = Machine.TestCase
