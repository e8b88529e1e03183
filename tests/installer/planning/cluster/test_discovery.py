"""Which of those that are seen are peers, which of them are rendered, and what a plan says of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer.host.layout import Layout
from installer.host.system import System
from installer.planning.cluster.discovery import (
    Settings,
    Sighting,
    read_settings,
    rendered_peers,
    sighting,
    static_notes,
)
from installer.planning.cluster.mdns import Announcement
from installer.shared.configuration.peers import Peer

A, B, C = (Peer(f"node-{number}", f"10.0.3.1{number}", 6222) for number in (1, 2, 3))
SETTINGS = Settings("discovery.yaml:1", "eth0", renders=True, expect=3)


def said(instance: str, *addresses: str, port: int = 6222, **texts: str) -> Announcement:
    texts = {"cluster": "plant-3", **texts}
    return Announcement(instance, addresses or ("10.0.3.11",), port, tuple(sorted(texts.items())))


class TestSighting:
    def test_a_peer_is_known_by_its_text_or_its_instance(self) -> None:
        found = sighting([said("node-1"), said("chat on two", node="node-2")], "plant-3")
        assert [peer.id for peer in found.peers] == ["node-1", "node-2"]
        assert found.notes == ()

    def test_another_cluster_is_ignored_and_named(self) -> None:
        others = [
            said("x", cluster="plant-4"),
            Announcement("y", ("10.0.3.1",), 1),
            said("z", cluster="\x1b[2J"),
        ]
        found = sighting([said("node-1"), *others], "plant-3")
        assert [peer.id for peer in found.peers] == ["node-1"]
        assert found.notes == ("mDNS: ignored what is of another cluster: (none), plant-4",)

    @pytest.mark.parametrize(
        "odd",
        [said("chat on two"), said("n", node="a b"), said("n", "127.0.0.1"), said("n", "::1", "0.0.0.0")],
        ids=["no id", "an odd id", "loopback", "no address of a host"],
    )
    def test_what_cannot_be_a_peer_is_counted_and_not_shown(self, odd: Announcement) -> None:
        assert sighting([odd], "plant-3") == Sighting(
            (), ("mDNS: ignored 1 announcements without a usable id or address",)
        )

    def test_ipv4_is_chosen_before_ipv6_and_that_before_an_address_of_the_link(self) -> None:
        every = ("fe80::1%eth0", "fd00::1", "10.0.3.12", "10.0.3.11")
        chosen = [sighting([said("a", *every[:count])], "plant-3").peers[0].address for count in (1, 2, 4)]
        assert chosen == ["fe80::1%eth0", "fd00::1", "10.0.3.11"]


class TestRendered:
    def test_the_order_in_which_peers_are_seen_does_not_count(self) -> None:
        forth, _ = rendered_peers(Sighting((A, B, C)), SETTINGS, (), None)
        back, _ = rendered_peers(Sighting((C, B, A)), SETTINGS, (), None)
        assert forth == back == (A, B, C)

    def test_this_host_counts_before_it_announces_itself(self) -> None:
        assert rendered_peers(Sighting((B, C)), SETTINGS, (), A) == ((A, B, C), [])

    def test_what_this_host_announces_comes_before_what_is_assumed_of_it(self) -> None:
        assumed = Peer("node-1", "10.0.3.99", 6222)
        assert rendered_peers(Sighting((A, B, C)), SETTINGS, (), assumed) == ((A, B, C), [])

    def test_a_member_that_is_down_stays_a_member(self) -> None:
        assert rendered_peers(Sighting((A, B)), SETTINGS, (A, B, C), None) == ((A, B, C), [])

    def test_a_member_that_was_replaced_is_none_any_more(self) -> None:
        fresh = Peer("node-4", "10.0.3.14", 6222)
        assert rendered_peers(Sighting((A, B, fresh)), SETTINGS, (A, B, C), None)[0] == (A, B, fresh)

    @pytest.mark.parametrize(
        ("seen", "recorded", "count"),
        [((A, B), (), 2), ((A, B, C, Peer("x", "10.0.3.9", 1)), (), 4), ((A,), (A, B), 1)],
        ids=["one is missing", "one too many", "too few are known"],
    )
    def test_another_number_than_is_expected_is_refused(self, seen, recorded, count: int) -> None:
        peers, (problem,) = rendered_peers(Sighting(seen), SETTINGS, recorded, None)
        assert peers == ()
        assert problem.where == "discovery.yaml:1"
        assert problem.what.startswith(f"{count} members of the cluster are seen on eth0")
        assert problem.what.endswith("; 3 are expected")

    def test_nobody_guesses_which_recorded_member_is_missing(self) -> None:
        fresh = Peer("node-4", "10.0.3.14", 6222)
        assert rendered_peers(Sighting((A, fresh)), SETTINGS, (A, B, C), None)[0] == ()

    def test_two_peers_with_one_id_are_refused(self) -> None:
        peers, (problem,) = rendered_peers(
            Sighting((A, B, Peer("node-1", "10.0.3.66", 6222))), SETTINGS, (), None
        )
        assert peers == ()
        assert problem.what == ("two peers announce the id node-1 on eth0: 10.0.3.11:6222, 10.0.3.66:6222")


def test_what_differs_from_a_static_list_is_a_note() -> None:
    seen = Sighting((A, Peer("NODE-2", "10.0.3.66", 6222), Peer("node-9", "10.0.3.9", 6222)), ("more",))
    assert static_notes(seen, (A, B, C)) == [
        "mDNS: seen, but not among the peers of the values: node-9 (10.0.3.9:6222)",
        "mDNS: NODE-2 announces 10.0.3.66:6222, the values have 10.0.3.12:6222",
        "more",
    ]


def test_the_name_of_a_host_in_the_list_says_nothing_of_an_address() -> None:
    assert static_notes(Sighting((A,)), (Peer("node-1", "node-1.lan", 6222),)) == []


class TestSettings:
    """discovery.yaml."""

    def read(self, tmp_path: Path, text: str, mode: int = 0o644):
        path = tmp_path / "etc/waybill/lan-chat/discovery.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(mode)
        return read_settings(System(tmp_path), Layout("lan-chat"))

    def test_no_file_is_no_discovery(self, tmp_path: Path) -> None:
        assert read_settings(System(tmp_path), Layout("lan-chat")) == (None, [])

    def test_every_setting_is_read(self, tmp_path: Path) -> None:
        found, problems = self.read(tmp_path, "wait: 5\ninterface: eth0\npeers: seen\nexpect: 3\n")
        assert problems == []
        assert found == Settings("/etc/waybill/lan-chat/discovery.yaml:2", "eth0", 5, True, 3)

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("wait: 3\n", 1),
            ("interface: eth0\npeers: seen\n", 1),
            ("interface: 'eth 0'\n", 1),
            ("interface: eth0\nwait: 31\n", 2),
            ("interface: eth0\nwait: 5s\n", 2),
            ("interface: eth0\nexpect: 0\n", 2),
            ("interface: eth0\npeers: mdns\n", 2),
            ("interface: eth0\ninterfaces: [eth1]\n", 2),
            ("- eth0\n", 1),
            ("interface: [\n", 2),
        ],
        ids=repr,
    )
    def test_what_is_wrong_is_named_with_its_line(self, tmp_path: Path, text: str, line: int) -> None:
        found, problems = self.read(tmp_path, text)
        assert found is None
        assert [each.where for each in problems] == [f"/etc/waybill/lan-chat/discovery.yaml:{line}"]
        assert all(each.hint for each in problems)

    def test_a_file_that_others_can_change_is_not_read(self, tmp_path: Path) -> None:
        found, problems = self.read(tmp_path, "interface: eth0\n", 0o666)
        assert found is None
        assert problems
