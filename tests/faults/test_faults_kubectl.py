"""The cluster and the journal agree after a kill or a failure at each call that changes the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from installer.core.errors import RolledBackError
from installer.host.context import Context
from tests.rig.charted import charted
from tests.rig.faulty import Killed
from tests.rig.kube import Cluster
from tests.rig.manifested import SETTINGS, FaultyKubectl, Parts, levels, manifests
from tests.rig.releases import PRODUCT, ReleaseSpec, context, install, recovered, remove, root
from tests.rig.share import EVERYTHING

FAULTS = ("kill before", "kill after", "fail")
# In `make test` each call and each fault once.
FIRST = [("create", "kill after"), ("apply", "fail")]
UPGRADES = [("apply", "kill before"), ("apply", "kill after")]
KILLS = [("apply", "kill after"), ("delete", "kill after")]
REMOVALS = ["kill after"]
if EVERYTHING:
    FIRST = list(product(("create", "apply"), FAULTS))
    UPGRADES = [("apply", fault) for fault in FAULTS]
    KILLS = list(product(("apply", "delete"), FAULTS[:2]))
    REMOVALS = list(FAULTS[:2])


@pytest.fixture
def host(api_cluster: Cluster, tmp_path: Path) -> Iterator[Context]:
    with charted(api_cluster, tmp_path, "4") as within:
        yield within


def release(number: int) -> ReleaseSpec:
    """A release with an object that all have, and one of its own."""
    own = SETTINGS.format(level="own").replace("settings", f"own-{number}")
    return manifests(number, Parts({"own.yaml": own}))


def of(number: int) -> dict[str, str]:
    """Return what the cluster has of a release."""
    return {"settings": str(number), f"own-{number}": "own"}


def faulty(within: Context, word: str, fault: str) -> Context:
    return context(FaultyKubectl(root(within), word, fault))


def again(within: Context) -> None:
    """Recover, as the next command does."""
    recovered(context(type(within.system)(root(within))))


@pytest.mark.parametrize(("word", "fault"), FIRST)
def test_a_first_release_that_goes_wrong_leaves_nothing(
    host: Context, api_cluster: Cluster, word: str, fault: str
) -> None:
    with pytest.raises(Killed if fault.startswith("kill") else RolledBackError):
        install(faulty(host, word, fault), release(1))
    again(host)
    assert api_cluster.kubectl("get", "namespace", PRODUCT, check=False).returncode == 1
    install(host, release(2))
    assert levels(api_cluster) == of(2)


@pytest.mark.parametrize(("word", "fault"), UPGRADES)
def test_an_upgrade_that_goes_wrong_leaves_the_objects_from_before(
    host: Context, api_cluster: Cluster, word: str, fault: str
) -> None:
    install(host, release(1))
    with pytest.raises(Killed if fault.startswith("kill") else RolledBackError):
        install(faulty(host, word, fault), release(2))
    again(host)
    assert levels(api_cluster) == of(1)


@pytest.mark.parametrize(("word", "fault"), KILLS)
def test_an_undo_that_is_killed_is_completed_by_the_next_command(
    host: Context, api_cluster: Cluster, word: str, fault: str
) -> None:
    install(host, release(1))
    with pytest.raises(Killed):
        install(faulty(host, "apply", "kill after"), release(2))
    with pytest.raises(Killed):
        recovered(faulty(host, word, fault))
    again(host)
    assert levels(api_cluster) == of(1)


def test_objects_that_go_are_deleted_by_the_next_command_once_the_release_is_committed(
    host: Context, api_cluster: Cluster
) -> None:
    install(host, release(1))
    with pytest.raises(Killed):
        install(faulty(host, "delete", "kill before"), release(2))
    assert levels(api_cluster) == {**of(1), **of(2)}
    again(host)
    assert levels(api_cluster) == of(2)


@pytest.mark.parametrize("fault", REMOVALS)
def test_a_removal_that_is_killed_leaves_all_objects_or_none(
    host: Context, api_cluster: Cluster, fault: str
) -> None:
    install(host, release(1))
    with pytest.raises(Killed):
        remove(faulty(host, "delete", fault))
    again(host)
    assert levels(api_cluster) == of(1)
    remove(host)
    assert levels(api_cluster) == {}
