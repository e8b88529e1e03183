"""Releases of manifests, for a cluster, and hosts on which one call of kubectl goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from installer.core.format.manifest import Deployment, HealthCheck
from installer.host.system import Completed
from tests.rig.charted import OnDirectory
from tests.rig.kube import Cluster
from tests.rig.releases import PRODUCT, Member, ReleaseSpec
from tests.rig.stepreleases import stepped

TOP = "deploy/kubernetes"
SETTINGS = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  level: "{level}"
"""
LOGIN = """\
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: none}
"""
WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: rig.example/web:1
          imagePullPolicy: IfNotPresent
          args: [httpd, -f, -p, "8080"]
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, failureThreshold: 1}
"""


JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  backoffLimit: 0
  template:
    metadata: {{labels: {{job: {name}}}}}
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: rig.example/web:1
          imagePullPolicy: IfNotPresent
          args: [sh, -c, "{command}"]
"""
CLAIM = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: history}
spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Mi}}}
"""


@dataclass(frozen=True)
class Parts:
    """What one release has.

    Attributes:
        files: The manifests, by their names; `settings.yaml` is there in any case.
        template: The text of the template of manifests; empty for none.
        defaults: The default values of the bundle.
        options: More options of the step.
        health: Probes.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    template: str = ""
    defaults: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    health: tuple[HealthCheck, ...] = ()


def manifests(number: int, parts: Parts = Parts()) -> ReleaseSpec:
    """Return a release with manifests."""
    files = {"settings.yaml": SETTINGS.format(level=number), **parts.files}
    members = {f"{TOP}/{name}": Member(text.encode(), kind="kubernetes") for name, text in files.items()}
    options = {"manifests": sorted(members), "timeout": 30, **parts.options}
    template = ("template", "deploy/site.yaml.j2", parts.template)
    return stepped(number, Deployment("kubectl", options), members, template, parts.defaults, parts.health)


def levels(cluster: Cluster) -> dict[str, str]:
    """Return the level of each ConfigMap of the product, by its name."""
    found = cluster.get("configmaps", "-n", PRODUCT, "-l", f"waybill.product={PRODUCT}")["items"]
    return {each["metadata"]["name"]: each["data"]["level"] for each in found}


class FaultyKubectl(OnDirectory):
    """A host on which one call of kubectl that changes the cluster goes wrong, once.

    Args:
        root: The directory.
        word: The command: `apply`, `delete` or `create`.
        fault: `kill before`, `kill after` or `fail`.
    """

    def __init__(self, root: Path, word: str, fault: str) -> None:
        super().__init__(root)
        self._word, self._fault = word, fault

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        changes = self._word in argv and "--dry-run=server" not in argv and "json" not in argv
        if not changes or not argv[0].endswith("kubectl"):
            return super().run(argv, **options)
        self._word = "nothing"
        if self._fault == "fail":
            return Completed(tuple(argv), 1, b"", b"Error: the rig refuses")
        if self._fault == "kill after":
            super().run(argv, **options)
        self._die()
        raise AssertionError
