"""When an object of a cluster is ready, when it is late, and when it never will be."""

from __future__ import annotations

from typing import Any

import pytest

from installer.deploy.kubectl.readiness import State, state_of

READY = State()


def live(kind: str, status: dict[str, Any], **spec: Any) -> dict[str, Any]:
    seen = {"observedGeneration": 2, **status}
    return {"kind": kind, "metadata": {"generation": 2}, "spec": spec, "status": seen}


def condition(kind: str, status: str = "True", reason: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "reason": reason}]}


DEPLOYED = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
SET = {"readyReplicas": 2, "updatedReplicas": 2, "updateRevision": "b", "currentRevision": "b"}
DAEMONS = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}
PARTLY_UPDATED = {**SET, "updatedReplicas": 1, "updateRevision": "c"}
PARTLY = {"rollingUpdate": {"partition": 1}}


@pytest.mark.parametrize(
    "found",
    [
        live("Deployment", DEPLOYED, replicas=2),
        live("Deployment", {}, replicas=0),
        live("StatefulSet", SET, replicas=2),
        live("StatefulSet", PARTLY_UPDATED, replicas=2, updateStrategy=PARTLY),
        live("StatefulSet", {}, replicas=2, updateStrategy={"type": "OnDelete"}),
        live("DaemonSet", DAEMONS),
        live("DaemonSet", {"desiredNumberScheduled": 2}, updateStrategy={"type": "OnDelete"}),
        live("Job", condition("Complete")),
        live("Job", {}, suspend=True),
        live("Pod", condition("Ready")),
        live("Pod", {"phase": "Succeeded"}),
        live("CustomResourceDefinition", condition("Established")),
        live("ConfigMap", {}),
    ],
)
def test_an_object_that_does_what_it_is_for_is_ready(found: dict[str, Any]) -> None:
    assert state_of(found) == READY


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "is not there"),
        (live("Deployment", {**DEPLOYED, "observedGeneration": 1}, replicas=2), "has not been looked at"),
        (live("Deployment", {**DEPLOYED, "updatedReplicas": 1}, replicas=2), "1 of 2 pods are updated"),
        (live("Deployment", {**DEPLOYED, "replicas": 3}, replicas=2), "pods from before"),
        (live("Deployment", {**DEPLOYED, "availableReplicas": 1}, replicas=2), "1 of 2 pods are available"),
        (live("StatefulSet", {**SET, "readyReplicas": 1}, replicas=2), "1 of 2 pods are ready"),
        (live("StatefulSet", {**SET, "updateRevision": "c"}, replicas=2), "2 of 2 pods are updated"),
        (live("DaemonSet", {**DAEMONS, "updatedNumberScheduled": 0}), "0 of 2 pods are updated"),
        (live("DaemonSet", {**DAEMONS, "numberAvailable": 1}), "1 of 2 pods are available"),
        (live("Job", {}), "has not completed"),
        (live("Pod", condition("Ready", "False")), "is not ready"),
        (live("CustomResourceDefinition", {}), "is not established"),
    ],
)
def test_an_object_that_is_late_says_why(found: Any, why: str) -> None:
    state = state_of(found)
    assert why in state.why
    assert not state.failed


@pytest.mark.parametrize(
    "found",
    [
        live("Deployment", condition("Progressing", "False", "ProgressDeadlineExceeded"), replicas=1),
        live("Job", condition("Failed", reason="BackoffLimitExceeded")),
        live("Pod", {"phase": "Failed"}),
    ],
)
def test_an_object_that_failed_is_not_waited_for(found: dict[str, Any]) -> None:
    assert state_of(found).failed
