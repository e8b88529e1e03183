"""The members of the cluster that a host belongs to, and which of them it is itself.

The id of the cluster is in /etc/waybill/cluster, which also selects the layer of values that the hosts of a
cluster share. The peers are values, under the keys that the release names. What a release was rendered with
is kept with its record: a removal and a rollback ask the same members.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from installer.core import jsonio
from installer.core.errors import HostNotReadyError, Problem, TamperedError
from installer.core.format.manifest import ClusterNeeds, Manifest
from installer.core.schema_errors import spelling_hint
from installer.host.context import Context
from installer.host.layout import MEMBERS_FILE, Layout
from installer.host.system import System
from installer.planning.cluster.discovery import (
    Settings,
    Sight,
    Sighting,
    read_settings,
    rendered_peers,
    settings_file,
)
from installer.planning.cluster.mdns import is_own_address, own_address
from installer.shared.configuration.merge import Merged, key_path
from installer.shared.configuration.peers import ID, Peer, built_in, read_peers
from installer.state.host_identity import CLUSTER_FILE, host_name, recorded_cluster
from installer.state.state import Entry

NAME = MEMBERS_FILE
"""The file of the members in the directory of a record."""
SCHEMA = "waybill/cluster/v1"
_LIMIT = 1024 * 1024
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster of a host.

    Attributes:
        id: Its id; empty where the host belongs to none.
        node: The id of this host among the peers.
        peers: All members, this host included, sorted by id; empty for a host that is alone.
        settings: How it looks for peers; None: not at all.
        sight: Looks for them.
        seen: Who is seen; None where nobody was looked for.
    """

    id: str
    node: str
    peers: tuple[Peer, ...]
    settings: Settings | None = None
    sight: Sight | None = field(default=None, repr=False, compare=False)
    seen: Sighting | None = None

    def looked(self, needs: ClusterNeeds) -> Cluster:
        """Return it with those that are seen now, where the site asks for it."""
        if self.seen is not None or self.settings is None or self.sight is None:
            return self
        return replace(self, seen=self.sight.look(self.settings, needs, self.id))

    def as_value(self) -> dict[str, Any]:
        """Return it as templates see it, as `waybill.cluster`."""
        return built_in(self.id, self.node, self.peers)

    def as_bytes(self) -> bytes:
        """Return it as it is kept with the record of a release."""
        rows = [{"id": each.id, "address": each.address, "port": each.port} for each in self.peers]
        return jsonio.dumps_lines({"schema": SCHEMA, "id": self.id, "node": self.node, "peers": rows})


def cluster_of(
    system: System,
    layout: Layout,
    needs: ClusterNeeds,
    merged: Merged,
    sight: Sight | None = None,
) -> tuple[Cluster | None, list[Problem]]:
    """Return the cluster of a host by its values, or what is wrong with them.

    Args:
        system: The host.
        layout: Where this product's things lie.
        needs: What the release expects.
        merged: The values; references to secrets are not resolved.
        sight: Looks for peers where the site asks for it; None: nobody is looked for.

    Raises:
        UntrustedError: Somebody else could have changed which cluster this host belongs to.
    """
    try:
        cluster_id = recorded_cluster(system)
    except HostNotReadyError:
        return None, []  # it is a problem of the values, too, since it selects a layer
    at = key_path(needs.peers)
    peers, faults = read_peers(_value(merged, needs.peers), needs)
    problems = [fault.problem(merged.where((*at, *fault.path)), at) for fault in faults]
    settings, wrong = _settings(system, layout, needs)
    problems += wrong
    renders = settings is not None and settings.renders
    if renders and peers:
        what = f"{needs.peers} lists peers, but {settings_file(layout)} says that those that are seen count"
        problems.append(Problem(merged.where(at), what, "remove the list, or `peers: seen`"))
    if (peers or renders) and not cluster_id:
        what = f"does not exist, but {needs.peers} lists the peers of a cluster"
        what = "does not exist, but the peers of a cluster are looked for" if renders else what
        hint = f"write the id of the cluster there, one word: `echo plant-3 > {CLUSTER_FILE}`"
        problems.append(Problem(CLUSTER_FILE, what, hint))
    # A peer that is wrong may be this host.
    node, wrong = ("", []) if faults else _node(system, layout, needs, merged, peers)
    problems += wrong
    if problems:
        return None, problems
    found = Cluster(cluster_id, node, peers, settings, sight)
    if renders and settings is not None and sight is not None:
        return _seen_members(found, settings, needs, sight)
    return found, []


def _settings(system: System, layout: Layout, needs: ClusterNeeds) -> tuple[Settings | None, list[Problem]]:
    settings, problems = read_settings(system, layout) if needs.mdns else (None, [])
    if needs.check == "seen" and settings is None and not problems:
        path = settings_file(layout)
        hint = f"name the interface on which they are: `echo 'interface: eth0' > {path}`"
        problems = [Problem(path, "does not exist, but the release looks for its peers by mDNS", hint)]
    return settings, problems


