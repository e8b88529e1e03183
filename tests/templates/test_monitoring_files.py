"""The files of the monitoring template, checked by the tools of those who read them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from bundler.commands.init import init_project
from tests.rig.needs import needs

SCHEMA = Path(__file__).with_name("dashboard.schema.json")
RECORDED = re.compile(r"(?m)^ *- record: (\S+)$")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `bundle init door-bell --template monitoring` writes."""
    directory = tmp_path_factory.mktemp("files") / "door-bell"
    init_project(directory, "monitoring")
    return directory / "monitoring"


@pytest.fixture(scope="module")
def dashboard(files: Path) -> Any:
    return json.loads((files / "grafana/door-bell.json").read_text())


def checked(directory: Path, *words: str | Path) -> str:
    done = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_configuration_and_the_rules(files: Path) -> None:
    said = checked(files, needs("promtool"), "check", "config", "prometheus.yml")
    assert said.count("SUCCESS") == 5
    rules = sorted(path.name for path in files.glob("rules/*.rules.yml"))
    assert rules == ["hosts.rules.yml", "product.rules.yml", "waybill.rules.yml"]


def test_alerts_ring_when_they_should_and_are_quiet_on_a_good_host(files: Path) -> None:
    tests = sorted(files.glob("rules/*.rules.test.yml"))
    alerts = set()
    for path in tests:
        checked(path.parent, needs("promtool"), "test", "rules", path.name)
        rules = yaml.safe_load(path.with_name(path.name.replace(".test", "")).read_text())
        named = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
        # Each alert of a file rings in a test of that file.
        assert {name for name in named if f'alertname="{name}"' not in path.read_text()} == set()
        alerts |= named
    assert len(alerts) >= 20


def test_every_alert_says_what_to_do_and_has_a_severity_that_is_routed(files: Path) -> None:
    found = 0
    for path in files.glob("rules/*.rules.yml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in (rule for rule in group["rules"] if "alert" in rule):
                found += 1
                assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]
                assert rule["labels"]["severity"] in {"warning", "critical"}
    assert found >= 20


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("severity=critical", "pager,mail,chat"),
        ("severity=warning", "mail,chat"),
        ("severity=info", "chat"),
    ],
)
def test_alertmanager_routes_by_severity(files: Path, labels: str, receivers: str) -> None:
    amtool = needs("amtool")
    assert "SUCCESS" in checked(files, amtool, "check-config", "alertmanager.yml")
    words = ("config", "routes", "test", "--config.file=alertmanager.yml", labels)
    assert checked(files, amtool, *words).strip() == receivers


@pytest.mark.needs("nft", "unshare")
def test_the_firewall_guards_every_port_that_the_files_name(files: Path) -> None:
    checked(files, "unshare", "--net", needs("nft"), "--check", "--file", "firewall.nft")
    text = "".join(
        path.read_text()
        for path in (*files.glob("*.yml"), *files.glob("targets/*"), *files.glob("defaults/*"))
    )
    named = set(re.findall(r"192\.0\.2\.\d+:(\d+)", text))
    (guarded,) = set(re.findall(r"tcp dport \{ ([\d, ]+) \}", (files / "firewall.nft").read_text()))
    assert named == set(guarded.split(", "))


def test_servers_listen_on_one_address_of_the_admin_network(files: Path) -> None:
    found = sorted((files / "defaults").iterdir())
    assert len(found) == 3
    for path in found:
        assert re.search(r"--web\.listen-address=192\.0\.2\.\d+:\d+ ", path.read_text()), path


def test_the_dashboard_follows_the_schema(dashboard: Any) -> None:
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(dashboard)
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("place", ["title", "panels", "templating"])
def test_the_schema_of_the_dashboard_is_strict(dashboard: Any, place: str) -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    assert not validator.is_valid({key: value for key, value in dashboard.items() if key != place})
    assert not validator.is_valid(dashboard | {"more": 1})


def expressions(dashboard: Any) -> list[str]:
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return found + [each["expr"] for each in dashboard["annotations"]["list"]]


def test_prometheus_parses_every_expression_of_the_dashboard(dashboard: Any, tmp_path: Path) -> None:
    rules = [{"record": f"x:{number}", "expr": text} for number, text in enumerate(expressions(dashboard))]
    assert len(rules) > 12
    # Variables of Grafana stand in the texts of matchers only: there they parse as they are.
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in checked(tmp_path, needs("promtool"), "check", "rules", "rules.yml")


def test_rules_that_are_recorded_are_those_that_are_asked_for(files: Path, dashboard: Any) -> None:
    rules = [path.read_text() for path in files.glob("rules/*.rules.yml")]
    recorded = {name for text in rules for name in RECORDED.findall(text)}
    asked = set(re.findall(r"\bwaybill:[a-z0-9:]+", " ".join([*rules, *expressions(dashboard)])))
    assert asked == recorded != set()
