"""Peers are asked all at once, each for a bounded time, whatever they do."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from installer.core.format.manifest import ClusterNeeds
from installer.host.system import System
from installer.planning.cluster import probe
from installer.planning.cluster.probe import SILENT, ask
from installer.shared.configuration.peers import Peer
from tests.rig.clustered import listening, ports_of

CONNECT = ClusterNeeds("peers")
RESOLVE = ClusterNeeds("peers", check="resolve")


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def test_each_peer_has_its_own_answer_in_the_order_of_the_list(system: System) -> None:
    with listening(2) as sockets:
        one, two = ports_of(sockets)
        sockets[1].close()
        peers = [Peer("a", "127.0.0.1", two), Peer("b", "localhost", one), Peer("c", "c.invalid", 1)]
        states = ask(system, CONNECT, peers, "b")
    assert [each.peer for each in states] == peers
    assert [each.own for each in states] == [False, True, False]
    assert states[0].fault == "connection refused"
    assert states[1].fault == ""
    assert states[2].fault.startswith("c.invalid cannot be resolved: ")


def test_only_the_address_counts_where_the_release_says_so(system: System) -> None:
    states = ask(system, RESOLVE, [Peer("a", "127.0.0.1", 1), Peer("b", "b.invalid")], "a")
    assert [bool(each.fault) for each in states] == [False, True]


def test_an_ipv6_peer_is_asked(system: System) -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        # Without IPv6 there is no such peer; the state of one is still a state.
        (state,) = ask(system, CONNECT, [Peer("a", "::1", 9)], "a")
        assert state.fault
        return
    with server:
        (state,) = ask(system, CONNECT, [Peer("a", "::1", server.getsockname()[1])], "a")
    assert state.fault == ""


def test_peers_that_are_silent_are_waited_for_at_the_same_time(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "WAIT", 0.5)
    # A full backlog: the kernel drops what asks for a connection.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        held = [socket.socket() for _ in range(4)]
        for each in held:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        began = time.monotonic()
        states = ask(system, CONNECT, [Peer(f"n{number}", "127.0.0.1", port) for number in range(40)], "")
        took = time.monotonic() - began
        for each in held:
            each.close()
    assert {each.fault for each in states} == {SILENT}
    assert took < 3


def test_a_name_server_that_hangs_is_not_waited_for(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "WAIT", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: time.sleep(30))
    began = time.monotonic()
    (state,) = ask(system, RESOLVE, [Peer("a", "a.lan")], "")
    assert state.fault == SILENT
    assert time.monotonic() - began < 5


def test_256_peers_take_no_longer_than_their_rounds(system: System) -> None:
    with listening(1) as sockets:
        (port,) = ports_of(sockets)
        began = time.monotonic()
        states = ask(system, CONNECT, [Peer(f"n{number}", "127.0.0.1", port) for number in range(256)], "")
    # The backlog may be full for a moment; what counts is that nobody waits in line.
    assert len(states) == 256
    assert time.monotonic() - began < 4 * probe.WAIT + 2
