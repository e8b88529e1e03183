"""What the documents of `status` and `history` have of a host: the value of each field, not only its form."""

from __future__ import annotations

from typing import Any

import pytest

from installer.core.format.manifest import Source
from tests.rig.bench import Bench, newer, release

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def product(bench: Bench) -> dict[str, Any]:
    """What the document of `status` has of the one product."""
    (found,) = bench.run("status")[1]["products"]
    return dict(found)


@pytest.fixture
def running(bench: Bench) -> Bench:
    """A host with a release of a known commit."""
    source = Source(COMMIT, "v1.4.0")
    assert bench.run(str(bench.bundle(release(source=source))), "--yes")[0] == 0
    return bench


def test_nothing_is_told_of_what_there_is_not(running: Bench) -> None:
    found = product(running)
    empty = ("drift", "edited", "differences", "leftover", "damaged", "not_admitted", "break_glass")
    assert {name: found[name] for name in empty} == {name: [] for name in empty}
    none = ("unfinished", "in_progress", "hidden", "distrust", "failed", "health")
    assert {name: found[name] for name in none} == dict.fromkeys(none)
    assert found["highest"] == found["installed"]["sequence"] == 100_040_000_999


def test_the_source_of_the_release_is_told(running: Bench) -> None:
    assert product(running)["source"] == {"commit": COMMIT, "tag": "v1.4.0", "dirty": False}
    assert f"  built from {Source(COMMIT, 'v1.4.0').text()}\n" in running.text("status")[1]


def test_an_edited_file_is_told_with_what_differs(running: Bench) -> None:
    (running.host / "opt/a").write_text("edited\n")
    found = product(running)
    assert [each["where"] for each in found["drift"]] == ["/opt/a"]
    (row,) = found["differences"]
    assert (row["path"], "-edited\n+alpha" in row["text"]) == ("/opt/a", True)


def test_a_root_that_cannot_be_read_is_told(running: Bench) -> None:
    (running.host / "etc/waybill/trust/root.json").write_text("{")
    found = product(running)
    assert found["distrust"].startswith("/etc/waybill/trust/root.json:")
    assert f"  NO TRUST   {found['distrust']}" in running.text("status")[1]


def test_the_history_says_who_has_signed_and_approved(running: Bench) -> None:
    assert running.run(newer(running), "--yes")[0] == 0
    for event in running.run("history")[1]["events"]:
        (signer,) = event["signed_by"]
        assert signer.startswith("Rea (cosign key ")
        assert sorted(event["approved_by"]) == ["Ci (provenance)", "Ops (ops)", "Sec (security)"]
        assert event["environment"] == "production"
