"""Lists of peers: what each entry has to be, that no two are one, and how templates see them."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.core.format.manifest import ClusterNeeds
from installer.shared.configuration.peers import MAX_PEERS, Peer, built_in, read_peers

NEEDS = ClusterNeeds("cluster.peers", port=6222)
GOOD = {"id": "node-1", "address": "10.0.3.11"}

IDS = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?\Z")
ADDRESSES = st.ip_addresses().filter(lambda each: not each.is_unspecified and not each.is_multicast)


def faults(*entries: Any, needs: ClusterNeeds = NEEDS) -> list[str]:
    return [f"{list(each.path)} {each.what}" for each in read_peers(list(entries), needs)[1]]


def address_of(text: str) -> str:
    (peer,), wrong = read_peers([{"id": "a", "address": text}], NEEDS)
    assert not wrong
    return peer.address


@given(
    st.dictionaries(IDS, st.tuples(ADDRESSES, st.integers(1, 65535)), max_size=20).filter(
        lambda rows: len(set(rows.values())) == len(rows)
    )
)
def test_valid_peers_are_read_in_the_order_of_their_ids_whatever_the_order_of_the_list(rows: dict) -> None:
    entries = [{"id": key, "address": str(host), "port": port} for key, (host, port) in rows.items()]
    read, wrong = read_peers(entries, NEEDS)
    assert not wrong
    assert read == read_peers(entries[::-1], NEEDS)[0]
    assert [peer.id for peer in read] == sorted(rows)
    for peer in read:
        host, _, port = peer.endpoint.rpartition(":")
        assert (ipaddress.ip_address(host.strip("[]")), int(port)) == rows[peer.id]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_anything_else_is_named_and_breaks_nothing(value: Any) -> None:
    for entry in (value, {"id": value, "address": value, "port": value}, {"id": "a", "address": value}):
        peers, wrong = read_peers([entry], NEEDS)
        assert bool(peers) != bool(wrong)


@pytest.mark.parametrize(
    "text",
    ["10.0.3.11", "fd00::11", "fe80::1%eth0", "node-1.lan", "n1", "3com.example", "localhost"],
)
def test_an_address_can_be(text: str) -> None:
    assert address_of(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.3.300",
        "10.0.3",
        "0.0.0.0",
        "::",
        "224.0.0.251",
        "[fd00::11]",
        "10.0.3.11:6222",
        "fe80::1%eth0 x",
        "10.0.0.1%eth0",
        "-node",
        "node_1.lan",
        "a..b",
        "a b",
        "a\n",
        "x" * 64,
        "secret://file/address",
        "http://node-1",
        7,
        True,
        None,
        ["10.0.3.11"],
    ],
    ids=repr,
)
def test_an_address_cannot_be(text: Any) -> None:
    (said,) = faults({"id": "a", "address": text})
    assert said.startswith("[0, 'address'] is ")
    assert "an IPv4 or IPv6 address without brackets, or the name of a host" in said


@pytest.mark.parametrize("text", ["", "-a", "a-", "a b", "a/b", "ä", "x" * 64, 1, None, "a\n"], ids=repr)
def test_an_id_cannot_be(text: Any) -> None:
    (said,) = faults({"id": text, "address": "a.lan"})
    assert said.startswith("[0, 'id'] is ")


@pytest.mark.parametrize("port", [0, -1, 65536, "6222", 6222.0, True], ids=repr)
def test_a_port_cannot_be(port: Any) -> None:
    (said,) = faults({**GOOD, "port": port})
    assert "must be a whole number from 1 to 65535" in said


def test_addresses_are_compared_and_rendered_in_their_one_form() -> None:
    assert address_of("FD00:0::0011") == "fd00::11"
    assert address_of("Node-1.LAN") == "node-1.lan"
    assert faults({"id": "a", "address": "fd00::11"}, {"id": "b", "address": "fd00:0:0:0:0:0:0:11"}) == [
        "[1, 'address'] is 'fd00::11': [fd00::11]:6222 is the address of a, too"
    ]


def test_two_peers_with_one_id_are_named_whatever_its_case() -> None:
    (said,) = faults({"id": "node-1", "address": "a.lan"}, {"id": "NODE-1", "address": "b.lan"})
    assert said == "[1, 'id'] is 'NODE-1', the id of the peer at a.lan:6222, too"


def test_two_peers_of_one_machine_have_different_ports() -> None:
    assert not faults({"id": "a", "address": "a.lan", "port": 1}, {"id": "b", "address": "a.lan", "port": 2})
    assert faults({"id": "a", "address": "a.lan"}, {"id": "b", "address": "a.lan", "port": 6222})


def test_a_peer_needs_a_port_where_it_is_connected_to() -> None:
    (said,) = faults(GOOD, needs=ClusterNeeds("peers"))
    assert said == "[0] has no port, and the release names none for all peers"
    (peer,), wrong = read_peers([GOOD], ClusterNeeds("peers", check="resolve"))
    assert (peer.endpoint, wrong) == ("10.0.3.11", [])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"node-1": GOOD}, "must be a list of peers"),
        ("node-1", "must be a list of peers"),
        ([{"id": "a", "address": "a"}] * (MAX_PEERS + 1), "at most 256 are allowed"),
    ],
    ids=["a map", "a text", "too many"],
)
def test_a_list_that_is_none_is_one_fault(value: Any, said: str) -> None:
    peers, (fault,) = read_peers(value, NEEDS)
    assert (peers, fault.path) == ((), ())
    assert said in fault.what


@pytest.mark.parametrize("value", [None, []], ids=repr)
def test_no_list_and_an_empty_one_are_no_peers(value: Any) -> None:
    assert read_peers(value, NEEDS) == ((), [])


def test_a_misspelt_key_is_named_with_the_one_that_is_meant() -> None:
    _, (fault,) = read_peers([{**GOOD, "prot": 1}], NEEDS)
    assert (fault.what, fault.hint) == ("is not known", "did you mean port?")


def test_templates_see_the_others_without_this_host() -> None:
    seen = built_in("plant-3", "b", (Peer("a", "fd00::1", 1), Peer("b", "b.lan", 2)))
    assert seen["others"] == [{"id": "a", "address": "fd00::1", "port": 1, "endpoint": "[fd00::1]:1"}]
    assert [each["endpoint"] for each in seen["peers"]] == ["[fd00::1]:1", "b.lan:2"]
