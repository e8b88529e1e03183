"""The files of a cluster of the rig: ports, certificates, kubeconfigs."""

from __future__ import annotations

import base64
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.rig.tlscerts import Authority, write_key

NODE = "waybill"
SERVICES = "10.96.0.0/24"


@dataclass(frozen=True)
class Settings:
    """Where the parts of a cluster listen, and what the node is called.

    Attributes:
        network: The first three numbers of the network of the pods.
        authority: What issues certificates that the cluster trusts.
    """

    ports: dict[str, int]
    network: str
    authority: Authority
    node: str = NODE

    @property
    def etcd(self) -> int:
        """The port of the store."""
        return self.ports["etcd"]

    @property
    def peer(self) -> int:
        """The port of the store for its peers."""
        return self.ports["peer"]

    @property
    def api(self) -> int:
        """The port of the API server."""
        return self.ports["api"]

    @property
    def address(self) -> str:
        """The address of the node."""
        return f"{self.network}.1"

    @property
    def bridge(self) -> str:
        """The name of the bridge to the pods."""
        return f"wbk{self.api}"


NAMES = (
    "etcd",
    "peer",
    "api",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "health",
    "stream",
    "proxy",
)


def write_settings(home: Path) -> Settings:
    """Choose ports and write certificates, keys and kubeconfigs.

    The kubeconfigs: `kubeconfig` of the administrator, `manager.kubeconfig`, `kubelet.kubeconfig`.
    """
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in NAMES]
    ports = {name: each.getsockname()[1] for name, each in zip(NAMES, sockets, strict=True)}
    for each in sockets:
        each.close()
    settings = Settings(ports, f"10.244.{ports['api'] % 200 + 20}", Authority("rig"))
    (home / "ca.crt").write_text(settings.authority.pem)
    _issue(
        settings,
        home,
        "server",
        "kube-apiserver",
        "127.0.0.1",
        "10.96.0.1",
        "localhost",
        "kubernetes.default.svc",
    )
    _issue(settings, home, "admin", "admin", group="system:masters")
    _issue(settings, home, "manager", "rig-manager", group="system:masters")
    _issue(settings, home, "kubelet", f"system:node:{NODE}", settings.address, NODE, group="system:nodes")
    accounts = ec.generate_private_key(ec.SECP256R1())
    write_key(accounts, home / "accounts.key")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (home / "accounts.pub").write_bytes(accounts.public_key().public_bytes(serialization.Encoding.PEM, form))
    (home / "tokens.csv").write_text("rig-token,rig-user,rig-user\n")
    write_kubeconfig(home / "kubeconfig", settings, certified(home, "admin"))
    write_kubeconfig(home / "manager.kubeconfig", settings, certified(home, "manager"))
    write_kubeconfig(home / "kubelet.kubeconfig", settings, certified(home, "kubelet"))
    return settings


def _issue(settings: Settings, home: Path, file: str, name: str, *others: str, group: str = "") -> None:
    settings.authority.issue(name, home / f"{file}.crt", home / f"{file}.key", *others, group=group)


def certified(home: Path, name: str) -> dict[str, str]:
    """Return a user of a kubeconfig who has a certificate."""
    files = {"client-certificate-data": f"{name}.crt", "client-key-data": f"{name}.key"}
    return {key: base64.b64encode((home / file).read_bytes()).decode() for key, file in files.items()}


def write_kubeconfig(
    path: Path, settings: Settings, user: dict[str, Any], *, context: str = "rig", namespace: str = ""
) -> Path:
    """Write a kubeconfig, mode 0600; `user` has its `token`, or its certificate and key."""
    authority = base64.b64encode(settings.authority.pem.encode()).decode()
    server = f"https://127.0.0.1:{settings.api}"
    cluster = {"server": server, "certificate-authority-data": authority}
    place = {"cluster": "rig", "user": "rig"} | ({"namespace": namespace} if namespace else {})
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": "rig", "cluster": cluster}],
        "users": [{"name": "rig", "user": user}],
        "contexts": [{"name": context, "context": place}],
    }
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(document, file, indent=1)
    return path
