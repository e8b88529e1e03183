"""A real cluster: Kubernetes 1.20.2 of one node, with its own ports, data and network.

`Cluster.launch(node=False)` has an API server, controllers and a scheduler, and nothing that runs pods;
`Cluster.launch()` also has containerd, the kubelet and the proxy of services, so that pods run. No DNS.
In one network namespace the services of one cluster work at a time: their rules have fixed names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from tests.rig.cache import CACHE
from tests.rig.kubefiles import SERVICES, Settings, write_settings
from tests.rig.kubenode import Node
from tests.rig.needs import needs
from tests.rig.process import Daemon

# The kubelet writes there, whatever its directory is, and removes what another one has there.
LOGS = "/var/log/pods"
_MOUNT = f'mount --make-rprivate / && mount --bind "$1" {LOGS} && touch "$1.mounted" && exec sleep infinity'
_IN_NODE = ("containerd", "kubelet")


class Cluster:
    """A running cluster.

    Attributes:
        home: Its directory.
        kubeconfig: The file with which its administrator reaches it.
        node: The node, where it has one.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.kubeconfig = home / "kubeconfig"
        self.settings: Settings = write_settings(home)
        self.node: Node | None = None
        self._daemons: dict[str, Daemon] = {}
        (home / "bin").mkdir()

    @classmethod
    def launch(cls, *, node: bool = True) -> Self:
        """Start a cluster, with a node that runs pods or without."""
        needs("kube")
        cluster = cls(Path(tempfile.mkdtemp(prefix="wbk")))
        try:
            cluster.start()
            if node:
                cluster.add_node()
        except BaseException:
            cluster.stop()
            raise
        return cluster

    def start(self) -> None:
        """Start what every cluster has."""
        self.start_etcd()
        self.start_server()
        self._control("kube-controller-manager", *self._manager())
        self._control("kube-scheduler")
        self.wait_for(lambda: self.kubectl("get", "serviceaccount", "default", check=False).returncode == 0)

    def add_node(self) -> None:
        """Start a node, and wait until it takes pods."""
        logs = self.home / "pods"
        for path in (logs, Path(LOGS)):
            path.mkdir(parents=True, exist_ok=True)
        mounts = self.run("mounts", "/usr/bin/unshare", "--mount", "sh", "-c", _MOUNT, "sh", str(logs))
        mounts.wait_until(logs.with_name("pods.mounted").exists)
        self.node = Node(self.home, self.settings)
        self.node.start(self.run)
        path = "{.status.conditions[?(@.type=='Ready')].status}"
        self.wait_for(lambda: self._says("True", "get", "node", self.settings.node, "-o", f"jsonpath={path}"))

    def start_etcd(self) -> None:
        """Start the store, again after `daemon("etcd").kill()`."""
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.settings.etcd, self.settings.peer))
        self.run(
            "etcd",
            *(str(CACHE / "kube/usr/bin/etcd"), "--name", "rig", "--data-dir", str(self.home / "etcd")),
            *("--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer),
            *("--initial-advertise-peer-urls", peer, "--initial-cluster", f"rig={peer}"),
            *("--unsafe-no-fsync", "--logger", "zap", "--log-level", "warn"),
        )

    def start_server(self) -> None:
        """Start the API server, again after `daemon("kube-apiserver").kill()`."""
        home = self.home
        self.run(
            "kube-apiserver",
            str(self.program("kube-apiserver")),
            f"--etcd-servers=http://127.0.0.1:{self.settings.etcd}",
            *("--bind-address=127.0.0.1", f"--secure-port={self.settings.api}", f"--cert-dir={home}"),
            # Else it looks for a default route, which a network without an outside does not have.
            f"--advertise-address={self.settings.address}",
            *(f"--tls-cert-file={home}/server.crt", f"--tls-private-key-file={home}/server.key"),
            *(f"--client-ca-file={home}/ca.crt", f"--token-auth-file={home}/tokens.csv"),
            *(f"--kubelet-client-certificate={home}/admin.crt", f"--kubelet-client-key={home}/admin.key"),
            f"--kubelet-certificate-authority={home}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={home}/accounts.pub",
            f"--service-account-signing-key-file={home}/accounts.key",
            f"--service-cluster-ip-range={SERVICES}",
            *("--authorization-mode=Node,RBAC", "--allow-privileged=true", "--endpoint-reconciler-type=none"),
        )
        daemon = self._daemons["kube-apiserver"]
        daemon.wait_until(lambda: self.kubectl("get", "--raw", "/readyz", check=False).returncode == 0)

    def _manager(self) -> list[str]:
        return [
            f"--service-account-private-key-file={self.home}/accounts.key",
            f"--root-ca-file={self.home}/ca.crt",
            "--node-monitor-grace-period=20s",
            "--pod-eviction-timeout=20s",
        ]

    def _control(self, name: str, *words: str) -> None:
        self.run(
            name,
            *(
                str(self.program(name)),
                f"--kubeconfig={self.home}/manager.kubeconfig",
                "--leader-elect=false",
            ),
            *("--bind-address=127.0.0.1", "--port=0", f"--secure-port={self.settings.ports[name]}"),
            *(f"--cert-dir={self.home}/{name}", "--authentication-skip-lookup=true", *words),
        )

    def program(self, name: str) -> Path:
        """Return the program under the name of one of its daemons."""
        link = self.home / "bin" / name
        if not link.is_symlink():
            link.symlink_to(CACHE / "kube/waykube")
        return link

    def run(self, name: str, *command: str) -> Daemon:
        """Start a daemon of the cluster."""
        words = list(command)
        if not words[0].startswith("/"):
            words[0] = str(self.program(words[0]))
        if name in _IN_NODE:
            words = ["/usr/bin/nsenter", f"--mount=/proc/{self._daemons['mounts'].pid}/ns/mnt", *words]
        environment = {**os.environ, "PATH": f"{Node.PROGRAMS}:{os.environ['PATH']}:/usr/sbin:/sbin"}
        environment["LD_LIBRARY_PATH"] = str(CACHE / "kube/usr/lib/x86_64-linux-gnu")
        self._daemons[name] = Daemon(words, self.home / f"{name}.log", environment)
        return self._daemons[name]

    def daemon(self, name: str) -> Daemon:
        """Return a daemon, to be killed."""
        return self._daemons[name]

    # -- what tests do with it ------------------------------------------------------------------------

    def kubectl(
        self, *words: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator."""
        command = [needs("kubectl132"), "--kubeconfig", str(self.kubeconfig), *words]
        environment = {**os.environ, "HOME": str(self.home)}
        ran = subprocess.run(
            command, check=False, input=stdin, capture_output=True, text=True, timeout=300, env=environment
        )
        if check and ran.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: {ran.stderr}")
        return ran

    def get(self, *words: str) -> Any:
        """Return objects as JSON."""
        return json.loads(self.kubectl("get", *words, "-o", "json").stdout)

    def apply(self, *objects: Any) -> None:
        """Create or change objects."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", "-f", "-", stdin=text)

    def load(self, archive: Path) -> None:
        """Import an image, a tar of an OCI layout, into the node."""
        assert self.node is not None, "the cluster has no node"
        self.node.load(archive)

    def wait_for(self, true: Any, seconds: float = 120) -> None:
        """Wait until a condition is true."""
        deadline = time.monotonic() + seconds
        while not true():
            for name, daemon in self._daemons.items():
                if daemon.process.poll() is not None:
                    raise RuntimeError(f"{name} ended:\n{daemon.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"not true after {seconds} s; logs are in {self.home}")
            time.sleep(0.1)

    def _says(self, wanted: str, *words: str) -> bool:
        return self.kubectl(*words, check=False).stdout.strip() == wanted

    def stop(self) -> None:
        """End it with all pods, and remove what it made."""
        if self.node is not None:
            self._end("kubelet", "kube-proxy")
            self.node.end_pods()
            self._end("containerd")
            self.node.clean_up()
            self._end("mounts")
        self._end("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")
        shutil.rmtree(self.home, ignore_errors=True)

    def _end(self, *names: str) -> None:
        for name in names:
            if name in self._daemons:
                self._daemons.pop(name).stop(15)
