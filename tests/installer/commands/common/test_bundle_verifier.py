"""What a host is, and the whole way of `install BUNDLE` through approvals, policies and break-glass."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from installer.commands.common import bundle_verifier
from installer.commands.common.session import Session
from installer.commands.status import status
from installer.core.errors import HostNotReadyError, RefusedError
from installer.core.trust.approval_sidecar import Sidecars
from installer.core.trust.root import PRODUCTION, ProductRule
from installer.core.vsa import VerificationTrace
from installer.host.system import System
from installer.state import host_identity
from installer.state.state import cannot_read_error
from installer.state.trust_store import TIME_FILE
from tests.rig import bundlebuild as build
from tests.rig.bench import Bench, environment, release
from tests.rig.trustworld import APPROVALS, FILES, NOW, Said, World, root

OPEN_MEDIUM = "installer.commands.common.published_source.open_source"


class TestEnvironment:
    def test_the_host_s_own_setting_counts(self, host_dir: Path) -> None:
        environment(host_dir, "production\n")
        assert host_identity.environment(System(host_dir), "") == "production"
        assert host_identity.environment(System(host_dir), "production") == "production"

    def test_no_option_gives_a_host_another_environment(self, host_dir: Path) -> None:
        environment(host_dir, "production\n")
        with pytest.raises(RefusedError, match="belongs to the environment production, not test"):
            host_identity.environment(System(host_dir), "test")

    def test_the_operator_names_the_environment_of_a_host_without_a_setting(self, host_dir: Path) -> None:
        assert host_identity.environment(System(host_dir), "test") == "test"
        assert host_identity.environment(System(host_dir), "") == ""

    @pytest.mark.parametrize("text", ["", "\n", "Production", "a b", "a\nb", "../x", "x" * 5000, "é"])
    def test_a_damaged_setting_is_not_taken_for_none(self, host_dir: Path, text: str) -> None:
        environment(host_dir, text)
        with pytest.raises((HostNotReadyError, OSError)):
            host_identity.environment(System(host_dir), "test")


def test_the_name_is_the_machine_s_or_that_of_the_directory(host_dir: Path) -> None:
    assert host_identity.host_name(System("/")) == os.uname().nodename.lower()
    assert host_identity.host_name(System(host_dir)) == os.uname().nodename.lower()
    (host_dir / "etc/hostname").write_text("Chat01.Plant.Example\n")
    assert host_identity.host_name(System(host_dir)) == "chat01.plant.example"


class TestInstall:
    def test_an_approved_bundle_is_installed_and_the_history_says_who_approved(self, bench: Bench) -> None:
        path = bench.bundle(release())
        code, _, _ = bench.run(str(path), "--yes")
        assert code == 0
        assert (bench.host / "opt/a").read_bytes() == FILES["docs/a"]
        _, document, _ = bench.run("status")
        evidence = document["products"][0]["installed"]["policy"]
        assert evidence["filled"] == {
            "release": ["Rea"],
            "provenance": ["Ci"],
            "security": ["Sec"],
            "ops": ["Ops"],
        }
        assert (evidence["environment"], evidence["change_id"]) == ("production", "CHG-7")
        assert (bench.host / TIME_FILE[1:]).read_text().startswith(NOW.strftime("%Y-%m-%dT%H:%M"))

    @pytest.mark.parametrize("verb", [(), ("--verify-only",), ("--dry-run",)])
    def test_a_bundle_without_approvals_changes_nothing(self, bench: Bench, verb: tuple[str, ...]) -> None:
        path = bench.bundle(replace(release(), approvals=APPROVALS[:1]))
        code, document, _ = bench.run(str(path), "--yes", *verb)
        assert (code, document["code"], document.step) == (14, "not-approved", 18)
        assert {p["what"] for p in document["problems"]} >= {
            "missing: 1 approval in role security",
            "missing: 1 approval in role ops",
        }
        assert not (bench.host / "opt").exists()
        left = {path.name for path in bench.host.glob("var/lib/waybill/*")}
        assert left == (set() if verb else {"audit.jsonl", "audit.head", "audit.lock", "evidence.d"})

    def test_a_bundle_from_a_pipe_is_refused_too_and_its_staged_files_are_gone(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for approvals, wanted in ((APPROVALS[:1], 14), (release().approvals, 0)):
            data = replace(release(), approvals=approvals).tar()
            monkeypatch.setattr(OPEN_MEDIUM, lambda _name, data=data: build.stream(data))
            code, _, _ = bench.run("-", "--yes")
            assert code == wanted
            staging = bench.host / "var/lib/waybill/lan-chat/staging"
            assert list(staging.iterdir()) == []

    def test_approvals_beside_the_bundle_count_and_those_that_were_named(self, bench: Bench) -> None:
        world = release()
        path = bench.bundle(replace(world, approvals=world.approvals[:1]))
        for said, place in ((world.approvals[1], "b.tar.approvals"), (world.approvals[2], "far")):
            (bench.stick / place).mkdir()
            for name, data in world.files((said,)).items():
                (bench.stick / place / Path(name).name).write_bytes(data)
        assert bench.run("verify", str(path))[0] == 14
        code, document, _ = bench.run("verify", str(path), "--approvals", str(bench.stick / "far"))
        assert code == 0
        assert len(document["policy"]["approvals"]) == 3

    def test_a_downgrade_a_jump_and_a_floor_have_words_of_their_own(self, bench: Bench) -> None:
        bench.run(str(bench.bundle(release())), "--yes")
        old = bench.bundle(release("1.3.0", 100_030_000_999))
        assert (bench.run(str(old), "--yes")[0], bench.run(str(old))[1]["code"]) == (13, "downgrade")
        far = bench.bundle(release("1.9.0", 100_090_000_999, upgrade_from="1.5.0"))
        assert bench.run("plan", str(far))[1].hint == "install 1.5.0 first"
        bench.trust(root(version=2, products={"lan-chat": ProductRule(floor=100_050_000_000)}))
        assert bench.run("verify", str(bench.bundle(release())))[1]["code"] == "below-floor"

    def test_a_release_that_was_removed_can_come_back_but_no_older_one(self, bench: Bench) -> None:
        path = bench.bundle(release())
        bench.run(str(path), "--yes")
        assert bench.run("remove", "lan-chat", "--yes")[0] == 0
        old = bench.bundle(release("1.3.0", 100_030_000_999), "old.tar")
        for words in (("verify", str(old)), ("plan", str(old)), (str(old), "--yes")):
            code, document, _ = bench.run(*words)
            assert (code, document["code"], document.step) == (13, "downgrade", 12)
        assert "no release is installed" in document.what
        assert bench.run(str(path), "--yes")[0] == 0

    def test_a_bundle_for_another_platform_is_refused_before_anything_is_made(self, bench: Bench) -> None:
        code, document, _ = bench.run(str(bench.bundle(release(platforms=("linux/mips",)))), "--yes")
        assert (code, document["code"], document.step) == (13, "wrong-platform", 11)
        assert not (bench.host / "var/lib/waybill/lan-chat").exists()

    def test_a_reset_by_the_root_lets_the_host_forget_once(self, bench: Bench) -> None:
        bench.run(str(bench.bundle(release("9.0.0", 2**50))), "--yes")
        good = bench.bundle(release())
        assert bench.run("verify", str(good))[0] == 13
        bench.trust(root(version=2, products={"lan-chat": ProductRule(reset=1)}))
        assert bench.run(str(good), "--yes")[0] == 0
        older = bench.bundle(release("1.3.0", 100_030_000_999))
        assert bench.run(str(older), "--yes")[1]["code"] == "downgrade"
        assert bench.run("status")[1]["products"][0]["highest"] == 100_040_000_999

    def test_a_clock_that_was_set_back_is_noticed(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = bench.bundle(release())
        bench.run(str(path), "--yes")
        monkeypatch.setattr("installer.commands.common.session.utc_now", lambda: NOW - timedelta(hours=1))
        code, document, _ = bench.run("verify", str(path))
        assert (code, document["code"], document.step) == (12, "clock-set-back", 3)
        assert document.hint.endswith(f"correct it and remove {bench.host}{TIME_FILE}")
        (bench.host / TIME_FILE[1:]).unlink()
        assert bench.run("verify", str(path))[0] == 0

    def test_going_back_to_a_kept_release_asks_for_no_new_approval(self, bench: Bench) -> None:
        bench.run(str(bench.bundle(release())), "--yes")
        assert bench.run(str(bench.bundle(release("1.5.0", 100_050_000_999))), "--yes")[0] == 0
        assert bench.run("rollback", "--yes")[0] == 0

    def test_a_revoked_release_is_not_gone_back_to(self, bench: Bench) -> None:
        old = release()
        bench.run(str(bench.bundle(old)), "--yes")
        bench.run(str(bench.bundle(release("1.5.0", 100_050_000_999))), "--yes")
        bench.trust(root(version=2, revoked_bundles=frozenset({old.identity})))
        code, document, _ = bench.run("rollback", "--yes")
        assert (code, document["code"]) == (12, "revoked")


class TestGlass:
    @pytest.fixture
    def broken(self, bench: Bench) -> Path:
        bench.trust(root(environments={"production": replace(PRODUCTION, break_glass=True)}))
        said = Said("break-glass", fields={"notes": "plant stands still"})
        return bench.bundle(replace(release(), approvals=(said,)))

    def test_the_plan_says_it_first(self, bench: Bench, broken: Path) -> None:
        code, document, _ = bench.run("plan", str(broken))
        assert code == 0
        assert document["notes"][0].startswith("BREAK-GLASS used in production")
        assert "Boss: plant stands still" in document["notes"][0]

    def test_the_history_says_it_for_good(self, bench: Bench, broken: Path) -> None:
        assert bench.run(str(broken), "--yes")[0] == 0
        _, document, _ = bench.run("history")
        assert "role security" in " ".join(document["events"][0]["break_glass"])
        said = bench.text("history")[1]
        assert "BREAK-GLASS used instead of: 1 approval in role provenance" in said

    def test_the_status_says_it_as_long_as_it_runs(self, bench: Bench, broken: Path) -> None:
        bench.run(str(broken), "--yes")
        found = bench.run("status")[1]["products"][0]
        assert any("role security" in what for what in found["break_glass"])
        text = status(Session(System(bench.host))).text()
        assert "BREAK-GLASS used instead of 1 approval in role security" in text
        again = release("1.5.0", 100_050_000_999)
        assert bench.run(str(bench.bundle(again)), "--yes")[0] == 0
        assert bench.run("status")[1]["products"][0]["break_glass"] == []

    def test_verify_warns(self, bench: Bench, broken: Path) -> None:
        code, document, said = bench.run("verify", str(broken))
        assert code == 0
        assert document["policy"]["break_glass"]
        assert "BREAK-GLASS" in said


def test_others_than_root_are_told_what_was_not_looked_at(
    host_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_args: object) -> None:
        raise cannot_read_error("/var/lib/waybill/lan-chat/state.json")

    monkeypatch.setattr(bundle_verifier, "read_state", closed)
    world = World(host=World().host)
    trace = VerificationTrace()
    verifier = bundle_verifier.BundleVerifier(
        System(host_dir), world.trust(), "production", Sidecars(), trace
    )
    verifier.open(build.BytesMedium(world.tar()))
    (note,) = trace.notes
    assert note.endswith("state.json: cannot be read by this user; cannot check whether this is a downgrade")
