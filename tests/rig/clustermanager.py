"""A host that manages a cluster: the programs of this machine, with settings of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.rig.apart import apart
from tests.rig.desk import Desk
from tests.rig.kube import Cluster
from tests.rig.needs import needs
from tests.rig.registry import Registry


@dataclass(frozen=True)
class Manager:
    """The host.

    Attributes:
        home: Its directory.
        programs: The directory of the executables.
    """

    home: Path
    programs: Path

    @classmethod
    def set_up(cls, home: Path, desk: Desk, cluster: Cluster, registry: Registry, *trust: str) -> Manager:
        """Let it know the cluster, and a registry with the prefix `plant`, and trust the desk.

        Args:
            home: An empty directory.
            desk: Where releases are made.
            cluster: The cluster.
            registry: The registry of the site.
            trust: More words of `install trust init`.
        """
        made = cls(home, desk.programs.install.parent)
        shutil.copyfile(cluster.kubeconfig, home / "kubeconfig")
        settings = f"""
            mkdir -p /etc/waybill && umask 077
            cp kubeconfig /etc/waybill/kubeconfig
            echo 'kubeconfig: /etc/waybill/kubeconfig' >/etc/waybill/kubernetes.yaml
            printf 'address: {registry.url}\\nprefix: plant\\n' >/etc/waybill/registry.yaml
        """
        assert made.run("sh", "-ec", settings).returncode == 0
        root = desk.home / "root.json"
        fingerprint = hashlib.sha256(root.read_bytes()).hexdigest()
        made.install("trust", "init", str(root), "--fingerprint", fingerprint, *trust)
        return made

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        tools = [str(Path(needs(tool)).parent) for tool in ("helm4", "kubectl")]
        env = {
            "PATH": os.pathsep.join([*tools, os.environ["PATH"]]),
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
        }
        command = apart(self.home)([*words])
        return subprocess.run(command, env=env, cwd=self.home, capture_output=True, text=True, check=False)

    def install(self, *words: str) -> str:
        """Run `install`, which has to succeed."""
        done = self.run(str(self.programs / "install"), *words)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout
