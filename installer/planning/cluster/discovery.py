"""What a host sees of its cluster by mDNS, where its discovery.yaml asks for it; and which peers that makes.

Anybody on the link can announce anything. So what is seen never changes a list that the site wrote. Where the
site has peers rendered as they are seen, it says how many members there are: no other number is rendered.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from installer.core.errors import Problem
from installer.core.format.manifest import ClusterNeeds
from installer.core.schema_errors import findings, spelling_hint
from installer.host.layout import Layout
from installer.host.system import System
from installer.planning.cluster.mdns import Announcement, browse
from installer.shared import strict_yaml
from installer.shared.configuration.peers import ID, Peer, is_address
from installer.shared.published_schema import published_schema
from installer.state.site_layers import ValuesFile, read_values_file

SCHEMA = "v1/discovery-yaml.schema.json"
_NAMED = 5
_EXPECT = "say how many members the cluster has, this host included, such as expect: 3"


def settings_file(layout: Layout) -> str:
    """Return the path of the settings of a product."""
    return f"{layout.config}/discovery.yaml"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a host looks for peers.

    Attributes:
        where: The line of the interface in its file.
        interface: The interface.
        wait: Seconds, at most.
        renders: Whether those that are seen are rendered.
        expect: How many members the cluster has; 0: not known.
    """

    where: str
    interface: str
    wait: int = 3
    renders: bool = False
    expect: int = 0


