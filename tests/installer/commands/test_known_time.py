"""What is decided again right before the transaction, and which times a host records as passed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from installer.core.timestamps import format_time
from installer.core.trust.root import PRODUCTION, Role
from installer.state.trust_store import TIME_FILE
from tests.rig import bundlebuild as build
from tests.rig.bench import CLOCK, Bench, environment, release
from tests.rig.trustworld import APPROVALS, NOW, Said, World, person, root

Thinking = Callable[..., None]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FAR = datetime(2039, 1, 1, tzinfo=UTC) - NOW


def within(world: World, **fields: object) -> World:
    """The same bundle, with something else in all of its approvals."""
    return replace(
        world, approvals=tuple(replace(each, fields={**each.fields, **fields}) for each in world.approvals)
    )


def recorded(bench: Bench) -> str:
    path = bench.host / TIME_FILE[1:]
    return path.read_text().strip() if path.exists() else ""


def untouched(bench: Bench) -> bool:
    """Whether nothing was installed and nothing is staged."""
    staging = bench.host / "var/lib/waybill/lan-chat/staging"
    return not (bench.host / "opt").exists() and not any(staging.iterdir())


def short() -> World:
    """A bundle that expires before the root does."""
    return release(expires=int((NOW + DAY).timestamp()))


def expires(world: World) -> datetime:
    return datetime.fromtimestamp(world.plan.manifest.expires, UTC)


class TestRightBeforeItBegins:
    def test_an_approval_that_expires_while_somebody_thinks_is_refused(
        self, bench: Bench, thinking: Thinking
    ) -> None:
        path = bench.bundle(within(release(), expires=NOW + HOUR))
        thinking(2 * HOUR)
        code, document, _ = bench.run(str(path))
        assert (code, document["code"], document.step) == (14, "not-approved", 18)
        assert any("expired on" in problem["what"] for problem in document["problems"])
        assert untouched(bench)
        assert bench.run("history")[1]["refusals"][0]["verification_step"] == 18

    def test_a_bundle_that_expires_while_somebody_thinks_is_refused(
        self, bench: Bench, thinking: Thinking
    ) -> None:
        thinking(2 * DAY)
        code, document, _ = bench.run(str(bench.bundle(short())))
        assert (code, document["code"], document.step) == (12, "expired", 9)
        assert untouched(bench)

    def test_a_bundle_from_a_stream_is_decided_again_right_before_it_begins(
        self, bench: Bench, thinking: Thinking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = within(release(), expires=NOW + HOUR).tar()
        monkeypatch.setattr(
            "installer.commands.common.published_source.open_source", lambda _name: build.stream(data)
        )
        thinking(2 * HOUR)
        assert bench.run("-")[0] == 14
        assert untouched(bench)

    def test_a_bundle_that_is_revoked_meanwhile_is_refused(self, bench: Bench, thinking: Thinking) -> None:
        world = release()
        revoking = root(version=2, revoked_bundles=frozenset({world.identity}))
        thinking(timedelta(), also=lambda: bench.trust(revoking))
        code, document, _ = bench.run(str(bench.bundle(world)))
        assert (code, document.hint) == (15, "run the same command again")
        assert untouched(bench)
        assert bench.run(str(bench.bundle(world)))[1]["code"] == "revoked"

    def test_an_environment_that_changes_meanwhile_ends_the_command(
        self, bench: Bench, thinking: Thinking
    ) -> None:
        thinking(timedelta(), also=lambda: environment(bench.host, "staging\n"))
        assert bench.run(str(bench.bundle(release())))[0] in (13, 15)
        assert untouched(bench)

    def test_break_glass_that_the_plan_did_not_show_is_refused(
        self, bench: Bench, thinking: Thinking
    ) -> None:
        bench.trust(root(environments={"production": replace(PRODUCTION, break_glass=True)}))
        world = within(release(), expires=NOW + HOUR)
        said = Said("break-glass", fields={"notes": "in case", "expires": NOW + DAY})
        path = bench.bundle(replace(world, approvals=(*world.approvals, said)))
        thinking(2 * HOUR)
        code, document, _ = bench.run(str(path))
        assert code == 14
        assert "break-glass would replace it" in document.what
        assert untouched(bench)
        # The next plan shows it.
        code, _, said_now = bench.run(str(path))
        assert (code, "BREAK-GLASS" in said_now) == (0, True)


class TestClockThatJumps:
    def test_a_clock_that_jumps_to_2039_at_the_prompt_is_refused_and_not_kept(
        self, bench: Bench, thinking: Thinking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = bench.bundle(release())
        thinking(FAR, really=timedelta(seconds=5))
        code, document, _ = bench.run(str(path))
        assert (code, document["code"]) == (12, "expired")
        assert "the clock shows 2039-01-01" in document.what
        assert "`date -u`" in document.hint
        assert (untouched(bench), recorded(bench)) == (True, "")
        # Once the clock is right there is nothing to repair.
        monkeypatch.setattr(CLOCK, lambda: NOW + HOUR)
        assert bench.run(str(path), "--yes")[0] == 0

    def test_forward_within_all_that_is_valid_it_is_not_kept(self, bench: Bench, thinking: Thinking) -> None:
        thinking(2 * DAY, really=HOUR)
        assert bench.run(str(bench.bundle(release())))[0] == 0
        assert recorded(bench) == format_time(NOW + HOUR)

    def test_time_that_really_goes_by_is(self, bench: Bench, thinking: Thinking) -> None:
        thinking(2 * DAY)
        assert bench.run(str(bench.bundle(release())))[0] == 0
        assert recorded(bench) == format_time(NOW + 2 * DAY)

    def test_a_clock_that_jumps_back_at_the_prompt_is_noticed(self, bench: Bench, thinking: Thinking) -> None:
        thinking(-HOUR)
        code, document, _ = bench.run(str(bench.bundle(release())))
        assert (code, document["code"]) == (12, "clock-set-back")
        assert "but this command began at" in document.what
        assert (untouched(bench), recorded(bench)) == (True, "")

    def test_a_clock_ahead_of_the_root_is_named_first(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(CLOCK, lambda: NOW + FAR)
        for verb in ("verify", "plan", "apply"):
            code, document, _ = bench.run(verb, str(bench.bundle(release())))
            assert (code, document.step) == (12, 2)
            assert "the clock shows 2039-01-01T00:00:00Z" in document.what
            assert document.hint.startswith("check the clock with `date -u`; if it is right, bring")
        assert recorded(bench) == ""


class TestARefusalAsExpired:
    """It is kept as passed, so that a clock that is set back later revives nothing."""

    def back_then(self, bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(CLOCK, lambda: NOW)
        code, document, _ = bench.run(str(bench.bundle(world)), "--yes")
        assert (code, document["code"], document.step) == (12, "clock-set-back", 3)
        assert untouched_or_never(bench)

    def test_the_expiry_of_a_refused_bundle_is_recorded(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = short()
        monkeypatch.setattr(CLOCK, lambda: expires(world) + 9 * DAY)
        assert bench.run(str(bench.bundle(world)), "--yes")[1].step == 9
        # The expiry, never the clock: that may be ahead.
        assert recorded(bench) == format_time(expires(world))
        self.back_then(bench, world, monkeypatch)

    def test_the_expiry_of_a_refused_approval_is_recorded(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = within(release(), expires=NOW + HOUR)
        monkeypatch.setattr(CLOCK, lambda: NOW + DAY)
        assert bench.run(str(bench.bundle(world)), "--yes")[1].step == 18
        assert recorded(bench) == format_time(NOW + HOUR)
        self.back_then(bench, world, monkeypatch)

    def test_the_expiry_of_a_refused_key_is_recorded(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base, rea = root(), person("Rea").key
        bench.trust(replace(base, keys={**base.keys, rea.keyid: replace(rea, not_after=NOW + HOUR)}))
        monkeypatch.setattr(CLOCK, lambda: NOW + DAY)
        assert bench.run(str(bench.bundle(release())), "--yes")[1].step == 6
        assert recorded(bench) == format_time(NOW + HOUR)
        self.back_then(bench, release(), monkeypatch)

    def test_a_refusal_as_expired_at_the_prompt_is_remembered(self, bench: Bench, thinking: Thinking) -> None:
        thinking(2 * HOUR)
        assert bench.run(str(bench.bundle(within(release(), expires=NOW + HOUR))))[0] == 14
        assert recorded(bench) == format_time(NOW + HOUR)

    def test_a_refusal_as_expired_never_lowers_the_known_time(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
        before = recorded(bench)
        world = within(release("1.5.0", 100_050_000_999), expires=NOW - HOUR)
        assert bench.run(str(bench.bundle(world)), "--yes")[0] == 14
        assert recorded(bench) == before


class TestWhatMovesNothing:
    @pytest.mark.parametrize("verb", ["verify", "plan"])
    def test_commands_that_change_nothing_record_no_time(
        self, bench: Bench, verb: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = short()
        monkeypatch.setattr(CLOCK, lambda: expires(world) + DAY)
        assert bench.run(verb, str(bench.bundle(world)))[0] == 12
        assert recorded(bench) == ""

    def test_what_nobody_trusted_has_signed_records_no_time(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = replace(short(), signers=("Eve",))
        monkeypatch.setattr(CLOCK, lambda: expires(world) + DAY)
        assert bench.run(str(bench.bundle(world)), "--yes")[0] == 10
        assert recorded(bench) == ""

    def test_a_revoked_bundle_records_no_time(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        world = short()
        bench.trust(root(revoked_bundles=frozenset({world.identity})))
        monkeypatch.setattr(CLOCK, lambda: expires(world) + DAY)
        assert bench.run(str(bench.bundle(world)), "--yes")[1]["code"] == "revoked"
        assert recorded(bench) == ""

    def test_a_missing_approval_records_no_time(self, bench: Bench) -> None:
        base, eve = root(), replace(person("Eve").key, not_after=NOW - DAY)
        roles = {**base.roles, "ops": Role((person("Ops").key.keyid, eve.keyid), 1)}
        bench.trust(replace(base, keys={**base.keys, eve.keyid: eve}, roles=roles))
        assert bench.run(str(bench.bundle(replace(release(), approvals=APPROVALS[:1]))), "--yes")[0] == 14
        assert recorded(bench) == ""

    def test_a_clock_beyond_the_expiry_of_the_root_is_not_recorded(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(CLOCK, lambda: NOW + FAR)
        assert bench.run(str(bench.bundle(release())), "--yes")[0] == 12
        assert recorded(bench) == ""

    def test_a_clock_that_jumped_while_the_command_ran_is_not_recorded(
        self, bench: Bench, thinking: Thinking
    ) -> None:
        thinking(DAY, really=timedelta(seconds=5))
        assert bench.run(str(bench.bundle(within(release(), expires=NOW + HOUR))))[0] == 14
        assert recorded(bench) == ""


def untouched_or_never(bench: Bench) -> bool:
    return not (bench.host / "opt").exists()


def test_the_record_of_a_host_that_cannot_be_written_stops_nothing(bench: Bench) -> None:
    (bench.host / TIME_FILE[1:]).mkdir(parents=True)
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 15
    (bench.host / TIME_FILE[1:]).rmdir()
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0


def test_a_host_without_an_environment_refuses_every_bundle(bench: Bench) -> None:
    (bench.host / "etc/waybill/environment").unlink()
    path = str(bench.bundle(release()))
    for words in ((), ("--env", "production")):
        code, document, _ = bench.run(path, "--yes", *words)
        assert (code, document["code"], document.where) == (
            15, "host-not-ready", "/etc/waybill/environment",
        )  # fmt: skip
        assert document.hint == (
            f"set it once, as root: `install trust init {bench.host}/etc/waybill/trust/root.json --env NAME "
            f"--root {bench.host}`"
        )
    assert not (bench.host / "opt").exists()
    # Looking is allowed: a plan says what prevents it.
    assert bench.run("verify", path, "--env", "production")[0] == 0
    code, document, _ = bench.run("plan", path, "--env", "production")
    assert (code, [each["where"] for each in document.others]) == (15, ["/etc/waybill/environment"])
    assert bench.run("verify", path)[0] == 2
    # What the hint says works.
    root_file = str(bench.host / "etc/waybill/trust/root.json")
    assert bench.run("trust", "init", root_file, "--env", "production")[0] == 0
    assert bench.run(path, "--yes")[0] == 0
