"""`files.change` and somebody else's work: it is never overwritten nor removed, and it is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from installer.core.errors import Problem
from installer.deploy.file_backups import saw
from installer.deploy.file_checks import CLEARED, matches
from installer.deploy.operation import StepError, ThirdStateError
from installer.host.context import Context
from installer.host.system import System
from tests.rig.fileentries import (
    CHANGE,
    IS_DIR,
    NEW,
    OLD,
    PAIRS,
    PATH,
    Split,
    after_a_power_cut,
    args,
    entry,
    gone,
    make,
    on,
    put,
    there,
    wanted,
)
from tests.rig.tap import tapped

T = TypeVar("T")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "host")


@pytest.mark.parametrize(
    ("before", "want", "theirs"),
    [
        (before, want, theirs)
        for before, want in PAIRS
        for theirs in ("third", "dir")
        # A directory of somebody else is nothing new where a directory was before.
        if (want != "dir" or before == "closed") and not (theirs == "dir" and before in IS_DIR)
    ],
)
def test_what_somebody_put_there_since_is_left_alone_and_named(
    root: Path, before: str, want: str, theirs: str
) -> None:
    put(root, before)
    put(root, "old", "/srv/a/y")
    words, within = args(entry("new", "/srv/a/y"), wanted(before, want)), on(root)
    preimage = CHANGE.observe(within, words)
    unchanged = matches(within.system.observe(PATH), words["entries"][1])
    CHANGE.do(within, words, preimage)
    put(root, theirs)
    with tapped(root) as tap:
        if unchanged:
            CHANGE.undo(within, words, preimage)
        else:
            for _ in range(2):
                with pytest.raises(ThirdStateError) as caught:
                    CHANGE.undo(within, words, preimage)
                assert [problem.where for problem in caught.value.problems] == [PATH]
    assert (root / PATH[1:]).is_dir() == (theirs == "dir")
    assert theirs == "dir" or (root / PATH[1:]).read_bytes() == b"somebody's work\n"
    assert after_a_power_cut(tap, root.with_name("cut")) == [there(root)]
    # The others are undone all the same.
    assert (root / "srv/a/y").read_bytes() == OLD


def test_a_backup_next_to_a_file_stays_where_somebody_changed_that(root: Path) -> None:
    put(root, "old")
    words = args(entry("new"))
    preimage = CHANGE.observe(on(root), words)
    CHANGE.do(on(root, Split(root)), words, preimage)
    put(root, "third")
    with pytest.raises(ThirdStateError):
        CHANGE.undo(on(root), words, preimage)
    (backup,) = (root / "srv/a").glob("*.old")
    assert backup.read_bytes() == OLD


def test_a_directory_that_somebody_filled_or_replaced_is_left(root: Path) -> None:
    words, within = args(entry("dir", "/srv/a/x"), entry("dir", "/srv/a/y")), on(root)
    preimage = CHANGE.observe(within, words)
    CHANGE.do(within, words, preimage)
    (root / "srv/a/x/theirs").touch()
    (root / "srv/a/y").rmdir()
    (root / "srv/a/y").touch()
    CHANGE.undo(within, words, preimage)
    assert (root / "srv/a/x/theirs").exists()
    assert (root / "srv/a/y").is_file()


def test_a_file_that_somebody_removed_comes_back(root: Path) -> None:
    put(root, "old")
    words, within = args(entry("new")), on(root)
    preimage = CHANGE.observe(within, words)
    CHANGE.do(within, words, preimage)
    gone(root / PATH[1:])
    CHANGE.undo(within, words, preimage)
    assert (root / PATH[1:]).read_bytes() == OLD


def test_a_directory_that_was_set_aside_and_then_taken_away_is_named(root: Path) -> None:
    put(root, "old", f"{PATH}/in")
    words, within = args({**entry("absent"), "tree": [f"{PATH}/in"]}), on(root)
    preimage = CHANGE.observe(within, words)
    CHANGE.do(within, words, preimage)
    (aside,) = (root / "srv/a").glob(".waybill-*")
    shutil.rmtree(aside)
    with pytest.raises(ThirdStateError) as caught:
        CHANGE.undo(within, words, preimage)
    assert caught.value.problems == (Problem(PATH, "was removed by somebody else", "create it again"),)


def test_a_backup_that_is_gone_is_named(root: Path) -> None:
    put(root, "old")
    words, within = args(entry("new")), on(root)
    preimage = CHANGE.observe(within, words)
    CHANGE.do(within, words, preimage)
    shutil.rmtree(root / preimage["directory"][1:])
    (root / preimage["directory"][1:]).mkdir()
    (root / preimage["directory"][1:] / "begun").touch()
    with pytest.raises(ThirdStateError) as caught:
        CHANGE.undo(within, words, preimage)
    (problem,) = caught.value.problems
    assert "its backup has changed" in problem.what
    assert (root / PATH[1:]).read_bytes() == NEW


class Meddling(System):
    """A host on which somebody does something right before one of our effects."""

    effect = ""

    def meddle(self) -> None:
        """What somebody does."""

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        if self.effect and f"{name} {args[0]}".startswith(self.effect):
            self.effect = ""
            self.meddle()
        return super().around(name, args, call)


def meddling(root: Path, effect: str, meddle: Callable[[], None]) -> Context:
    system = Meddling(root)
    system.effect, system.meddle = effect, meddle  # type: ignore[method-assign]
    return on(root, system)


@pytest.mark.parametrize("before", ["absent", "old", "link"])
def test_what_is_saved_while_new_content_is_written_is_not_overwritten(root: Path, before: str) -> None:
    put(root, before)
    put(root, "old", "/srv/b/y")
    words = args(entry("new", "/srv/b/y"), entry("new"))
    within = meddling(root, "write_new /srv/a/.waybill", lambda: put(root, "third"))
    preimage = CHANGE.observe(within, words)
    with pytest.raises(StepError, match="was changed while the release was applied") as caught:
        CHANGE.do(within, words, preimage)
    assert caught.value.where == PATH
    # It never was ours: undoing is no third state, and leaves nothing of ours.
    with tapped(root) as tap:
        CHANGE.undo(within, words, preimage)
    assert after_a_power_cut(tap, root.with_name("cut")) == [there(root)]
    assert (root / PATH[1:]).read_bytes() == b"somebody's work\n"
    assert (root / "srv/b/y").read_bytes() == OLD
    assert [path.name for path in (root / "srv/a").iterdir()] == ["x"]


def test_what_goes_may_be_gone_already(root: Path) -> None:
    put(root, "old")
    words = args(entry("absent"))
    within = meddling(root, f"unlink {PATH}", lambda: gone(root / PATH[1:]))
    CHANGE.do(within, words, CHANGE.observe(within, words))
    assert there(root).keys() == {"srv", "srv/a"}


def test_a_directory_that_changes_before_it_is_replaced_is_left(root: Path) -> None:
    put(root, "dir")
    words, within = args({**entry("absent"), "tree": []}), on(root)
    preimage = CHANGE.observe(within, words)
    (root / PATH[1:]).chmod(0o700)
    with pytest.raises(StepError, match="was changed while the release was applied"):
        CHANGE.do(within, words, preimage)
    (root / PATH[1:]).chmod(0o755)
    (root / PATH[1:] / "theirs").touch()
    with pytest.raises(StepError, match="was changed after the plan was made") as caught:
        CHANGE.do(within, words, preimage)
    assert caught.value.where == f"{PATH}/theirs"
    assert (root / PATH[1:] / "theirs").exists()
    assert not (root / preimage["directory"][1:]).exists(), "refused before the first change"


def test_a_staged_file_that_changed_since_it_was_verified_goes_nowhere(root: Path) -> None:
    put(root, "old")
    (root / "stage/new").write_bytes(b"the bad one\n")
    old, words, within = there(root), args(entry("new")), on(root)
    preimage = CHANGE.observe(within, words)
    with pytest.raises(StepError, match="differs from what was verified") as caught:
        CHANGE.do(within, words, preimage)
    assert caught.value.where == "/stage/new"
    assert (root / PATH[1:]).read_bytes() == OLD
    CHANGE.undo(within, words, preimage)
    assert there(root) == old


class Poor(System):
    """A host whose file systems keep no modes."""

    def write_new(self, path: str, data: Any, mode: int, *more: int, sync: bool = True) -> None:
        super().write_new(path, data, 0o777 if path.startswith("/srv/") else mode, *more, sync=sync)


def test_where_modes_are_not_kept_nothing_is_put_in_place_unless_that_was_planned(root: Path) -> None:
    words, within = args(entry("new")), on(root, Poor(root))
    preimage = CHANGE.observe(within, words)
    with pytest.raises(StepError, match="does not keep modes or owners") as caught:
        CHANGE.do(within, words, preimage)
    assert caught.value.where == PATH
    assert not (root / PATH[1:]).exists()
    CHANGE.undo(within, words, preimage)
    loose = args(entry("new", loose=True))
    preimage = CHANGE.observe(within, loose)
    CHANGE.do(within, loose, preimage)
    assert (root / PATH[1:]).read_bytes() == NEW
    CHANGE.undo(within, loose, preimage)
    assert not (root / PATH[1:]).exists()


def test_no_link_that_was_made_after_the_plan_leads_to_our_own_places(root: Path) -> None:
    (root / "etc/waybill/trust").mkdir(parents=True)
    (root / "srv/a").rmdir()
    (root / "srv/a").symlink_to("/etc/waybill/trust")
    words, within = args(entry("new")), on(root)
    with pytest.raises(StepError) as caught:
        CHANGE.do(within, words, CHANGE.observe(within, words))
    assert caught.value.where == PATH
    assert list((root / "etc/waybill/trust").iterdir()) == []
    # The link to the running release is ours to change.
    ours = args(entry("link", f"{within.layout.state}/current"))
    (root / within.layout.state[1:]).mkdir(parents=True)
    CHANGE.do(within, ours, CHANGE.observe(within, ours))
    assert os.readlink(root / within.layout.state[1:] / "current") == "target"


@pytest.mark.parametrize("saw_then", ["absent", "old", "link", "closed"])
def test_what_is_not_as_the_plan_saw_it_is_refused_before_anything(root: Path, saw_then: str) -> None:
    put(root, saw_then)
    within = on(root)
    seen = saw(within.system.observe(PATH))
    words = args(wanted(saw_then, "absent") | {"saw": seen})
    CHANGE.require_unchanged(within, words)
    put(root, "mode")
    old = there(root)
    for refused in (
        lambda: CHANGE.require_unchanged(within, words),
        lambda: CHANGE.do(within, words, CHANGE.observe(within, words)),
    ):
        with pytest.raises(StepError, match="was changed after the plan was made") as caught:
            refused()
        assert caught.value.where == PATH
        (problem,) = caught.value.problems
        assert problem.what == f"the plan saw: {seen}; now: {saw(within.system.observe(PATH))}"
        assert there(root) == old


def test_what_goes_before_it_is_looked_at_only_once_it_is_gone(root: Path) -> None:
    put(root, "old")
    words, within = args(entry("new", saw=CLEARED)), on(root)
    CHANGE.require_unchanged(within, words)
    with pytest.raises(StepError, match="was changed after the plan was made") as caught:
        CHANGE.do(within, words, CHANGE.observe(within, words))
    assert "the plan saw: cleared" in caught.value.problems[0].what
    gone(root / PATH[1:])
    CHANGE.do(within, words, CHANGE.observe(within, words))
    assert (root / PATH[1:]).read_bytes() == NEW


def test_what_is_in_a_directory_that_goes_counts_too(root: Path) -> None:
    put(root, "old", f"{PATH}/in")
    within = on(root)
    seen = {"saw": saw(within.system.observe(PATH)), "tree": [f"{PATH}/in"]}
    words = args({**entry("absent"), **seen, "below": [saw(within.system.observe(f"{PATH}/in"))]})
    CHANGE.require_unchanged(within, words)
    put(root, "new", f"{PATH}/in")
    with pytest.raises(StepError) as caught:
        CHANGE.require_unchanged(within, words)
    assert caught.value.where == f"{PATH}/in"


def test_at_most_fifty_of_many_changes_are_named(root: Path) -> None:
    words, within = args(*(entry("new", f"/srv/a/{number}", saw="link x") for number in range(60))), on(root)
    with pytest.raises(StepError) as caught:
        CHANGE.require_unchanged(within, words)
    assert len(caught.value.problems) == 50


@pytest.mark.parametrize(("begun", "marked"), [(False, True), (True, True), (True, False)])
def test_what_was_not_begun_is_not_looked_at(root: Path, begun: bool, marked: bool) -> None:
    """Journals of earlier versions do not say whether it was begun: then it may have been."""
    put(root, "old")
    words, within = args(entry("new")), on(root)
    preimage = CHANGE.observe(within, words)
    assert preimage["marked"] is True
    if begun:
        CHANGE.do(within, words, preimage)
    put(root, "third")
    if not marked:
        del preimage["marked"]
        gone(root / preimage["directory"][1:] / "begun")
    if not begun:
        CHANGE.undo(within, words, preimage)
    else:
        with pytest.raises(ThirdStateError):
            CHANGE.undo(within, words, preimage)
    assert (root / PATH[1:]).read_bytes() == b"somebody's work\n"
