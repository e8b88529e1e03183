"""Damaged retained releases: `status` does not offer them, and `rollback` does not choose among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.bench import Bench, release


@pytest.fixture
def upgraded(bench: Bench) -> Bench:
    """A host that went from 1.3.0 to 1.4.0 to 1.5.0."""
    for number, version in enumerate(("1.3.0", "1.4.0", "1.5.0")):
        bundle = bench.bundle(release(version, 100_040_000_000 + number))
        assert bench.run(str(bundle), "--yes")[0] == 0
    return bench


def stored(bench: Bench, number: int) -> Path:
    """Return the directory of a retained release."""
    found = bench.host.glob(f"var/lib/waybill/lan-chat/releases/{100_040_000_000 + number}-*")
    return next(iter(found))


def running(bench: Bench) -> str:
    return str(bench.run("status")[1]["products"][0]["installed"]["version"])


def test_status_offers_undamaged_releases(upgraded: Bench) -> None:
    text = upgraded.text("status")[1]
    assert "  retained   1.4.0, 1.3.0 (`install rollback VERSION" in text
    assert "DAMAGED" not in text
    assert upgraded.run("status")[1]["products"][0]["damaged"] == []


def test_status_names_a_damaged_release_and_does_not_offer_it(upgraded: Bench) -> None:
    (stored(upgraded, 1) / "docs/a").unlink()
    text = upgraded.text("status")[1]
    assert "  retained   1.3.0 (`install rollback VERSION" in text
    assert "  DAMAGED    1.4.0 is retained, but damaged (1 file missing: /var/lib/waybill/" in text
    (damaged,) = upgraded.run("status")[1]["products"][0]["damaged"]
    assert (damaged["version"], len(damaged["missing"]), damaged["changed"]) == ("1.4.0", 1, [])


def test_status_reads_every_byte_where_it_is_asked_to(upgraded: Bench) -> None:
    path = stored(upgraded, 1) / "docs/a"
    path.write_bytes(path.read_bytes().upper())
    assert "DAMAGED" not in upgraded.text("status")[1]
    assert "(1 file changed: " in upgraded.text("status", "--verify-retained")[1]


def test_a_missing_signature_is_damage(upgraded: Bench) -> None:
    for path in stored(upgraded, 1).glob("SHA256SUMS.*"):
        path.unlink()
    assert "(1 file missing: " in upgraded.text("status")[1]


def test_a_damaged_retained_release_is_no_drift_of_the_running_one(upgraded: Bench) -> None:
    (stored(upgraded, 1) / "docs/a").unlink()
    assert upgraded.run("status", "--check")[0] == 0


def test_a_rollback_without_a_version_passes_over_no_damaged_release(upgraded: Bench) -> None:
    (stored(upgraded, 1) / "docs/a").unlink()
    code, document, _ = upgraded.run("rollback", "--yes")
    assert (code, document["code"]) == (11, "tampered")
    assert document.what.startswith("the previous release, lan-chat 1.4.0, is damaged (1 file missing: ")
    assert document.hint.endswith("; undamaged retained releases: 1.3.0")
    assert running(upgraded) == "1.5.0"
    assert upgraded.run("rollback", "1.3.0", "--yes")[0] == 0
    assert running(upgraded) == "1.3.0"


def test_a_rollback_offers_no_release_where_all_are_damaged(upgraded: Bench) -> None:
    for number in (0, 1):
        (stored(upgraded, number) / "docs/a").unlink()
    document = upgraded.run("rollback", "--yes")[1]
    assert "create a new bundle of this version with a higher `sequence`" in document.hint
