"""Stories of releases with images on machines whose power is cut, and what has to be true of the engine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from installer.commands.common.plan_execution import TransactionResult
from installer.core.errors import WaybillError
from installer.core.format.manifest import Deployment, Image
from installer.host.context import Context
from installer.host.system import System
from installer.images import docker_engine
from tests.faults import stories
from tests.faults.invariants import Ends, violations
from tests.faults.stories import Host, outside
from tests.rig import imagebuild, images
from tests.rig.engine import Engine
from tests.rig.faulty import Killed
from tests.rig.imagerelease import release
from tests.rig.loop import same
from tests.rig.machine import Machine
from tests.rig.needs import needs
from tests.rig.releases import Member, Notes, ReleaseSpec, context

T = TypeVar("T")
FOREIGN = "other/tool:1"
"""Somebody else's image; its lowest layer is the lowest of ours too."""
SERVER, WEB = "lan-chat/server", "lan-chat/web:latest"
PROJECT = """services:
  server:
    image: lan-chat/server:{version}
    command: ["/bin/busybox", "sleep", "1000000"]
    network_mode: none
    restart: always
    stop_signal: SIGKILL
    environment: {{VERSION: "${{VERSION}}"}}
"""


class Live(Host):
    """A host that is the running one for all that the product can tell."""

    def __init__(self, root: Path, boot: str = "1") -> None:
        super().__init__(root, boot)
        self.live = True


def live(root: Path, boot: str) -> Context:
    """Gives the context of a live host."""
    return context(Live(root, boot))


def base() -> bytes:
    """Gives the layer that all images have: one program."""
    return images.tar_of({"bin/busybox": Path(needs("busybox"))})


def layer(name: str) -> bytes:
    """Gives a layer of small and larger files."""
    return imagebuild.tar({f"{name}-{size}": name.encode() * size for size in (1, 400, 9000)})


def with_project(spec: ReleaseSpec) -> ReleaseSpec:
    """Gives the release with a Compose project of one container."""
    file = Member(PROJECT.format(version=spec.version).encode(), kind="compose")
    env = Member(b"VERSION={{ waybill.version }}\n", kind="template")
    members = {**spec.members, "deploy/compose.yaml": file, "deploy/compose.env.j2": env}
    options = {"file": "deploy/compose.yaml", "env": "deploy/compose.env.j2"}
    return replace(spec, members=members, deploy=(Deployment("compose", options),))


@dataclass(frozen=True)
class Releases:
    """The two releases."""

    old: ReleaseSpec
    new: ReleaseSpec

    @classmethod
    def make(cls, directory: Path) -> Releases:
        """Makes them: one image gets another name, one name another image; all share a layer."""
        lowest = base()
        first = {f"{SERVER}:1.0.0": [lowest, layer("server one")], WEB: [lowest, layer("web one")]}
        second = {f"{SERVER}:1.1.0": [lowest, layer("server two")], WEB: [lowest, layer("web two")]}
        return cls(release(directory / "1", "1.0.0", 1, first), release(directory / "2", "1.1.0", 2, second))

    def with_projects(self) -> Releases:
        """Gives the same with a Compose project in each."""
        return Releases(with_project(self.old), with_project(self.new))

    def story(self, name: str) -> stories.Story:
        """Gives the story of this name with these releases."""
        verbs: dict[str, Callable[[Context], object]] = {
            "install": lambda within: stories.install(within, self.old),
            "upgrade": lambda within: stories.install(within, self.new),
            "rollback": stories.back,
            "remove": stories.remove,
        }
        told = stories.STORIES[name]
        return stories.Story(name, told.before, verbs[name], told.ends)

    def images(self, version: str) -> tuple[Image, ...]:
        """Gives the images of the release of this version."""
        specs = [spec for spec in (self.old, self.new) if spec.version == version]
        return tuple(image for spec in specs for image in spec.extra["images"])


def load_foreign(engine: Engine) -> None:
    """Has somebody else load an image; nothing is synced."""
    with tempfile.TemporaryFile() as archive:
        archive.write(imagebuild.tar(imagebuild.saved_old([foreign()])))
        archive.seek(0)
        engine.docker("load", stdin=archive)


def foreign() -> imagebuild.Built:
    """Gives somebody else's image."""
    return imagebuild.Built(FOREIGN, [base(), layer("tool")])


def has(engine: Engine) -> list[str]:
    """Gives all that an engine has: images with their names, containers with their image and how they are."""
    form = "{{.ID}} {{.Repository}}:{{.Tag}}"
    found = engine.text("images", "--all", "--no-trunc", "--format", form).splitlines()
    ids = engine.text("ps", "--all", "--quiet", "--no-trunc").split()
    form = "{{.Config.Image}} {{.Image}} {{.State.Status}}"
    found += engine.text("inspect", "--format", form, *ids).splitlines() if ids else []
    return sorted(found)


@dataclass
class Watching(Notes):
    """Is told of the bytes that are loaded, and calls while they are on their way."""

    call: Callable[[str], None]
    loads: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def start(self, label: str, total: int) -> None:
        self.loads = label if label.startswith("load ") else ""

    def advance(self, count: int) -> None:
        if self.loads:
            self.call(self.loads)

    def done(self) -> None:
        self.loads = ""


