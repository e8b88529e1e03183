"""The demo tells its whole story, with Docker and without, and however it ends it leaves nothing behind."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import images
from tests.rig.demo import Demo
from tests.rig.engine import Engine
from tests.rig.needs import needs


@pytest.fixture
def empty_engine(docker_network: Engine) -> Iterator[Engine]:
    """An engine in a network of its own, without containers and images."""
    for component in ("compose", "root"):
        needs(component)
    clear(docker_network)
    yield docker_network
    clear(docker_network)


def clear(engine: Engine) -> None:
    if containers := engine.text("ps", "-aq").split():
        engine.docker("rm", "-f", *containers)
    if found := engine.text("image", "ls", "-aq").split():
        engine.docker("image", "rm", "-f", *set(found), check=False)


def check_story(demo: Demo, method: str) -> tuple[str, str]:
    """Check what every demo shows; return what it printed before the failure of v1.6.0, and from there on."""
    code, said = demo.end()
    assert code == 0, said
    before, after = said[: said.index("did not pass within")], said[said.index("did not pass within") :]
    assert f"--only files,images,{method}" in before
    assert "on chat-1@1.4.0, messages up to 64 KiB: The lathe is free." in before
    assert "(exit code 20)" in after
    assert "lan-chat 1.5.0 is installed (since " in after
    assert "workshop on chat-1@1.5.0, messages up to 1024 KiB: 204800 bytes" in after
    assert demo.left() == []
    return before, after


def check_stopped(demo: Demo, moment: str, number: int) -> str:
    """Stop a demo at a line, check its exit code, and return what it printed before."""
    said = demo.read_until(moment)
    assert moment in said
    assert demo.left() != []
    demo.stop(number)
    code, rest = demo.end()
    assert code == 128 + number, said + rest
    return said


def test_without_docker_the_server_is_a_plain_process(tmp_path: Path) -> None:
    before, after = check_story(Demo(tmp_path), "script")
    assert "The server will run as a plain process, without Docker" in before
    assert "methods    files, images, script" in after


def test_with_docker_the_server_runs_in_containers(tmp_path: Path, empty_engine: Engine) -> None:
    before, after = check_story(Demo(tmp_path, empty_engine), "compose")
    assert "The server will run in a container" in before
    assert re.search(r"^lan-chat/server:1\.4\.0 +Up ", before, re.MULTILINE)
    assert re.search(r"^lan-chat/server:1\.5\.0 +Up ", after, re.MULTILINE)
    assert "methods    compose, files, images" in after


@pytest.mark.parametrize(
    ("moment", "number"),
    [("health: watching", signal.SIGTERM), ("━━ 4.", signal.SIGINT)],
    ids=["while the server is watched", "while the server runs"],
)
def test_a_demo_that_is_stopped_without_docker_leaves_nothing(
    tmp_path: Path, moment: str, number: int
) -> None:
    demo = Demo(tmp_path)
    check_stopped(demo, moment, number)
    assert demo.left() == []


@pytest.mark.parametrize(
    ("moment", "number"),
    [("load image", signal.SIGINT), ("start project", signal.SIGTERM), ("━━ 5.", signal.SIGINT)],
    ids=["while an image is loaded", "while containers come up", "while the server runs"],
)
def test_a_demo_that_is_stopped_with_docker_leaves_nothing(
    tmp_path: Path, empty_engine: Engine, moment: str, number: int
) -> None:
    demo = Demo(tmp_path, empty_engine)
    check_stopped(demo, moment, number)
    assert demo.left() == []


def test_images_of_another_lan_chat_are_left_alone(tmp_path: Path, empty_engine: Engine) -> None:
    images.build(empty_engine, "lan-chat/server:1.5.0", images.busybox())
    before = set(empty_engine.text("image", "ls", "-aq").split())
    demo = Demo(tmp_path, empty_engine)
    said = check_stopped(demo, "━━ 1.", signal.SIGINT)
    assert "it has an image lan-chat/server:1.5.0, which is left alone" in said
    assert set(empty_engine.text("image", "ls", "-aq").split()) == before
    assert set(demo.left()) == before
