"""What the pods of a release say of a failure: why they are not ready, their events, and their last lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from installer.core.errors import Problem
from installer.deploy.kubernetes.client import WIDTH, Client
from installer.deploy.kubernetes.objects import WORKLOADS, KubeObject, listing, mapping
from installer.deploy.operation import StepError
from installer.shared.secrecy.known import shortened

PODS = 4
LINES = 15
"""Of the log of each container."""
EVENTS = 4
"""Of each pod."""
_DONE = "Succeeded"


def pods_of(client: Client, objects: Iterable[KubeObject]) -> list[dict[str, Any]]:
    """Return the pods of objects, found by the labels that these give them.

    Raises:
        StepError: The cluster does not answer.
    """
    makers = [each for each in objects if each.kind in WORKLOADS]
    pods = client.answer("get", "pods", "-o", "json") if makers else []
    return [pod for pod in pods if any(_is_of(pod, each) for each in makers)]


def _is_of(pod: Mapping[str, Any], maker: KubeObject) -> bool:
    metadata = mapping(pod.get("metadata"))
    if maker.kind == "Pod":
        return bool(metadata.get("name") == maker.name)
    # Those of a job need no labels: the cluster gives them one.
    labels = {"job-name": maker.name} if maker.kind == "Job" else maker.pod_labels
    own = mapping(metadata.get("labels"))
    return bool(labels) and all(str(own.get(key)) == str(value) for key, value in labels.items())


def failing(client: Client, objects: Iterable[KubeObject]) -> list[Problem]:
    """Return what is wrong with the pods of objects that are not ready, and what they said last.

    Nothing where the cluster does not answer.
    """
    objects = list(objects)
    try:
        pods = [pod for pod in pods_of(client, objects) if not is_ready(pod)]
        events = client.answer("get", "events", "-o", "json")
    except StepError:
        return []
    # The newest are those of the revision that failed.
    newest = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True)
    problems = [problem for pod in newest[:PODS] for problem in _of_pod(client, pod, events)]
    # Where a quota or a policy refuses pods, none is there: the object that makes them says why.
    names = tuple(each.name for each in objects if each.kind in WORKLOADS)
    return problems or [*_warnings(events, lambda name: bool(names) and name.startswith(names))][-EVENTS:]


def of_tests(client: Client, release: str) -> list[Problem]:
    """Return the last lines of the test pods that failed; nothing where the cluster does not answer."""
    try:
        pods = client.answer("get", "pods", "-o", "json")
    except StepError:
        return []
    ours = [
        pod
        for pod in pods
        if "test" in str(mapping(pod["metadata"].get("annotations")).get("helm.sh/hook", ""))
        and mapping(pod["metadata"].get("annotations")).get("meta.helm.sh/release-name", release) == release
    ]
    return [problem for pod in ours[:PODS] if not is_ready(pod) for problem in _of_pod(client, pod, [])]


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod serves, or has done its work."""
    status = mapping(pod.get("status"))
    if status.get("phase") == _DONE:
        return True
    conditions = {each.get("type"): each.get("status") for each in listing(status.get("conditions"))}
    return conditions.get("Ready") == "True"


def restarts(pod: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the containers of a pod, each with how often it was restarted."""
    name = str(pod["metadata"]["name"])
    for each in listing(mapping(pod.get("status")).get("containerStatuses")):
        yield f"pod {name} ({each.get('name')})", int(each.get("restartCount") or 0)


def _of_pod(client: Client, pod: Mapping[str, Any], events: list[Any]) -> Iterator[Problem]:
    name, where = str(pod["metadata"]["name"]), f"pod {pod['metadata']['name']}"
    status = mapping(pod.get("status"))
    own = [*listing(status.get("initContainerStatuses")), *listing(status.get("containerStatuses"))]
    bad = [each for each in own if not each.get("ready") and not _ended_well(each)]
    for each in bad:
        yield Problem(f"{where} ({each.get('name')})", client.context.secrets.hide(_state(each)))
    if not own:
        for each in listing(status.get("conditions")):
            if each.get("status") == "False" and each.get("message"):
                yield Problem(where, shortened(str(each["message"]), WIDTH))
    yield from [*_warnings(events, lambda other: other == name)][-EVENTS:]
    for each in bad:
        before = (
            "--previous" if mapping(each.get("state")).get("waiting") and each.get("restartCount") else ""
        )
        words = ["logs", name, "--container", str(each.get("name")), f"--tail={LINES}", before]
        ended = client.kubectl(*(word for word in words if word))
        text = ended.stdout.decode("utf-8", "replace") if ended.ok else ""
        for line in client.context.secrets.last_lines(text, LINES, WIDTH) if text.strip() else ():
            yield Problem(f"{where} ({each.get('name')})", line)


def _ended_well(container: Mapping[str, Any]) -> bool:
    return mapping(mapping(container.get("state")).get("terminated")).get("exitCode") == 0


def _state(container: Mapping[str, Any]) -> str:
    """Return in one line why a container is not ready."""
    state, last = mapping(container.get("state")), mapping(container.get("lastState"))
    parts = []
    if waiting := mapping(state.get("waiting")):
        parts.append(f"waits: {waiting.get('reason', '')} {waiting.get('message', '')}".strip())
    for ended in (mapping(state.get("terminated")), mapping(last.get("terminated"))):
        if ended:
            reason = f" ({ended['reason']})" if ended.get("reason") else ""
            parts.append(f"ended with exit code {ended.get('exitCode')}{reason}")
    if state.get("running") is not None:
        parts.append("runs, and is not ready")
    count = int(container.get("restartCount") or 0)
    parts += [f"was restarted {count} times"] if count else []
    return shortened("; ".join(parts) or "has not started", WIDTH)


def _warnings(events: list[Any], concerns: Any) -> Iterator[Problem]:
    rows = [each for each in events if each.get("type") == "Warning"]
    for each in sorted(rows, key=lambda row: str(row.get("lastTimestamp") or row.get("eventTime") or "")):
        about = mapping(each.get("involvedObject"))
        if concerns(str(about.get("name"))):
            where = f"{str(about.get('kind', '')).lower()} {about.get('name')}"
            yield Problem(where, shortened(f"{each.get('reason')}: {each.get('message')}", WIDTH))
