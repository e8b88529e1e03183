"""What was done to a real host is in its audit log and its metrics, whatever becomes of the product."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.e2e.site import STATE, Site
from tests.rig.desk import BAD, BETTER, GOOD, PRODUCT, Desk
from tests.rig.needs import needs

METRICS = "/var/lib/prometheus/node-exporter"


@pytest.fixture(scope="module")
def told(site: Site, desk: Desk) -> Site:
    """A host on which a product was installed, refused, rolled back, upgraded and taken back."""
    site.host.check(f"mkdir -p {METRICS} && echo {METRICS} > /etc/waybill/metrics-directory")
    site.apply(desk.release(GOOD))
    desk.bundle("keygen", "outsider")
    site.apply(desk.release(BETTER, "outsider", key=desk.home / "outsider.key"), exit_code=10)
    site.apply(desk.release(BAD), exit_code=20)
    site.apply(desk.release(BETTER))
    site.install("rollback --yes")
    return site


def rows(site: Site) -> list[tuple[Any, ...]]:
    found = site.document("audit")
    assert found["intact"] is True
    return [
        (r["event"], r.get("verb"), r.get("version"), r.get("result") or r.get("exit"))
        for r in found["records"]
    ]


STORY = [
    ("trust", "trust init", "1", 0),
    ("begun", "apply", GOOD, None),
    ("ended", "apply", GOOD, "done"),
    ("refused", "apply", None, 10),
    ("begun", "apply", BAD, None),
    ("ended", "apply", BAD, "rolled back"),
    ("begun", "apply", BETTER, None),
    ("ended", "apply", BETTER, "done"),
    ("begun", "rollback", GOOD, None),
    ("ended", "rollback", GOOD, "done"),
]


def samples(site: Site) -> dict[str, float]:
    text = site.host.check(f"cat {METRICS}/*.prom")
    done = subprocess.run(
        [needs("promtool"), "check", "metrics"], input=text.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_the_log_tells_the_whole_story(told: Site) -> None:
    assert rows(told) == STORY
    said = told.install("audit")
    assert "apply 1.6.0: rolled back in" in said
    assert "did not pass within" in said
    assert "refused (exit 10): failed step 6 (check: Enough owners have signed in the role release): " in said


def test_metrics_follow(told: Site) -> None:
    found = samples(told)
    one = f'{{product="{PRODUCT}"}}'
    assert found[f"waybill_last_attempt_exit_code{one}"] == 0
    assert found[f"waybill_drift{one}"] == 0
    assert found[f'waybill_attempts_total{{product="{PRODUCT}",verb="apply",result="done"}}'] == 2
    assert found[f'waybill_attempts_total{{product="{PRODUCT}",verb="apply",result="rolled back"}}'] == 1
    assert found['waybill_attempts_total{product="",verb="apply",result="refused"}'] == 1
    assert f'waybill_release_info{{product="{PRODUCT}",version="{GOOD}"' in told.host.check(
        f"cat {METRICS}/*.prom"
    )
    told.host.check("echo edited >> /etc/lan-chat/nats.conf")
    told.install("metrics")
    assert samples(told)[f"waybill_drift{one}"] == 1
    told.install("rollback 1.4.0 --yes --on-drift replace")


def test_the_audit_log_outlives_the_product_and_a_reboot(told: Site) -> None:
    before = len(rows(told))
    told.install(f"remove {PRODUCT} --yes")
    told.host.check(f"rm -rf {STATE}/{PRODUCT}")
    told.host.reboot()
    assert rows(told)[before:] == [("begun", "remove", GOOD, None), ("ended", "remove", GOOD, "done")]


def test_a_line_edited_by_hand_is_named(told: Site) -> None:
    told.host.check(
        f'cp -a {STATE}/audit.jsonl /root/ && sed -i \'4s/"exit":10/"exit":00/\' {STATE}/audit.jsonl'
    )
    said = told.install("audit", exit_code=11)
    assert f"error: {STATE}/audit.jsonl: record 4 is damaged" in said
    told.host.check(f"cp -a /root/audit.jsonl {STATE}/")
    told.install("audit")
