"""Asks the peers of a cluster, all at once: is there an address, does somebody answer on the port."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from installer.core.format.manifest import ClusterNeeds
from installer.deploy.health.parallel import ask_all
from installer.host.system import System
from installer.shared.configuration.peers import Peer

WAIT = 3.0
"""Seconds that a peer has to answer."""
AT_ONCE = 64
"""Peers that are asked at the same time."""
SILENT = f"no answer within {WAIT:g} s"


@dataclass(frozen=True, slots=True)
class PeerState:
    """What was found of one peer.

    Attributes:
        peer: The peer.
        own: Whether it is this host.
        fault: Why it does not count as healthy; empty where it does.
        seen: Whether it is seen by mDNS; None where nobody was looked for.
    """

    peer: Peer
    own: bool
    fault: str = ""
    seen: bool | None = None


def ask(system: System, needs: ClusterNeeds, peers: Iterable[Peer], node: str) -> list[PeerState]:
    """Return the state of each peer, in their order.

    Args:
        system: The host, for its clock.
        needs: What is looked at.
        peers: The peers; at most `MAX_PEERS`.
        node: The id of this host.
    """
    listed = list(peers)
    connects = needs.check == "connect"
    faults = ask_all(
        system, [partial(_fault, each, connects=connects) for each in listed], at_once=AT_ONCE, seconds=WAIT
    )
    return [
        PeerState(peer, peer.id == node, SILENT if fault is None else fault)
        for peer, fault in zip(listed, faults, strict=True)
    ]


def _fault(peer: Peer, *, connects: bool) -> str:
    """Return why a peer does not answer; empty where it does."""
    try:
        if connects:
            socket.create_connection((peer.address, peer.port), WAIT).close()
        else:
            socket.getaddrinfo(peer.address, peer.port or None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return f"{peer.address} cannot be resolved: {(error.strerror or 'unknown').lower()}"
    except TimeoutError:
        return SILENT
    except (OSError, UnicodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
        return reason[:1].lower() + reason[1:]
    return ""