class Killing(Live):
    """A live host whose engine, or installer, is killed at one effect on the engine.

    Args:
        machine: It.
        at: Which effect, counted from 1; 0 for none.
        fault: The engine `before` it, `after` it, or `both` after it; or the `installer` alone after it.
    """

    def __init__(self, machine: Machine, at: int = 0, fault: str = "") -> None:
        super().__init__(machine.root)
        self._machine, self._at, self._fault, self._dead = machine, at, fault, False
        self.effects: list[str] = []

    @property
    def hit(self) -> bool:
        """Whether the story came to that effect."""
        return 0 < self._at <= len(self.effects)

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        if self._dead:
            raise Killed
        if not name.startswith("docker."):
            return call()
        self.effects.append(name)
        if len(self.effects) != self._at:
            return call()
        if self._fault == "before":
            self._kill()
        result = call()
        if self._fault in ("after", "both"):
            self._kill()
        if self._fault in ("both", "installer"):
            self._dead = True
            raise Killed
        return result

    def _kill(self) -> None:
        assert self._machine.engine is not None
        self._machine.engine.kill()


class Copying(Live):
    """A live host whose disk is copied after effects, and while images are loaded.

    Args:
        machine: It.
        into: Where the copies go.
        wanted: Says whether the disk is copied after the effect of this number, counted from 1, and name.
        boot: The kernel's.
    """

    def __init__(
        self, machine: Machine, into: Path, wanted: Callable[[int, str], bool], boot: str = "1"
    ) -> None:
        super().__init__(machine.root, boot)
        self._machine, self._into, self._wanted = machine, into, wanted
        self.copies: list[tuple[str, Path]] = []
        self.count = 0

    @property
    def context(self) -> Context:
        """Its context."""
        made = context(self)
        return Context(made.system, made.layout, Watching(lambda label: self.keep(f"in {label}")))

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        result = call()
        self.count += 1
        if self._wanted(self.count, name):
            label = f"{self.count} {name} {args[0] if args else ''}"
            self.keep(label)
            if name.startswith("docker.") or name == "run":
                self._machine.elsewhere()
                self.keep(f"{label}, somebody else synced")
        return result

    def keep(self, label: str) -> None:
        """Copies the disk, unless it is as it was."""
        to = self._into / f"{len(self.copies)}.img"
        self._machine.device(to)
        if self.copies and same(self.copies[-1][1], to):
            to.unlink()
        else:
            self.copies.append((label, to))


@dataclass(frozen=True)
class Told:
    """How a story with images may end.

    Attributes:
        ends: What the host may be like.
        engine: Images, their names, and containers, by the version that runs.
        releases: The releases.
    """

    ends: Ends
    engine: Mapping[str, list[str]]
    releases: Releases

    def broken(self, machine: Machine, told: str = "", boot: str = "2") -> list[str]:
        """Recovers a machine whose engine runs and says in words what is wrong with it then."""
        assert machine.engine is not None
        within = live(machine.root, boot)
        try:
            stories.recover(within)
        except (OSError, WaybillError) as error:
            return [f"recovery failed: {error}"]
        now = has(machine.engine)
        found = violations(machine.root, self.ends, told, boot, live)
        if (again := has(machine.engine)) != now:
            found.append(f"recovering again changes the engine from {now} to {again}")
        state = stories.state(machine.root)
        wanted = self.engine.get(state.current.version if state.current else "", [])
        if now != wanted:
            more, less = sorted(set(now) - set(wanted)), sorted(set(wanted) - set(now))
            found.append(f"the engine has {more} more, {less} less")
        return found + list(self._unsound(machine, [entry.version for entry in state.retained]))

    def _unsound(self, machine: Machine, versions: Sequence[str]) -> list[str]:
        """Reads all images back, and runs those of the releases that are there."""
        found, engine = list[str](), machine.engine
        assert engine is not None
        wanted = {FOREIGN: {imagebuild.digest(each) for each in foreign().layers}}
        connected = docker_engine.connect(System("/"), engine.host)
        stored = connected.info.store == "containerd"
        for image in (image for version in versions for image in self.releases.images(version)):
            layers = {each.digest if stored else each.diff_id for each in image.layers}
            wanted[image.manifest if stored else image.config] = layers
        try:
            for name, layers in wanted.items():
                try:
                    if missing := layers - connected.contents(name):
                        found.append(f"{name} reads back without {missing}")
                except WaybillError as error:
                    found.append(f"{name} does not read back: {error}")
        finally:
            connected.close()
        for name in list(wanted)[1:2]:
            ran = engine.docker("run", "--rm", "--network", "none", name, "/bin/busybox", "true", check=False)
            if ran.returncode != 0:
                found.append(f"{name} does not run: {ran.stderr.decode(errors='replace')}")
        return found


def tell(story: stories.Story, machine: Machine, within: Context, releases: Releases) -> Told:
    """Tells a story that goes well, and gives how it may end when something goes wrong."""
    assert machine.engine is not None
    old, state, before = outside(machine.root), stories.state(machine.root), has(machine.engine)
    done = story.verb(within)
    assert isinstance(done, TransactionResult)
    assert not done.pending, done.pending
    version = state.current.version if state.current else ""
    ends = Ends(old, outside(machine.root), version, story.ends, state.highest)
    return Told(ends, {version: before, story.ends: has(machine.engine)}, releases)
