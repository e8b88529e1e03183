"""lan-chat as containers on an air-gapped host with Docker: three members of etcd elect leaders."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.site import Site
from tests.rig.engine import Engine, wait_for
from tests.rig.host import Host
from tests.rig.lanchat import FIRST, REPLICAS, SECOND, TOKEN, Chat, Releases, lay_token

pytestmark = pytest.mark.needs("go", "etcd")
RAFT = "etcd_server_leader_changes_seen_total"
MEMBERS = (1, 2, 3)


@pytest.fixture(scope="module")
def plant(docker_engine: Engine, lan_chat: Releases) -> Iterator[Site]:
    """A host with Docker and the first release; later tests go on from there."""
    host = Host.launch(docker_engine, "bookworm-docker")
    host.check("systemctl start docker")
    site = Site(host, lan_chat.desk, options="--only files,images,compose")
    site.trust("plant")
    lay_token(host)
    site.apply(lan_chat.release(FIRST))
    yield site
    host.close()


@pytest.fixture(scope="module")
def chat(plant: Site) -> Chat:
    """What runs there."""
    return Chat(plant.host)


def raft_leader(host: Host) -> int:
    """Which member of etcd leads, by its own metrics; 0 for none."""
    for member in MEMBERS:
        if raft(host, member, "etcd_server_is_leader") == 1:
            return member
    return 0


def raft(host: Host, member: int, name: str) -> float:
    """A metric of a member of etcd, asked in its network; -1 where it does not answer."""
    pid = host.check(f"docker inspect --format '{{{{.State.Pid}}}}' lan-chat-etcd-{member}-1").strip()
    if pid == "0":
        return -1
    text = host.run(f"nsenter --net --target {pid} curl -sf --max-time 5 http://127.0.0.1:2381/metrics").out
    return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} ")), -1)


def test_two_replicas_and_three_members_of_etcd_are_healthy(plant: Site, chat: Chat) -> None:
    rows = plant.host.check("docker ps --format '{{json .}}'").splitlines()
    assert sorted(json.loads(row)["Names"] for row in rows) == [
        *("lan-chat-etcd-1-1", "lan-chat-etcd-2-1", "lan-chat-etcd-3-1"),
        *("lan-chat-gateway-1", "lan-chat-store-1-1", "lan-chat-store-2-1"),
    ]
    assert {chat.health(each)["node"] for each in REPLICAS} == {"store-1", "store-2"}
    chat.post("Containers talk.")
    assert "Containers talk." in chat.events("Containers")


def test_a_killed_raft_leader_is_replaced_the_change_is_counted_and_the_chat_goes_on(
    plant: Site, chat: Chat
) -> None:
    leader = raft_leader(plant.host)
    other = next(each for each in MEMBERS if each != leader)
    before = raft(plant.host, other, RAFT)
    plant.host.check(f"docker stop -t 0 lan-chat-etcd-{leader}-1")
    chat.post("Two of three are a majority.")
    wait_for("an election of Raft", lambda: raft(plant.host, other, RAFT) > before, 60)
    wait_for("a leader", lambda: raft_leader(plant.host) not in (0, leader), 60)
    assert "Two of three are a majority." in chat.events("majority")
    plant.host.check(f"docker start lan-chat-etcd-{leader}-1")


def test_containers_hold_nothing_that_they_do_not_need(plant: Site, chat: Chat) -> None:
    inspected = json.loads(plant.host.check("docker inspect $(docker ps -q)"))
    assert len(inspected) == 6
    for each in inspected:
        assert each["HostConfig"]["ReadonlyRootfs"]
        assert each["HostConfig"]["CapDrop"] == ["ALL"]
        assert TOKEN not in json.dumps(each["Config"])


def test_an_upgrade_keeps_the_messages(plant: Site, chat: Chat, lan_chat: Releases) -> None:
    plant.apply(lan_chat.release(SECOND))
    assert [chat.health(each)["version"] for each in REPLICAS] == [SECOND, SECOND]
    assert "Containers talk." in chat.events("Containers")
