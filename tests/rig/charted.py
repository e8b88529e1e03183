"""Releases of a chart, on a directory that is a live host, with a cluster and a Helm of either version."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from installer.commands.status import product_status
from installer.core.format.manifest import Deployment, HealthCheck
from installer.host.context import Context
from installer.host.system import Completed
from tests.rig.kube import Cluster
from tests.rig.kubenode import busybox
from tests.rig.livedir import LiveDir
from tests.rig.needs import needs
from tests.rig.releases import PRODUCT, Member, ReleaseSpec, context, root
from tests.rig.stepreleases import stepped

HELMS = {"3": ("helm3", "kubectl132"), "4": ("helm4", "kubectl")}
"""The components of each version of Helm, with a kubectl of its time."""
CHART = "deploy/helm/chat"
IMAGE = "rig.example/web:1"
METADATA = "apiVersion: v2\nname: chat\nversion: {version}\nappVersion: {version}\n"
CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data:
  level: {{ .Values.level | quote }}
  page: |
    {{- .Values.page | nindent 4 }}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: {{ .Values.password | quote }}}
"""
WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: {{ .Values.image }}
          imagePullPolicy: IfNotPresent
          args: {{ .Values.args | toJson }}
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, failureThreshold: 1}
"""
VALUES = """\
level: "1"
page: hello
password: none
replicas: 1
image: rig.example/web:1
args: [httpd, -f, -p, "8080"]
"""


_HALF = {"upgrade": 5.0}
"""Seconds after which Helm dies: an upgrade waits for pods by then, what else there is has begun."""


@dataclass(frozen=True)
class Parts:
    """What one release has.

    Attributes:
        templates: The templates of the chart, by their names.
        values: Further values of the chart, in place of the first ones.
        site: The text of the template of values; empty for none.
        defaults: The default values of the bundle.
        options: More options of the step.
        files: More files of the chart.
        health: Probes.
    """

    templates: Mapping[str, str] = field(default_factory=lambda: {"config.yaml": CONFIG})
    values: str = ""
    site: str = ""
    defaults: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    health: tuple[HealthCheck, ...] = ()


def chart(number: int, parts: Parts = Parts()) -> ReleaseSpec:
    """Return a release with a chart."""
    files = {
        "Chart.yaml": METADATA.format(version=f"{number}.0.0"),
        "values.yaml": VALUES + parts.values,
        **{f"templates/{name}": text for name, text in parts.templates.items()},
        **parts.files,
    }
    members = {f"{CHART}/{name}": Member(text.encode(), kind="chart") for name, text in files.items()}
    named = [f"{CHART}/Chart.yaml", *sorted(set(members) - {f"{CHART}/Chart.yaml"})]
    options = {"chart": named, "timeout": 60, **parts.options}
    template = ("values", "deploy/values.yaml.j2", parts.site)
    return stepped(number, Deployment("helm", options), members, template, parts.defaults, parts.health)


def with_tools(spec: ReleaseSpec, version: str) -> ReleaseSpec:
    """Return a release whose step carries Helm and kubectl."""
    return _carrying(spec, dict(zip(("helm", "kubectl"), HELMS[version], strict=True)))


def with_kubectl(spec: ReleaseSpec) -> ReleaseSpec:
    """Return a release whose step carries kubectl."""
    return _carrying(spec, {"kubectl": HELMS["4"][1]})


def _carrying(spec: ReleaseSpec, programs: Mapping[str, str]) -> ReleaseSpec:
    (step,), members, options = spec.deploy, dict(spec.members), dict(spec.deploy[0].options)
    for name, component in programs.items():
        path, licence = f"deploy/tools/linux-amd64/{name}", f"deploy/tools/{name}.LICENSE"
        members[path] = Member(
            Path(needs(component)).read_bytes(), mode=0o755, kind="tool", platform="linux/amd64"
        )
        members[licence] = Member(b"Apache-2.0\n", kind="licence")
        options |= {name: [path], f"{name}_licence": licence}
    return replace(spec, members=members, deploy=(replace(step, options=options),))


@contextmanager
def charted(cluster: Cluster, root: Path, version: str = "3") -> Iterator[Context]:
    """Give a live host that reaches the cluster; the namespace of the product is removed afterwards.

    Args:
        cluster: The cluster.
        root: The directory of the host.
        version: Of its Helm; empty for a host that has neither Helm nor kubectl.
    """
    parts = [needs(name) for name in HELMS[version]] if version else []
    settings = root / "etc/waybill"
    settings.mkdir(parents=True)
    shutil.copyfile(cluster.kubeconfig, settings / "kubeconfig")
    (settings / "kubeconfig").chmod(0o600)
    write_settings(root, kubeconfig="/etc/waybill/kubeconfig")
    programs = root / "usr/bin"
    programs.mkdir(parents=True)
    for name, path in zip(("helm", "kubectl"), parts, strict=False):
        os.symlink(path, programs / name)
    yield context(OnDirectory(root))
    remove_namespace(cluster)


class OnDirectory(LiveDir):
    """A live host in a directory, with the programs that `charted` put there."""

    def which(self, tool: str) -> str | None:
        found = shutil.which(tool, path=f"{self.root}/usr/bin")
        # What the machine of the tests has must not stand in.
        return found if found or tool in ("helm", "kubectl") else super().which(tool)


class Faulty(OnDirectory):
    """The same host, on which one call of Helm goes wrong, once.

    Args:
        root: The directory.
        word: The command of Helm.
        fault: `kill before`, `kill half` (Helm dies with the installer, some time after it began),
            `kill after`, `fail` or `hang`.
    """

    def __init__(self, root: Path, word: str, fault: str) -> None:
        super().__init__(root)
        self._word, self._fault = word, fault

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        if argv[1] != self._word or not (argv[0].endswith("helm") or argv[0].startswith("/proc/")):
            return super().run(argv, **options)
        self._word = ""
        if self._fault == "fail":
            return Completed(tuple(argv), 1, b"", b"Error: the rig refuses")
        if self._fault == "hang":
            return super().run(["sleep", "1000"], timeout=0.2)
        if self._fault == "kill half":
            super().run(argv, **{**options, "timeout": _HALF.get(argv[1], 0.5)})
        elif self._fault == "kill after":
            super().run(argv, **options)
        self._die()
        raise AssertionError


def write_settings(root: Path, **said: str) -> None:
    """Write how the host reaches its cluster."""
    path = root / "etc/waybill/kubernetes.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in said.items()))


def remove_namespace(cluster: Cluster, name: str = PRODUCT) -> None:
    """Remove a namespace with all that is in it."""
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=60s", check=False)


def load_image(cluster: Cluster, tag: str = IMAGE) -> None:
    """Load the image of a server of pages into the node."""
    archive = cluster.home / "image.tar"
    archive.write_bytes(busybox(tag, "httpd", "-f", "-p", "8080", files={"/index.html": b"hi"}))
    cluster.load(archive)


def site_secret(within: Context) -> Path:
    """Write values of the site with a secret, `open-sesame`, and return the file that has it."""
    settings = root(within) / "etc/waybill/lan-chat"
    file = settings / "secrets/chat"
    file.parent.mkdir(parents=True)
    file.write_text("open-sesame\n")
    file.chmod(0o600)
    (settings / "values.yaml").write_text('level: "7"\npassword: secret://file/chat\n')
    return file


def secret_in(within: Context) -> list[str]:
    """Return the files that have the secret of the site, and the command lines that had it."""
    command = ["grep", "-rl", "open-sesame", str(root(within))]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    ran = [" ".join(words) for words in within.system.ran if "open-sesame" in " ".join(words)]  # type: ignore[attr-defined]
    return [*found.stdout.split(), *ran]


def drift(within: Context) -> list[str]:
    """Return what `status` says of differences."""
    return [f"{each.where} {each.what}" for each in product_status(within).drift]
