"""Blobs that releases share: what `status` says of damage, what a reinstall repairs, what is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.format.manifest import blob_path
from installer.host.layout import CONFIG
from tests.rig import bundlebuild as build
from tests.rig.bench import Bench
from tests.rig.imagebuild import Built, digest, layer
from tests.rig.imageplan import section
from tests.rig.trustworld import APPROVALS, FILES, World

BASE = layer("base", 9000)
SHARED = blob_path(digest(BASE))
VERSIONS = ("1.3.0", "1.4.0", "1.5.0")


def release(version: str) -> World:
    images = section([Built("shop/app:1", [BASE, layer(version)])])
    plan = build.plan(
        {**FILES, **images.files}, room=512, rollback="docs/ROLLBACK.md", version=version,
        sequence=100_000_000_000 + VERSIONS.index(version), images=tuple(images.images),
        entries={path: {"kind": "image"} for path in images.files},
    )  # fmt: skip
    return World(
        plan=plan, approvals=tuple(replace(each, fields={"rollback_to": "none"}) for each in APPROVALS)
    )


@pytest.fixture
def upgraded(bench: Bench) -> Bench:
    """A host that went from 1.3.0 to 1.4.0 to 1.5.0."""
    for version in VERSIONS:
        assert bench.run(str(bench.bundle(release(version), f"{version}.tar")), "--yes")[0] == 0
    return bench


def blob(bench: Bench, version: str, path: str = SHARED) -> Path:
    """Return a blob in the directory of a release."""
    number = 100_000_000_000 + VERSIONS.index(version)
    (found,) = bench.host.glob(f"var/lib/waybill/lan-chat/releases/{number}-*/{path}")
    return found


def damaged(bench: Bench, *words: str) -> list[str]:
    return [each["version"] for each in bench.run("status", *words)[1]["products"][0]["damaged"]]


def test_a_damaged_shared_blob_is_damage_of_each_release_that_has_it(upgraded: Bench) -> None:
    blob(upgraded, "1.3.0").write_bytes(BASE[::-1])
    assert damaged(upgraded) == []
    assert damaged(upgraded, "--verify-retained") == ["1.4.0", "1.3.0", "1.5.0"]
    text = upgraded.text("status", "--verify-retained")[1]
    assert "DAMAGED    1.3.0 is retained, but damaged (1 file changed: " in text
    assert "DAMAGED    1.5.0 is installed, but its stored images are damaged (1 file changed: " in text
    assert "); install the same bundle again\n" in text


def test_a_truncated_shared_blob_is_seen_without_reading_it(upgraded: Bench) -> None:
    blob(upgraded, "1.3.0").write_bytes(BASE[:-1])
    assert damaged(upgraded) == ["1.4.0", "1.3.0"]
    assert "shop/app:1 is incomplete in the directory of the release" in upgraded.text("status")[1]


@pytest.mark.parametrize("fault", ["changed", "truncated", "missing"])
def test_the_same_bundle_repairs_the_blobs_of_the_installed_release_and_no_others(
    fault: str, upgraded: Bench
) -> None:
    path = blob(upgraded, "1.5.0")
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(BASE[::-1] if fault == "changed" else BASE[:-1])
    code, document, _ = upgraded.run(str(upgraded.stick / "1.5.0.tar"), "--yes")
    assert (code, document["changed"]) == (0, True)
    assert blob(upgraded, "1.5.0").read_bytes() == BASE
    assert damaged(upgraded, "--verify-retained") == ([] if fault == "missing" else ["1.4.0", "1.3.0"])
    code, document, _ = upgraded.run(str(upgraded.stick / "1.5.0.tar"), "--yes")
    assert (code, document["changed"]) == (0, False)


def test_a_rollback_and_what_is_pruned_leave_shared_blobs(upgraded: Bench) -> None:
    assert upgraded.run("rollback", "1.3.0", "--yes")[0] == 0
    assert upgraded.run(str(upgraded.stick / "1.5.0.tar"), "--yes", "--keep", "1")[0] == 0
    assert blob(upgraded, "1.5.0").read_bytes() == BASE
    assert blob(upgraded, "1.5.0").stat().st_nlink == 1
    assert damaged(upgraded, "--verify-retained") == []


def test_metrics_count_shared_blobs_once(upgraded: Bench) -> None:
    metrics = upgraded.host / "var/lib/metrics"
    metrics.mkdir()
    (upgraded.host / CONFIG[1:] / "metrics-directory").write_text("/var/lib/metrics\n")
    assert upgraded.run("metrics")[0] == 0
    (line,) = [
        each
        for each in (metrics / "waybill-lan-chat.prom").read_text().splitlines()
        if each.startswith("waybill_retained_bytes")
    ]
    sizes = [sum(entry.size for entry in release(each).plan.manifest.files) for each in VERSIONS]
    assert float(line.split()[-1]) == sum(sizes) - 2 * len(BASE)
