"""Peers are looked for by mDNS on one link: with a real daemon, and with what nobody should answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.host.system import System
from installer.planning.cluster import mdns
from installer.planning.cluster.mdns import Announcement, browse, is_own_address, own_address
from tests.rig.hang import ends
from tests.rig.mdns import CLIENT, SERVER, SERVICE, Link, link

pytestmark = pytest.mark.needs("netns", "avahi")

# What a hostile responder says: `answers(question, number)` gives packets.
ONE = """
from zeroconf import DNSOutgoing, DNSPointer, DNSService, DNSText, DNSAddress
import socket
TYPE = "_lan-chat._tcp.local."
def service(out, name, port=7400, text=b"\\x0fcluster=plant-3", host="h.local.", address="198.19.77.1"):
    full = f"{name}.{TYPE}"
    for record in (DNSPointer(TYPE, 12, 1, 10, full), DNSService(full, 33, 1, 10, 0, 0, port, host),
                   DNSText(full, 16, 1, 10, text), DNSAddress(host, 1, 1, 10, socket.inet_aton(address))):
        out.add_answer_at_time(record, 0)
def packets(number, **more):
    out = DNSOutgoing(0x8400, id_=number, multicast=False)
    service(out, **{"name": "node-1", **more})
    return out.packets()
def answers(question, number):
    return packets(number)
"""


@pytest.fixture(scope="module")
def lan() -> Iterator[Link]:
    with link() as made:
        yield made


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def seen(lan: Link, system: System, wait: float = 1.5, expect: int = 0) -> list[Announcement]:
    with lan.entered():
        return browse(system, "eth0", SERVICE, wait, lambda found: 0 < expect <= len(found))


def test_services_of_a_real_daemon_are_seen_with_all_they_say(lan: Link, system: System) -> None:
    first, second = {"cluster": "plant-3"}, {"cluster": "plant-3", "node": "node-2"}
    with lan.avahi(("node-1", 7400, first), ("chat on two", 7401, second)):
        # Not ended early: the records of a host come in several packets.
        found = seen(lan, system, 3)
    assert [(each.instance, each.port, dict(each.texts)) for each in found] == [
        ("chat on two", 7401, second),
        ("node-1", 7400, first),
    ]
    for each in found:
        assert each.addresses[0] == SERVER
        assert all(text == SERVER or text.endswith("%eth0") for text in each.addresses)


def test_looking_ends_as_soon_as_enough_are_seen(lan: Link, system: System) -> None:
    with lan.avahi(("node-1", 7400, {"cluster": "plant-3"})), ends():
        assert len(seen(lan, system, 36_000, 1)) == 1


class Timed(System):
    """A host that remembers what its clock said."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.told = list[float]()

    def monotonic(self) -> float:
        self.told.append(super().monotonic())
        return self.told[-1]

    def went_on_after(self, wait: float) -> bool:
        """Whether looking went on although the clock had said that the time is over."""
        return self.told[-2] - self.told[0] >= wait


def test_a_silent_network_ends_with_the_time(lan: Link, tmp_path: Path) -> None:
    system = Timed(tmp_path)
    with ends():
        assert seen(lan, system, 1.5, 3) == []
    assert system.told[-1] - system.told[0] >= 1.5
    assert not system.went_on_after(1.5)


def test_an_interface_that_is_not_there_is_an_error(lan: Link, system: System) -> None:
    with lan.entered(), pytest.raises(OSError, match="no interface"):
        browse(system, "eth7", SERVICE, 1)


def test_nobody_is_seen_on_another_interface(lan: Link, system: System) -> None:
    with lan.avahi(("node-1", 7400, {})), lan.entered():
        assert browse(system, "lo", SERVICE, 1.5) == []


def test_the_own_address_is_that_of_the_interface(lan: Link) -> None:
    with lan.entered():
        assert own_address("eth0") == CLIENT
        assert own_address("eth7") == ""


@pytest.mark.parametrize(("address", "own"), [(CLIENT, True), (SERVER, False), ("fe80::1%eth0", False)])
def test_an_address_is_this_host_s_own_or_not(lan: Link, address: str, own: bool) -> None:
    with lan.entered():
        assert is_own_address(address) is own


def test_an_answer_made_by_hand_is_seen(lan: Link, system: System) -> None:
    """What the tests below change one thing of."""
    with lan.responder(ONE):
        assert seen(lan, system) == [Announcement("node-1", (SERVER,), 7400, (("cluster", "plant-3"),))]


WRONG = {
    "noise": "import os\nanswers = lambda q, n: [os.urandom(size) for size in (0, 1, 11, 12, 400, 8999)]",
    "a pointer to itself": "import struct\nanswers = lambda q, n: "
    "[struct.pack('!6H', n, 0x8400, 0, 1, 0, 0) + b'\\xc0\\x0c' + bytes(10)]",
    "an answer that is cut": ONE
    + "\nanswers = lambda q, n: [packets(n)[0][:size] for size in range(12, 60)]",
    "another question's number": ONE + "\nanswers = lambda q, n: packets((n + 1) % 65536)",
    "a port that any user may send from": ONE
    + """
def answers(question, number):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
        for packet in packets(number):
            other.sendto(packet, source)
    return []
""",
    "a question in return": "answers = lambda q, n: [q]",
    "a router on the way": ONE + "\nTTL = 64",
    "another type of service": ONE.replace('TYPE = "_lan-chat', 'TYPE = "_other'),
    "no port": ONE + "\nanswers = lambda q, n: packets(n, port=0)",
    "a packet above the limit": ONE + "\nanswers = lambda q, n: [packets(n)[0] + bytes(9000)]",
}


@pytest.mark.parametrize("code", WRONG.values(), ids=WRONG)
def test_what_is_no_answer_counts_for_nothing(lan: Link, system: System, code: str) -> None:
    with lan.responder(code):
        assert seen(lan, system) == []


@pytest.mark.parametrize(
    "text",
    [b"", b"\\x00", b"\\xff" + b"a" * 10, b"\\x03=ab", b"\\x04\\xff=\\xff\\xff", b"\\x07cluster"],
    ids=["empty", "an empty one", "longer than it is", "no key", "no text", "no value"],
)
def test_a_text_record_of_garbage_says_nothing(lan: Link, system: System, text: bytes) -> None:
    with lan.responder(f"{ONE}\nanswers = lambda q, n: packets(n, text=b'{text.decode()}')"):
        assert [each.texts for each in seen(lan, system)] == [()]


MANY = """
def answers(question, number):
    found = []
    for each in range(int(sys.argv[1])):
        found += packets(number, name=f"node-{each}", host=f"h{each}.local.")
    return found
"""


@pytest.mark.parametrize(("count", "least"), [(1000, 200), (5000, 200)])
def test_a_thousand_answers_and_more_are_bounded_in_number_and_time(
    lan: Link, tmp_path: Path, count: int, least: int
) -> None:
    system = Timed(tmp_path)
    with ends(), lan.responder(ONE + MANY, str(count)):
        found = seen(lan, system, 3)
    # The kernel drops what its buffer has no room for; what is kept has a limit.
    assert least < len(found) <= mdns.MAX_NAMES
    assert not system.went_on_after(3)


def test_a_host_with_many_addresses_keeps_a_few(lan: Link, system: System) -> None:
    code = ONE + (
        "\ndef answers(q, n):\n    return [p for i in range(1, 200) "
        "for p in packets(n, address=f'198.19.77.{i}')]"
    )
    with lan.responder(code):
        (found,) = seen(lan, system)
    assert len(found.addresses) <= mdns.MAX_ADDRESSES
