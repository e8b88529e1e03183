"""Objects whose deletion was interrupted: an undo waits until they are gone before it brings them back."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from installer.core.errors import NotUndoneError, RolledBackError
from installer.deploy.kubectl import server
from installer.host.context import Context
from installer.shared.terminal import interrupts
from tests.rig.charted import charted
from tests.rig.kube import Cluster
from tests.rig.manifested import SETTINGS, Parts, levels, manifests
from tests.rig.releases import PRODUCT, install, recovered, remove

HELD = SETTINGS.format(level="held").replace("name: settings", "name: held\n  finalizers: [example.com/slow]")


@pytest.fixture
def host(api_cluster: Cluster, tmp_path: Path) -> Iterator[Context]:
    with charted(api_cluster, tmp_path, "4") as within:
        install(within, manifests(1, Parts({"held.yaml": HELD})))
        yield within
        end_deletion(api_cluster)


def end_deletion(cluster: Cluster) -> None:
    """Do what the controller of the finalizer does."""
    words = ("--type=json", '-p=[{"op":"remove","path":"/metadata/finalizers"}]')
    cluster.kubectl("patch", "configmap", "held", "-n", PRODUCT, *words, check=False)


def is_going(cluster: Cluster) -> bool:
    rows = cluster.get("configmaps", "-n", PRODUCT)["items"]
    return any("deletionTimestamp" in each["metadata"] for each in rows)


def when_going(cluster: Cluster, then: Callable[[], None]) -> threading.Thread:
    """Call once the cluster is deleting an object."""

    def wait() -> None:
        while not is_going(cluster):
            time.sleep(0.1)
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_an_object_whose_deletion_was_interrupted_is_there_after_the_undo(
    host: Context, api_cluster: Cluster
) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(3)
        end_deletion(api_cluster)

    thread = when_going(api_cluster, interrupt)
    with interrupts.handled(), pytest.raises(RolledBackError, match="SIGINT"):
        remove(host)
    thread.join(120)
    time.sleep(1)
    assert not is_going(api_cluster)
    assert levels(api_cluster) == {"settings": "1", "held": "held"}


def test_a_deletion_that_does_not_end_is_named_and_the_recovery_brings_the_object_back(
    host: Context, api_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(server, "_DELETE", 2)
        with pytest.raises(NotUndoneError, match="ConfigMap/held: is being deleted, and its finalizers"):
            remove(host)
    end_deletion(api_cluster)
    recovered(host)
    assert levels(api_cluster) == {"settings": "1", "held": "held"}
