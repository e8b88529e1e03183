"""The power goes while images are loaded, named and given up: a real engine's data lies on the same disk.

After each effect, and while images are loaded, what the disk has is copied. Each copy is a machine whose
power went at that moment: it is started, and recovered.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from installer.commands.common.recovery import exclusive
from installer.commands.remove import check_removed
from installer.core.errors import NotUndoneError
from installer.host.context import Context
from tests.faults import stories, table
from tests.faults.engines import (
    FOREIGN,
    Copying,
    Killing,
    Releases,
    Told,
    live,
    load_foreign,
    tell,
)
from tests.faults.stories import outside
from tests.rig.faulty import Killed
from tests.rig.loop import MIB, Loop
from tests.rig.machine import Machine
from tests.rig.needs import needs
from tests.rig.releases import context
from tests.rig.share import EVERYTHING, share

pytestmark = pytest.mark.needs("docker20", "busybox")
SIZE = {"ext4": 192 * MIB, "xfs": 320 * MIB, "btrfs": 256 * MIB}


@dataclass(frozen=True)
class Case:
    """One story on one kind of machine.

    Attributes:
        story: Which of the stories.
        file_system: Of the disk.
        share: So many copies are recovered in `make test`; 0: the story is told in `make faults` only.
        engine: Of `tests.rig.engine.KINDS`.
        project: Whether the releases have a Compose project, too.
        every: Besides the effects on the engine, each so many of the others is copied in `make faults`.
    """

    story: str
    file_system: str
    share: int = 0
    engine: str = "20"
    project: bool = False
    every: int = 6

    def __str__(self) -> str:
        return f"{self.name}, {self.where}"

    @property
    def name(self) -> str:
        """What is done, for the table."""
        return f"{self.story} of {'a project with ' * self.project}images"

    @property
    def where(self) -> str:
        """Where, for the table."""
        return f"{self.file_system}, docker {self.engine}"

    def wanted(self, count: int, effect: str) -> bool:
        """Says whether the disk is copied after this effect."""
        on_engine = effect in ("run", "sync_fs") or effect.startswith("docker.")
        return on_engine or count % (self.every if EVERYTHING else 20) == 0


SHARES = {"install": 4, "upgrade": 6, "rollback": 2, "remove": 4}
CASES = [
    *(Case(story, "ext4", share, every=1) for story, share in SHARES.items()),
    Case("upgrade", "xfs", 3),
    Case("remove", "xfs"),
    Case("remove", "btrfs", 3),  # the one on which another file's sync brings no name to the disk
    *(Case(story, "btrfs") for story in ("install", "upgrade", "rollback")),
    *(Case(story, "ext4", project=True) for story in ("upgrade", "remove")),
    *(Case(story, "ext4", engine="28-containerd") for story in ("upgrade", "remove")),
    Case("upgrade", "ext4", engine="28"),
]


class Bench:
    """Where machines are made and broken.

    Args:
        base: A directory with a short name.
        plain: Releases of images.
    """

    def __init__(self, base: Path, plain: Releases) -> None:
        self.base = base
        self._releases = {False: plain, True: plain.with_projects()}
        self._worlds: dict[tuple[str, str, bool], dict[str, Path]] = {}
        (base / "copies").mkdir()

    def machine(self, case: Case, file: Path) -> Machine:
        """Gives the machine with this disk; it is off."""
        return Machine(Loop(case.file_system, file, self.base / "m"), self.base / "e", case.engine)

    def story(self, case: Case) -> stories.Story:
        """Gives the story."""
        return self._releases[case.project].story(case.story)

    def tell(self, case: Case, machine: Machine, within: Context) -> Told:
        """Tells a story that goes well."""
        return tell(self.story(case), machine, within, self._releases[case.project])

    @contextmanager
    def running(self, case: Case) -> Iterator[Machine]:
        """Gives a machine on which the story can begin; off afterwards."""
        disk = self.machine(case, self._world(case)).disk.copy(self.base / "disk.img")
        machine = self.machine(case, disk.file)
        try:
            machine.start()
            yield machine
        finally:
            machine.off()

    @contextmanager
    def told(self, case: Case) -> Iterator[tuple[Copying, Told]]:
        """Tells a story on a machine, and gives what became of it; the machine is off then."""
        with self.running(case) as machine:
            host = Copying(machine, self.base / "copies", case.wanted)
            how = self.tell(case, machine, host.context)
            host.keep("the end")
        try:
            yield host, how
        finally:
            for _, file in host.copies:
                file.unlink(missing_ok=True)

    def broken(self, case: Case, disk: Path, how: Told, said: str = "", boot: str = "2") -> list[str]:
        """Starts the machine with a disk that a power cut left, and says in words what is wrong with it."""
        machine = self.machine(case, disk)
        try:
            machine.start()
            return how.broken(machine, said, boot)
        except RuntimeError as error:
            return [f"does not start: {error}"]
        finally:
            machine.off()

    def _world(self, case: Case) -> Path:
        """Gives the disk of a machine that the story begins on."""
        key = (case.file_system, case.engine, case.project)
        if key not in self._worlds:
            first = self.base / "first.img"
            Loop.make(case.file_system, first, self.base / "m", SIZE[case.file_system])
            self._worlds[key] = self._make(self.machine(case, first), self._releases[case.project], str(case))
        return self._worlds[key][stories.STORIES[case.story].before]

    def _make(self, machine: Machine, releases: Releases, name: str) -> dict[str, Path]:
        made = dict[str, Path]()
        try:
            load_foreign(machine.start())
            for world in ("empty", "old", "new"):
                if world == "empty":
                    stories.make_world(machine.root, world)
                else:
                    spec = releases.old if world == "old" else releases.new
                    stories.install(live(machine.root, "1"), spec)
                machine.disk.sync()
                made[world] = self.base / f"{name} {world}.img"
                machine.device(made[world])
        finally:
            machine.off()
        return made


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=memory, prefix="waybill-") as name,  # a socket's path has to be short
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("DOCKER_HOST", f"unix://{name}/e/docker.sock")
        yield Bench(Path(name), Releases.make(tmp_path_factory.mktemp("releases")))


@pytest.mark.parametrize("case", [case for case in CASES if case.share or EVERYTHING], ids=str)
def test_what_a_power_cut_leaves_of_engine_and_host_is_recovered(
    case: Case, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case.project:
        tools = os.pathsep.join([str(Path(needs("compose")).parent), os.environ["PATH"]])
        monkeypatch.setenv("PATH", tools)
    with bench.told(case) as (host, how):
        row = table.row(case.name, f"power cut, {case.where}", host.count)
        for label, file in share(host.copies, case.share):
            row.runs += 1
            said = "done" if label == "the end" else ""
            row.broken += [f"{label}: {each}" for each in bench.broken(case, file, how, said)]
    assert row.broken == []


def test_a_power_cut_in_the_recovery_from_a_power_cut_is_recovered(bench: Bench) -> None:
    case, again = Case("upgrade", "ext4"), bench.base / "again"
    again.mkdir()
    with bench.told(case) as (host, how):
        row = table.row(case.name, f"power cut, recovery cut, {case.where}", host.count)
        firsts = [each for each in host.copies if "docker.load" in each[0] or "docker.tag" in each[0]]
        for label, file in firsts[::4] if EVERYTHING else firsts[5:6]:
            cut = bench.machine(case, file)
            try:
                cut.start()
                second = Copying(cut, again, case.wanted, "2")
                stories.recover(second.context)
            finally:
                cut.off()
            for later, left in share(second.copies, 3):
                row.runs += 1
                found = bench.broken(case, left, how, boot="3")
                row.broken += [f"{label}, in recovery {later}: {each}" for each in found]
            for _, left in second.copies:
                left.unlink()
    assert row.broken == []


def test_a_power_cut_in_the_recovery_from_a_kill_is_recovered(bench: Bench) -> None:
    case, again = Case("upgrade", "ext4"), bench.base / "after"
    again.mkdir()
    with bench.running(case) as machine:
        golden = Killing(machine)
        how = bench.tell(case, machine, context(golden))
    row = table.row(case.name, f"killed, recovery cut, {case.where}", len(golden.effects))
    effects = list(enumerate(golden.effects, 1))
    for at, effect in effects if EVERYTHING else effects[-2:-1]:
        with bench.running(case) as machine:
            with pytest.raises(Killed):
                bench.story(case).verb(context(Killing(machine, at, "installer")))
            recovery = Copying(machine, again, case.wanted)
            stories.recover(recovery.context)
        for later, left in share(recovery.copies, 4):
            row.runs += 1
            found = bench.broken(case, left, how)
            row.broken += [f"killed after {effect}, in recovery {later}: {each}" for each in found]
        for _, left in recovery.copies:
            left.unlink()
    assert row.broken == []


FAULTS = {
    "before": "engine killed before each effect",
    "after": "engine killed after each effect",
    "both": "engine and installer killed",
}


@pytest.mark.parametrize("name", stories.STORIES)
def test_an_engine_that_was_killed_is_waited_for_and_then_the_host_is_old_or_new(
    name: str, bench: Bench
) -> None:
    case = Case(name, "ext4")
    with bench.running(case) as machine:
        golden = Killing(machine)
        how = bench.tell(case, machine, context(golden))
    every = [(fault, at) for fault in FAULTS for at in range(1, len(golden.effects) + 1)]
    broken = []
    for fault, at in share(every, 2):
        row = table.row(case.name, FAULTS[fault], len(golden.effects))
        with bench.running(case) as machine:
            assert machine.engine is not None
            killing = Killing(machine, at, fault)
            try:
                said = stories.told(bench.story(case).verb, context(killing))
            except Killed:
                said = "killed"
            if not killing.hit:
                broken.append(f"{fault} {at}: not reached, {said}: {killing.effects}, not {golden.effects}")
                continue
            down = [stories.told(stories.recover, live(machine.root, "1")) for _ in range(2)]
            seen = outside(machine.root)
            found = [f"recovery without an engine is {down}"] if set(down) - {"done", "not undone"} else []
            if down[0] != down[1] or said == "not undone" != down[0]:
                found.append(f"was told {said}, and recovery without an engine is {down}")
            stories.told(stories.recover, live(machine.root, "1"))
            if outside(machine.root) != seen:
                found.append("recovery without an engine goes on changing files")
            machine.engine.start()
            stories.recover(live(machine.root, "1"))
            if name == "remove":
                again = live(machine.root, "1")
                with exclusive(again) as (state, _):
                    check_removed(again, state)  # what is left, a removal has named: once more
            found += how.broken(machine, said if said != "killed" else "", "1")
        row.runs += 1
        row.broken += found
        broken += [f"{fault} {at}, {golden.effects[at - 1]}, {said}, {down[0]}: {each}" for each in found]
    assert broken == []


def test_what_docker_load_has_loaded_is_empty_after_a_cut_so_the_cut_is_one(bench: Bench) -> None:
    """Neither does it mend anything to load it again, which is why we sync, and remove what is broken."""
    case = Case("install", "ext4")
    with bench.running(case) as machine:
        assert machine.engine is not None
        machine.engine.docker("rmi", FOREIGN)
        machine.disk.sync()
        load_foreign(machine.engine)
        machine.elsewhere()
        cut = machine.device(bench.base / "cut.img")
        machine.disk.sync()
        synced = machine.device(bench.base / "synced.img")
    for disk, whole in ((cut, False), (synced, True)):
        machine = bench.machine(case, disk.file)
        try:
            engine = machine.start()
            assert FOREIGN in engine.text("images", "--format", "{{.Repository}}:{{.Tag}}")
            assert engine.docker("save", FOREIGN, check=False).returncode == (0 if whole else 1)
            load_foreign(engine)
            assert engine.docker("save", FOREIGN, check=False).returncode == (0 if whole else 1)
        finally:
            machine.off()
            disk.file.unlink()


def test_recovery_without_the_engine_says_so_and_goes_on_once_it_runs(bench: Bench) -> None:
    case = Case("upgrade", "ext4")
    with bench.running(case) as machine:
        assert machine.engine is not None
        with pytest.raises(Killed):
            bench.story(case).verb(context(Killing(machine, 3, "both")))
        before = outside(machine.root)
        with pytest.raises(NotUndoneError, match="the Docker engine is not running") as refusal:
            stories.recover(live(machine.root, "1"))
        assert refusal.value.exit_code == 21
        assert "install recover" in refusal.value.hint
        assert outside(machine.root) == before
        machine.engine.start()
        stories.recover(live(machine.root, "1"))
        state = stories.state(machine.root)
        assert state.current is not None
        assert state.current.version == "1.0.0"
