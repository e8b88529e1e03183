"""Looks for the peers of a cluster by mDNS, on one interface, for a bounded time.

One query goes to the link (RFC 6762, 5.1 and 6.7: from a port of its own, so that answers come to this socket
only), and is repeated. Nothing is announced, and no group is joined. Whatever answers is not to be believed:
anybody on the link can. The library `zeroconf` reads and writes packets; it is imported when a site asks.
"""

from __future__ import annotations

import secrets
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from installer.host.system import System
from installer.shared.terminal import interrupts

if TYPE_CHECKING:
    from zeroconf import DNSIncoming

PORT = 5353
MAX_PACKET = 9000
"""RFC 6762, 17."""
MAX_PACKETS = 4096
MAX_NAMES = 1024
"""Services, and hosts, that are kept: a cluster has at most 256 members."""
MAX_ADDRESSES = 16
"""Addresses, and texts, of one of them."""
_GROUP4, _GROUP6 = "224.0.0.251", "ff02::fb"
_ON_LINK = 255
"""Hops that a packet has left which no router has passed on."""
_IP_RECVTTL, _IP_TTL = 12, 2
_AGAIN = (0.0, 0.25, 1.0, 3.0, 7.0, 15.0)
"""Seconds after which the question is asked (again)."""
_ASKED = 32
"""Names of one question for what an answer lacked."""
_PTR, _ANY, _IN = 12, 255, 1


@dataclass(frozen=True, slots=True, order=True)
class Announcement:
    """A service that announces itself, as it says.

    Attributes:
        instance: Its name, without the type of the service.
        addresses: Addresses of its host, sorted.
        port: Its port.
        texts: What else it says: `cluster`, `node`.
    """

    instance: str
    addresses: tuple[str, ...]
    port: int
    texts: tuple[tuple[str, str], ...] = ()

    def text(self, key: str) -> str:
        """Return one of its texts; empty where it does not say it."""
        return dict(self.texts).get(key, "")


Enough = Callable[[list[Announcement]], bool]


