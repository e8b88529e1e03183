"""A release whose configuration is checked and acted on: killed or failing at any effect, old or new remains.

What the command made of the configuration belongs to it: it is the old with the old, the new with the new.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from installer.commands.status import product_status
from installer.core.errors import RolledBackError, WaybillError
from installer.core.format.entries.config_file import OnChange
from installer.host.context import Context
from installer.host.system import Completed
from tests.faults import table
from tests.rig.faulty import Killed, snapshot
from tests.rig.hosts import make_host
from tests.rig.livedir import LiveDir, configured, shell
from tests.rig.releases import ReleaseSpec, context, install, recovered, remove, roll_back
from tests.rig.share import share

CHECK = shell('grep -q port "$1"', "{file}")
DERIVE = OnChange(
    command=shell('cd "$HOST/etc"; if test -e web.conf; then sort web.conf > made; else rm -f made; fi')
)
FAULTS = {
    "kill before": "killed before",
    "kill after": "killed after",
    "kill half": "killed in the middle",
    "EIO": "error",
    "ENOSPC": "no space, once",
}


def release(number: int) -> ReleaseSpec:
    text = f"port {{{{ {number} + 1 }}}}\nhost {number}\n"
    return configured(f"{number}.0.0", number, text, validate=CHECK, on_change=DERIVE)


@dataclass(frozen=True)
class Story:
    """What is done to a host that has had some releases, and which runs then."""

    name: str
    before: tuple[ReleaseSpec, ...]
    do: Callable[[Context], object]
    after: str

    def __str__(self) -> str:
        return self.name


ONE, TWO = release(1), release(2)
STORIES = (
    Story("install with a command", (), lambda host: install(host, ONE), "1.0.0"),
    Story("upgrade with a command", (ONE,), lambda host: install(host, TWO), "2.0.0"),
    Story("rollback with a command", (ONE, TWO), roll_back, "1.0.0"),
    Story("remove with a command", (ONE,), remove, ""),
)


def outside(root: Path) -> Mapping[str, Any]:
    return snapshot(root, besides=("var",))


def violations(root: Path, ends: Mapping[str, Mapping[str, Any]], told: str) -> list[str]:
    """Recover a host and say what is wrong with it then."""
    host, found = context(LiveDir(root)), list[str]()
    recovered(host)
    status = product_status(host)
    version = status.current.version if status.current else ""
    if version not in ends:
        return [f"the state says {version!r}"]
    if outside(root) != ends[version]:
        found.append(f"the state says {version!r}, the files are of another release")
    if told == "done" and version != list(ends)[-1]:
        found.append(f"was told done, but {version!r} runs")
    if told == "rolled back" and version != next(iter(ends)):
        found.append(f"was told rolled back, but {version!r} runs")
    if status.drift:
        found.append(f"drift: {status.drift}")
    if recovered(host):
        found.append("recovering again finds something to do")
    if left := [path for path in root.rglob("web.conf") if "0" in path.relative_to(root).parts]:
        found.append(f"left behind: {left}")
    return found


def told(story: Story, host: Context) -> str:
    try:
        story.do(host)
    except Killed:
        return "killed"
    except RolledBackError:
        return "rolled back"
    except (OSError, WaybillError) as error:
        return f"refused: {error}"
    return "done"


@pytest.fixture
def world(story: Story, tmp_path: Path) -> Path:
    root = tmp_path / "world"
    (root / "etc").mkdir(parents=True)
    make_host(root, *story.before, system=LiveDir)
    return root


def golden(story: Story, world: Path) -> tuple[LiveDir, dict[str, Mapping[str, Any]]]:
    """Do what the story tells; return the host with its effects, and how the story may end."""
    root = shutil.copytree(world, world.parent / "golden", symlinks=True)
    before = story.before[-1].version if story.before else ""
    ends = {before: outside(root)}
    system = LiveDir(root)
    story.do(context(system))
    ends[story.after] = outside(root)
    return system, ends


@pytest.mark.parametrize("story", STORIES, ids=str)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_effect_leaves_configuration_and_what_follows_from_it_of_one_release(
    story: Story, fault: str, world: Path
) -> None:
    system, ends = golden(story, world)
    assert any(effect.startswith("run") for effect in system.trace)
    row = table.row(story.name, FAULTS[fault], len(system.trace))
    runs = [at for at, effect in enumerate(system.trace, 1) if effect.startswith("run")]
    # Around the programs every effect; of the others a share.
    near = {at + step for at in runs for step in (-1, 0, 1) if 0 < at + step <= len(system.trace)}
    others = [at for at in range(1, len(system.trace) + 1) if at not in near]
    for at in sorted({*near, *share(others, 4)}):
        root = shutil.copytree(world, world.parent / "host", symlinks=True)
        said = told(story, context(LiveDir(root, at, fault)))
        row.runs += 1
        where = f"{fault} at {at}, {system.trace[at - 1]}, {said}"
        row.broken += [f"{where}: {each}" for each in violations(root, ends, said)]
        shutil.rmtree(root)
    assert row.broken == []


class Failing(LiveDir):
    """A host on which one program fails, or hangs and has done its work all the same."""

    def __init__(self, root: Path, program: int, how: str) -> None:
        super().__init__(root)
        self.program, self.how = program, how

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        is_hit = len(self.ran) + 1 == self.program
        if is_hit and self.how == "fails":
            self.ran.append(tuple(argv))
            return Completed(tuple(argv), 1, b"", b"no")
        ended = super().run(argv, **options)
        return Completed(tuple(argv), -9, b"", b"", timed_out=True) if is_hit else ended


# Of a release that goes, a command that fails is a warning: nothing is left that it could have read.
@pytest.mark.parametrize("story", STORIES[:3], ids=str)
@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_a_program_that_fails_or_hangs_leaves_one_release(story: Story, how: str, world: Path) -> None:
    system, ends = golden(story, world)
    row = table.row(story.name, f"command {how}", len(system.trace))
    for number in range(1, len(system.ran) + 1):
        root = shutil.copytree(world, world.parent / "host", symlinks=True)
        said = told(story, context(Failing(root, number, how)))
        row.runs += 1
        row.broken += [f"{how} at {number}: {each}" for each in violations(root, ends, said)]
        shutil.rmtree(root)
    assert row.runs > 0
    assert row.broken == []


def test_a_fault_is_not_told_as_success(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    with suppress(Killed):
        install(context(LiveDir(tmp_path, 1, "kill before")), ONE)
    assert violations(tmp_path, {"": {}, "1.0.0": {}}, "done") != []
