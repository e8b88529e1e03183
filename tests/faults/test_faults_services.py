"""Services are sagas: each command to systemd and Compose fails, hangs, or is the last one; real ones answer.

After recovery the units or containers are those of one release, and it is the one that was told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.commands.rollback import plan_rollback
from installer.commands.status import product_status
from installer.host.context import Context
from installer.host.system import Completed
from installer.planning.plan import Options
from installer.planning.planner import plan_remove
from tests.faults import stories, table
from tests.rig.engine import Engine
from tests.rig.faulty import Killed
from tests.rig.host import Host
from tests.rig.releases import ReleaseSpec, context, install
from tests.rig.remote import Remote
from tests.rig.services import (
    EVERY_TYPE_ONE,
    EVERY_TYPE_TWO,
    OF_USER_ONE,
    OF_USER_TWO,
    UNITS_ONE,
    UNITS_TWO,
    clear,
    container_of,
    docker_host,
    every_type,
    in_several_files,
    launched,
    of_user,
    running_containers,
    running_units,
    with_configuration,
    with_services,
)
from tests.rig.share import share

FAULTS = {
    "fails": "its command fails",
    "hangs": "its command hangs and does nothing",
    "late": "its command hangs and does it all the same",
    "gone": "no command works from there on",
    "killed before": "killed before the command",
    "killed after": "killed after the command",
}
PROJECT_ONE = in_several_files(with_services("1.0.0", 1, config="same"))
PROJECT_TWO = with_services("2.0.0", 2, config="new")


class Failing(Remote):
    """A host on which one command goes wrong.

    Args:
        host: The machine.
        at: Which command, counted from 1; 0 for none.
        fault: One of FAULTS.
    """

    def __init__(self, host: Host, at: int = 0, fault: str = "") -> None:
        super().__init__(host)
        self.at_command, self.how = at, fault
        self.commands: list[str] = []

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        if self.dead:
            raise Killed
        self.commands.append(" ".join(argv))
        count = len(self.commands)
        if self.how == "gone" and 0 < self.at_command <= count:
            return Completed(tuple(argv), 1, b"", b"Failed to connect to bus: Connection refused")
        if count != self.at_command:
            return super().run(argv, **options)
        if self.how == "killed before":
            self._die()
        if self.how == "fails":
            return Completed(tuple(argv), 1, b"", b"Job failed. See the journal")
        if self.how == "hangs":
            return Completed(tuple(argv), -9, b"", b"", timed_out=True)
        ended = super().run(argv, **options)
        if self.how == "killed after":
            self._die()
        return Completed(tuple(argv), -9, ended.stdout, ended.stderr, timed_out=True)


@dataclass(frozen=True)
class Kind:
    """Services of one kind.

    Attributes:
        releases: The two releases, by version.
        look: What runs, in words that can be compared.
        stays: What neither an upgrade nor a rollback touches.
    """

    releases: dict[str, ReleaseSpec]
    look: Callable[[Context], object]
    stays: Callable[[Context], object] = lambda _within: None


def _units(within: Context) -> object:
    # whether a unit that does not run was ever started is not what is asked
    return {name: how for name, how in running_units(within).items() if how.split()[0] == "active"}


def _containers(within: Context) -> object:
    assert isinstance(within.system, Remote)
    return running_containers(within.system.host)


def _database(within: Context) -> object:
    assert isinstance(within.system, Remote)
    return container_of(within.system.host, "db")


KINDS = {
    "units of every type": Kind({"1.0.0": EVERY_TYPE_ONE, "2.0.0": EVERY_TYPE_TWO}, every_type),
    "units of a user": Kind({"1.0.0": OF_USER_ONE, "2.0.0": OF_USER_TWO}, of_user),
    "units": Kind({"1.0.0": UNITS_ONE, "2.0.0": UNITS_TWO}, _units),
    "units that reload": Kind(
        {"1.0.0": with_configuration(1, "one"), "2.0.0": with_configuration(2, "two")}, _units
    ),
    "a Compose project": Kind({"1.0.0": PROJECT_ONE, "2.0.0": PROJECT_TWO}, _containers, _database),
}


@pytest.fixture(scope="module")
def machines(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    with (
        launched(docker_engine) as plain,
        docker_host(docker_engine, tmp_path_factory.mktemp("image")) as docker,
    ):
        plain.check("useradd -rm -d /var/lib/chat chat")
        yield {
            "units of every type": plain,
            "units of a user": plain,
            "units": plain,
            "units that reload": plain,
            "a Compose project": docker,
        }


@dataclass(frozen=True)
class Story:
    """What is done, and which versions run before and after it; empty for none."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return self.name

    def do(self, kind: Kind, within: Context) -> object:
        """Does it."""
        if self.name in ("install", "upgrade"):
            return install(within, kind.releases[self.after])
        with exclusive(within) as (state, _):
            if self.name == "rollback":
                return execute_plan(within, plan_rollback(within, state, self.after, Options()))
            return execute_plan(within, plan_remove(within, state))