@dataclass(slots=True)
class _Records:
    """What answers said so far."""

    service: str
    services: dict[str, tuple[str, int]] = field(default_factory=dict)
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    addresses: dict[str, set[str]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def take(self, message: DNSIncoming, scope: str) -> None:
        """Keep what a message says of the service; the rest of it counts for nothing."""
        from zeroconf import DNSAddress, DNSPointer, DNSService, DNSText

        for record in message.answers():
            name = record.name.lower()
            if isinstance(record, DNSPointer) and name == self.service:
                self._named(record.alias)
            elif isinstance(record, DNSService) and self._named(record.name):
                self.services[name] = (record.server.lower(), record.port)
            elif isinstance(record, DNSText) and self._named(record.name):
                self.texts[name] = _texts(record.text)
            elif isinstance(record, DNSAddress):
                self._at(name, _address(record.address, scope))

    def _at(self, host: str, address: str) -> None:
        known = self.addresses.get(host)
        if known is None and len(self.addresses) < MAX_NAMES:
            known = self.addresses.setdefault(host, set())
        # A host has a few addresses; one that says thousands gives no better choice.
        if known is not None and address and len(known) < MAX_ADDRESSES:
            known.add(address)

    def _named(self, name: str) -> bool:
        if name.lower() in self.names:
            return True
        if len(self.names) >= MAX_NAMES or not name.lower().endswith(f".{self.service}"):
            return False
        self.names[name.lower()] = name
        return True

    def incomplete(self) -> Iterator[str]:
        """Yield the names that are known of, and about which something is not."""
        for key, name in self.names.items():
            if key not in self.services or key not in self.texts:
                yield name
            elif not self.addresses.get(self.services[key][0]):
                yield self.services[key][0]

    def announcements(self) -> Iterator[Announcement]:
        """Yield what is known in full."""
        for key, (server, port) in self.services.items():
            found = sorted(self.addresses.get(server, ()))
            if found and port:
                instance = self.names[key][: -len(self.service) - 1]
                texts = tuple(sorted(self.texts.get(key, {}).items()))
                yield Announcement(instance, tuple(found), port, texts)


def browse(
    system: System, interface: str, service: str, wait: float, enough: Enough = lambda _: False
) -> list[Announcement]:
    """Return the services of a type that answer on an interface, sorted.

    Args:
        system: The host, for its clock.
        interface: The name of the interface.
        service: The type, such as `_lan-chat._tcp`.
        wait: Seconds after which looking ends.
        enough: Says of those found so far whether nobody else is looked for.

    Raises:
        OSError: There is no such interface, or it cannot be used.
    """
    from zeroconf import DNSIncoming

    records = _Records(f"{service}.local.".lower())
    number = secrets.randbelow(0xFFFF) + 1
    start = system.monotonic()
    taken, asked = 0, 0
    with ExitStack() as stack:
        sockets = _sockets(interface, stack)
        poll = select.poll()
        for each in sockets:
            poll.register(each, select.POLLIN)
        while (now := system.monotonic() - start) < wait and taken < MAX_PACKETS:
            missing = list(records.incomplete())
            if not missing and enough(sorted(records.announcements())):
                break
            if asked < len(_AGAIN) and now >= _AGAIN[asked]:
                asked += 1
                _ask(sockets, interface, _packets(number, records.service, missing))
            until = min(wait, _AGAIN[asked] if asked < len(_AGAIN) else wait)
            with interrupts.waiting():
                ready = {fd for fd, _ in poll.poll(max(1, (until - now) * 1000))}
            for each in sockets:
                if each.fileno() in ready and (data := _received(each)):
                    taken += 1
                    message = DNSIncoming(data)
                    # Of another question, or of nobody's: an answer repeats the number of the question.
                    if message.valid and message.is_response() and message.id == number:
                        records.take(message, interface)
    return sorted(records.announcements())


def own_address(interface: str) -> str:
    """Return the address from which this host sends on an interface; empty where it has none."""
    with ExitStack() as stack, suppress(OSError):
        for each in _sockets(interface, stack):
            with suppress(OSError):
                index = socket.if_nametoindex(interface)
                group: Any = (_GROUP4, PORT) if each.family == socket.AF_INET else (_GROUP6, PORT, 0, index)
                each.connect(group)
                text = str(each.getsockname()[0]).partition("%")[0]
                return f"{text}%{interface}" if text.startswith("fe80:") else text
    return ""


def is_own_address(address: str) -> bool:
    """Return whether this host has an address: only then a socket can be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        place = socket.getaddrinfo(address, 0, family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)[0][4]
        with socket.socket(family, socket.SOCK_DGRAM) as each:
            each.bind(place)
    except OSError:
        return False
    return True


def _sockets(interface: str, stack: ExitStack) -> list[socket.socket]:
    """Return a socket for each version of IP that the interface has, bound to the interface alone."""
    index = socket.if_nametoindex(interface)
    device = interface.encode() + b"\0"
    found, error = list[socket.socket](), OSError("no version of IP")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            each = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
            if family == socket.AF_INET:
                group = struct.pack("=4s4si", bytes(4), bytes(4), index)
                each.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, group)
                each.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _ON_LINK)
                each.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
            else:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _ON_LINK)
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            each.bind(("", 0))
            found.append(each)
        except OSError as caught:
            error = caught
    if not found:
        raise error
    return found


def _send(each: socket.socket, interface: str, data: bytes) -> None:
    if each.family == socket.AF_INET:
        each.sendto(data, (_GROUP4, PORT))
    else:
        each.sendto(data, (_GROUP6, PORT, 0, socket.if_nametoindex(interface)))


def _ask(sockets: list[socket.socket], interface: str, packets: list[bytes]) -> None:
    """Send questions from each socket.

    Raises:
        OSError: They left by none, as where the interface is down or has no address.
    """
    errors = list[OSError]()
    for each in sockets:
        try:
            for packet in packets:
                _send(each, interface, packet)
        except OSError as error:
            errors.append(error)
    if len(errors) == len(sockets):
        raise errors[0]


def _packets(number: int, service: str, missing: list[str]) -> list[bytes]:
    """Return the question for the service, and for what is missing of those that answered."""
    from zeroconf import DNSOutgoing, DNSQuestion

    made = list[bytes]()
    for names, kind in (([service], _PTR), (missing[:_ASKED], _ANY)):
        for name in names:
            message = DNSOutgoing(0, id_=number, multicast=False)
            # A name that somebody announced may be one that cannot be asked for.
            with suppress(Exception):
                message.add_question(DNSQuestion(name, kind, _IN))
                made += message.packets()
    return made


def _received(each: socket.socket) -> bytes:
    """Return a packet from this link; empty for any other."""
    try:
        data, more, flags, source = each.recvmsg(MAX_PACKET, 256)
    except OSError:
        return b""
    hops = [
        struct.unpack("=i", value[:4])[0]
        for level, kind, value in more
        if (level, kind) in ((socket.IPPROTO_IP, _IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT))
        and len(value) >= 4
    ]
    on_link = hops == [_ON_LINK] and source[1] == PORT
    return data if on_link and not flags & socket.MSG_TRUNC else b""


def _address(packed: Any, scope: str) -> str:
    """Return an address as text, one of the link with its interface; empty for what is none."""
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    try:
        text = socket.inet_ntop(family, packed)
    except (OSError, ValueError):
        return ""
    return f"{text}%{scope}" if text.startswith("fe80:") else text


def _texts(data: bytes) -> dict[str, str]:
    """Return the texts of a TXT record that are `key=value` in UTF-8; the first of a key counts."""
    found: dict[str, str] = {}
    at = 0
    while at < len(data) and len(found) < MAX_ADDRESSES:
        text = data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
        key, sign, value = text.partition(b"=")
        with suppress(UnicodeDecodeError):
            if sign and key:
                found.setdefault(key.decode("ascii").lower(), value.decode("utf-8"))
    return found
