"""Prometheus, Alertmanager, node_exporter and etcd with the files and the addresses of templates/monitoring.

They run in a network namespace that has the addresses and the names of the template. Only the intervals are
shortened: nobody waits for a quarter of an hour.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from bundler.commands.init import init_project
from installer.shared.rendering.template import render
from tests.rig.engine import wait_for
from tests.rig.needs import needs
from tests.rig.process import Daemon
from tests.rig.tlscerts import Authority

TOP = Path(__file__).resolve().parents[2]
PRODUCT = "lan-chat"
MONITOR, SINKS = "192.0.2.10", "192.0.2.30"
HOSTS = ("192.0.2.21", "192.0.2.22", "192.0.2.23")
OUTSIDE = "198.51.100.9"
"""An address that does not belong to the admin network."""
TEXTFILES = "/var/lib/prometheus/node-exporter"
# What the servers look for at fixed places, shown to them alone.
SHOWN = """
mount --bind "$0/hosts" /etc/hosts
[ ! -d "$1" ] || mount --bind "$1" /usr/share
shift; exec "$@"
"""
SHORTER = {
    "rules/product.rules.yml": (("seen_total[15m])) > 0", "seen_total[20s])) > 0"),),
    "prometheus.yml": (("interval: 30s", "interval: 1s"), ("timeout: 10s", "timeout: 1s")),
    "alertmanager.yml": (
        *(("group_wait: 30s", "group_wait: 0s"), ("group_wait: 10s", "group_wait: 0s")),
        *(("group_interval: 5m", "group_interval: 1s"), ("group_interval: 1m", "group_interval: 1s")),
    ),
}


class Monitoring:
    """The machine with the servers, in its own network.

    Attributes:
        home: Its directory; `files` below it is what `bundle init` wrote.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.name = home, f"wbm{os.getpid()}"
        self.daemons: list[Daemon] = []
        init_project(home / PRODUCT, "monitoring")
        self.files = home / PRODUCT / "monitoring"
        for name, pairs in SHORTER.items():
            text = (self.files / name).read_text()
            for old, new in pairs:
                assert old in text
                text = text.replace(old, new)
            (self.files / name).write_text(text)

    # -- the network ------------------------------------------------------------------------------

    def command(self, *words: str | Path) -> list[str]:
        """Returns the words that run a command in this network."""
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self.command(*words), capture_output=True, check=False)

    def get(self, url: str, *words: str) -> bytes:
        """Asks a server; empty where none answers."""
        return self.run("curl", "-sf", "--max-time", "5", *words, url).stdout

    def start(self, name: str, *words: str | Path, share: Path | None = None) -> Daemon:
        """Starts a server that is ended with the machine."""
        shown = ["unshare", "-m", "sh", "-ec", SHOWN, str(self.home), str(share or "")]
        environment = {**os.environ, "SSL_CERT_FILE": str(self.home / "ca.pem"), "PYTHONPATH": str(TOP)}
        daemon = Daemon(self.command(*shown, *words), self.home / f"{name}.log", environment)
        self.daemons.append(daemon)
        return daemon

    def arguments(self, name: str) -> list[str]:
        """Returns the options of a service that the template sets in /etc/default."""
        (line,) = re.findall(r'(?m)^ARGS="(.*)"$', (self.files / "defaults" / name).read_text())
        return shlex.split(line)

    # -- the servers ------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Makes the network, and the certificates and names of chat and mail."""
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True)
        for address in (MONITOR, SINKS, *HOSTS, OUTSIDE):
            subprocess.run(["ip", "-n", self.name, "addr", "add", f"{address}/24", "dev", "lo"], check=True)
        names = ("chat.lan", "mail.lan")
        (self.home / "hosts").write_text("".join(f"{SINKS} {name}\n" for name in names))
        authority = Authority("admin network")
        (self.home / "ca.pem").write_text(authority.pem)
        for name in names:
            place = self.home / name
            place.mkdir()
            authority.issue(name, place / "cert.pem", place / "key.pem")

    def serve(self) -> None:
        """Starts the servers of the monitoring machine, and where the alerts go to."""
        for what, port in (("chat", "443"), ("mail", "25")):
            program = [sys.executable, "-m", "tests.rig.alertsinks", what, SINKS, port]
            self.start(what, *program, self.home / f"{what}.lan")
        page = self.home / "page-operator"
        page.write_text(f'#!/bin/sh\necho "$@" > {self.home}/arguments.txt\ncat >> {self.home}/pages.txt\n')
        page.chmod(0o755)
        service = (self.files / "alert-command.service").read_text()
        (line,) = re.findall(r"(?m)^ExecStart=/usr/bin/python3 -I \S+ (.*) -- \S+$", service)
        command = [sys.executable, "-I", str(self.files / "alert-command.py"), *shlex.split(line)]
        self.start("pager", *command, "--", page, "ops; rm -rf /")
        alertmanager = Path(needs("alertmanager"))
        words = [f"--config.file={self.files}/alertmanager.yml", f"--storage.path={self.home}/alertmanager"]
        share = alertmanager.parents[1] / "share"
        alerts = self.start(
            "alertmanager", alertmanager, *words, *self.arguments("prometheus-alertmanager"), share=share
        )
        words = [f"--config.file={self.files}/prometheus.yml", f"--storage.tsdb.path={self.home}/tsdb"]
        server = self.start("prometheus", needs("prometheus"), *words, *self.arguments("prometheus"))
        alerts.wait_until(lambda: bool(self.get(f"http://{MONITOR}:9093/-/ready")))
        server.wait_until(lambda: bool(self.get(f"http://{MONITOR}:9090/-/ready")))

    @contextmanager
    def exporter(self, textfiles: Path) -> Iterator[None]:
        """Starts node_exporter of the first host, which reads a directory."""
        words = [
            word.replace(TEXTFILES, str(textfiles)) for word in self.arguments("prometheus-node-exporter")
        ]
        assert str(textfiles) in " ".join(words)
        daemon = self.start("exporter", needs("node-exporter"), *words)
        try:
            daemon.wait_until(lambda: bool(self.get(f"http://{HOSTS[0]}:9100/metrics")))
            yield
        finally:
            daemon.stop()
            self.daemons.remove(daemon)

    def etcd(self) -> dict[str, Daemon]:
        """Starts the three members of lan-chat's cluster; the first is in the targets of the template."""
        found = {
            address: self.start(
                f"etcd-{address}", needs("etcd"), f"--config-file={self.etcd_config(number, address)}"
            )
            for number, address in enumerate(HOSTS)
        }
        for address, daemon in found.items():
            daemon.wait_until(lambda url=f"http://{address}:2381/health": b'"true"' in self.get(url))
        return found

    def etcd_config(self, number: int, address: str) -> Path:
        """Writes the configuration of a member, as Waybill renders it for lan-chat on this host."""
        example = TOP / "examples/lan-chat/config"
        values = yaml.safe_load((example / "values.yaml").read_text())
        # On hosts of their own all of them have the same port for clients.
        values |= {"admin": address, "ports": {**values["ports"], "etcd": 2390 + number}}
        peers = [{"id": f"host-{n}", "endpoint": f"{each}:2380"} for n, each in enumerate(HOSTS, 1)]
        cluster = {"id": PRODUCT, "node": f"host-{number + 1}", "peers": peers}
        template = (example / "etcd.yaml.j2").read_bytes()
        text = render(template, "etcd.yaml.j2", {**values, "waybill": {"cluster": cluster}}).decode()
        path = self.home / f"etcd-{address}.yaml"
        moved = text.replace("/var/lib/lan-chat/etcd", str(self.home / f"etcd-{address}"))
        assert moved != text
        path.write_text(f"{moved}\nunsafe-no-fsync: true\n")
        return path

    def leader(self) -> str:
        """Returns the address of the member that is the leader; empty where none is."""
        for address in HOSTS:
            if b"\netcd_server_is_leader 1" in self.get(f"http://{address}:2381/metrics"):
                return address
        return ""

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Asks Prometheus."""
        url = f"http://{MONITOR}:9090/api/v1/query"
        said = self.get(url, "--data-urlencode", f"query={expression}")
        found: list[dict[str, Any]] = json.loads(said)["data"]["result"] if said else []
        return found

    # -- what arrived -----------------------------------------------------------------------------

    def said(self, name: str) -> str:
        """Returns what arrived: chat.lan/chat.jsonl, mail.lan/mail.txt, pages.txt."""
        path = self.home / name
        return path.read_text() if path.exists() else ""

    def in_chat(self, alert: str, status: str) -> bool:
        """Tells whether an alert arrived in the chat."""
        messages = [json.loads(line) for line in self.said("chat.lan/chat.jsonl").splitlines()]
        return any(
            each["labels"]["alertname"] == alert and each["status"] == status
            for message in messages
            for each in message["alerts"]
        )

    def wait(self, what: str, arrived: Any) -> None:
        """Waits until something arrived."""
        try:
            wait_for(what, arrived, 180)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.logs()}") from error

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()[-1500:]}" for path in self.home.glob("*.log"))

    def close(self) -> None:
        """Ends the servers, removes the network."""
        for daemon in reversed(self.daemons):
            daemon.stop(10)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)


@contextmanager
def monitoring(needed: Sequence[str] = ()) -> Iterator[Monitoring]:
    """Makes the machine with its network, without servers, and removes it."""
    for name in ("netns", "curl", *needed):
        needs(name)
    home = Path(tempfile.mkdtemp(prefix="waybill-mon-"))
    made = Monitoring(home)
    try:
        made.set_up()
        yield made
    finally:
        made.close()
        shutil.rmtree(home, ignore_errors=True)
