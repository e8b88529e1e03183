"""The commands, typed on a damaged host: one document, the right exit code, a remedy that works."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest

from installer.commands import metrics
from installer.core.trust.root import fingerprint
from installer.host.host import Host
from installer.state.trust_store import ROOT_FILE
from tests.rig.bench import Bench, newer, release
from tests.rig.releases import STATE
from tests.rig.trustworld import root


@pytest.fixture
def ours(bench: Bench) -> Bench:
    """A host with one release."""
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    return bench


def test_an_install_derives_a_damaged_state_again_as_every_start_does(ours: Bench) -> None:
    state = ours.host / STATE / "state.json"
    state.write_text("{")
    code, document, said = ours.run(newer(ours), "--yes")
    assert (code, document["to"]["version"], document["from"]["version"]) == (0, "1.5.0", "1.4.0")
    assert "the state was damaged" in said
    assert "cannot check whether this is a downgrade" not in said


def test_an_install_with_a_damaged_state_still_refuses_an_older_release(ours: Bench) -> None:
    (ours.host / STATE / "state.json").write_text("{")
    older = ours.bundle(release("1.3.0", 100_030_000_999), "older.tar")
    code, document, _ = ours.run(str(older), "--yes")
    assert (code, document["code"]) == (13, "downgrade")


def test_a_bundle_can_be_verified_whatever_the_state_is_and_it_is_said_what_was_not_looked_at(
    ours: Bench,
) -> None:
    (ours.host / STATE / "state.json").write_text("{")
    code, document, said = ours.run("verify", newer(ours))
    assert code == 0
    assert "cannot check whether this is a downgrade" in said
    assert document["downgrade_checked"] is False
    why = "the state of this host cannot be read" if os.geteuid() == 0 else "run as root"
    assert f"\ndowngrade    NOT CHECKED ({why})\n" in ours.text("verify", newer(ours))[1]


@pytest.mark.parametrize("damage", [b"{", None], ids=["damaged", "deleted"])
def test_no_plan_is_made_from_a_state_that_is_not_known(ours: Bench, damage: bytes | None) -> None:
    state = ours.host / STATE / "state.json"
    state.unlink() if damage is None else state.write_bytes(damage)
    code, document, _ = ours.run("plan", newer(ours))
    assert (code, document["code"]) == (21, "state-damaged")
    assert document.hint == (
        f"run `install recover --root {ours.host}`: it rebuilds the state from the journal"
    )
    assert ours.run("recover")[0] == 0
    assert ours.run("plan", newer(ours))[1]["from"]["version"] == "1.4.0"


def test_a_plan_says_first_that_something_is_unfinished(ours: Bench) -> None:
    (ours.host / STATE / "txn/000009.backup").mkdir()
    code, document, _ = ours.run("plan", newer(ours))
    assert code == 0
    assert document["notes"][0].startswith("UNFINISHED transaction 000009: its journal is missing")
    text = ours.text("plan", newer(ours))[1]
    assert text.index("UNFINISHED transaction 000009") < text.index("files: ")


def test_a_plan_of_a_host_that_is_not_ready_is_one_document_with_the_plan_in_it(ours: Bench) -> None:
    (ours.host / "opt/a").write_text("edited here")
    code, document, _ = ours.run("plan", newer(ours))
    assert (code, document["code"], document["exit"]) == (15, "host-not-ready", 15)
    assert [problem["where"] for problem in document.others] == ["/opt/a"]
    assert document["to"]["version"] == "1.5.0"


@pytest.mark.parametrize("command", ["status", "history", "audit", "recover", "rollback"])
def test_a_file_where_all_state_should_be_is_the_host_s_fault_and_not_ours(ours: Bench, command: str) -> None:
    state = ours.host / "var/lib/waybill"
    shutil.rmtree(state)
    state.write_text("somebody's")
    code, document, said = ours.run(command)
    assert (code, document["code"]) == (15, "host-not-ready")
    assert document.where.startswith("/var/lib/waybill")
    assert "Traceback" not in said


@pytest.mark.parametrize("place", ["", "/lan-chat", "/lan-chat/txn"])
@pytest.mark.parametrize(("command", "wanted"), [("verify", (0,)), ("plan", (15,)), ("apply", (15, 21))])
def test_a_file_in_the_place_of_a_directory_is_no_fault_of_ours_for_a_bundle_either(
    ours: Bench, place: str, command: str, wanted: tuple[int, ...]
) -> None:
    there = ours.host / f"var/lib/waybill{place}"
    shutil.rmtree(there)
    there.write_text("somebody's")
    code, document, said = ours.run(command, newer(ours), *(["--yes"] if command == "apply" else []))
    assert code in wanted, document
    assert "Traceback" not in said
    assert there.read_text() == "somebody's"


def test_a_fault_of_the_metrics_hides_no_exit_code(ours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (ours.host / "prom").mkdir()
    (ours.host / "etc/waybill/metrics-directory").write_text("/prom\n")

    def fault(*_args: object, **_more: object) -> None:
        raise KeyError("new")

    monkeypatch.setattr(metrics, "of_product", fault)
    code, document, said = ours.run(newer(ours), "--yes")
    assert (code, document["to"]["version"]) == (0, "1.5.0")
    assert "WARNING: the metrics were not written: KeyError" in said


def test_recover_says_offline_how_to_go_on_by_hand(bench: Bench) -> None:
    _, said = bench.text("recover", "--help")
    assert "by hand:" in said
    assert "install rollback VERSION --on-drift replace" in said


def test_status_is_one_document_on_a_host_without_anything(bench: Bench) -> None:
    code, document, _ = bench.run("status")
    assert (code, document["products"], document["problems"]) == (0, [], [])


@pytest.mark.parametrize("upgraded", [False, True], ids=["which runs", "which is kept"])
def test_another_build_with_the_number_of_a_release_is_refused(ours: Bench, *, upgraded: bool) -> None:
    if upgraded:
        assert ours.run(newer(ours), "--yes")[0] == 0
        assert ours.run("rollback", "--yes")[0] == 0
    other = str(ours.bundle(release(upgrade_from="1.0.0"), "other.tar"))
    for command in ((other, "--yes"), ("plan", other), ("verify", other)):
        code, document, _ = ours.run(*command)
        assert (code, document["code"]) == (13, "downgrade")
        assert "has the same sequence number" in document.what
    again = ours.run(str(ours.bundle(release(), "again.tar")), "--yes")
    assert (again[0], again[1]["to"]["version"]) == (0, "1.4.0")


def test_a_release_that_was_approved_once_more_is_the_same_release(ours: Bench) -> None:
    world = release()
    more = replace(world, approvals=(*world.approvals, replace(world.approvals[0], by="Sec")))
    code, document, _ = ours.run(str(ours.bundle(more, "more.tar")), "--yes")
    assert (code, document["changed"]) == (0, False)


def test_a_way_back_stays_open_whatever_the_clock_said_when_it_was_last_gone(
    ours: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ours.run(newer(ours), "--yes")[0] == 0
    expired = root().expires.timestamp() + 86400
    monkeypatch.setattr(Host, "now", lambda _self: expired)
    for version in ("1.4.0", "1.5.0", "1.4.0"):
        code, document, _ = ours.run("rollback", version, "--yes")
        assert (code, document["to"]["version"]) == (0, version), document


def test_a_damaged_root_is_put_right_as_its_hint_says(ours: Bench) -> None:
    trusted = ours.host / ROOT_FILE[1:]
    carried = ours.stick / "root.json"
    carried.write_bytes(trusted.read_bytes())
    trusted.write_text("{")
    code, document, _ = ours.run("rollback", "--yes")
    assert (code, document.where) == (11, f"{ROOT_FILE}:1")
    assert (
        "restore it from a backup. Without a backup, remove it, then run `install trust init" in document.hint
    )
    trusted.unlink()
    typed = fingerprint(carried.read_bytes())
    assert ours.run("trust", "init", str(carried), "--fingerprint", typed)[0] == 0
    assert trusted.read_bytes() == carried.read_bytes()


def test_the_damage_of_one_product_does_not_hide_the_others(ours: Bench) -> None:
    other = ours.host / "var/lib/waybill/broken"
    other.mkdir()
    (other / "state.json").write_text("{")
    code, document, said = ours.run("status")
    assert (code, document["code"], document["exit"]) == (21, "state-damaged", 21)
    assert [each["product"] for each in document["products"]] == ["lan-chat"]
    assert "error: /var/lib/waybill/broken/state.json: the state is damaged" in said
    code, text = ours.text("status")
    assert code == 21
    assert "lan-chat 1.4.0 is installed" in text
    assert "hint: " in text
