"""A release whose files have blanks and letters of every script, from the bundle to its removal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from installer.core.format.manifest import DirectoryEntry, LinkEntry
from installer.core.format.member_names import encoded_name
from tests.rig import bundlebuild as build
from tests.rig.bench import Bench
from tests.rig.trustworld import World

TREE = "/opt/My Product/web"
PATHS = (
    "trees/web/fonts/Große Schrift.ttf",
    "trees/web/help/помощь.html",
    "trees/web/[id] $(x);'.js",
    "trees/web/-rf",
    "trees/web/" + "面" * 85,
)
CONFIG = "config/mein chatd.conf"
PLACE = "/etc/My Product/größe.conf"


def world(version: str, sequence: int, text: bytes, **fields: Any) -> World:
    files = {CONFIG: text, "docs/Änderungen 1.md": b"# 1.0.0\n", **dict.fromkeys(PATHS, text)}
    order = ("docs", "config", "trees")
    ordered = sorted(files, key=lambda path: (order.index(path.split("/")[0]), encoded_name(path) or path))
    entries: dict[str, dict[str, Any]] = {path: {"install": TREE + path[9:]} for path in PATHS}
    entries[CONFIG] = {"install": PLACE, "kind": "template"}
    plan = build.plan(
        {path: files[path] for path in ordered}, room=512, rollback="docs/Änderungen 1.md", version=version,
        sequence=sequence, entries=entries,
        links=(LinkEntry("trees/web/erste Seite", "help/помощь.html", f"{TREE}/erste Seite"),),
        directories=(DirectoryEntry("trees/web/leerer Ordner", 0o750, f"{TREE}/leerer Ordner"),),
        **fields,
    )  # fmt: skip
    return World(plan=plan)


def installed(host: Path) -> dict[str, bytes]:
    """Return the files of the product by their paths, as bytes of the file system."""
    found = {}
    for top in (b"opt", b"etc/My Product"):
        for above, _, names in os.walk(os.fsencode(host) + b"/" + top):
            for name in names:
                path = above + b"/" + name
                place = path[len(os.fsencode(host)) :].decode()
                if not os.path.islink(path):
                    found[place] = Path(os.fsdecode(path)).read_bytes()
    return found


EXPECTED = {PLACE, *(TREE + path[9:] for path in PATHS)}


@pytest.fixture
def first(bench: Bench) -> Bench:
    bundle = bench.bundle(world("1.4.0", 100_040_000_999, b"one\n"))
    code, document, said = bench.run(str(bundle), "--yes")
    assert code == 0, (document, said)
    return bench


def test_each_file_lies_under_its_true_name(first: Bench) -> None:
    assert installed(first.host) == dict.fromkeys(EXPECTED, b"one\n")
    link = first.host / TREE[1:] / "erste Seite"
    assert os.readlink(link) == "help/помощь.html"
    assert link.read_bytes() == b"one\n"
    assert (first.host / TREE[1:] / "leerer Ordner").stat().st_mode & 0o777 == 0o750
    code, document, _ = first.run("status")
    assert code == 0
    assert not document.get("drift"), document


def test_an_upgrade_and_the_way_back_keep_the_names(first: Bench) -> None:
    bundle = first.bundle(world("1.5.0", 100_050_000_999, b"two\n"), "newer.tar")
    code, text = first.text("plan", str(bundle))
    assert code == 0, text
    assert f"{TREE}/fonts/Große Schrift.ttf" in text
    assert "%C3" not in text
    assert first.run(str(bundle), "--yes")[0] == 0
    assert installed(first.host) == dict.fromkeys(EXPECTED, b"two\n")
    assert first.run("rollback", "--yes")[0] == 0
    assert installed(first.host) == dict.fromkeys(EXPECTED, b"one\n")


def test_drift_is_shown_kept_and_replaced_by_the_true_name(first: Bench) -> None:
    edited = first.host / PLACE[1:]
    edited.write_bytes(b"mine\n")
    code, document, _ = first.run("status")
    assert PLACE in str(document)
    bundle = first.bundle(world("1.5.0", 100_050_000_999, b"two\n"), "newer.tar")
    code, document, said = first.run(str(bundle), "--yes", "--on-drift", f"replace:{PLACE}")
    assert code == 0, (document, said)
    assert edited.read_bytes() == b"two\n"


def test_a_removal_leaves_nothing(first: Bench) -> None:
    code, document, said = first.run("remove", "lan-chat", "--yes")
    assert code == 0, (document, said)
    assert installed(first.host) == {}
    assert not (first.host / "opt/My Product").exists()
