"""Whether objects of a cluster do what they are for: by the rules of `kubectl rollout status`, and for jobs.

`kubectl rollout status` knows three kinds, waits for one object at a time, and does not tell an object that
failed from one that takes long. A job that failed is never ready, and waiting for it would be in vain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from installer.deploy.kubernetes.objects import listing, mapping
from installer.deploy.kubernetes.report import is_ready

KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "Pod", "CustomResourceDefinition")
"""The kinds that are waited for; every other object is ready when it is there."""


@dataclass(frozen=True, slots=True)
class State:
    """How far an object is.

    Attributes:
        why: Why it is not ready; empty where it is.
        failed: Whether it never will be.
    """

    why: str = ""
    failed: bool = False


def state_of(live: Any) -> State:
    """Return how far an object is, from what the cluster has of it; None is an object that is not there."""
    value = mapping(live)
    if not value:
        return State("is not there")
    rule = _RULES.get(str(value.get("kind")))
    spec, status = mapping(value.get("spec")), mapping(value.get("status"))
    generation = mapping(value.get("metadata")).get("generation")
    # What its controller has not seen yet says nothing of the new specification.
    if rule in _ROLLOUTS and _number(status.get("observedGeneration")) < _number(generation):
        return State("has not been looked at by its controller")
    return rule(value, spec, status) if rule else State()


def _deployment(_: Any, spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    if _condition(status, "Progressing").get("reason") == "ProgressDeadlineExceeded":
        return State("exceeded its progress deadline", failed=True)
    wanted = _number(spec.get("replicas", 1))
    updated, available = _number(status.get("updatedReplicas")), _number(status.get("availableReplicas"))
    if updated < wanted:
        return State(f"{updated} of {wanted} pods are updated")
    if _number(status.get("replicas")) > updated:
        return State("pods from before have not ended yet")
    return State() if available >= updated else State(f"{available} of {wanted} pods are available")


def _stateful_set(_: Any, spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    strategy = mapping(spec.get("updateStrategy"))
    wanted, ready = _number(spec.get("replicas", 1)), _number(status.get("readyReplicas"))
    if strategy.get("type") == "OnDelete":
        return State()
    if ready < wanted:
        return State(f"{ready} of {wanted} pods are ready")
    partition = _number(mapping(strategy.get("rollingUpdate")).get("partition"))
    updated = _number(status.get("updatedReplicas"))
    # Pods below the partition keep the old revision on purpose.
    if partition:
        return State() if updated >= wanted - partition else State(f"{updated} of {wanted} pods are updated")
    same = status.get("updateRevision") == status.get("currentRevision")
    return State() if same else State(f"{updated} of {wanted} pods are updated")


def _daemon_set(_: Any, spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    if mapping(spec.get("updateStrategy")).get("type") == "OnDelete":
        return State()
    wanted = _number(status.get("desiredNumberScheduled"))
    for key, words in (("updatedNumberScheduled", "updated"), ("numberAvailable", "available")):
        if (count := _number(status.get(key))) < wanted:
            return State(f"{count} of {wanted} pods are {words}")
    return State()


def _job(_: Any, spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    # Somebody will start one that is suspended; the release does not wait for that.
    if spec.get("suspend") is True or _condition(status, "Complete").get("status") == "True":
        return State()
    failed = _condition(status, "Failed")
    if failed.get("status") == "True":
        return State(f"failed: {failed.get('reason', '')} {failed.get('message', '')}".strip(), failed=True)
    return State("has not completed")


def _pod(value: Any, _: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    if status.get("phase") == "Failed":
        return State("failed", failed=True)
    return State() if is_ready(value) else State("is not ready")


def _definition(_: Any, __: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    is_there = _condition(status, "Established").get("status") == "True"
    return State() if is_there else State("is not established")


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    rows = [mapping(each) for each in listing(status.get("conditions"))]
    return next((each for each in rows if each.get("type") == kind), {})


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


_RULES = dict(zip(KINDS, (_deployment, _stateful_set, _daemon_set, _job, _pod, _definition), strict=True))
_ROLLOUTS = (_deployment, _stateful_set, _daemon_set)