@dataclass(frozen=True, slots=True)
class Sighting:
    """Who is seen.

    Attributes:
        peers: Those of the own cluster, sorted; several may have one id.
        notes: What does not count, and why.
        problems: Why nobody could be looked for.
    """

    peers: tuple[Peer, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def twice(self) -> list[tuple[Peer, Peer]]:
        """Return peers with one id and different addresses."""
        first: dict[str, Peer] = {}
        return [
            (known, peer)
            for peer in self.peers
            if (known := first.setdefault(peer.id.casefold(), peer)) is not peer
        ]

    def of(self, peer: Peer) -> tuple[Peer, ...]:
        """Return what is seen under the id of a peer."""
        return tuple(each for each in self.peers if each.id.casefold() == peer.id.casefold())


@dataclass(slots=True)
class Sight:
    """Looks for peers once in a command, however often it is asked.

    Attributes:
        system: The host.
        layout: Where this product's things lie.
        recorded: The members that the running release was rendered with.
    """

    system: System
    layout: Layout
    recorded: tuple[Peer, ...] = ()
    _seen: dict[tuple[str, str], Sighting] = field(default_factory=dict)

    def settings(self) -> tuple[Settings | None, list[Problem]]:
        """Return the settings, None where there are none; and what is wrong with them."""
        return read_settings(self.system, self.layout)

    def look(self, settings: Settings, needs: ClusterNeeds, cluster_id: str) -> Sighting:
        """Return who is seen."""
        key = (needs.mdns, cluster_id)
        if key not in self._seen:
            self._seen[key] = _look(self.system, settings, needs, cluster_id)
        return self._seen[key]


def read_settings(system: System, layout: Layout) -> tuple[Settings | None, list[Problem]]:
    """Return the settings of a host for a product, None where there are none; and what is wrong with them."""
    path = settings_file(layout)
    # By the rules of values: whoever can change it chooses where root looks for peers.
    read = read_values_file(system, path)
    if not isinstance(read, ValuesFile):
        return None, read or []
    document = strict_yaml.load(read.data, path)
    problems = list(document.problems)
    if not problems:
        problems = [
            each.problem if each.problem.hint else replace(each.problem, hint=_EXPECT)
            for each in findings(published_schema(SCHEMA), document.value, document.where)
        ]
    if problems:
        return None, problems
    value = document.value
    return Settings(
        document.where(("interface",)), value["interface"], value.get("wait", 3),
        value.get("peers") == "seen", value.get("expect", 0),
    ), []  # fmt: skip


@functools.cache
def _look(system: System, settings: Settings, needs: ClusterNeeds, cluster_id: str) -> Sighting:
    def enough(found: list[Announcement]) -> bool:
        ids = {peer.id.casefold() for peer in sighting(found, cluster_id).peers}
        return 0 < settings.expect <= len(ids)

    # Those that are rendered are looked for to the end: one too many must not be a member by being faster.
    more = () if settings.renders else (enough,)
    try:
        found = browse(system, settings.interface, needs.mdns, settings.wait, *more)
    except OSError as error:
        return Sighting(problems=(_unusable(settings, error),))
    return sighting(found, cluster_id)


def _unusable(settings: Settings, error: OSError) -> Problem:
    there = [name for _, name in socket.if_nameindex()]
    if settings.interface not in there:
        what = f"there is no network interface {settings.interface}"
        hint = spelling_hint(settings.interface, there, f"interfaces of this host: {', '.join(there)}")
        return Problem(settings.where, what, hint)
    reason = error.strerror or str(error)
    hint = "run as root" if isinstance(error, PermissionError) else "bring it up, or name another interface"
    return Problem(settings.where, f"{settings.interface} cannot be used: {reason.lower()}", hint)


def sighting(found: Iterable[Announcement], cluster_id: str) -> Sighting:
    """Return the peers among announcements: those of the own cluster with a usable id and address.

    Args:
        found: What was announced.
        cluster_id: The id of the cluster of this host.
    """
    peers, odd, foreign = set[Peer](), list[str](), set[str]()
    for each in found:
        name = each.text("node") or each.instance
        address = next((text for text in _best(each.addresses) if _is_of_others(text)), "")
        if (theirs := each.text("cluster")) != cluster_id:
            foreign.add(theirs if ID.fullmatch(theirs) else "")
        elif ID.fullmatch(name) and address:
            peers.add(Peer(name, address, each.port))
        else:
            odd.append(each.instance)
    notes = []
    if foreign:
        names = [name or "(none)" for name in sorted(foreign)]
        notes.append(f"mDNS: ignored what is of another cluster: {_some(names)}")
    if odd:
        # Their names are anybody's: they are counted, not shown.
        notes.append(f"mDNS: ignored {len(odd)} announcements without a usable id or address")
    return Sighting(tuple(sorted(peers)), tuple(notes))


def _is_of_others(address: str) -> bool:
    # An announcement of 127.0.0.1 would lead each host to itself.
    return is_address(address) and not ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _best(addresses: Iterable[str]) -> list[str]:
    """Return addresses in the order in which they are chosen: IPv4, IPv6, IPv6 of the link."""
    return sorted(addresses, key=lambda text: (":" in text, "%" in text, text))


def rendered_peers(
    seen: Sighting, settings: Settings, recorded: Iterable[Peer], own: Peer | None
) -> tuple[tuple[Peer, ...], list[Problem]]:
    """Return the members to render where the site has those that are seen, or why that cannot be done.

    Args:
        seen: Who is seen.
        settings: How many there have to be.
        recorded: The members that the running release was rendered with: one that is down is still a member.
        own: This host, which announces nothing before it is installed.
    """
    twice = seen.twice()
    if twice:
        return (), [_announced_twice(settings, *pair) for pair in twice[:_NAMED]]
    members = {peer.id.casefold(): peer for peer in seen.peers}
    if own is not None:
        members.setdefault(own.id.casefold(), own)
    count = len(members)
    if count < settings.expect:
        silent = {peer.id.casefold(): peer for peer in recorded if peer.id.casefold() not in members}
        # Only if it is clear who is missing.
        if count + len(silent) == settings.expect:
            members |= silent
    if len(members) == settings.expect:
        return tuple(sorted(members.values())), []
    names = _some([peer.id for peer in sorted(members.values())])
    what = f"{count} members of the cluster are seen on {settings.interface}, this host included: {names}; "
    what += f"{settings.expect} are expected"
    more = "find out who announces one too many, or raise expect"
    hint = (
        more if count > settings.expect else "start the others, raise wait, or list the peers in the values"
    )
    return (), [Problem(settings.where, what, hint)]


def _announced_twice(settings: Settings, first: Peer, second: Peer) -> Problem:
    what = (
        f"two peers announce the id {first.id} on {settings.interface}: {first.endpoint}, {second.endpoint}"
    )
    return Problem(settings.where, what, "give each peer an id of its own, or find out who else announces it")


def static_notes(seen: Sighting, peers: Iterable[Peer]) -> list[str]:
    """Return how what is seen differs from the peers that the site lists."""
    listed = {peer.id.casefold(): peer for peer in peers}
    notes = [
        f"mDNS: two peers announce the id {first.id}: {first.endpoint}, {second.endpoint}"
        for first, second in seen.twice()[:_NAMED]
    ]
    odd = [each for each in seen.peers if each.id.casefold() not in listed]
    if odd:
        names = _some([f"{each.id} ({each.endpoint})" for each in odd])
        notes.append(f"mDNS: seen, but not among the peers of the values: {names}")
    for each in seen.peers:
        known = listed.get(each.id.casefold())
        # A name of a host says nothing of its address.
        if known and _is_ip(known.address) and each.endpoint != known.endpoint:
            notes.append(f"mDNS: {each.id} announces {each.endpoint}, the values have {known.endpoint}")
    return [*notes[:_NAMED], *seen.notes]


def _is_ip(address: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(address))
    return False


def _some(names: list[str]) -> str:
    more = f", … {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
