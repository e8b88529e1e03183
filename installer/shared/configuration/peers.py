"""The peers of a cluster, as values list them: what each has to be, and that no two are the same.

    peers:
      - {id: node-1, address: 10.0.3.11}
      - {id: node-2, address: node-2.lan, port: 6223}

Both commands read them: `bundle create` the defaults of a release, `install` the values of a host. Pure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from installer.core.errors import Problem
from installer.core.format.health_target import MAX_PORT
from installer.core.format.manifest import ClusterNeeds
from installer.core.schema_errors import did_you_mean, dotted
from installer.core.schema_errors import quoted as _quoted
from installer.shared.strict_yaml import Path

MAX_PEERS = 256
"""Peers of one cluster: each of them is asked before a change."""
BUILT_IN = "cluster"
"""Templates see the cluster as `waybill.cluster`."""
ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_ID_FORM = "letters, digits, and dots, hyphens and underscores between them; at most 63"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_ADDRESS_FORM = "an IPv4 or IPv6 address without brackets, or the name of a host"
_SCOPE = re.compile(r"[A-Za-z0-9._-]{1,15}")
_KEYS = ("id", "address", "port")
_EXAMPLE = "{id: node-1, address: 10.0.3.11}"


@dataclass(frozen=True, slots=True, order=True)
class Peer:
    """One member of a cluster.

    Attributes:
        id: Its name in the cluster.
        address: An IP address, or the name of a host.
        port: Where the others reach it; 0 where the release needs no port.
    """

    id: str
    address: str
    port: int = 0

    @property
    def endpoint(self) -> str:
        """`address:port`, an IPv6 address in brackets; the address alone where there is no port."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}" if self.port else host

    def as_value(self) -> dict[str, Any]:
        """Return it as templates see it."""
        return {"id": self.id, "address": self.address, "port": self.port, "endpoint": self.endpoint}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a list of peers.

    Attributes:
        path: Where in the list: a number, and a key; empty for the list itself.
        what: What is wrong.
        hint: What to do.
    """

    path: Path
    what: str
    hint: str

    def problem(self, where: str, key: Path) -> Problem:
        """Return it as a problem of the values, of which `key` is the list."""
        return Problem(where, f"{dotted((*key, *self.path))} {self.what}", self.hint)


def read_peers(value: Any, needs: ClusterNeeds) -> tuple[tuple[Peer, ...], list[Fault]]:
    """Return peers, sorted by id, and everything that is wrong with their list.

    Args:
        value: What the values have at the key of the peers. References to secrets are not resolved.
        needs: What the release expects.
    """
    if value is None:
        value = []
    if not isinstance(value, list):
        return (), [Fault((), "must be a list of peers", f"write a list with entries such as {_EXAMPLE}")]
    if len(value) > MAX_PEERS:
        what = f"has {len(value)} peers, at most {MAX_PEERS} are allowed"
        return (), [Fault((), what, "list only the members of this cluster")]
    faults: list[Fault] = []
    rows: list[tuple[int, Peer]] = []
    for number, entry in enumerate(value):
        found = list(_entry_faults(entry, needs))
        faults += [Fault((number, *fault.path), fault.what, fault.hint) for fault in found]
        if not found:
            port = entry.get("port") or needs.port
            rows.append((number, Peer(entry["id"], _plain(entry["address"]), port)))
    # From the first line to the last.
    faults = sorted([*faults, *_twice(rows)], key=lambda fault: fault.path[0])
    return tuple(sorted(peer for _, peer in rows)), faults


def built_in(cluster_id: str, node: str, peers: tuple[Peer, ...]) -> dict[str, Any]:
    """Return what templates see as `waybill.cluster`.

    Args:
        cluster_id: The id of the cluster; empty for a host that belongs to none.
        node: The id of this host among the peers.
        peers: All members, this host included.
    """
    return {
        "id": cluster_id,
        "node": node,
        "peers": [peer.as_value() for peer in peers],
        "others": [peer.as_value() for peer in peers if peer.id != node],
    }


def _entry_faults(entry: Any, needs: ClusterNeeds) -> Iterator[Fault]:
    if not isinstance(entry, Mapping):
        yield Fault((), f"is {_shown(entry)}, but must be a map of a peer", f"write it as {_EXAMPLE}")
        return
    meant = set[str]()
    for key in map(str, entry):
        if key not in _KEYS:
            near = did_you_mean(key, _KEYS)
            meant.add(near)
            hint = f"did you mean {near}?" if near else f"a peer has: {', '.join(_KEYS)}"
            yield Fault((key,), "is not known", hint)
    for key, is_valid, form in (("id", _is_id, _ID_FORM), ("address", is_address, _ADDRESS_FORM)):
        if key not in entry:
            # Said of the misspelt key already.
            if key not in meant:
                yield Fault((), f"has no {key}", f"write it as {_EXAMPLE}")
        elif not is_valid(entry[key]):
            yield Fault((key,), f"is {_shown(entry[key])}, but must be {form}", "correct it there")
    port = entry.get("port")
    if port is None:
        if not needs.port and needs.check == "connect":
            yield Fault((), "has no port, and the release names none for all peers", "add its port: 6222")
    elif type(port) is not int or not 0 < port <= MAX_PORT:
        form = f"a whole number from 1 to {MAX_PORT}"
        yield Fault(("port",), f"is {_shown(port)}, but must be {form}", "correct it there")


def _shown(value: Any) -> str:
    return _quoted(value if isinstance(value, str | int | float) else str(value))


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and ID.fullmatch(value) is not None


def is_address(value: Any) -> bool:
    """Return whether a value is an address of a peer: of IP, or the name of a host."""
    if not isinstance(value, str):
        return False
    plain, sign, scope = value.partition("%")
    try:
        found = ipaddress.ip_address(plain)
    except ValueError:
        # `10.0.3.300` is no name of a host: the last part of one is never a number.
        return _NAME.fullmatch(value) is not None and not value.rpartition(".")[2].isdigit()
    # Nobody is reached at these: whoever writes them means something else.
    if found.is_unspecified or found.is_multicast:
        return False
    return not sign or (found.version == 6 and _SCOPE.fullmatch(scope) is not None)


def _plain(address: str) -> str:
    """Return the one form of an address, by which two are compared, and which is rendered."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address.lower()


def _twice(rows: list[tuple[int, Peer]]) -> Iterator[Fault]:
    """Yield peers that have the id, or the address and port, of one before them."""
    ids: dict[str, Peer] = {}
    endpoints: dict[str, Peer] = {}
    for number, peer in rows:
        # Without case: some services and all host names compare so.
        if (first := ids.setdefault(peer.id.casefold(), peer)) is not peer:
            what = f"is {_shown(peer.id)}, the id of the peer at {first.endpoint}, too"
            yield Fault((number, "id"), what, "give each peer an id of its own")
        if (first := endpoints.setdefault(peer.endpoint, peer)) is not peer:
            what = f"is {_shown(peer.address)}: {peer.endpoint} is the address of {first.id}, too"
            yield Fault((number, "address"), what, "give each peer an address of its own")
