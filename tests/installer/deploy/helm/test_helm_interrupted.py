"""Hooks of Helm that run when an upgrade is interrupted: none of them runs on under the old release."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from installer.core.errors import RolledBackError
from installer.host.context import Context
from installer.shared.terminal import interrupts
from tests.rig.charted import CONFIG, Parts, chart, charted
from tests.rig.kube import Cluster
from tests.rig.releases import PRODUCT, install

JOB = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations:
    "helm.sh/hook": {hook}
    "helm.sh/hook-delete-policy": before-hook-creation
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{{name: main, image: rig.example/web:1, args: [sleep, "1000"]}}]
"""


@pytest.fixture(params=["3", "4"])
def host(request: pytest.FixtureRequest, api_cluster: Cluster, tmp_path: Path) -> Iterator[Context]:
    with charted(api_cluster, tmp_path, request.param) as within:
        yield within


def jobs(cluster: Cluster) -> list[Any]:
    return list(cluster.get("jobs", "-n", PRODUCT)["items"])


def interrupt_the_hook(cluster: Cluster) -> threading.Thread:
    """Send this process a signal once the job of a hook runs."""

    def wait() -> None:
        while not any(each["status"].get("active") for each in jobs(cluster)):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("hook", ["pre-upgrade", "post-upgrade"])
def test_a_migration_that_runs_is_ended_before_the_old_release_is_brought_back(
    host: Context, api_cluster: Cluster, hook: str
) -> None:
    install(host, chart(1))
    thread = interrupt_the_hook(api_cluster)
    with interrupts.handled(), pytest.raises(RolledBackError, match="SIGINT"):
        install(host, chart(2, Parts({"config.yaml": CONFIG, "job.yaml": JOB.format(hook=hook)})))
    thread.join(120)
    assert jobs(api_cluster) == []
    assert not [each for each in api_cluster.get("pods", "-n", PRODUCT)["items"] if "migrate" in str(each)]


def test_a_hook_of_a_first_installation_is_ended_too(host: Context, api_cluster: Cluster) -> None:
    thread = interrupt_the_hook(api_cluster)
    with interrupts.handled(), pytest.raises(RolledBackError, match="SIGINT"):
        install(host, chart(1, Parts({"config.yaml": CONFIG, "job.yaml": JOB.format(hook="pre-install")})))
    thread.join(120)
    assert jobs(api_cluster) == []
