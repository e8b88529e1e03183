"""One engine, one product, and what a transaction does with its images."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from installer.core.format.manifest import Image
from installer.deploy.method import Target
from installer.deploy.operation import Json, Op
from installer.host.context import Context
from installer.host.layout import Layout
from installer.host.system import System
from installer.images.method import HANDLERS, METHOD
from installer.shared.progress import Progress
from tests.rig.engine import Engine
from tests.rig.imagerelease import ReleaseDirectory

T = TypeVar("T")
SERIAL = itertools.count()


class Recorder(System):
    """The host, with a list of what was done to it and a hook to spoil it."""

    def __init__(self) -> None:
        super().__init__("/")
        self.effects: list[str] = []
        self.before: Callable[[str], None] = lambda _name: None

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        self.before(name)
        self.effects.append(name)
        return call()


class Meter(Progress):
    """Counts."""

    def __init__(self) -> None:
        self.total = self.count = 0
        self.notes: list[str] = []

    def start(self, label: str, total: int) -> None:
        self.total += total

    def advance(self, count: int) -> None:
        self.count += count

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Site:
    """One engine, one product, and what a transaction does."""

    engine: Engine
    context: Context
    system: Recorder
    meter: Meter
    tmp: Path
    name: str

    def release(self) -> ReleaseDirectory:
        return ReleaseDirectory(self.tmp / f"release-{next(SERIAL)}")

    def apply(self, old: Target | None, new: Target | None) -> list[tuple[Op, Json]]:
        """Runs the operations and gives what the journal would hold."""
        done = []
        for op in METHOD.operations(self.context, old, new):
            preimage = json.loads(json.dumps(HANDLERS[op.kind].observe(self.context, op.args)))
            written = Op.from_json(json.loads(json.dumps(op.as_json())))
            done.append((written, preimage))
            HANDLERS[op.kind].do(self.context, written.args, preimage)
        return done

    def undo(self, done: list[tuple[Op, Json]]) -> None:
        for op, preimage in reversed(done):
            HANDLERS[op.kind].undo(self.context, op.args, preimage)

    def id(self, name: str) -> str:
        found = self.engine.docker("image", "inspect", "--format", "{{.Id}}", name, check=False)
        return found.stdout.decode().strip()

    def wanted(self, image: Image) -> str:
        with_containerd = "containerd" in self.engine.text("info", "--format", "{{.DriverStatus}}")
        return image.manifest if with_containerd else image.config

    def everything(self) -> set[str]:
        """Gives all images with all their names."""
        out = self.engine.text(
            "images", "--all", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"
        )
        return set(out.splitlines())

    def kept(self, image: Image) -> str:
        return f"waybill.local/{self.name}/{image.config[7:19]}:kept"


def site_of(engine: Engine, tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    system, meter, name = Recorder(), Meter(), f"shop{next(SERIAL)}"
    context = Context(system, Layout(name, str(tmp / "state")), meter, "t1")
    return Site(engine, context, system, meter, tmp, name)


@pytest.fixture
def site(every_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """One engine of each kind in turn, with a product; afterwards it has what it had before."""
    made = site_of(every_engine, tmp_path, monkeypatch)
    containers, images = every_engine.text("ps", "-aq").split(), made.everything()
    yield made
    for container in set(every_engine.text("ps", "-aq").split()) - set(containers):
        every_engine.docker("rm", "--force", container)
    for column in (1, 0):  # by name, then by id what has no name
        for line in made.everything() - images:
            every_engine.docker("rmi", "--force", line.split()[column], check=False)
