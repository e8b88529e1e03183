"""What a plan says of the peers of a cluster, in lines for people and in its document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from installer.core.format.manifest import ClusterNeeds
from installer.host.system import System
from installer.planning.cluster.check import Change, ClusterReport, check
from installer.planning.cluster.discovery import Settings
from installer.planning.cluster.members import Cluster
from installer.planning.cluster.probe import PeerState
from installer.shared.configuration.peers import Peer
from tests.rig.clustered import listening, ports_of

SEEN = Settings("discovery.yaml:1", "eth0", renders=True)
COMPARED = Settings("discovery.yaml:1", "eth0")


def report(*states: PeerState, settings: Settings | None = None, **more: Any) -> ClusterReport:
    peers = tuple(each.peer for each in states)
    return ClusterReport(Cluster("plant-3", peers[0].id, peers, settings), states, **more)


def state(number: int, **found: Any) -> PeerState:
    return PeerState(Peer(f"node-{number:02}", f"10.0.3.{number}", 6222), number == 1, **found)


def test_peers_that_do_not_answer_are_shown_where_not_all_can_be() -> None:
    states = [state(number, fault="connection refused" if number > 23 else "") for number in range(1, 26)]
    _, first, second, third, *others, more = report(*states).lines()
    assert (first, second) == (
        "  node-24  10.0.3.24:6222  does not answer: connection refused",
        "  node-25  10.0.3.25:6222  does not answer: connection refused",
    )
    assert third == "  node-01  10.0.3.1:6222  this host, answers"
    assert (len(others), more) == (17, "  … and 5 more peers; --all shows all of them")


def test_peers_that_can_all_be_shown_keep_their_order() -> None:
    states = [state(number, fault="x" if number == 20 else "") for number in range(1, 21)]
    lines = list(report(*states).lines())
    assert [line.split()[0] for line in lines[1:]] == [each.peer.id for each in states]


def test_whether_a_peer_that_answers_is_seen_is_said_next_to_it_and_once() -> None:
    shown = report(state(1, seen=False), state(2, seen=True), state(3), settings=COMPARED)
    assert list(shown.lines()) == [
        "cluster plant-3, this host is node-01:",
        "  node-01  10.0.3.1:6222  this host, answers, not seen",
        "  node-02  10.0.3.2:6222  answers, seen",
        "  node-03  10.0.3.3:6222  answers",
    ]
    states = (state(1, seen=False, fault="not seen on eth0 within 3 s"), state(2, seen=True))
    assert list(report(*states, settings=SEEN, checked="seen").lines()) == [
        "cluster plant-3, this host is node-01, peers as seen on eth0:",
        "  node-01  10.0.3.1:6222  this host, not seen on eth0 within 3 s",
        "  node-02  10.0.3.2:6222  seen",
    ]


def test_peers_that_nobody_asked_are_listed_without_a_quorum() -> None:
    peers = (Peer("a", "a.lan"), Peer("b", "b.lan", 6222))
    shown = ClusterReport(Cluster("plant-3", "a", peers), quorum=2)
    assert list(shown.lines()) == [
        "cluster plant-3, this host is a:", "  a  a.lan  this host", "  b  b.lan:6222",
    ]  # fmt: skip
    found = shown.as_json()
    assert [(each["port"], each["healthy"], each["seen"], each["fault"]) for each in found["peers"]] == [
        (None, None, None, None), (6222, None, None, None),
    ]  # fmt: skip
    assert (found["source"], found["quorum"], found["left"]) == ("values", 2, None)


def test_the_document_says_what_is_left_and_what_was_accepted() -> None:
    shown = report(state(1), state(2, fault="x"), settings=SEEN, quorum=2, left=0, accepted="the loss")
    found = shown.as_json()
    assert (found["source"], found["quorum"], found["left"], found["quorum_loss_accepted"]) == (
        "mdns", 2, 0, True,
    )  # fmt: skip
    assert report(state(1), settings=COMPARED).as_json()["quorum_loss_accepted"] is False
    assert list(shown.lines())[-1] == "  quorum: 2 of 2 peers; 1 answer"


def test_a_host_that_is_alone_says_nothing() -> None:
    assert list(ClusterReport(Cluster("", "", ())).lines()) == []


@pytest.mark.parametrize(
    ("quorum", "restarts", "told"),
    [("majority", True, True), ("majority", False, False), ("", True, False)],
    ids=["a restart", "files alone", "no quorum"],
)
def test_a_quorum_counts_where_the_release_names_one_and_services_of_a_live_host_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quorum: str, restarts: bool, told: bool
) -> None:
    system = System(tmp_path)
    monkeypatch.setattr(system, "live", True)
    with listening(3) as sockets:
        peers = tuple(Peer(f"n{at}", "127.0.0.1", port) for at, port in enumerate(ports_of(sockets)))
    needs = ClusterNeeds("cluster.peers", quorum=quorum)
    found = check(system, needs, Cluster("plant-3", "n0", peers), Change(restarts, runs=True, stays=True))
    assert [each.fault for each in found.states] == ["connection refused"] * 3
    assert bool(found.problems) == told
    assert found.notes == ("2 of 3 peers do not answer: n1, n2",)
