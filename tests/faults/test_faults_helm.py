"""Helm and the journal agree after a kill, a failure or a hang at each call that changes something."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from installer.core.errors import RolledBackError
from installer.host.context import Context
from tests.rig.charted import CONFIG, HELMS, WEB, Faulty, Parts, chart, charted
from tests.rig.faulty import Killed
from tests.rig.kube import Cluster
from tests.rig.releases import PRODUCT, ReleaseSpec, context, install, recovered, remove, root
from tests.rig.share import EVERYTHING

FAULTS = ("kill before", "kill half", "kill after", "fail", "hang")
# In `make test` each fault once, and those that leave most behind with both versions.
CASES = [
    ("3", "kill half", True),
    ("4", "kill half", False),
    ("3", "kill half", False),
    ("4", "kill before", False),
    ("3", "kill after", False),
    ("4", "fail", True),
    ("3", "hang", False),
]
KILLS = [("4", "kill half"), ("3", "kill before")]
if EVERYTHING:
    CASES = list(product(HELMS, FAULTS, (True, False)))
    KILLS = list(product(HELMS, FAULTS[:3]))


@pytest.fixture
def host(request: pytest.FixtureRequest, api_cluster: Cluster, tmp_path: Path) -> Iterator[Context]:
    with charted(api_cluster, tmp_path, request.param) as within:
        yield within


def release(number: int, *, waits: bool = False) -> ReleaseSpec:
    """A release; one that waits has a pod, which no node runs."""
    text = CONFIG.replace(".Values.level", f'"{number}"')
    return chart(number, Parts({"config.yaml": text} | ({"web.yaml": WEB} if waits else {})))


def faulty(within: Context, word: str, fault: str) -> Context:
    return context(Faulty(root(within), word, fault))


def again(within: Context) -> None:
    """Recover, as the next command does."""
    recovered(context(type(within.system)(root(within))))


def state(cluster: Cluster) -> tuple[str, str]:
    """Return the status of the newest revision, and what the cluster has of the release."""
    found = cluster.get("secrets", "-n", PRODUCT, "-l", "owner=helm")["items"]
    labels = [each["metadata"]["labels"] for each in found]
    newest = max(labels, key=lambda each: int(each["version"]), default={"status": "none"})
    settings = cluster.kubectl(
        *("get", "configmap", "settings", "-n", PRODUCT, "--ignore-not-found"), "-o", "jsonpath={.data.level}"
    )
    pods = cluster.get("deployments", "-n", PRODUCT)["items"]
    return newest["status"], settings.stdout + ("+web" if pods else "")


@pytest.mark.parametrize(("host", "fault", "is_first"), CASES, indirect=["host"])
def test_an_upgrade_that_goes_wrong_leaves_the_state_from_before(
    host: Context, api_cluster: Cluster, fault: str, is_first: bool
) -> None:
    before = ("none", "")
    if not is_first:
        install(host, release(1))
        before = ("deployed", "1")
    dies = fault.startswith("kill")
    with pytest.raises(Killed if dies else RolledBackError):
        install(faulty(host, "upgrade", fault), release(2, waits=fault == "kill half"))
    if fault == "kill half":
        assert state(api_cluster)[0] == ("pending-install" if is_first else "pending-upgrade")
    again(host)
    assert state(api_cluster) == before
    # The next release is not hindered by what was left.
    install(host, release(3))
    assert state(api_cluster) == ("deployed", "3")


@pytest.mark.parametrize(("host", "fault"), KILLS, indirect=["host"])
def test_an_undo_that_is_killed_is_completed_by_the_next_command(
    host: Context, api_cluster: Cluster, fault: str
) -> None:
    install(host, release(1))
    with pytest.raises(Killed):
        install(faulty(host, "upgrade", "kill after"), release(2))
    with pytest.raises(Killed):
        recovered(faulty(host, "rollback", fault))
    again(host)
    assert state(api_cluster) == ("deployed", "1")


@pytest.mark.parametrize(("host", "fault"), KILLS, indirect=["host"])
def test_a_removal_that_is_killed_leaves_the_release_or_nothing(
    host: Context, api_cluster: Cluster, fault: str
) -> None:
    install(host, release(1))
    with pytest.raises(Killed):
        remove(faulty(host, "uninstall", fault))
    again(host)
    assert state(api_cluster) == ("deployed", "1")
    remove(host)
    assert state(api_cluster) == ("none", "")
