"""The method `kubectl` on a cluster whose pods run: waiting, jobs, and what a failure says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.core.errors import RolledBackError
from installer.host.context import Context
from tests.rig.charted import charted, drift, load_image
from tests.rig.kube import Cluster
from tests.rig.manifested import JOB, WEB, Parts, levels, manifests
from tests.rig.releases import PRODUCT, ReleaseSpec, install, remove


@pytest.fixture
def host(cluster: Cluster, tmp_path: Path) -> Iterator[Context]:
    load_image(cluster)
    with charted(cluster, tmp_path, "4") as within:
        yield within


def release(number: int, command: str) -> ReleaseSpec:
    """A release with a job of its own: no job can be changed."""
    job = JOB.format(name=f"migrate-{number}", command=command)
    return manifests(number, Parts({"job.yaml": job, "web.yaml": WEB}))


def jobs(cluster: Cluster) -> dict[str, str]:
    """Return the identity of each job: one that is created again has another."""
    found = cluster.get("jobs", "-n", PRODUCT)["items"]
    return {each["metadata"]["name"]: each["metadata"]["uid"] for each in found}


def test_pods_and_jobs_are_waited_for_and_a_failure_brings_back_what_was_there(
    host: Context, cluster: Cluster
) -> None:
    install(host, release(1, "echo done"))
    web = cluster.get("deployment", "web", "-n", PRODUCT)
    assert web["status"]["availableReplicas"] == 1
    before = jobs(cluster)
    assert set(before) == {"migrate-1"}
    assert drift(host) == []

    with pytest.raises(RolledBackError) as caught:
        install(host, release(2, "echo the database is too old >&2; exit 7"))
    said = "\n".join([str(caught.value), *(f"{each.where}: {each.what}" for each in caught.value.problems)])
    assert "Job/migrate-2" in said
    assert "ended with exit code 7" in said
    assert "the database is too old" in said
    # The job from before has not run again.
    assert (jobs(cluster), levels(cluster), drift(host)) == (before, {"settings": "1"}, [])

    install(host, release(2, "echo done"))
    assert set(jobs(cluster)) == {"migrate-2"}
    remove(host)
    assert jobs(cluster) == {}
