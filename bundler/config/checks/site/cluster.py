"""Check what a release expects of a cluster: sites have to be able to set it, defaults have to be right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bundler.config.checks.templates import KnownValues
from bundler.config.entries import Entries
from installer.core.errors import Problem
from installer.core.format.manifest import ClusterNeeds
from installer.core.schema_errors import spelling_hint
from installer.shared.configuration.merge import key_path
from installer.shared.configuration.peers import Peer, built_in, read_peers

_EXAMPLE_PORT = 6222


def check(entries: Entries, needs: ClusterNeeds, known: KnownValues) -> Iterator[Problem]:
    """Yield what is wrong with `cluster` of bundle.yaml.

    Args:
        entries: The entries of bundle.yaml.
        needs: What it says.
        known: The values that a site can set.
    """
    for word, key in (("peers", needs.peers), ("node", needs.node)):
        path = tuple(map(str, key_path(key))) if key else ()
        if path and not known.possible(path):
            where = entries.document.where(("cluster", word))
            what = f"cluster.{word} is {key}, which is not a known value: no site could set it"
            hint = "give it a default in the values file, or describe it in the values schema"
            yield Problem(where, what, spelling_hint(path[-1], known.beside(path), hint))
    if needs.quorum and needs.check == "resolve":
        what = "cluster.quorum counts the peers that answer, but cluster.check only resolves their addresses"
        hint = "remove check, so that peers are connected to; or remove quorum"
        yield Problem(entries.document.where(("cluster", "quorum")), what, hint)
    if needs.check == "seen" and not needs.mdns:
        what = "cluster.check is seen, but cluster.mdns does not say what the peers announce"
        hint = "add the type of the service, such as mdns: _lan-chat._tcp"
        yield Problem(entries.document.where(("cluster", "check")), what, hint)
    _, faults = read_peers(_default(needs, known), needs)
    given = next((item.given for item in entries.of_kind("values")), "values")
    yield from (fault.problem(given, key_path(needs.peers)) for fault in faults)


def example(needs: ClusterNeeds, known: KnownValues) -> dict[str, Any]:
    """Return the cluster with which templates are tried: the default peers, or two examples.

    Args:
        needs: What bundle.yaml says.
        known: The default values.
    """
    peers, _ = read_peers(_default(needs, known), needs)
    # A loop over no peers would hide what is wrong inside of it.
    if not peers:
        port = needs.port or (_EXAMPLE_PORT if needs.check == "connect" else 0)
        peers = tuple(Peer(f"node-{number}", f"192.0.2.{number}", port) for number in (1, 2))
    return built_in("example", peers[0].id, peers)


def _default(needs: ClusterNeeds, known: KnownValues) -> Any:
    value: Any = known.values
    for part in key_path(needs.peers):
        value = value.get(part) if isinstance(value, dict) else None
    return value
