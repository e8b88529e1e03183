"""The hosts that the stories begin on, and the table at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import stories, table
from tests.faults.invariants import Ends
from tests.faults.stories import Story, make_world, on, outside, told
from tests.rig.share import EVERYTHING
from tests.rig.tap import Tap, tapped


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if rows := table.lines():
        share = "everything" if EVERYTHING else "a share; make faults tries everything"
        terminalreporter.section(f"operations × faults ({share})")
        for line in rows:
            terminalreporter.write_line(line)


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is one: thousands of hosts are made and thrown away."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="waybill-test-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives hosts to begin on, made once."""
    base, made = tmp_path_factory.mktemp("worlds"), dict[str, Path]()

    def give(name: str) -> Path:
        if name not in made:
            make_world(base / name, name)
            made[name] = base / name
        return made[name]

    return give


@dataclass(frozen=True)
class Golden:
    """A story that went well: what was done, and how it may end when something goes wrong.

    Attributes:
        story: Which.
        world: The host it begins on.
        tap: Every operation of it, and the disk.
        ends: Old and new.
        told: What the operator was told.
    """

    story: Story
    world: Path
    tap: Tap
    ends: Ends
    told: str


@pytest.fixture
def golden(worlds: Callable[[str], Path], fast: Path) -> Callable[[Story], Golden]:
    """Records a story."""

    def record(story: Story) -> Golden:
        world, root = worlds(story.before), fast / "golden"
        stories.copy(world, root)
        old, state = outside(root), stories.state(root)
        with tapped(root) as tap:
            said = told(story.verb, on(root))
        assert said == "done", said
        ends = Ends(
            old, outside(root), state.current.version if state.current else "", story.ends, state.highest
        )
        shutil.rmtree(root)
        return Golden(story, world, tap, ends, said)

    return record
