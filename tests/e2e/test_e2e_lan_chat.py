"""lan-chat from source to a host with systemd: signed, approved, installed, upgraded, broken, rolled back.

The host runs an etcd, two replicas of the store and the gateway. What elections count is real.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.site import Site
from tests.rig.engine import Engine, wait_for
from tests.rig.host import Host
from tests.rig.lanchat import FIRST, REPLICAS, SECOND, TOKEN, Chat, Releases, lay_token

pytestmark = pytest.mark.needs("go", "etcd")
CHANGES = "lan_chat_leader_changes_total"


@pytest.fixture(scope="module")
def plant(docker_engine: Engine, lan_chat: Releases) -> Iterator[Site]:
    """A host of the environment `plant`, with the first release; later tests go on from there."""
    host = Host.launch(docker_engine)
    site = Site(host, lan_chat.desk)
    site.trust("plant")
    lay_token(host)
    site.apply(lan_chat.release(FIRST))
    yield site
    host.close()


@pytest.fixture(scope="module")
def chat(plant: Site) -> Chat:
    """What runs there."""
    return Chat(plant.host)


def number_of(node: str) -> int:
    return int(node.rpartition("-")[2])


def etcd_pid(site: Site) -> str:
    return site.host.check("systemctl show -p MainPID --value lan-chat-etcd.service").strip()


def test_a_message_sent_to_one_replica_is_seen_at_the_other_and_in_the_browser(chat: Chat) -> None:
    for replica in REPLICAS:
        about = chat.health(replica)
        assert (about["status"], about["version"], about["node"]) == ("ok", FIRST, f"airgap-{replica}")
    message = chat.post("The lathe is free.", chat.store.format(replica=1))
    assert message["node"] == "airgap-1"
    assert "The lathe is free." in chat.texts(2)
    assert f"id: {message['id']}\ndata: " in chat.events("lathe")


def test_the_store_refuses_who_has_no_token_and_nothing_shows_it(plant: Site, chat: Chat) -> None:
    status = plant.host.check(
        "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:7071/v1/channels/lobby/messages"
    )
    assert status == "401"
    shown = "journalctl --no-pager -o cat; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
    assert TOKEN not in plant.host.check(shown)
    assert plant.host.check("stat -c %a /etc/lan-chat/token").strip() == "600"


def test_logs_are_json(plant: Site, chat: Chat) -> None:
    chat.post("Logged.")
    said = plant.host.check("journalctl --no-pager -o cat -u lan-chat-gateway --grep '\"message\"'")
    paths = [line.get("path") for line in map(json.loads, said.splitlines())]
    assert "/api/channels/lobby/messages" in paths


def test_a_killed_leader_is_replaced_the_change_is_counted_and_the_chat_goes_on(
    plant: Site, chat: Chat
) -> None:
    leader = number_of(chat.leader())
    other = 3 - leader
    before = chat.metric(other, CHANGES)
    plant.host.check(f"systemctl kill -s KILL lan-chat-store@{leader}.service")
    chat.post("Who leads?")
    wait_for("an election", lambda: chat.metric(other, CHANGES) == before + 1, 60)
    chat.leader()
    chat.post("We go on.")
    assert {"Who leads?", "We go on."} <= set(chat.texts(other))


def test_a_leader_that_is_stopped_resigns_at_once(plant: Site, chat: Chat) -> None:
    leader = number_of(chat.leader())
    plant.host.check(f"systemctl stop lan-chat-store@{leader}.service")
    other = 3 - leader
    wait_for("the other leads", lambda: chat.metric(other, "lan_chat_leader") == 1, 60)
    assert chat.health(other)["leader"] == f"airgap-{other}"
    plant.host.check(f"systemctl start lan-chat-store@{leader}.service")
    chat.leader()


def test_an_upgrade_keeps_the_messages_and_does_not_restart_etcd(
    plant: Site, chat: Chat, lan_chat: Releases
) -> None:
    before, pid = chat.texts(1), etcd_pid(plant)
    plant.apply(lan_chat.release(SECOND))
    assert [chat.health(each)["version"] for each in REPLICAS] == [SECOND, SECOND]
    assert chat.texts(2) == before
    assert etcd_pid(plant) == pid
    assert plant.version() == SECOND


def test_a_bad_upgrade_is_rolled_back_and_the_chat_goes_on(
    plant: Site, chat: Chat, lan_chat: Releases
) -> None:
    said = plant.apply(lan_chat.broken(), exit_code=20)
    assert "717" in said
    assert plant.version() == SECOND
    assert [chat.health(each)["version"] for each in REPLICAS] == [SECOND, SECOND]
    chat.post("Still here.")
    assert "Still here." in chat.texts(1)


def test_a_rollback_keeps_the_messages(plant: Site, chat: Chat) -> None:
    plant.install("rollback --product lan-chat --yes")
    assert [chat.health(each)["version"] for each in REPLICAS] == [FIRST, FIRST]
    assert "Still here." in chat.texts(2)


def test_a_removal_leaves_the_messages_and_nothing_else(plant: Site, chat: Chat) -> None:
    removal = plant.document("remove lan-chat --yes")["removal"]
    assert removal["left"] == []
    assert plant.host.run("test -e /opt/lan-chat || test -e /etc/lan-chat").rc == 1
    assert plant.host.check("ls /var/lib/lan-chat").strip() == "etcd"
