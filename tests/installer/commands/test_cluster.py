"""A release that expects a cluster: what is rendered, what is refused, and when the quorum stops a change."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
import yaml

from installer.cli.options import console
from installer.core.format.manifest import ClusterNeeds
from tests.rig.bench import Bench
from tests.rig.clustered import NEEDS, RUN, clustered, listening, member, newer, peers_yaml, ports_of
from tests.rig.configured import in_cluster, layer

CONF = "etc/chat.conf"
SHARED = "/etc/waybill/lan-chat/clusters/plant-3.yaml"


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    with listening(3) as found:
        yield found


@pytest.fixture
def host(bench: Bench, sockets: list[socket.socket]) -> Bench:
    """node-1 of three, all of which answer."""
    member(bench, ports_of(sockets))
    return bench


def installed(host: Bench, needs: ClusterNeeds = NEEDS) -> None:
    code, document, said = host.run(str(host.bundle(clustered(needs=needs))), *RUN)
    assert code == 0, (document, said)


def plan(host: Bench, *words: str, needs: ClusterNeeds | None = NEEDS) -> tuple[int, dict]:
    code, document, _ = host.run("plan", newer(host, needs), "--only", "script", *words)
    return code, document


def whats(document: dict) -> list[str]:
    return [f"{each['where']}: {each['what']}" for each in document["problems"][1:]]


def begun(host: Bench) -> list[dict]:
    lines = (host.host / "var/lib/waybill/audit.jsonl").read_text().splitlines()
    return [record for line in lines if (record := json.loads(line))["event"] == "begun"]


def test_the_cluster_is_rendered_as_yaml_and_as_an_environment_variable(host: Bench, sockets) -> None:
    one, two, three = ports_of(sockets)
    installed(host)
    text = (host.host / CONF).read_text()
    assert f'ROUTES="127.0.0.1:{two},127.0.0.1:{three}"\n' in text
    assert yaml.safe_load(text.partition("ROUTES")[0]) == {
        "cluster": "plant-3",
        "node": "node-1",
        "peers": [
            {"id": f"node-{number}", "address": "127.0.0.1", "port": port}
            for number, port in enumerate((one, two, three), 1)
        ],
    }


def test_the_order_of_the_list_changes_no_file(host: Bench, sockets) -> None:
    installed(host)
    before = (host.host / CONF).read_bytes()
    peers = yaml.safe_load(peers_yaml(ports_of(sockets)))["cluster"]["peers"]
    layer(host, "clusters/plant-3.yaml", json.dumps({"cluster": {"peers": peers[::-1]}}))
    code, document, _ = host.run(str(host.bundle(clustered())), *RUN)
    assert (code, document["changed"]) == (0, False)
    assert (host.host / CONF).read_bytes() == before


def test_a_host_that_belongs_to_no_cluster_and_has_no_peers_is_alone(bench: Bench) -> None:
    installed(bench)
    text = (bench.host / CONF).read_text()
    assert text.startswith('cluster: ""\n')
    assert 'ROUTES=""\n' in text


def test_the_host_is_the_peer_with_its_name_where_no_value_says_which(host: Bench, sockets) -> None:
    layer(host, "values.yaml", "log: debug\n")
    (host.host / "etc/hostname").write_text("node-2.plant-3.lan\n")
    installed(host)
    assert "node: node-2\n" in (host.host / CONF).read_text()


def test_peers_without_the_id_of_a_cluster_are_refused_with_the_command_that_sets_it(host: Bench) -> None:
    (host.host / "etc/waybill/cluster").unlink()
    layer(host, "values.yaml", peers_yaml([1, 2]).replace("peers:", "node: node-1\n  peers:"))
    code, document = plan(host)
    assert code == 15
    assert whats(document) == [
        "/etc/waybill/cluster: does not exist, but cluster.peers lists the peers of a cluster"
    ]
    # As it can be typed here, where the host is a directory.
    assert f"`echo plant-3 > {host.host}/etc/waybill/cluster`" in document["problems"][1]["hint"]


@pytest.mark.parametrize(
    ("node", "said", "hint"),
    [
        ("node-4", "cluster.node is 'node-4', which is the id of no peer: node-1, node-2, node-3", "node-1"),
        ("'no de'", "cluster.node is not the id of a peer", "write the id of this host"),
        ("''", "cluster.peers has no peer with the id airgap-7, the name of this host", "set cluster.node"),
    ],
    ids=["of no peer", "no id", "not stated"],
)
def test_a_host_that_is_no_peer_is_refused(host: Bench, sockets, node: str, said: str, hint: str) -> None:
    member(host, ports_of(sockets), node)
    (host.host / "etc/hostname").write_text("airgap-7\n")
    code, document = plan(host)
    assert code == 15
    (problem,) = document["problems"][1:]
    assert said in problem["what"]
    assert hint in problem["hint"]


def test_all_that_is_wrong_with_the_peers_is_said_at_once_with_its_lines(host: Bench) -> None:
    text = (
        "cluster:\n  peers:\n"
        "    - {id: node-1, address: 127.0.0.1, port: 1}\n"
        "    - {id: Node-1, address: 127.0.0.1, port: 1}\n"
        "    - {id: node-3, adress: 127.0.0.3}\n"
        "    - {id: node-4, address: 10.0.3.300, port: 70000}\n"
    )
    layer(host, "clusters/plant-3.yaml", text)
    code, document = plan(host)
    assert code == 15
    assert whats(document) == [
        f"{SHARED}:4: cluster.peers[1].id is 'Node-1', the id of the peer at 127.0.0.1:1, too",
        f"{SHARED}:4: cluster.peers[1].address is '127.0.0.1': 127.0.0.1:1 is the address of node-1, too",
        f"{SHARED}:5: cluster.peers[2].adress is not known",
        (
            f"{SHARED}:6: cluster.peers[3].address is '10.0.3.300', but must be an IPv4 or IPv6 address "
            "without brackets, or the name of a host"
        ),
        f"{SHARED}:6: cluster.peers[3].port is 70000, but must be a whole number from 1 to 65535",
    ]
    assert document["problems"][3]["hint"] == "did you mean address?"


def test_a_secret_is_no_address_and_is_not_shown(host: Bench) -> None:
    text = "cluster:\n  peers:\n    - {id: node-1, address: secret://file/address}\n"
    layer(host, "clusters/plant-3.yaml", text)
    secrets = host.host / "etc/waybill/secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "address").write_text("10.9.8.7")
    (secrets / "address").chmod(0o600)
    code, document = plan(host)
    assert code == 15
    assert "secret://file/address" in json.dumps(document)
    assert "10.9.8.7" not in json.dumps(document)


def test_config_validate_names_two_peers_with_one_id(host: Bench) -> None:
    text = "cluster:\n  peers: [{id: node-1, address: a.lan}, {id: node-1, address: b.lan}]\n"
    layer(host, "clusters/plant-3.yaml", text)
    code, document, _ = host.run("config", "validate", newer(host))
    assert code == 15
    assert whats(document) == [
        f"{SHARED}:2: cluster.peers[1].id is 'node-1', the id of the peer at a.lan:6222, too"
    ]


def test_a_plan_shows_each_peer_and_whether_it_answers(host: Bench, sockets) -> None:
    one, two, three = ports_of(sockets)
    installed(host)
    sockets[2].close()
    code, text = host.text("plan", newer(host, replace(NEEDS, quorum="1")), "--only", "script")
    assert code == 0
    assert (
        "cluster plant-3, this host is node-1:\n"
        f"  node-1  127.0.0.1:{one}  this host, answers\n"
        f"  node-2  127.0.0.1:{two}  answers\n"
        f"  node-3  127.0.0.1:{three}  does not answer: connection refused\n"
        "  quorum: 1 of 3 peers; 2 answer\n"
    ) in text
    assert "note: 1 of 3 peers does not answer: node-3\n" in text


def test_a_plan_shows_every_one_of_many_peers_where_all_is_asked_for(bench: Bench) -> None:
    with listening(25) as many:
        member(bench, ports_of(many))
        many[24].close()
        words = ["plan", str(bench.bundle(clustered())), "--only", "script"]
        text = bench.text(*words)[1]
        try:
            every = bench.text("--all", *words)[1]
        finally:
            console.everything = False
    # Those that do not answer come first.
    assert "  node-25  " in text
    assert "  node-9  " not in text
    assert "  … and 5 more peers; --all shows all of them\n" in text
    assert all(f"  node-{number} " in every for number in range(1, 26))
    assert "--all shows" not in every


def test_a_release_that_is_not_retained_leaves_nothing(host: Bench) -> None:
    installed(host)
    again = clustered("1.5.0", 100_050_000_999)
    assert host.run(str(host.bundle(again, "newer.tar")), "--keep", "1", "--allow-quorum-loss", *RUN)[0] == 0
    state = host.host / "var/lib/waybill/lan-chat"
    assert len(list(state.rglob("cluster.json"))) == 1
    # What nobody recognised as Waybill's own was moved there.
    assert not (state / "kept").exists()


def test_the_document_of_a_plan_has_each_peer(host: Bench, sockets) -> None:
    installed(host)
    sockets[1].close()
    code, document = plan(host, needs=replace(NEEDS, quorum=""))
    assert code == 0
    found = document["cluster"]
    assert (found["id"], found["node"], found["quorum"], found["left"]) == ("plant-3", "node-1", None, 1)
    assert [(each["id"], each["own"], each["healthy"], each["fault"]) for each in found["peers"]] == [
        ("node-1", True, True, None),
        ("node-2", False, False, "connection refused"),
        ("node-3", False, True, None),
    ]


def test_a_release_that_expects_no_cluster_asks_nobody(host: Bench) -> None:
    code, document = plan(host, needs=None)
    assert code == 15  # its template uses waybill.cluster
    assert document["problems"][1]["what"] == "the value waybill.cluster is not defined"
    world = clustered(needs=None, template="log: {{ log }}\n")
    assert host.run(str(host.bundle(world)), *RUN)[0] == 0
    assert not list((host.host / "var/lib/waybill").rglob("cluster.json"))


def test_a_name_that_cannot_be_resolved_is_a_note(host: Bench, sockets) -> None:
    text = peers_yaml(ports_of(sockets)).replace(
        "node-2, address: 127.0.0.1", "node-2, address: node-2.invalid"
    )
    layer(host, "clusters/plant-3.yaml", text)
    needs = replace(NEEDS, check="resolve", quorum="")
    code, document = plan(host, needs=needs)
    assert code == 0
    assert [each["healthy"] for each in document["cluster"]["peers"]] == [True, False, True]
    assert "node-2.invalid cannot be resolved" in document["cluster"]["peers"][1]["fault"]


class TestQuorum:
    """2 of 3 have to answer."""

    LOST = "2 of 3 peers answer; this restarts node-1, then 1 of 3 is left: the quorum is 2, the majority"

    def test_a_quorum_holds_where_the_others_answer(self, host: Bench) -> None:
        installed(host)
        assert plan(host)[0] == 0
        assert host.run(newer(host), *RUN)[0] == 0

    def test_a_restart_that_would_lose_it_is_refused_before_anything_changes(
        self, host: Bench, sockets
    ) -> None:
        installed(host)
        sockets[1].close()
        before = (host.host / CONF).read_bytes()
        code, document, _ = host.run(newer(host), *RUN)
        assert code == 15
        assert whats(document) == [f"cluster plant-3: {self.LOST}"]
        assert "`--allow-quorum-loss`" in document["problems"][1]["hint"]
        assert (host.host / CONF).read_bytes() == before
        assert len(begun(host)) == 1

    def test_the_operator_can_accept_its_loss_and_the_audit_log_has_it(self, host: Bench, sockets) -> None:
        installed(host)
        sockets[1].close()
        code, _document, said = host.run(newer(host), *RUN, "--allow-quorum-loss")
        assert code == 0
        assert f"{self.LOST}; --allow-quorum-loss: you accept this" in said
        assert [each.get("quorum_loss") for each in begun(host)] == [None, self.LOST]

    def test_the_option_says_nothing_where_the_quorum_holds(self, host: Bench) -> None:
        installed(host)
        assert host.run(newer(host), *RUN, "--allow-quorum-loss")[0] == 0
        assert "quorum_loss" not in begun(host)[-1]

    def test_a_first_installation_takes_no_member_away(self, host: Bench, sockets) -> None:
        for each in sockets:
            each.close()
        installed(host)

    def test_a_rollback_would_lose_it_too(self, host: Bench, sockets) -> None:
        installed(host)
        assert host.run(newer(host), *RUN)[0] == 0
        sockets[2].close()
        code, document, _ = host.run("rollback", "--yes")
        assert code == 15
        assert whats(document) == [f"cluster plant-3: {self.LOST}"]
        assert host.run("rollback", "--yes", "--allow-quorum-loss")[0] == 0

    def test_a_rollback_asks_the_members_of_today(self, host: Bench, sockets) -> None:
        installed(host)
        with listening(2) as fresh:
            member(host, [ports_of(sockets)[0], *ports_of(fresh)])
            assert host.run(newer(host), *RUN)[0] == 0
            for each in sockets[1:]:
                each.close()
            assert host.run("rollback", "--yes")[0] == 0

    def test_a_rollback_of_a_rollback_knows_its_members(self, host: Bench, sockets) -> None:
        installed(host)
        assert host.run(newer(host), *RUN)[0] == 0
        assert host.run("rollback", "--yes")[0] == 0
        sockets[2].close()
        code, document, _ = host.run("rollback", "1.5.0", "--yes")
        assert (code, whats(document)) == (15, [f"cluster plant-3: {self.LOST}"])

    def test_a_removal_stops_a_member(self, host: Bench, sockets) -> None:
        installed(host)
        sockets[2].close()
        code, document, _ = host.run("remove", "lan-chat", "--yes")
        assert code == 15
        assert whats(document) == [f"cluster plant-3: {self.LOST.replace('restarts', 'stops')}"]
        assert host.run("remove", "lan-chat", "--yes", "--allow-quorum-loss")[0] == 0

    def test_files_alone_restart_nothing(self, host: Bench, sockets) -> None:
        installed(host)
        for each in sockets:
            each.close()
        layer(host, "values.yaml", "cluster: {node: node-1}\nlog: debug\n")
        code, _, _ = host.run(str(host.bundle(clustered())), "--yes", "--skip", "script")
        assert code == 0
        assert "log: debug" in (host.host / CONF).read_text()

    def test_nobody_is_asked_where_nothing_is_to_do(self, host: Bench, sockets) -> None:
        installed(host)
        for each in sockets:
            each.close()
        code, document, _ = host.run(str(host.bundle(clustered())), *RUN)
        assert (code, document["changed"]) == (0, False)

    def test_a_quorum_can_be_a_number(self, host: Bench, sockets) -> None:
        needs = replace(NEEDS, quorum="1")
        installed(host, needs)
        sockets[1].close()
        assert plan(host, needs=needs)[0] == 0
        sockets[2].close()
        code, document = plan(host, needs=needs)
        assert code == 15
        assert whats(document)[0].endswith("then 0 of 3 are left: the quorum is 1")

    def test_a_quorum_that_holds_although_a_peer_is_down_is_warned_of(self, host: Bench, sockets) -> None:
        needs = replace(NEEDS, quorum="1")
        installed(host, needs)
        assert "the quorum is" not in json.dumps(plan(host, needs=needs)[1])
        sockets[1].close()
        warning = "2 of 3 peers answer; this restarts node-1, then 1 of 3 is left: the quorum is 1"
        assert warning in plan(host, needs=needs)[1]["notes"]
        code, _, said = host.run(newer(host, needs), *RUN)
        assert (code, f"note: {warning}\n" in said) == (0, True)

    def test_a_member_that_is_alone_has_none_to_lose(self, host: Bench, sockets) -> None:
        member(host, ports_of(sockets)[:1])
        installed(host)
        assert plan(host)[0] == 0


def test_a_host_whose_cluster_file_others_can_change_is_not_trusted(host: Bench) -> None:
    in_cluster(host, "plant-3")
    (host.host / "etc/waybill/cluster").chmod(0o666)
    assert plan(host)[0] == 10
