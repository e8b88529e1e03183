"""Releases that expect something of a cluster, and peers that answer: sockets that listen on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from installer.core.format.manifest import ClusterNeeds
from tests.rig.bench import Bench
from tests.rig.configured import configured, in_cluster, layer
from tests.rig.trustworld import World

NEEDS = ClusterNeeds("cluster.peers", "cluster.node", port=6222, quorum="majority")
DEFAULTS = "cluster:\n  node: ''\n  peers: []\nlog: info\n"
TEMPLATE = """\
cluster: {{ waybill.cluster.id | tojson }}
node: {{ waybill.cluster.node }}
peers:
{%- for peer in waybill.cluster.peers %}
  - {id: {{ peer.id }}, address: {{ peer.address | tojson }}, port: {{ peer.port }}}
{%- endfor %}
ROUTES={{ waybill.cluster.others | map(attribute="endpoint") | join(",") | env("systemd") }}
log: {{ log }}
"""
SCRIPT = "#!/bin/sh\n"
RUN = ("--yes", "--only", "script")
"""Below --root a step runs where it is named: then the services of this host are restarted."""


def clustered(
    version: str = "1.4.0",
    sequence: int = 100_040_000_999,
    needs: ClusterNeeds | None = NEEDS,
    template: str = TEMPLATE,
    defaults: str = DEFAULTS,
) -> World:
    """Return a release that renders its cluster to /etc/chat.conf, and restarts a service by a script."""
    return configured(version, sequence, defaults, None, template, mode=0o644, script=SCRIPT, cluster=needs)


def newer(bench: Bench, needs: ClusterNeeds | None = NEEDS) -> str:
    """Return the path of a bundle with the release after `clustered()`."""
    return str(bench.bundle(clustered("1.5.0", 100_050_000_999, needs), "newer.tar"))


def peers_yaml(ports: Sequence[int]) -> str:
    """Return values with peers node-1, node-2, … of this machine at these ports."""
    rows = [
        f"    - {{id: node-{number}, address: 127.0.0.1, port: {port}}}\n"
        for number, port in enumerate(ports, 1)
    ]
    return "cluster:\n  peers:\n" + "".join(rows)


def member(bench: Bench, ports: Sequence[int], node: str = "node-1") -> None:
    """Make a host a member of the cluster plant-3."""
    in_cluster(bench, "plant-3")
    layer(bench, "clusters/plant-3.yaml", peers_yaml(ports))
    layer(bench, "values.yaml", f"cluster:\n  node: {node}\n")


@contextmanager
def listening(count: int) -> Iterator[list[socket.socket]]:
    """Have sockets of this machine that accept connections; one that is closed refuses them."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        yield sockets
    finally:
        for each in sockets:
            each.close()


def ports_of(sockets: Sequence[socket.socket]) -> list[int]:
    """Return their ports."""
    return [each.getsockname()[1] for each in sockets]
