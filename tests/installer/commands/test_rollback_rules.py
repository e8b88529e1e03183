"""`install rollback` by the root of today: floor, product policy, revocation; break-glass goes round."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from installer.core.format.manifest_rules import section_rank
from installer.core.trust.root import PRODUCTION, Policy, ProductRule, Root
from installer.deploy.operation import StepError
from installer.state.trust_store import TIME_FILE
from tests.rig import bundlebuild as build
from tests.rig.auditlogs import records
from tests.rig.bench import CLOCK, Bench, release
from tests.rig.trustworld import APPROVALS, FILES, NOW, Said, World, root

OLD = release("1.4.0", 100_040_000_999)
FLOOR = {"lan-chat": ProductRule(floor=100_050_000_000)}
GLASS = replace(PRODUCTION, break_glass=True)


@pytest.fixture
def upgraded(bench: Bench) -> Bench:
    """A host that went from 1.4.0 to 1.5.0."""
    for world in (OLD, release("1.5.0", 100_050_000_999)):
        assert bench.run(str(bench.bundle(world)), "--yes")[0] == 0
    return bench


def later(policy: Policy = PRODUCTION, **fields: Any) -> Root:
    """The next root, with another policy."""
    return root(version=2, environments={"production": policy}, **fields)


def glass(bench: Bench, world: World = OLD, **fields: Any) -> Path:
    """Brings an approval of the role break-glass for a release."""
    directory = bench.stick / "glass"
    directory.mkdir(exist_ok=True)
    said = Said("break-glass", fields={"notes": "plant stands still, INC-4", **fields})
    for name, data in world.files((said,)).items():
        (directory / Path(name).name).write_bytes(data)
    return directory


def version(bench: Bench) -> str:
    return str(bench.run("status")[1]["products"][0]["installed"]["version"])


def test_a_rollback_below_the_security_floor_is_refused(upgraded: Bench) -> None:
    upgraded.trust(later(products=FLOOR))
    code, document, _ = upgraded.run("rollback", "--yes")
    assert (code, document["code"], document.step) == (13, "below-floor", 13)
    assert "1.4.0 (sequence 100040000999) is below the security floor" in document.what
    assert "does not allow break-glass here" in document.hint
    assert version(upgraded) == "1.5.0"


def test_a_product_that_is_no_longer_allowed_is_refused(upgraded: Bench) -> None:
    upgraded.trust(later(replace(PRODUCTION, products=("other",))))
    code, document, _ = upgraded.run("rollback", "--yes")
    assert (code, document["code"], document.step) == (13, "wrong-product", 10)
    assert version(upgraded) == "1.5.0"


def test_the_environment_of_the_release_counts_where_the_host_has_none(upgraded: Bench) -> None:
    (upgraded.host / "etc/waybill/environment").unlink()
    upgraded.trust(later(replace(PRODUCTION, products=("other",))))
    assert upgraded.run("rollback", "--yes")[1]["code"] == "wrong-product"


def test_an_expired_bundle_can_be_rolled_back_to(upgraded: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CLOCK, lambda: NOW + timedelta(days=4000))
    assert upgraded.run("rollback", "--yes")[0] == 0


class TestGlass:
    def test_the_refusal_names_the_way_round(self, upgraded: Bench) -> None:
        upgraded.trust(later(GLASS, products=FLOOR))
        code, document, _ = upgraded.run("rollback", "--yes")
        assert code == 13
        assert "bundle approve BUNDLE --role break-glass --env production" in document.hint
        assert f"`install rollback 1.4.0 --approvals DIR --root {upgraded.host}`" in document.hint

    @pytest.mark.parametrize(
        ("change", "missing"),
        [
            ({"products": FLOOR}, "below the security floor"),
            ({"policy": replace(GLASS, products=("other",))}, "not allowed in the environment"),
        ],
    )
    def test_break_glass_allows_the_rollback_and_is_shown_everywhere(
        self, upgraded: Bench, change: dict[str, Any], missing: str
    ) -> None:
        upgraded.trust(later(**{"policy": GLASS, **change}))
        code, _, said = upgraded.run("rollback", "--yes", "--approvals", str(glass(upgraded)))
        assert code == 0
        assert "BREAK-GLASS used in production" in said
        assert "Boss: plant stands still, INC-4" in said
        assert version(upgraded) == "1.4.0"
        event = upgraded.run("history")[1]["events"][-1]
        assert missing in " ".join(event["break_glass"])
        assert missing in " ".join(upgraded.run("status")[1]["products"][0]["break_glass"])
        begun = [row for row in upgraded.run("audit")[1]["records"] if row["event"] == "begun"]
        assert missing in " ".join(begun[-1]["break_glass"])
        assert "break-glass" in {row.get("role") for row in begun[-1]["approved_by"]}

    def test_break_glass_is_not_shown_where_nothing_is_missing(self, upgraded: Bench) -> None:
        upgraded.trust(later(GLASS))
        code, _, said = upgraded.run("rollback", "--yes", "--approvals", str(glass(upgraded)))
        assert (code, "BREAK-GLASS" in said) == (0, False)

    @pytest.mark.parametrize(
        ("policy", "fields"),
        [
            (PRODUCTION, {}),
            (GLASS, {"notes": ""}),
            (GLASS, {"expires": NOW - timedelta(minutes=1)}),
            (GLASS, {"environment": "staging"}),
            (GLASS, {"targets": ("elsewhere",)}),
            (GLASS, {"identity": "0" * 64}),
        ],
    )
    def test_what_does_not_count_opens_nothing(
        self, upgraded: Bench, policy: Policy, fields: dict[str, Any]
    ) -> None:
        upgraded.trust(later(policy, products=FLOOR))
        code, document, _ = upgraded.run("rollback", "--yes", "--approvals", str(glass(upgraded, **fields)))
        assert (code, document["code"]) == (13, "below-floor")
        assert version(upgraded) == "1.5.0"

    def test_approvals_of_other_roles_open_nothing(self, upgraded: Bench) -> None:
        upgraded.trust(later(GLASS, products=FLOOR))
        directory = upgraded.stick / "others"
        directory.mkdir()
        for name, data in OLD.files(OLD.approvals).items():
            (directory / Path(name).name).write_bytes(data)
        assert upgraded.run("rollback", "--yes", "--approvals", str(directory))[0] == 13

    def test_a_changed_one_is_named_and_not_the_release(self, upgraded: Bench) -> None:
        upgraded.trust(later(GLASS, products=FLOOR))
        directory = glass(upgraded)
        (statement,) = directory.glob("break-glass-????????.json")
        statement.write_bytes(statement.read_bytes().replace(b"INC-4", b"INC-5"))
        code, document, _ = upgraded.run("rollback", "--yes", "--approvals", str(directory))
        assert (code, document["code"], document.step) == (11, "tampered", 16)
        assert "break-glass-" in document.where

    def test_break_glass_never_brings_back_a_revoked_release(self, upgraded: Bench) -> None:
        upgraded.trust(later(GLASS, products=FLOOR, revoked_bundles=frozenset({OLD.identity})))
        code, document, _ = upgraded.run("rollback", "--yes", "--approvals", str(glass(upgraded)))
        assert (code, document["code"]) == (12, "revoked")

    def test_a_clock_set_back_does_not_revive_it(
        self, upgraded: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upgraded.trust(later(GLASS, products=FLOOR))
        directory = glass(upgraded, expires=NOW - timedelta(minutes=30))
        monkeypatch.setattr(CLOCK, lambda: NOW - timedelta(hours=1))
        code, document, _ = upgraded.run("rollback", "--yes", "--approvals", str(directory))
        assert (code, document["code"]) == (12, "clock-set-back")
        assert document.hint.endswith(f"remove {upgraded.host}{TIME_FILE}")

    def test_break_glass_that_expires_at_the_prompt_does_not_count(
        self, upgraded: Bench, thinking: Callable[..., None]
    ) -> None:
        upgraded.trust(later(GLASS, products=FLOOR))
        directory = glass(upgraded, expires=NOW + timedelta(minutes=1))
        thinking(timedelta(minutes=2))
        code, document, _ = upgraded.run("rollback", "--approvals", str(directory))
        assert (code, document["code"]) == (13, "below-floor")
        assert version(upgraded) == "1.5.0"


def test_a_root_that_changes_while_somebody_thinks_ends_the_rollback(
    upgraded: Bench, thinking: Callable[..., None]
) -> None:
    thinking(timedelta(), also=lambda: upgraded.trust(later(products=FLOOR)))
    code, document, _ = upgraded.run("rollback")
    assert (code, document["code"], document.hint) == (15, "host-not-ready", "run the same command again")
    assert version(upgraded) == "1.5.0"


def test_a_failed_upgrade_returns_to_what_ran_whatever_the_root_says(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench.run(str(bench.bundle(OLD)), "--yes")[0] == 0
    bench.trust(later(products=FLOOR))

    def unhealthy(*_args: object) -> None:
        raise StepError("the health check failed")

    monkeypatch.setattr("installer.commands.common.plan_execution.watch_release", unhealthy)
    code, document, _ = bench.run(str(bench.bundle(release("1.5.0", 100_050_000_999))), "--yes")
    assert (code, document["code"]) == (20, "rolled-back")
    assert version(bench) == "1.4.0"


def test_status_names_what_fell(upgraded: Bench) -> None:
    upgraded.trust(later(products={"lan-chat": ProductRule(floor=100_060_000_000)}))
    found = upgraded.run("status")[1]["products"][0]
    assert [(each["version"], each["running"]) for each in found["not_admitted"]] == [
        ("1.5.0", True),
        ("1.4.0", False),
    ]
    _, said = upgraded.text("status")
    assert "  NOT ADMITTED 1.5.0 is now below the security floor of the root (sequence 100060000000)" in said
    upgraded.trust(later(revoked_bundles=frozenset({OLD.identity})))
    _, said = upgraded.text("status")
    assert "  NOT ADMITTED 1.4.0 is now revoked" in said
    assert "1.5.0 is now" not in said


class TestRepeated:
    def test_a_second_rollback_without_a_version_does_not_go_forward_again(self, upgraded: Bench) -> None:
        assert upgraded.run("rollback", "--yes")[0] == 0
        before = len(records(upgraded.host))
        code, document, _ = upgraded.run("rollback", "--yes")
        assert (code, document["code"]) == (2, "usage")
        assert document.what == (
            "lan-chat 1.4.0: the release that ran before, 1.5.0, is newer than the installed one"
        )
        assert document.hint.startswith("run `install rollback VERSION --root ")
        assert document.hint.endswith("retained releases: 1.5.0")
        assert (version(upgraded), len(records(upgraded.host))) == ("1.4.0", before)

    def test_the_installed_release_is_none_to_go_back_to(self, bench: Bench) -> None:
        assert bench.run(str(bench.bundle(OLD)), "--yes")[0] == 0
        _, document, _ = bench.run("rollback")
        assert document.hint == "retained releases: none besides the installed one"

    @pytest.mark.parametrize("words", [(), ("1.4.0",)])
    def test_nothing_installed_is_told_and_nothing_to_go_back_to(
        self, upgraded: Bench, words: tuple[str, ...]
    ) -> None:
        assert upgraded.run("remove", "lan-chat", "--yes")[0] == 0
        code, document, _ = upgraded.run("rollback", *words, "--yes")
        assert (code, document["code"]) == (13, "refused")
        assert document.what == "lan-chat is not installed here: there is no release to return to"
        assert document.hint.startswith("install a bundle of it: `install apply BUNDLE")

    def test_a_rollback_with_a_version_goes_where_the_operator_says(self, upgraded: Bench) -> None:
        assert upgraded.run("rollback", "--yes")[0] == 0
        assert upgraded.run("rollback", "1.5.0", "--yes")[0] == 0
        assert version(upgraded) == "1.5.0"
        assert upgraded.run("rollback", "--yes")[0] == 0
        assert version(upgraded) == "1.4.0"


VALUES = "etc/waybill/lan-chat/values.yaml"


def templated(version: str, sequence: int, level: str = "info") -> World:
    files = {
        **FILES,
        "config/app.conf": b"password: {{ db.password }}\nlevel: {{ level }}\n",
        "config/values.yaml": f"db: {{password: changeme}}\nlevel: {level}\nhosts: [a, b]\n".encode(),
    }
    files = dict(sorted(files.items(), key=lambda each: (section_rank(each[0]), each[0])))
    plan = build.plan(
        files,
        room=512, rollback="docs/ROLLBACK.md", version=version, sequence=sequence,
        values="config/values.yaml",
        entries={
            "config/app.conf": {"install": "/etc/app.conf", "kind": "template", "mode": 0o640},
            "config/values.yaml": {"kind": "values"},
        },
    )  # fmt: skip
    back = tuple(replace(each, fields={"rollback_to": "none"}) for each in APPROVALS)
    return World(plan=plan, approvals=back)


@pytest.fixture
def configured(bench: Bench) -> Bench:
    """A host whose values were set by the site between two releases."""
    assert bench.run(str(bench.bundle(templated("1.4.0", 100_040_000_999))), "--yes")[0] == 0
    values = bench.host / VALUES
    values.parent.mkdir(parents=True)
    values.write_text("db: {password: of-the-site-77}\nlevel: info\n")
    assert bench.run(str(bench.bundle(templated("1.5.0", 100_050_000_999))), "--yes")[0] == 0
    return bench


def test_the_plan_of_a_rollback_names_the_values_that_change_and_no_value(configured: Bench) -> None:
    code, text = configured.text("rollback", "--yes")
    assert code == 0
    assert (
        "values: the rollback brings back those that 1.4.0 ran with, its defaults included; changed:\n"
        "  ~ db.password\n"
        "  to run 1.4.0 with other values: after the rollback set them in /etc/waybill/lan-chat/values.yaml\n"
        "  and run `install apply BUNDLE"
    ) in text
    assert "of-the-site-77" not in text
    assert "changeme" not in text
    assert (configured.host / "etc/app.conf").read_text() == "password: changeme\nlevel: info\n"
    # The record of a rollback knows its values, too.
    code, text = configured.text("rollback", "1.5.0", "--yes")
    assert "  ~ db.password\n" in text


def test_the_remedy_that_a_rollback_names_brings_the_values_of_the_site(configured: Bench) -> None:
    assert configured.run("rollback", "--yes")[0] == 0
    bundle = str(configured.bundle(templated("1.4.0", 100_040_000_999)))
    assert configured.run("apply", bundle, "--yes")[0] == 0
    assert version(configured) == "1.4.0"
    assert (configured.host / "etc/app.conf").read_text() == "password: of-the-site-77\nlevel: info\n"


def test_a_default_of_a_release_that_comes_back_is_not_called_a_value_of_the_site(bench: Bench) -> None:
    for number, level in ((4, "info"), (5, "debug")):
        world = templated(f"1.{number}.0", 100_000_000_999 + number * 10_000_000, level)
        assert bench.run(str(bench.bundle(world)), "--yes")[0] == 0
    text = bench.text("rollback", "--yes")[1]
    assert "  ~ level\n" in text
    assert "site values" not in text


def test_values_that_stay_the_same_are_not_told(configured: Bench) -> None:
    assert (
        "values:"
        not in configured.text(str(configured.bundle(templated("1.6.0", 100_060_000_999))), "--yes")[1]
    )
    assert "values:" not in configured.text("rollback", "--yes")[1]


def test_the_plan_says_where_an_earlier_version_recorded_no_values(configured: Bench) -> None:
    for path in (configured.host / "var/lib/waybill/lan-chat/rendered").glob("*/values.json"):
        path.unlink()
    text = configured.text("rollback", "--yes")[1]
    assert "note: which values change is not known" in text


def test_recorded_values_are_digests_that_only_root_reads(configured: Bench) -> None:
    paths = list((configured.host / "var/lib/waybill/lan-chat/rendered").glob("*/values.json"))
    assert len(paths) == 2
    for path in paths:
        assert path.stat().st_mode & 0o777 == 0o600
        kept = json.loads(path.read_bytes())["values"]
        assert sorted(kept) == ["db.password", "hosts", "level"]
        assert {len(each) for each in kept.values()} == {64}
