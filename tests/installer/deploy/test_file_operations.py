"""`files.change` by itself: done, undone and finished, for every pair of before and after."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.digest import sha256_hex
from installer.deploy.file_checks import matches
from installer.deploy.file_operations import BATCH, batches
from installer.deploy.operation import Op, StepError
from installer.host import file_systems
from installer.host.host import A_KIND, Seen
from tests.rig.fileentries import (
    BEFORE,
    CHANGE,
    IS_DIR,
    NEW,
    OLD,
    PAIRS,
    PATH,
    WANTED,
    args,
    entry,
    is_possible,
    make,
    on,
    put,
    there,
    wanted,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "host")


@pytest.mark.parametrize(("before", "want"), PAIRS)
def test_a_change_can_be_done_undone_done_again_and_finished(root: Path, before: str, want: str) -> None:
    put(root, before)
    old, words, within = there(root), args(wanted(before, want)), on(root)
    preimage = CHANGE.observe(within, words)
    CHANGE.do(within, words, preimage)
    assert matches(within.system.observe(PATH), words["entries"][0])
    for _ in range(2):
        CHANGE.undo(within, words, preimage)
        assert there(root) == old
    again = CHANGE.observe(within, words)
    CHANGE.do(within, words, again)
    for _ in range(2):
        CHANGE.finish(within, words, again)
        left = there(root)
        assert matches(within.system.observe(PATH), words["entries"][0])
        assert {name for name in left if ".waybill" in name} == set()


@pytest.mark.parametrize(
    ("before", "want"), [(b, w) for b in BEFORE for w in WANTED if not is_possible(b, w)]
)
def test_what_the_plan_cannot_have_meant_is_refused_before_anything(
    root: Path, before: str, want: str
) -> None:
    put(root, before)
    put(root, "old", "/srv/a/y")
    old, words, within = there(root), args(entry("new", "/srv/a/y"), entry(want)), on(root)
    with pytest.raises(StepError, match=" where the release has a ") as caught:
        CHANGE.do(within, words, CHANGE.observe(within, words))
    assert caught.value.where == PATH
    assert there(root) == old
    kind = "link" if "link" in before else "dir" if before in IS_DIR else "file"
    assert caught.value.what == f"is {A_KIND[kind]} where the release has {A_KIND[entry(want)['kind']]}"


@pytest.mark.parametrize("want", ["new", "link", "dir"])
def test_what_is_neither_file_nor_link_nor_directory_is_never_replaced(root: Path, want: str) -> None:
    put(root, "pipe")
    words, within = args(entry(want)), on(root)
    with pytest.raises(StepError, match="is a device, socket or pipe where the release has a "):
        CHANGE.do(within, words, CHANGE.observe(within, words))
    assert (root / PATH[1:]).is_fifo()


FILE = Seen("file", sha256_hex(NEW), len(NEW), 0o640, 7, 8)


@pytest.mark.parametrize(
    ("seen", "same"),
    [
        (FILE, True),
        (replace(FILE, sha256=""), False),
        (replace(FILE, mode=0o600), False),
        (replace(FILE, uid=0), False),
        (replace(FILE, gid=0), False),
        (Seen("absent"), False),
        (Seen("link", target="x"), False),
    ],
)
def test_a_file_is_as_wanted_in_content_mode_and_owner(seen: Seen, same: bool) -> None:
    want = entry("new", uid=7, gid=8)
    assert matches(seen, want) == same
    is_file = seen.kind == "file" and bool(seen.sha256)
    assert matches(seen, {**want, "uid": -1, "gid": -1}) == (is_file and seen.mode == 0o640)
    assert matches(seen, {**want, "loose": True}) == is_file


def test_directories_links_and_nothing_are_as_wanted() -> None:
    assert matches(Seen("dir", mode=0o755), entry("dir", uid=0, gid=-1))
    assert not matches(Seen("dir", mode=0o755), entry("dir", uid=1, gid=-1))
    assert matches(Seen("link", target="target"), entry("link"))
    assert not matches(Seen("link", target="other"), entry("link"))
    assert matches(Seen("absent"), entry("absent"))


def test_entries_are_cut_into_batches_with_names_of_their_own() -> None:
    assert list(batches([], "add")) == []
    (one,) = batches([entry("new")] * BATCH, "add")
    assert one == Op("files.change", args(*[entry("new")] * BATCH) | {"batch": "add-0"}, "switch", "add")
    first, second = batches([entry("new")] * (BATCH + 1), "add", "new files")
    assert [len(op.args["entries"]) for op in (first, second)] == [BATCH, 1]
    assert [op.args["batch"] for op in (first, second)] == ["add-0", "add-1"]
    assert [op.label for op in (first, second)] == ["new files (1–256 of 257)", "new files (257–257 of 257)"]


def test_the_undo_of_the_link_does_not_name_the_release_that_failed() -> None:
    (link,) = batches([entry("link")], "current", "point `current` to 2.0.0")
    (files,) = batches([entry("link")], "links", "links")
    assert CHANGE.undo_label(link) == "undo: point `current` back"
    assert CHANGE.undo_label(files) == "undo: links"


def test_the_places_of_an_operation_are_the_directories_that_hold_its_entries() -> None:
    assert CHANGE.places(args(entry("new"), entry("dir", "/srv/b"))) == {"/srv/a", "/srv"}


def test_a_replaced_file_that_the_operator_keeps_is_kept(root: Path) -> None:
    put(root, "old")
    words, within = args(entry("new", keep="/kept/x")), on(root)
    preimage = CHANGE.observe(within, words)
    CHANGE.do(within, words, preimage)
    CHANGE.finish(within, words, preimage)
    assert (root / "kept/x").read_bytes() == OLD


@pytest.mark.parametrize("before", ["absent", "new"])
def test_no_copy_is_kept_of_what_was_not_replaced(root: Path, before: str) -> None:
    put(root, before)
    words, within = args(entry("new", keep="/kept/x")), on(root)
    preimage = CHANGE.observe(within, words)
    CHANGE.do(within, words, preimage)
    # Of an earlier attempt, or of somebody: no backup of ours.
    put(root, before, f"{preimage['directory']}/0")
    CHANGE.finish(within, words, preimage)
    assert not (root / "kept").exists()


def test_undoing_for_an_earlier_version_does_not_compare_modes_where_none_are_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, within = args(entry("new")), on(root)
    preimage = CHANGE.observe(within, words)
    CHANGE.do(within, words, preimage)
    (root / PATH[1:]).chmod(0o777)
    monkeypatch.setattr(file_systems, "_poor_types", lambda: {root.stat().st_dev: "vfat"})
    CHANGE.undo(within, words, preimage)
    assert not (root / PATH[1:]).exists()


def test_names_cannot_be_foreseen_and_differ(root: Path) -> None:
    words, within = args(entry("new")) | {"batch": "some name-0"}, on(root)
    tags = {CHANGE.observe(within, words)["tag"] for _ in range(3)}
    assert len(tags) == 3
    assert all(tag.startswith("000001-some-name-0-") for tag in tags)
