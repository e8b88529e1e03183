"""Hosts as fixtures, for tests of the installer's inside; tests/installer/conftest.py imports them.

The marker `host` says what the host of a test is like; see `make_host` for its arguments:

    pytestmark = pytest.mark.host(ONE, TWO)

    def test_the_release_before_is_kept(host: Context) -> None:
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from installer.host.context import Context
from installer.host.system import System
from installer.planning.plan import Options
from tests.rig.engine import Engine
from tests.rig.host import Host
from tests.rig.releases import ReleaseSpec, context, install
from tests.rig.services import docker_host, emptied, launched


def make_host(
    root: Path,
    *installed: ReleaseSpec,
    system: Callable[[Path], System] = System,
    options: Options | None = None,
    directories: tuple[str, ...] = (),
    files: Mapping[str, str] | None = None,
) -> Context:
    """Make a host in a directory.

    Args:
        root: The directory.
        installed: The releases it has had, the running one last.
        system: The facade through which it is reached: a faulty one, one whose clock the test turns.
        options: How they were installed.
        directories: What is there besides, made before the first installation.
        files: Files that are there besides, and their text.
    """
    for name in directories:
        (root / name).mkdir(parents=True)
    for name, text in (files or {}).items():
        (root / name).write_text(text)
    host = context(system(root))
    for release in installed:
        install(host, release, options)
    return host


@pytest.fixture(scope="module")
def machine(
    request: pytest.FixtureRequest, docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """The real machine that the module's marker names: bookworm, or bookworm-docker with an engine in it."""
    variant = request.node.get_closest_marker("host").kwargs["machine"]
    if variant == "bookworm-docker":
        made = docker_host(docker_engine, tmp_path_factory.mktemp("image"))
    else:
        made = launched(docker_engine, variant)
    with made as machine:
        yield machine


@pytest.fixture
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Context]:
    """A host as the marker `host` says: by default an empty directory.

    With `machine=…` it is a real one, from which everything is removed afterwards.
    """
    mark = request.node.get_closest_marker("host")
    if mark and "machine" in mark.kwargs:
        with emptied(request.getfixturevalue("machine")) as within:
            yield within
    else:
        yield make_host(tmp_path, *mark.args, **mark.kwargs) if mark else make_host(tmp_path)


@pytest.fixture
def system(host: Context) -> System:
    """That host's facade of effects alone."""
    return host.system
