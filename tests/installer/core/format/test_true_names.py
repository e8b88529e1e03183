"""True names: blanks, letters of every script and long names travel under encoded names, and nothing else."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.core.digest import sha256_hex
from installer.core.errors import TamperedError
from installer.core.format import manifest_json
from installer.core.format.features import NAMES
from installer.core.format.manifest import DirectoryEntry, FileEntry, LinkEntry, Manifest
from installer.core.format.member_names import (
    destination_fault,
    encoded_name,
    fold_name,
    is_plain_path,
    name_fault,
    unassigned,
)
from tests.rig import bundlebuild as build

REAL = {
    "trees/web/fonts/Große Schrift.ttf": "trees/web/fonts/Gro%C3%9Fe%20Schrift.ttf",
    "trees/web/help/помощь.html": "trees/web/help/%D0%BF%D0%BE%D0%BC%D0%BE%D1%89%D1%8C.html",
    "trees/web/[id].js": "trees/web/%5Bid%5D.js",
    "trees/web/100%/a b": "trees/web/100%25/a%20b",
    "trees/web/-rf": "trees/web/%2Drf",
    "trees/web/~$note.docx": "trees/web/%7E%24note.docx",
    "trees/web/مي‌خواهم": "trees/web/" + "".join(f"%{b:02X}" for b in "مي‌خواهم".encode()),
}
LONG = "trees/web/" + "面" * 85
FILES = dict.fromkeys(REAL, b"x") | {LONG: b"long"}


def refused(manifest: Manifest) -> str:
    with pytest.raises(TamperedError) as caught:
        manifest_json.parse(manifest_json.dump(manifest))
    return caught.value.what


def listed(*entries: FileEntry, **fields: Any) -> Manifest:
    ordered = tuple(sorted(entries, key=lambda entry: entry.tar_name))
    return replace(build.plan().manifest, files=ordered, **fields)


def file(path: str, **fields: Any) -> FileEntry:
    return build.entry_for(path, b"", **fields)


@pytest.mark.parametrize("path", REAL)
def test_a_real_name_has_one_encoding(path: str) -> None:
    assert name_fault(path) is None
    assert encoded_name(path) == REAL[path]


def test_a_name_that_is_too_long_when_encoded_is_named_by_its_digest() -> None:
    assert encoded_name(LONG) == f"trees/web/%/{sha256_hex(LONG.encode())}"
    long_tree = "trees/" + "面" * 80 + "/a"
    assert encoded_name(long_tree) == f"trees/%/{sha256_hex(long_tree.encode())}"
    plain = "docs/" + "x" * 101
    assert encoded_name(plain) == f"docs/%/{sha256_hex(plain.encode())}"


@pytest.mark.parametrize("path", ["trees/web/a%20b", "docs/CHANGELOG.md", "trees/web/%C3%9F"])
def test_a_name_that_fits_stays_as_it_is(path: str) -> None:
    assert encoded_name(path) == ""


name = st.text(st.characters(blacklist_characters="/", blacklist_categories=("Cs",)), min_size=1, max_size=40)


@given(st.lists(name, min_size=1, max_size=4).map(lambda parts: "trees/web/" + "/".join(parts)))
def test_every_name_without_fault_has_an_encoding_that_fits(path: str) -> None:
    if name_fault(path) is None:
        assert is_plain_path(encoded_name(path) or path)
        assert destination_fault("/srv" + path[9:]) is None
        assert unicodedata.normalize("NFC", path) == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("trees/web/cafe\u0301", "NFC"),
        ("trees/web/\u202egpj.exe", "U+202E"),
        ("trees/web/a\u200bb", "U+200B"),
        ("trees/web/a\u2028b", "U+2028"),
        ("trees/web/a\x85b", "U+0085"),
        ("trees/web/a\nb", "U+000A"),
        ("trees/web/\ufeffa", "U+FEFF"),
        ("trees/web/\udce9", "not UTF-8"),
        ("trees/web/../x y", "`..`"),
        ("trees/web//x y", "empty"),
        ("trees/web/" + "é" * 128, "255 bytes"),
        ("trees/web/" + "é é/" * 300 + "x", "1024 bytes"),
    ],
    ids=ascii,
)
def test_a_name_that_cannot_be_carried_is_told_why(path: str, why: str) -> None:
    assert why in (name_fault(path) or "")


def test_a_character_without_meaning_is_found() -> None:
    assert unassigned("a\u0378b") == "\u0378"
    assert unassigned("aß面\u200c") == ""


@pytest.mark.parametrize(
    ("one", "other"),
    [("Straße", "STRASSE"), ("Ä", "ä"), ("Σας", "ΣΑΣ"), ("a\u200cb", "ab"), ("ſ", "S"), ("README", "readme")],
)
def test_names_that_a_file_system_may_take_for_one_are_one(one: str, other: str) -> None:
    assert fold_name(one) == fold_name(other)


def test_a_bundle_with_real_names_is_written_and_read() -> None:
    files = dict(sorted(FILES.items(), key=lambda item: encoded_name(item[0]) or item[0]))
    links = (LinkEntry("trees/web/erste Seite", "help/помощь.html"),)
    plan = build.plan(files, links=links, directories=(DirectoryEntry("trees/web/leerer Ordner", 0o755),))
    found = build.read(plan.tar())
    assert [member.entry.path for member in found.members] == list(files)
    assert found.read_file(LONG) == b"long"
    document = json.loads(found.manifest_bytes)
    assert document["requires"] == [NAMES]
    names = [line[66:] for line in found.head.sums.decode("ascii").splitlines()]
    assert names == sorted([*REAL.values(), encoded_name(LONG), "bundle.json"])


def test_a_bundle_without_such_names_requires_nothing() -> None:
    assert b"requires" not in manifest_json.dump(build.plan().manifest)
    assert b"member" not in manifest_json.dump(build.plan().manifest)


@pytest.mark.parametrize(
    "change",
    [
        {"links": (LinkEntry("trees/web/a b", "x"),)},
        {"links": (LinkEntry("trees/web/l", "a b"),)},
        {"directories": (DirectoryEntry("trees/web/é", 0o755),)},
        {"files": (file("docs/a", install="/opt/My Product/a"),)},
    ],
    ids=["link", "target", "directory", "destination"],
)
def test_each_kind_of_name_is_required_where_it_is_used(change: dict[str, Any]) -> None:
    manifest = replace(build.plan().manifest, **change)
    data = manifest_json.dump(manifest)
    assert json.loads(data)["requires"] == [NAMES]
    assert manifest_json.parse(data) == manifest


Change = Callable[[dict[str, Any]], object]
LIES: dict[str, tuple[Change, str]] = {
    "the encoding of another name": (
        lambda m: m["files"][0].update(member="trees/web/a%20c"),
        "is stored as 'trees/web/a%20c', not as 'trees/web/a%20b'",
    ),
    "small hex digits": (
        lambda m: m["files"][0].update(path="trees/web/é", member="trees/web/%c3%a9"),
        "as '",
    ),
    "no encoded name": (lambda m: m["files"][0].pop("member"), "is stored as ''"),
    "a member for a plain name": (
        lambda m: m["files"][0].update(path="trees/web/ab", member="trees/web/a%62"),
        "not as ''",
    ),
    "an encoded slash": (
        lambda m: m["files"][0].update(path="trees/web/a/b", member="trees/web/a%2Fb"),
        "not as ''",
    ),
    "`..` by encoding": (
        lambda m: m["files"][0].update(path="trees/web/../b c", member="trees/web/%2E%2E/b%20c"),
        "`..`",
    ),
    "not NFC": (lambda m: m["files"][0].update(path="trees/web/e\u0301", member="trees/web/e%CC%81"), "NFC"),
    "bidirectional": (
        lambda m: m["files"][0].update(path="trees/web/\u202ea", member="trees/web/%E2%80%AEa"),
        "U+202E",
    ),
    "no word": (lambda m: m.pop("requires"), "requires [], but uses ['names/1']"),
    "a word without use": (
        lambda m: m["files"][0].update(path=m["files"][0].pop("member")),
        "requires ['names/1'], but uses []",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_lies_about_a_name_is_refused(lie: str) -> None:
    change, why = LIES[lie]
    document = json.loads(manifest_json.dump(listed(file("trees/web/a b"))))
    change(document)
    with pytest.raises(TamperedError) as caught:
        manifest_json.parse(json.dumps(document, ensure_ascii=False).encode())
    assert why in caught.value.what


def test_a_directory_belongs_to_a_tree_in_its_own_letters() -> None:
    manifest = replace(build.plan().manifest, directories=(DirectoryEntry("Trees/web/cache", 0o755),))
    assert refused(manifest) == "directory Trees/web/cache does not belong to any tree"


@pytest.mark.parametrize(
    ("one", "other"),
    [("Straße", "strasse"), ("Über uns", "über uns"), ("a b", "a%20b"), ("a b", "a%20b/c")],
)
def test_two_names_that_cannot_lie_side_by_side_are_refused(one: str, other: str) -> None:
    what = refused(listed(file(f"trees/web/{one}"), file(f"trees/web/{other}")))
    assert re.search("occurs twice, ignoring case|both a file and a directory|in the wrong place", what)
