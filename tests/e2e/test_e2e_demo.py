"""The demo where Docker is there: its server runs in containers, and no way out leaves anything of them."""

from __future__ import annotations

import os
import re
import signal
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import demo, images
from tests.rig.engine import Engine
from tests.rig.needs import needs

TOP = Path(__file__).parents[2]


class Demo(demo.Demo):
    """A run in the network of an engine."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.engine = engine
        path = os.pathsep.join([sysconfig.get_path("scripts"), engine.path])
        super().__init__(engine.inside(str(demo.SCRIPT)), directory, {**engine.env, "PATH": path})

    def left(self) -> list[str]:
        """Names what is left: files, containers, images, networks beside Docker's own three, volumes."""
        listed = [
            ("ps", "-aq"),
            ("image", "ls", "-aq"),
            ("network", "ls", "-q", "--filter", "type=custom"),
            ("volume", "ls", "-q"),
        ]
        there = [line for words in listed for line in self.engine.text(*words).splitlines()]
        return [*map(str, self.tmp.iterdir()), *there]


@pytest.fixture
def engine(docker_network: Engine) -> Iterator[Engine]:
    """An engine without any image."""
    for component in ("installer", "compose", "nats", "root"):
        needs(component)
    clear(docker_network)
    yield docker_network
    clear(docker_network)


def clear(engine: Engine) -> None:
    if containers := engine.text("ps", "-aq").split():
        engine.docker("rm", "-f", *containers)
    if found := engine.text("image", "ls", "-aq").split():
        engine.docker("image", "rm", "-f", *set(found), check=False)


def test_the_demo_serves_from_containers_rolls_back_and_leaves_nothing(
    engine: Engine, tmp_path: Path
) -> None:
    run = Demo(engine, tmp_path)
    code, said = run.end()
    assert code == 0, said
    assert "The server will run in a container" in said
    assert re.search(r"^lan-chat/server:1\.4\.0 +Up ", said, re.MULTILINE)
    assert "on chat-1@1.4.0, messages up to 64 KiB: The lathe is free." in said
    bad = said.index("did not pass within")
    assert "(exit code 20)" in said[bad:]
    assert "lan-chat 1.5.0 is installed since" in said[bad:]
    assert "methods    compose, files, images" in said[bad:]
    assert re.search(r"^lan-chat/server:1\.5\.0 +Up ", said[bad:], re.MULTILINE)
    assert "workshop on chat-1@1.5.0, messages up to 1024 KiB: 204800 bytes" in said[bad:]
    assert run.left() == []


@pytest.mark.parametrize(
    ("moment", "number"),
    [("load image", signal.SIGINT), ("bring up project", signal.SIGTERM), ("━━ 5.", signal.SIGINT)],
    ids=["while an image is loaded", "while containers come up", "while the server runs"],
)
def test_a_demo_that_is_stopped_leaves_nothing_either(
    engine: Engine, tmp_path: Path, moment: str, number: int
) -> None:
    run = Demo(engine, tmp_path)
    said = run.read_until(moment)
    assert moment in said
    os.killpg(run.process.pid, number)
    code, rest = run.end()
    assert code == 128 + number, said + rest
    assert run.left() == []


def test_images_of_a_lan_chat_that_is_there_are_left_alone(engine: Engine, tmp_path: Path) -> None:
    images.build(engine, "lan-chat/server:1.5.0", images.busybox())
    before = set(engine.text("image", "ls", "-aq").split())
    run = Demo(engine, tmp_path)
    said = run.read_until("━━ 1.")
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.end()[0] == 130
    assert "it has an image lan-chat/server:1.5.0, which is left alone" in said
    assert set(engine.text("image", "ls", "-aq").split()) == before
    assert engine.text("ps", "-aq") == ""
