"""Peers are asked all at once, each for a bounded time, whatever they do."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from installer.core.format.manifest import ClusterNeeds
from installer.host.system import System
from installer.planning.cluster import probe
from installer.planning.cluster.probe import SILENT, ask
from installer.shared.configuration.peers import Peer
from tests.rig.clustered import listening, ports_of
from tests.rig.hang import ends

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


class Gate:
    """Lets connections begin only once some are about to: with fewer at once none ever begins.

    Args:
        monkeypatch: Puts it before the real connections.
        size: How many.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        self._met, self._passed = threading.Barrier(size), threading.Semaphore(0)
        self._connect = socket.create_connection
        monkeypatch.setattr(socket, "create_connection", self._wait)

    def _wait(self, *words: Any) -> socket.socket:
        self._met.wait()
        self._passed.release()
        return self._connect(*words)

    def has_let_in(self, count: int) -> None:
        """Wait until so many have passed; on a busy machine their threads may begin after our answer."""
        with ends():
            for _ in range(count):
                self._passed.acquire()


def test_peers_that_are_silent_are_waited_for_at_the_same_time(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "WAIT", 0.5)
    gate = Gate(monkeypatch, 40)
    # A full backlog: the kernel drops what asks for a connection.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        held = [socket.socket() for _ in range(4)]
        for each in held:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        states = ask(system, CONNECT, [Peer(f"n{number}", "127.0.0.1", port) for number in range(40)], "")
        gate.has_let_in(40)
        for each in held:
            each.close()
    assert {each.fault for each in states} == {SILENT}


def test_a_name_server_that_hangs_is_not_waited_for(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "WAIT", 0.2)
    answers = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: answers.wait())
    with ends():
        (state,) = ask(system, RESOLVE, [Peer("a", "a.lan")], "")
    assert state.fault == SILENT
    answers.set()


def test_256_peers_take_no_longer_than_their_rounds(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, probe.AT_ONCE)
    with listening(1) as sockets:
        (port,) = ports_of(sockets)
        states = ask(system, CONNECT, [Peer(f"n{number}", "127.0.0.1", port) for number in range(256)], "")
        gate.has_let_in(256)
    # The backlog may be full for a moment; what counts is that nobody waits in line.
    assert len(states) == 256
    assert 256 // probe.AT_ONCE == 4
