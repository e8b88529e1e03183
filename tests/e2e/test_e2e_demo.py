"""The demo where Docker is there: its server runs in containers, and no way out leaves anything of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import images
from tests.rig.engine import Engine
from tests.rig.needs import needs

TOP = Path(__file__).parents[2]


class Demo:
    """A run of demo.sh in the network of an engine, with a TMPDIR of its own to look into afterwards."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.engine, self.tmp, programs = engine, directory / "tmp", directory / "bin"
        self.tmp.mkdir()
        programs.mkdir()
        program = programs / "bundle"
        call = "import sys; from bundler.cli import main; sys.exit(main())"
        program.write_text(f'#!/bin/sh\nPYTHONPATH="{TOP}" exec "{sys.executable}" -c "{call}" "$@"\n')
        program.chmod(0o755)
        path = os.pathsep.join([str(programs), sysconfig.get_path("scripts"), engine.path])
        self.process = subprocess.Popen(
            engine.inside(str(TOP / "examples/quickstart/demo.sh")),
            env={**engine.env, "PATH": path, "TMPDIR": str(self.tmp)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def read_until(self, line: str) -> str:
        assert self.process.stdout
        said = ""
        for text in self.process.stdout:
            said += text
            if text.startswith(line):
                break
        return said

    def end(self) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=300)
        return self.process.returncode, said

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
    demo = Demo(engine, tmp_path)
    code, said = demo.end()
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
    assert demo.left() == []


@pytest.mark.parametrize(
    ("moment", "number"),
    [("load image", signal.SIGINT), ("bring up project", signal.SIGTERM), ("━━ 5.", signal.SIGINT)],
    ids=["while an image is loaded", "while containers come up", "while the server runs"],
)
def test_a_demo_that_is_stopped_leaves_nothing_either(
    engine: Engine, tmp_path: Path, moment: str, number: int
) -> None:
    demo = Demo(engine, tmp_path)
    said = demo.read_until(moment)
    assert moment in said
    os.killpg(demo.process.pid, number)
    code, rest = demo.end()
    assert code == 128 + number, said + rest
    assert demo.left() == []


def test_images_of_a_lan_chat_that_is_there_are_left_alone(engine: Engine, tmp_path: Path) -> None:
    images.build(engine, "lan-chat/server:1.5.0", images.busybox())
    before = set(engine.text("image", "ls", "-aq").split())
    demo = Demo(engine, tmp_path)
    said = demo.read_until("━━ 1.")
    os.killpg(demo.process.pid, signal.SIGINT)
    assert demo.end()[0] == 130
    assert "it has an image lan-chat/server:1.5.0, which is left alone" in said
    assert set(engine.text("image", "ls", "-aq").split()) == before
    assert engine.text("ps", "-aq") == ""
