"""From a metric to the people: with the files of the template and the real servers, and back to quiet."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.audit.log import LOG
from installer.commands import metrics
from installer.core.format.manifest import HealthCheck
from tests.rig.auditlogs import break_log
from tests.rig.bench import Bench, newer, release
from tests.rig.monitoring import HOSTS, MONITOR, OUTSIDE, Monitoring, monitoring

pytestmark = pytest.mark.needs("prometheus", "alertmanager", "node-exporter")
MAIL = "mail.lan/mail.txt"
INTO = "/var/lib/node-exporter"
CHECK = HealthCheck("command", "", ("true",), when="files")


@pytest.fixture(scope="module")
def watching() -> Iterator[Monitoring]:
    with monitoring() as made:
        # A rule of the site that rings at once; the one of the template waits for half an hour.
        rule = {"alert": "SiteDrift", "expr": "waybill_drift > 0", "labels": {"severity": "warning"}}
        text = json.dumps({"groups": [{"name": "site", "rules": [rule]}]})
        (made.files / "rules/site.rules.yml").write_text(text)
        made.serve()
        yield made


@pytest.fixture
def watched(bench: Bench, watching: Monitoring) -> Iterator[Bench]:
    """A host that writes metrics, and the monitoring reads them."""
    (bench.host / INTO[1:]).mkdir(parents=True)
    (bench.host / metrics.SETTING[1:]).write_text(f"{INTO}\n")
    with watching.exporter(bench.host / INTO[1:]):
        yield bench


def test_a_failed_install_reaches_chat_and_mail_and_a_good_one_resolves_it(
    watching: Monitoring, watched: Bench
) -> None:
    assert watched.run(str(watched.bundle(release(health=(CHECK,)))), "--yes")[0] == 0
    assert watched.run(str(watched.bundle(release("1.3.0", 100_030_000_999), "old.tar")), "--yes")[0] == 13
    watching.wait("failed install in the chat", lambda: watching.in_chat("WaybillInstallFailed", "firing"))
    watching.wait("failed install by mail", lambda: "WaybillInstallFailed" in watching.said(MAIL))
    assert watched.run(newer(watched), "--yes")[0] == 0
    watching.wait("good install in the chat", lambda: watching.in_chat("WaybillInstallFailed", "resolved"))
    assert "WaybillInstallFailed" not in watching.said("pages.txt")


def test_a_broken_audit_log_reaches_the_pager_whose_command_is_run_without_a_shell(
    watching: Monitoring, watched: Bench, tmp_path: Path
) -> None:
    assert watched.run(str(watched.bundle(release())), "--yes")[0] == 0
    log = watched.host / LOG[1:]
    shutil.copy(log, tmp_path / "log")
    break_log(watched.host)
    assert watched.run("metrics")[0] == 0
    firing = "firing critical WaybillAuditBroken host-1: host-1: the audit log was changed or truncated\n"
    watching.wait("page", lambda: firing in watching.said("pages.txt"))
    assert watching.said("arguments.txt") == "ops; rm -rf /\n"
    shutil.copy(tmp_path / "log", log)
    assert watched.run("metrics")[0] == 0
    resolved = firing.replace("firing", "resolved")
    watching.wait("end of the page", lambda: resolved in watching.said("pages.txt"))


def test_a_chat_that_times_out_is_told_by_mail_and_its_message_is_not_lost(
    watching: Monitoring, watched: Bench
) -> None:
    (watching.home / "chat.lan/slow").touch()
    assert watched.run(str(watched.bundle(release())), "--yes")[0] == 0
    (watched.host / "opt/a").write_text("edited")
    assert watched.run("metrics")[0] == 0
    watching.wait("mail", lambda: "AlertDeliveryFails" in watching.said(MAIL))
    assert not watching.in_chat("SiteDrift", "firing")
    (watching.home / "chat.lan/slow").unlink()
    watching.wait("repeated message", lambda: watching.in_chat("SiteDrift", "firing"))


@pytest.mark.needs("etcd")
def test_a_real_election_in_the_etcd_of_lan_chat_reaches_the_chat_and_is_resolved(
    watching: Monitoring,
) -> None:
    members = watching.etcd()
    changes = 'etcd_server_leader_changes_seen_total{instance="host-1"}'
    watching.wait("first leader", lambda: bool(watching.query(changes)) and bool(watching.leader()))
    first = watching.leader()
    members[first].stop()
    if first == HOSTS[0]:  # the one that is asked: it comes back as a follower, and the next one goes
        again = watching.start("etcd-again", *members[first].command[11:])
        watching.wait("member", lambda: b'"true"' in watching.get(f"http://{HOSTS[0]}:2381/health"))
        members[first] = again
        members[watching.leader()].stop()
    watching.wait("election in the chat", lambda: watching.in_chat("EtcdLeaderChanged", "firing"))
    watching.wait("quiet in the chat", lambda: watching.in_chat("EtcdLeaderChanged", "resolved"))


@pytest.mark.needs("etcd")
def test_rules_and_dashboard_ask_only_for_metrics_that_the_servers_have(
    watching: Monitoring, watched: Bench
) -> None:
    assert watched.run(str(watched.bundle(release(health=(CHECK,)))), "--yes")[0] == 0
    assert watched.run("metrics", "--health")[0] == 0
    for late in ("waybill_health", "waybill:attempts:increase1d"):
        watching.wait(late, lambda late=late: bool(watching.query(late)))
    url = f"http://{MONITOR}:9090/api/v1/label/__name__/values"
    known = set(json.loads(watching.get(url))["data"])
    asked = set()
    for path in (*watching.files.glob("rules/*.rules.yml"), *watching.files.glob("grafana/*.json")):
        words = r"\b(?:waybill|node|etcd|alertmanager|prometheus)[_:][a-z0-9_:]+"
        # Expressions, not the texts for people.
        text = re.sub(r'#.*|(?:summary|action|"description"): .*', "", path.read_text())
        asked |= set(re.findall(words, text))
    assert len(asked) > 25
    assert asked - known == set()


@pytest.mark.needs("nft")
def test_only_the_admin_network_reaches_the_ports(watching: Monitoring) -> None:
    assert watching.run("nft", "-f", watching.files / "firewall.nft").returncode == 0
    for url in (f"http://{MONITOR}:9090/-/ready", f"http://{MONITOR}:9093/-/ready"):
        assert watching.get(url, "--interface", HOSTS[0])
        assert watching.get(url, "--interface", OUTSIDE) == b""
    # The pager's command is not reached from any other machine, with or without the firewall.
    assert watching.run("nft", "delete", "table", "inet", "monitoring").returncode == 0
    assert watching.get(f"http://{MONITOR}:9090/-/ready", "--interface", OUTSIDE)
    assert watching.run("curl", "-s", f"http://{MONITOR}:9095/").returncode == 7