def _seen_members(
    alone: Cluster, settings: Settings, needs: ClusterNeeds, sight: Sight
) -> tuple[Cluster | None, list[Problem]]:
    """Return the cluster of those that are seen, this host included, or why it is not known."""
    seen = sight.look(settings, needs, alone.id)
    if seen.problems:
        return None, list(seen.problems)
    # This host announces nothing before its first installation.
    address = own_address(settings.interface)
    own = Peer(alone.node, address, needs.port) if needs.port and address else None
    for each in seen.peers:
        if each.id.casefold() == alone.node.casefold() and not is_own_address(each.address):
            what = f"{each.endpoint} announces the id {each.id} on {settings.interface}, which this host has"
            hint = "give each peer an id of its own, or find out who else announces it"
            return None, [Problem(settings.where, what, hint)]
    peers, problems = rendered_peers(seen, settings, sight.recorded, own)
    if problems:
        return None, problems
    node = next((peer.id for peer in peers if peer.id.casefold() == alone.node.casefold()), "")
    if not node:
        what = f"this host, {alone.node}, is not among those that are seen, and the release names no port"
        return None, [Problem(settings.where, what, "list the peers in the values")]
    return replace(alone, node=node, peers=peers, seen=seen), []


def sight_of(context: Context, current: Entry | None, manifest: Manifest) -> Sight:
    """Return what looks for the peers of a release.

    Args:
        context: The product.
        current: The running release; None where none runs.
        manifest: The release.
    """
    system, layout, known = context.system, context.layout, None
    if current is not None and manifest.cluster is not None:
        known = recorded_members(system, layout, current.record, manifest.cluster)
    return Sight(system, layout, known.peers if known else ())


def recorded_members(system: System, layout: Layout, record: str, needs: ClusterNeeds) -> Cluster | None:
    """Return the cluster that a release was rendered for; None where that is not recorded.

    Args:
        system: The host.
        layout: Where this product's things lie.
        record: The id of its record.
        needs: What the release expects.
    """
    data = recorded_bytes(system, layout, record)
    # It serves a check before a change: what cannot be read must not keep a host from its rollback.
    with suppress(TamperedError, KeyError, TypeError):
        document = jsonio.loads_strict(data, NAME, _LIMIT) if data else {}
        if document and document["schema"] == SCHEMA:
            rows = [{key: each for key, each in row.items() if each} for row in document["peers"]]
            peers, faults = read_peers(rows, replace(needs, port=0, check="resolve"))
            if not faults:
                return Cluster(str(document["id"]), str(document["node"]), peers)
    return None


def recorded_bytes(system: System, layout: Layout, record: str) -> bytes:
    """Return the file of the members of a record; empty where there is none, or it cannot be read."""
    with suppress(OSError):
        return system.read(f"{layout.record(record)}/{NAME}", _LIMIT)
    return b""


def _value(merged: Merged, key: str) -> Any:
    value: Any = merged.values
    for part in key_path(key):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _node(
    system: System, layout: Layout, needs: ClusterNeeds, merged: Merged, peers: tuple[Peer, ...]
) -> tuple[str, list[Problem]]:
    """Return the id of this host among the peers, and what is wrong with it."""
    given = _value(merged, needs.node) if needs.node else None
    if given is None or given == "":
        return _by_name(system, layout, needs, merged, peers)
    where = merged.where(key_path(needs.node))
    if not isinstance(given, str) or not ID.fullmatch(given):
        what = f"{needs.node} is not the id of a peer: a text of letters, digits, dots, hyphens, underscores"
        return "", [Problem(where, what, "write the id of this host among the peers")]
    ids = [peer.id for peer in peers]
    if not peers or given in ids:
        return given, []
    what = f"{needs.node} is {given!r}, which is the id of no peer: {_listed(ids)}"
    hint = spelling_hint(given, ids, f"add this host to {needs.peers}, or correct {needs.node}")
    return "", [Problem(where, what, hint)]


def _by_name(
    system: System, layout: Layout, needs: ClusterNeeds, merged: Merged, peers: tuple[Peer, ...]
) -> tuple[str, list[Problem]]:
    """Return the peer that has the name of this host, with or without its domain."""
    name = host_name(system)
    for wanted in (name, name.partition(".")[0]):
        for peer in peers:
            if peer.id.casefold() == wanted:
                return peer.id, []
    if not peers:
        return name.partition(".")[0], []
    ids = [peer.id for peer in peers]
    what = f"{needs.peers} has no peer with the id {name}, the name of this host: {_listed(ids)}"
    add = f"add this host to {needs.peers}"
    hint = f"{add}, or set {needs.node} in {layout.site_values} to its id" if needs.node else add
    return "", [Problem(merged.where(key_path(needs.peers)), what, hint)]


def _listed(ids: list[str]) -> str:
    return ", ".join(_some(ids))


def _some(ids: list[str]) -> Iterator[str]:
    yield from ids[:_NAMED]
    if len(ids) > _NAMED:
        yield f"… {len(ids) - _NAMED} more"
