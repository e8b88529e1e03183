"""The highest sequence number is known from the audit log where somebody removed the state of a product."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from installer.audit.floor import highest_sequence, with_floor
from installer.audit.log import opened
from installer.host.context import Context
from installer.state.state import State
from tests.rig.bench import Bench, newer, release
from tests.rig.chatd import ONE, TWO
from tests.rig.faulty import kill_at
from tests.rig.releases import install, recovered, remove, roll_back, root

OLD, NEW = 100_040_000_999, 100_050_000_999


@pytest.fixture
def ours(bench: Bench) -> Bench:
    """A host that had 1.5.0, and whose state somebody deleted by hand."""
    old = str(bench.bundle(release(), "old.tar"))
    assert bench.run(old, "--yes")[0] == 0
    assert bench.run(newer(bench), "--yes")[0] == 0
    shutil.rmtree(bench.host / "var/lib/waybill/lan-chat")
    (bench.host / "opt/a").unlink()
    return bench


@pytest.mark.parametrize("words", [("verify",), ("plan",), ("apply", "--yes")], ids=lambda words: words[0])
def test_an_older_release_is_a_downgrade_after_the_state_was_deleted(
    ours: Bench, words: tuple[str, ...]
) -> None:
    code, document, _ = ours.run(words[0], str(ours.stick / "old.tar"), *words[1:])
    assert (code, document["code"]) == (13, "downgrade")
    assert str(NEW) in document.what


def test_the_same_or_a_newer_release_is_installed_and_the_state_knows_the_number_again(ours: Bench) -> None:
    assert ours.run("apply", newer(ours), "--yes")[0] == 0
    (status,) = ours.run("status")[1]["products"]
    assert status["highest"] == NEW


def test_a_removal_by_hand_of_state_json_alone_changes_nothing_either(bench: Bench) -> None:
    assert bench.run(newer(bench), "--yes")[0] == 0
    for path in (bench.host / "var/lib/waybill/lan-chat").iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    code, document, _ = bench.run("apply", str(bench.bundle(release(), "old.tar")), "--yes")
    assert (code, document["code"]) == (13, "downgrade")


def forgotten(host: Context) -> int:
    return highest_sequence(host.system, host.layout.product)


@pytest.mark.host(ONE, TWO)
def test_what_was_committed_counts_whatever_came_after_it(host: Context) -> None:
    assert forgotten(host) == 2
    roll_back(host)
    remove(host)
    assert forgotten(host) == 2


@pytest.mark.host(ONE)
def test_what_was_rolled_back_never_counts(host: Context) -> None:
    kill_at(host, TWO, "rename /opt/.waybill")
    # It may have been committed, as long as its end is not in the log.
    assert forgotten(host) == 2
    recovered(host)
    assert forgotten(host) == 1


def test_a_host_that_never_had_the_product_has_no_floor(host: Context) -> None:
    assert with_floor(host.system, "lan-chat", State()) == State()


@pytest.mark.host(ONE)
def test_another_product_of_the_host_counts_for_itself_only(host: Context) -> None:
    assert highest_sequence(host.system, "other") == -1
    assert Path(root(host), "var/lib/waybill/audit.jsonl").exists()
    install(host, TWO)
    # A state that is there is believed.
    for state in (State(highest=0), State(highest=1), State(transaction=1)):
        assert with_floor(host.system, "lan-chat", state) == state
    assert with_floor(host.system, "lan-chat", State(highest=1, transaction=1)).highest == 1


def written(host: Context, *records: dict[str, object]) -> int:
    """What the log tells that has these records."""
    common = {"time": "2026-11-24T03:00:00Z", "by": {"uid": 0}, "program": "0", "product": "lan-chat"}
    with opened(host.system) as log:
        for record in records:
            log.append({**common, **record})
    return forgotten(host)


def begun(number: str, sequence: object) -> dict[str, object]:
    return {"event": "begun", "transaction": number, "sequence": sequence}


def ended(number: str, result: str) -> dict[str, object]:
    return {"event": "ended", "transaction": number, "result": result}


def test_each_transaction_is_told_by_its_own_number(host: Context) -> None:
    assert written(host, begun("000001", 5), begun("000002", 3), ended("000002", "rolled back")) == 5
    assert written(host, ended("000001", "rolled back")) == -1


def test_what_is_recorded_between_begin_and_end_changes_nothing(host: Context) -> None:
    between = {"event": "refused", "transaction": "000001", "reason": "in between"}
    assert written(host, begun("000001", 5), between, ended("000001", "done")) == 5


@pytest.mark.parametrize("sequence", ["9", 9.5, None, True])
def test_what_is_no_number_counts_as_none(host: Context, sequence: object) -> None:
    assert written(host, begun("000001", sequence), ended("000001", "done")) == -1