STORIES = (
    Story("upgrade", "1.0.0", "2.0.0"),
    Story("install", "", "1.0.0"),
    Story("rollback", "2.0.0", "1.0.0"),
    Story("remove", "1.0.0", ""),
)
SHARES = {("units", "upgrade"): 12, ("units", "rollback"): 6, ("a Compose project", "upgrade"): 6}
SHARES |= {("units that reload", "upgrade"): 8, ("units of every type", "upgrade"): 8}
SHARES |= {("units of a user", name): 8 for name in ("install", "upgrade", "remove")}
"""How often a story is told in `make test`, over all commands and faults; the others 4 times."""


def current(within: Context) -> str:
    """Recovers, and says what runs."""
    with exclusive(within) as (state, _):
        return state.current.version if state.current else ""


def bring(within: Context, kind: Kind, version: str) -> None:
    """Brings a host to where a story begins."""
    now = current(within)
    if now > version:
        clear(within)
        now = ""
    for each in ("1.0.0", "2.0.0"):
        if now < each <= version:
            install(within, kind.releases[each])


def violations(within: Context, kind: Kind, ends: dict[str, object], told: str) -> list[str]:
    """Recovers a host and says what is wrong with it then."""
    (old, new), version, found = ends, current(within), list[str]()
    if version not in ends:
        return [f"the state says {version!r}"]
    if told in ("done", "pending") and version != new:
        found.append(f"was told {told}, but {version!r} runs")
    if (told == "rolled back" or told.startswith("refused")) and version != old:
        found.append(f"was told {told}, but {version!r} runs")
    if (now := kind.look(within)) != ends[version]:
        found.append(f"the state says {version!r}, there run {now}, not {ends[version]}")
    if drift := product_status(within).drift:
        found.append(f"drift: {drift}")
    with exclusive(within) as (_, recovered):
        if recovered:
            found.append("recovering again finds something to do")
    if (then := kind.look(within)) != now:
        found.append(f"recovering again changes {now} to {then}")
    return found


@pytest.mark.needs("docker", "compose")
@pytest.mark.parametrize("story", STORIES, ids=str)
@pytest.mark.parametrize("name", KINDS)
def test_a_command_that_goes_wrong_leaves_services_of_one_release(
    name: str, story: Story, machines: dict[str, Host]
) -> None:
    kind, machine = KINDS[name], machines[name]
    healthy = context(Remote(machine))
    bring(healthy, kind, story.before)
    ends = {story.before: kind.look(healthy)}
    golden = Failing(machine)
    story.do(kind, context(golden))
    ends[story.after] = kind.look(healthy)
    assert ends[story.before] != ends[story.after]
    assert len(golden.commands) > 2
    every = [(fault, at) for fault in FAULTS for at in range(1, len(golden.commands) + 1)]
    broken = []
    for fault, at in share(every, SHARES.get((name, story.name), 4)):
        row = table.row(f"{story.name} of {name}", FAULTS[fault], len(golden.commands))
        bring(healthy, kind, story.before)
        stays = kind.stays(healthy)
        failing = context(Failing(machine, at, fault))
        try:
            told = stories.told(lambda within: story.do(kind, within), failing)
        except Killed:
            told = "killed"
        row.runs += 1
        where = f"{fault} at {at}, {golden.commands[at - 1]}, {told}"
        found = violations(healthy, kind, ends, told)
        if story.before and story.after and kind.stays(healthy) != stays:
            found.append("what does not change was recreated")
        if told == "not undone" and fault != "gone":
            found.append("was not undone")
        row.broken += found
        broken += [f"{where}: {each}" for each in found]
    assert broken == []
