"""What all tests share: the `needs` marker, and the fixtures of the rig."""

from __future__ import annotations

import functools
import gc
import os
import signal
import sys
from collections.abc import Iterator

import pytest
import typer.main
from hypothesis import HealthCheck, settings

from tests.rig import home
from tests.rig.fixtures import (  # noqa: F401
    airgap,
    any_cosign,
    api_cluster,
    boot,
    cluster,
    containerd,
    cosign,
    cosign3,
    docker20,
    docker26,
    docker28,
    docker28_containerd,
    docker_engine,
    docker_network,
    engines,
    every_engine,
    gate,
    podman_engine,
    registry,
)
from tests.rig.needs import needs

# who runs the suite in the background may have us ignore SIGINT; children that are sent it would inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# most products of tests are in no checkout, which `create` refuses in a pipeline; tests of that set it
os.environ.pop("CI", None)
# A machine may forbid byte code: every command that a test starts would compile all of its modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
home.provide()

# The signatures of all commands are read for every command that runs in this process, and stay the same.
typer.main.get_params_from_function = functools.cache(typer.main.get_params_from_function)

# a slow machine is no fault of the code
settings.register_profile("waybill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("waybill")


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "needs(*names): components this test cannot do without, see tests/rig/needs.py",
        "host(*releases, **fields): what the fixture `host` is like, see tests/rig/hosts.py",
    ):
        config.addinivalue_line("markers", marker)


@pytest.fixture(scope="module", autouse=True)
def _environment() -> Iterator[None]:
    """Find the module that leaves a variable to the next one: fixtures may put back values of each other."""
    before = dict(os.environ)
    yield
    names = (before.keys() | os.environ.keys()) - {"PYTEST_CURRENT_TEST"}
    left = {name: os.environ.get(name) for name in names if os.environ.get(name) != before.get(name)}
    assert left == {}


def pytest_collection_finish() -> None:
    # What was collected stays to the end; each garbage collection would look through all of it.
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            needs(name)
