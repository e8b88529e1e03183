"""A site that has peers looked for by mDNS: what a plan shows, what is rendered, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from installer.host.system import System
from installer.planning.cluster import discovery
from installer.planning.cluster.mdns import Enough, browse
from tests.rig.bench import Bench
from tests.rig.clustered import NEEDS, RUN, clustered, member, newer
from tests.rig.configured import in_cluster, layer
from tests.rig.hang import ends
from tests.rig.mdns import CLIENT, SERVER, SERVICE, Link, link

pytestmark = pytest.mark.needs("netns", "avahi")

CONF = "etc/chat.conf"
SETTINGS = "/etc/waybill/lan-chat/discovery.yaml"
SEEN = replace(NEEDS, mdns=SERVICE, check="seen")
ONLY = "interface: eth0\nwait: 2\npeers: seen\nexpect: 3\n"
OURS = {"cluster": "plant-3"}
OTHERS = (("node-2", 7402, OURS), ("node-3", 7403, OURS))


@pytest.fixture(scope="module")
def lan() -> Iterator[Link]:
    with link() as made:
        yield made


@pytest.fixture
def host(bench: Bench) -> Bench:
    """A host that is to be node-1, and lists no peers."""
    in_cluster(bench, "plant-3")
    layer(bench, "values.yaml", "cluster: {node: node-1}\n")
    layer(bench, "discovery.yaml", ONLY)
    return bench


def run(lan: Link, host: Bench, *words: str) -> tuple[int, dict, str]:
    with lan.entered():
        return host.run(*words)


def bundle(host: Bench, needs=SEEN) -> str:
    return str(host.bundle(clustered(needs=needs)))


def whats(document: dict) -> list[str]:
    return [f"{each['where']}: {each['what']}" for each in document["problems"][1:]]


def test_peers_that_are_seen_are_rendered_and_recorded(lan: Link, host: Bench) -> None:
    with lan.avahi(*OTHERS):
        code, document, said = run(lan, host, bundle(host), *RUN)
    assert code == 0, (document, said)
    text = (host.host / CONF).read_text()
    assert f'- {{id: node-1, address: "{CLIENT}", port: 6222}}' in text
    assert f'ROUTES="{SERVER}:7402,{SERVER}:7403"' in text
    (record,) = (host.host / "var/lib/waybill").rglob("cluster.json")
    assert "node-3" in record.read_text()


def test_the_status_looks_for_nobody(lan: Link, host: Bench) -> None:
    with lan.avahi(*OTHERS):
        assert run(lan, host, bundle(host), *RUN)[0] == 0
    # In a network where nobody answers, and in one without the interface.
    assert run(lan, host, "status", "--check")[0] == 0
    assert host.run("status", "--check")[0] == 0


def test_a_member_that_is_down_stays_in_the_files(lan: Link, host: Bench) -> None:
    with lan.avahi(*OTHERS):
        assert run(lan, host, bundle(host), *RUN)[0] == 0
    before = (host.host / CONF).read_bytes()
    with lan.avahi(*OTHERS[:1]):
        code, document, _ = run(lan, host, bundle(host), *RUN)
    assert (code, document["changed"]) == (0, False)
    assert (host.host / CONF).read_bytes() == before


def test_the_quorum_counts_those_that_are_seen(lan: Link, host: Bench) -> None:
    with lan.avahi(*OTHERS):
        assert run(lan, host, bundle(host), *RUN)[0] == 0
        assert run(lan, host, newer(host, SEEN), *RUN)[0] == 0
    with lan.avahi(*OTHERS[:1]):
        code, document, _ = run(lan, host, "rollback", "--yes")
    assert code == 15
    assert whats(document) == [
        (
            "cluster plant-3: 1 of 3 peers answers; this restarts node-1, then 1 of 3 is left: the quorum is "
            "2, the majority"
        )
    ]


@pytest.mark.parametrize(
    ("services", "said"),
    [
        (
            (*OTHERS, ("else", 7499, {**OURS, "node": "node-2"})),
            f"two peers announce the id node-2 on eth0: {SERVER}:7402, {SERVER}:7499",
        ),
        (
            (*OTHERS, ("node-9", 7499, OURS)),
            (
                "4 members of the cluster are seen on eth0, this host included: node-1, node-2, node-3, "
                "node-9; 3 are expected"
            ),
        ),
        (
            (OTHERS[0], ("node-3", 7403, {"cluster": "plant-4"})),
            "2 members of the cluster are seen on eth0, this host included: node-1, node-2; 3 are expected",
        ),
    ],
    ids=["two with one id", "one too many", "one of another cluster"],
)
def test_a_list_that_is_not_clear_is_not_rendered(lan: Link, host: Bench, services, said: str) -> None:
    with lan.avahi(*services):
        code, document, _ = run(lan, host, bundle(host), *RUN)
    assert code == 15
    assert whats(document) == [f"{SETTINGS}:1: {said}"]
    assert not (host.host / CONF).exists()


def test_one_too_many_is_no_member_by_answering_first(lan: Link, host: Bench) -> None:
    # With as many as are expected the others could be left out.
    every = (("node-4", 7404, OURS), *OTHERS)
    with lan.avahi(*every):
        code, document, _ = run(lan, host, bundle(host), *RUN)
    assert code == 15
    assert "4 members of the cluster are seen" in whats(document)[0]


def test_looking_for_a_list_of_the_site_ends_when_its_members_are_seen(
    lan: Link, host: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def for_hours(system: System, interface: str, service: str, wait: float, *enough: Enough):
        assert wait == 30
        return browse(system, interface, service, 36_000, *enough)

    monkeypatch.setattr(discovery, "browse", for_hours)
    member(host, [7401, 7402, 7403])
    layer(host, "discovery.yaml", "interface: eth0\nwait: 30\nexpect: 2\n")
    strangers = [(f"x{number}", 1, {"cluster": "plant-4"}) for number in range(5)]
    with lan.avahi(*strangers, *OTHERS), ends():
        code, document, _ = run(lan, host, "plan", bundle(host, replace(SEEN, quorum="")), "--only", "script")
    assert code == 0
    assert [each["seen"] for each in document["cluster"]["peers"]] == [False, True, True]


def test_nobody_else_has_the_id_of_this_host(lan: Link, host: Bench) -> None:
    with lan.avahi(("node-1", 7401, OURS), *OTHERS):
        code, document, _ = run(lan, host, bundle(host), *RUN)
    assert code == 15
    assert whats(document) == [
        f"{SETTINGS}:1: {SERVER}:7401 announces the id node-1 on eth0, which this host has"
    ]


def test_an_interface_that_is_not_there_is_named_with_those_that_are(lan: Link, host: Bench) -> None:
    layer(host, "discovery.yaml", ONLY.replace("eth0", "ens33"))
    code, document, _ = run(lan, host, bundle(host), *RUN)
    assert code == 15
    assert whats(document) == [f"{SETTINGS}:1: there is no network interface ens33"]
    assert document["problems"][1]["hint"] == "interfaces of this host: lo, eth0"


def test_an_interface_that_is_not_there_is_named_for_a_list_of_the_site_too(lan: Link, host: Bench) -> None:
    member(host, [7401, 7402, 7403])
    layer(host, "discovery.yaml", "interface: ens33\nwait: 2\n")
    code, document, _ = run(lan, host, "plan", bundle(host, replace(SEEN, quorum="")), "--only", "script")
    assert code == 15
    assert whats(document) == [f"{SETTINGS}:1: there is no network interface ens33"]


def test_a_list_of_the_site_is_never_replaced(lan: Link, host: Bench) -> None:
    member(host, [7401, 7402, 7403])
    code, document, _ = run(lan, host, bundle(host), *RUN)
    assert code == 15
    assert whats(document) == [
        (
            "/etc/waybill/lan-chat/clusters/plant-3.yaml:2: cluster.peers lists peers, but "
            f"{SETTINGS} says that those that are seen count"
        )
    ]


def test_a_plan_compares_the_list_of_the_site_with_those_that_are_seen(lan: Link, host: Bench) -> None:
    member(host, [7401, 7402, 7403])
    layer(host, "discovery.yaml", "interface: eth0\nwait: 2\n")
    needs = replace(SEEN, quorum="")
    with lan.avahi(OTHERS[0], ("node-8", 7408, OURS), ("x", 1, {"cluster": "plant-4"})):
        code, document, _ = run(lan, host, "plan", bundle(host, needs), "--only", "script")
    assert code == 0
    found = document["cluster"]
    assert found["source"] == "values"
    assert [each["seen"] for each in found["peers"]] == [False, True, False]
    assert [each["address"] for each in found["peers"]] == ["127.0.0.1"] * 3
    assert f"mDNS: seen, but not among the peers of the values: node-8 ({SERVER}:7408)" in document["notes"]
    assert f"mDNS: node-2 announces {SERVER}:7402, the values have 127.0.0.1:7402" in document["notes"]
    assert "mDNS: ignored what is of another cluster: plant-4" in document["notes"]


def test_a_release_that_needs_to_see_its_peers_asks_for_the_interface(lan: Link, host: Bench) -> None:
    (host.host / SETTINGS[1:]).unlink()
    code, document, _ = run(lan, host, bundle(host), *RUN)
    assert code == 15
    assert whats(document) == [f"{SETTINGS}: does not exist, but the release looks for its peers by mDNS"]


def test_a_site_that_does_not_ask_is_not_looked_around_in(lan: Link, host: Bench) -> None:
    (host.host / SETTINGS[1:]).unlink()
    member(host, [7401, 7402, 7403])
    needs = replace(SEEN, check="connect", quorum="")
    with lan.avahi(*OTHERS):
        code, document, _ = run(lan, host, "plan", bundle(host, needs), "--only", "script")
    assert code == 0
    assert [each["seen"] for each in document["cluster"]["peers"]] == [None, None, None]


def test_a_plan_says_who_is_seen_and_where_the_peers_are_from(lan: Link, host: Bench) -> None:
    with lan.avahi(*OTHERS), lan.entered():
        code, text = host.text("plan", bundle(host), "--only", "script")
    assert code == 0
    assert (
        "cluster plant-3, this host is node-1, peers as seen on eth0:\n"
        f"  node-1  {CLIENT}:6222  this host, not seen on eth0 within 2 s\n"
        f"  node-2  {SERVER}:7402  seen\n"
        f"  node-3  {SERVER}:7403  seen\n"
    ) in text
