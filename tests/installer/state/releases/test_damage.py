"""What of a retained release is damaged: found without reading its files, unless that is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.digest import sha256_hex
from installer.host.system import System
from installer.state.releases.damage import Damage, find_damage
from installer.state.state import load
from tests.rig.chatd import TWO
from tests.rig.releases import Member, ReleaseSpec, context, install

RELEASE = ReleaseSpec(
    "1.0.0",
    1,
    {
        "bin/linux-amd64/d": Member(b"program", "/opt/d", 0o755),
        "config/app.conf": Member(b"port: 8080\n", "/etc/app.conf", kind="template"),
        "docs/a": Member(b"alpha"),
    },
)
RELEASES = "var/lib/waybill/lan-chat/releases"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A host that retains RELEASE besides the running one."""
    host = context(System(tmp_path))
    install(host, RELEASE)
    install(host, TWO)
    return tmp_path


def stored(place: Path) -> Path:
    """Return the directory of the retained release."""
    (directory,) = (place / RELEASES).glob("1-*")
    return directory


def found(place: Path, **options: bool) -> Damage | None:
    host = context(System(place))
    previous = load(host.system, host.layout).previous
    assert previous is not None
    assert previous.version == "1.0.0"
    return find_damage(host.system, host.layout, previous, **options)


def record(place: Path) -> Path:
    (path,) = (place / "var/lib/waybill/lan-chat").glob("*/000001/record.json")
    return path


@pytest.mark.parametrize("digests", [False, True])
def test_an_intact_release_has_no_damage(place: Path, digests: bool) -> None:
    assert found(place, digests=digests) is None


def test_a_missing_file_is_named(place: Path) -> None:
    path = stored(place) / "docs/a"
    path.unlink()
    damage = found(place)
    assert damage is not None
    assert damage.missing == (f"/{path.relative_to(place)}",)
    assert damage.text() == (
        f"1.0.0 is retained, but damaged (1 file missing: {damage.missing[0]}); it cannot be rolled back to"
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"longer than before"),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.symlink_to("/etc/hostname")),
    ],
    ids=["another size", "a directory in its place", "a link in its place"],
)
def test_a_file_that_was_replaced_is_changed(place: Path, spoil: Callable[[Path], object]) -> None:
    path = stored(place) / "docs/a"
    spoil(path)
    damage = found(place)
    assert damage is not None
    assert (damage.missing, damage.changed) == ((), (f"/{path.relative_to(place)}",))


def test_other_bytes_of_the_same_size_are_seen_by_digest_only(place: Path) -> None:
    (stored(place) / "docs/a").write_bytes(b"ALPHA")
    assert found(place) is None
    damage = found(place, digests=True)
    assert damage is not None
    assert damage.what.startswith("1 file changed: ")


def test_a_rendered_file_that_is_gone_is_missing(place: Path) -> None:
    for path in record(place).parent.iterdir():
        if path.name != "record.json":
            path.unlink()
    damage = found(place)
    assert damage is not None
    assert "/000001/" in damage.missing[0]


@pytest.mark.parametrize("name", ["bundle.json", "SHA256SUMS"])
def test_a_missing_document_of_the_release_is_its_damage(place: Path, name: str) -> None:
    (stored(place) / name).unlink()
    damage = found(place)
    assert damage is not None
    assert damage.missing[0].endswith(f"/{name}")


@pytest.mark.parametrize("name", ["bundle.json", "SHA256SUMS"])
def test_a_changed_document_of_the_release_is_its_damage_and_not_parsed(place: Path, name: str) -> None:
    (stored(place) / name).write_bytes(b"{")
    damage = found(place)
    assert damage is not None
    assert damage.changed[0].endswith(f"/{name}")


def test_a_changed_record_is_the_damage_of_its_release(place: Path) -> None:
    record(place).write_bytes(b"{}")
    damage = found(place)
    assert damage is not None
    assert damage.changed[0].endswith("/000001/record.json")


def test_a_directory_that_is_gone_is_damage(place: Path) -> None:
    shutil.rmtree(stored(place))
    assert found(place) is not None


def test_many_damaged_files_are_counted_and_the_first_is_named(place: Path) -> None:
    (stored(place) / "docs/a").unlink()
    (stored(place) / "bin/linux-amd64/d").write_bytes(b"")
    damage = found(place)
    assert damage is not None
    assert damage.what == f"1 file missing, 1 file changed: {damage.missing[0]} and others"


@pytest.mark.parametrize(
    ("change", "damaged"),
    [({"requires": ["tomorrow/1"]}, False), ({"schema": "something else"}, True)],
    ids=["of a newer version", "of no version"],
)
def test_a_manifest_that_cannot_be_parsed_stops_no_look(
    place: Path, change: dict[str, object], damaged: bool
) -> None:
    host = context(System(place))
    previous = load(host.system, host.layout).previous
    assert previous is not None
    path = stored(place) / "bundle.json"
    path.write_bytes(json.dumps(json.loads(path.read_bytes()) | change).encode())
    recorded = replace(previous, manifest=sha256_hex(path.read_bytes()))
    assert (find_damage(host.system, host.layout, recorded) is not None) == damaged
