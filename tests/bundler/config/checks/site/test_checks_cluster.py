"""`cluster` of bundle.yaml: its keys, its quorum, the default peers, and templates that use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.config.loader import load
from installer.core.format.manifest import ClusterNeeds
from tests.rig.products import faults, hints

VALUES = "cluster:\n  node: ''\n  peers: []\n"
TEMPLATE = "{% for peer in waybill.cluster.peers %}{{ peer.endpoint }}\n{% endfor %}"
CLUSTER = "cluster: {peers: cluster.peers, node: cluster.node, port: 6222, quorum: majority}\n"


@pytest.fixture
def product(product_dir: Path) -> Path:
    write(product_dir)
    return product_dir


def write(directory: Path, cluster: str = CLUSTER, values: str = VALUES, template: str = TEMPLATE) -> None:
    (directory / "config").mkdir(exist_ok=True)
    (directory / "config/values.yaml").write_text(values)
    (directory / "config/chat.conf.j2").write_text(template)
    text = (directory / "bundle.yaml").read_text().partition("config:\n")[0]
    text += "config:\n  - {template: config/chat.conf.j2, install: /etc/chat.conf}\n"
    (directory / "bundle.yaml").write_text(f"{text}values: {{defaults: config/values.yaml}}\n{cluster}")


def test_the_cluster_of_bundle_yaml_is_in_the_manifest(product: Path) -> None:
    expected = ClusterNeeds("cluster.peers", "cluster.node", 6222, "connect", "majority")
    assert load(product, "v1.4.0").manifest.cluster == expected


def test_a_number_is_a_quorum_too(product: Path) -> None:
    write(product, "cluster: {peers: cluster.peers, port: 1, quorum: 2}\n")
    needs = load(product, "v1.4.0").manifest.cluster
    assert needs is not None
    assert needs.quorum == "2"


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ("cluster: {peers: cluster.pears}\n", "cluster.peers is cluster.pears, which is not a known value"),
        (
            "cluster: {peers: cluster.peers, node: name}\n",
            "cluster.node is name, which is not a known value",
        ),
        (
            "cluster: {peers: cluster.peers, check: resolve, quorum: 2}\n",
            "cluster.quorum counts the peers that answer, but cluster.check only resolves",
        ),
        ("cluster: {peers: cluster.peers, quorum: most}\n", "cluster.quorum"),
        ("cluster: {peers: cluster.peers, check: ping}\n", "cluster.check"),
        ("cluster: {node: cluster.node}\n", "peers"),
        ("cluster: {peers: 'a b'}\n", "cluster.peers"),
    ],
    ids=["unknown peers", "unknown node", "quorum of names", "odd quorum", "odd check", "no peers", "no key"],
)
def test_what_no_host_could_use_is_refused(product: Path, cluster: str, said: str) -> None:
    write(product, cluster, template="x\n")
    (found,) = faults(product)
    assert found.startswith("bundle.yaml:")
    assert said in found


def test_a_key_that_is_nearly_known_is_suggested(product: Path) -> None:
    write(product, "cluster: {peers: cluster.pears}\n", template="x\n")
    assert hints(product) == "did you mean peers?"


def test_default_peers_have_to_be_right(product: Path) -> None:
    values = "cluster:\n  node: ''\n  peers: [{id: a, address: a.lan}, {id: a, address: b.lan}]\n"
    write(product, values=values)
    assert faults(product) == [
        "config/values.yaml: cluster.peers[1].id is 'a', the id of the peer at a.lan:6222, too"
    ]


@pytest.mark.parametrize(
    ("template", "said", "hint"),
    [
        ("{{ waybill.cluster.nod }}", "uses waybill.cluster.nod, which is not a known value", "node"),
        ("{% for p in waybill.cluster.peers %}{{ p.adress }}{% endfor %}", "adress", ""),
        ("{{ waybill.clusters }}", "uses waybill.clusters, which is not a known value", "cluster"),
    ],
    ids=["a misspelt key", "a misspelt key of a peer, in a loop", "a misspelt name"],
)
def test_a_template_that_misspells_it_is_refused(product: Path, template: str, said: str, hint: str) -> None:
    write(product, template=template)
    (found,) = faults(product)
    assert said in found
    assert hint in hints(product)


def test_a_template_can_use_it_only_where_bundle_yaml_asks_for_it(product: Path) -> None:
    write(product, cluster="")
    (found,) = faults(product)
    assert "uses waybill.cluster.peers, which is not a known value" in found
    assert "`cluster:` in bundle.yaml" in hints(product)
