"""The node of a cluster of the rig: containerd, the kubelet, and the network of the pods."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.rig import imagebuild, images
from tests.rig.cache import CACHE
from tests.rig.kubefiles import SERVICES, Settings
from tests.rig.needs import needs
from tests.rig.process import Daemon

PAUSE = "registry.local/pause:3.2"
CGROUPS = Path("/sys/fs/cgroup")
CONTAINERD = """\
version = 2
root = "{home}/containerd"
state = "{state}"
[grpc]
  address = "{home}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "{stream}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{programs}/lib/cni"
    conf_dir = "{home}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{home}/certs.d"
"""


class Node:
    """A node.

    Attributes:
        socket: Where its containerd listens.
        registries: The directory with the configuration of registries, as containerd has it (`hosts.toml`).
    """

    PROGRAMS = f"{CACHE}/kube/usr/bin:{CACHE}/kube/usr/sbin"

    def __init__(self, home: Path, settings: Settings) -> None:
        self.home, self.settings = home, settings
        self.socket, self.registries = home / "containerd.sock", home / "certs.d"
        self._state = Path(f"/run/waybill-kube-{settings.api}")
        self._group = f"waybill-kube-{settings.api}"

    def start(self, run: Callable[..., Daemon]) -> None:
        """Start the daemons; `run(name, *command)` starts one."""
        for folder in ("cni", "certs.d"):
            (self.home / folder).mkdir()
        self._add_network()
        text = CONTAINERD.format(
            home=self.home,
            state=self._state,
            pause=PAUSE,
            stream=self.settings.ports["stream"],
            programs=CACHE / "kube/usr",
        )
        (self.home / "containerd.toml").write_text(text)
        daemon = run(
            "containerd", str(CACHE / "kube/usr/bin/containerd"), "--config", f"{self.home}/containerd.toml"
        )
        daemon.wait_until(lambda: self.ctr("version", check=False).returncode == 0)
        archive = self.home / "pause.tar"
        archive.write_bytes(busybox(PAUSE, "sleep", "1000000"))
        self.load(archive)
        self._add_groups()
        (self.home / "kubelet.json").write_text(json.dumps(self._kubelet()))
        runtime = f"unix://{self.socket}"
        run(
            "kubelet",
            *(
                "kubelet",
                f"--config={self.home}/kubelet.json",
                f"--kubeconfig={self.home}/kubelet.kubeconfig",
            ),
            *(f"--hostname-override={self.settings.node}", f"--node-ip={self.settings.address}"),
            *(f"--root-dir={self.home}/kubelet", f"--cert-dir={self.home}/kubelet-pki"),
            *("--container-runtime=remote", f"--container-runtime-endpoint={runtime}"),
            f"--image-service-endpoint={runtime}",
        )

        run(
            "kube-proxy",
            *("kube-proxy", f"--kubeconfig={self.home}/manager.kubeconfig", "--proxy-mode=iptables"),
            *(f"--hostname-override={self.settings.node}", f"--cluster-cidr={self.settings.network}.0/24"),
            *("--healthz-bind-address=", f"--metrics-bind-address=127.0.0.1:{self.settings.ports['proxy']}"),
            # The settings of the kernel are those of the machine.
            *("--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0"),
            "--conntrack-tcp-timeout-close-wait=0",
        )

    def _add_network(self) -> None:
        # The kubelet refuses an address of the loopback interface.
        bridge = self.settings.bridge
        for words in (f"add {bridge} type bridge", f"set {bridge} up"):
            subprocess.run(["ip", "link", *words.split()], check=True)
        subprocess.run(["ip", "address", "add", f"{self.settings.address}/24", "dev", bridge], check=True)
        # Without a default route nothing would be sent to the address of a service, and so not changed.
        subprocess.run(["ip", "route", "replace", SERVICES, "dev", bridge], check=True)
        addresses = {
            "type": "host-local",
            "dataDir": f"{self.home}/ipam",
            "subnet": f"{self.settings.network}.0/24",
        }
        plugin = {
            "type": "bridge",
            "bridge": bridge,
            "isGateway": True,
            "hairpinMode": True,
            "ipam": addresses,
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        network = {"cniVersion": "0.3.1", "name": "rig", "plugins": [plugin, ports]}
        (self.home / "cni/10.conflist").write_text(json.dumps(network))

    def _kubelet(self) -> dict[str, Any]:
        ports = self.settings.ports
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.settings.address,
            "port": ports["kubelet"],
            "healthzBindAddress": "127.0.0.1",
            "healthzPort": ports["health"],
            "readOnlyPort": 0,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": f"{self.home}/ca.crt"},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "tlsCertFile": f"{self.home}/kubelet.crt",
            "tlsPrivateKeyFile": f"{self.home}/kubelet.key",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._group}",
            "kubeletCgroups": "",
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "oomScoreAdj": 0,
            "resolvConf": "",
            # Nobody answers there; without it the kubelet warns of every pod.
            "clusterDNS": ["10.96.0.10"],
            "clusterDomain": "cluster.local",
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "50Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
                "nodefs.inodesFree": "1%",
            },
            "nodeStatusUpdateFrequency": "4s",
            "syncFrequency": "2s",
        }

    def _groups(self) -> Iterator[Path]:
        """Yield the directories of the node's control groups: one for each hierarchy, or the only one."""
        if (CGROUPS / "cgroup.controllers").exists():
            yield CGROUPS / self._group
            return
        for path in CGROUPS.iterdir():
            if path.is_dir() and not path.is_symlink() and (path / "cgroup.procs").exists():
                yield path / self._group

    def _add_groups(self) -> None:
        for group in self._groups():
            group.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):
                with contextlib.suppress(FileNotFoundError):
                    (group / name).write_text((group.parent / name).read_text())

    def ctr(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run containerd's own command line in the namespace of the kubelet."""
        command = [
            f"{CACHE}/kube/usr/bin/ctr",
            "--address",
            str(self.socket),
            "--namespace",
            "k8s.io",
            *words,
        ]
        return subprocess.run(command, check=check, capture_output=True, text=True, timeout=120)

    def load(self, archive: Path) -> None:
        """Import the images of a tar."""
        self.ctr("images", "import", str(archive))

    def images(self) -> set[str]:
        """Return the names of the images that the node has."""
        return {line.split()[0] for line in self.ctr("images", "ls").stdout.splitlines()[1:]}

    def end_pods(self) -> None:
        """End all pods: they outlive the kubelet and containerd."""
        listed = self.ctr("containers", "ls", "--quiet", check=False).stdout.split()
        for name in listed:
            self.ctr("tasks", "kill", "--signal", "KILL", name, check=False)
        deadline = time.monotonic() + 10
        while "RUNNING" in self.ctr("tasks", "ls", check=False).stdout and time.monotonic() < deadline:
            time.sleep(0.1)
        self._networks = set()
        for name in listed:
            spec = self.ctr("containers", "info", name, check=False).stdout
            self._networks |= {word for word in spec.replace('"', " ").split() if "netns/cni-" in word}
            self.ctr("tasks", "rm", "--force", name, check=False)
            self.ctr("containers", "rm", name, check=False)

    def clean_up(self) -> None:
        """Remove mounts, networks and control groups."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes()
                if b"containerd-shim" in words and str(self.socket).encode() in words:
                    subprocess.run(["kill", "-KILL", process.name], check=False)
        below = (f"{self.home}/", f"{self._state}/")
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted((each for each in mounts if each.startswith(below)), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        for network in getattr(self, "_networks", set()):
            subprocess.run(["ip", "netns", "delete", Path(network).name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self.settings.bridge], check=False, capture_output=True)
        if not any(Path("/sys/class/net").glob("wbk*")):
            # The rules of services belong to the network namespace: another cluster may use them, too.
            subprocess.run([f"{self.home}/bin/kube-proxy", "--cleanup"], check=False, capture_output=True)
        subprocess.run(["rm", "-rf", "--one-file-system", str(self._state)], check=False)
        for group in self._groups():
            subprocess.run(
                ["find", str(group), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"],
                check=False,
                capture_output=True,
            )


def busybox(tag: str, *command: str, files: dict[str, bytes] | None = None) -> bytes:
    """Make the tar of an OCI layout with an image of busybox that runs one of its applets.

    Args:
        tag: The name and tag in full.
        command: The applet and its arguments.
        files: Further files of the image, by path.
    """
    layer = images.tar_of({"/bin/busybox": Path(needs("busybox")), **(files or {})})
    words = {"Entrypoint": ["/bin/busybox"], "Cmd": list(command)}
    image = imagebuild.Built(tag, [layer], extra={"config": words})
    files_of_layout = imagebuild.layout([image])
    entry = image.entry(annotations={imagebuild.NAME: tag})
    files_of_layout["index.json"] = imagebuild.index([entry])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files_of_layout.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
