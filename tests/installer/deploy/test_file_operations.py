"""`files.change` by itself: done, undone, finished, cut short anywhere, and met by somebody else's work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from installer.core.digest import sha256_hex
from installer.core.errors import Problem
from installer.deploy.file_backups import saw
from installer.deploy.file_operations import BATCH, CLEARED, ChangeFiles, batches, matches
from installer.deploy.operation import Json, Op, StepError, ThirdStateError
from installer.host.context import Context
from installer.host.host import Seen
from installer.host.system import System
from tests.rig.faulty import FaultySystem, Killed, snapshot
from tests.rig.releases import context
from tests.rig.tap import Tap, tapped

T = TypeVar("T")
NEW, OLD = b"the new one\n", b"the old one\n"
PATH = "/srv/a/x"
CHANGE = ChangeFiles()
OUTSIDE = ("var", "stage")


def on(root: Path, system: System | None = None) -> Context:
    return replace(context(system or System(root)), transaction="000001")


def there(root: Path) -> dict[str, tuple[Any, ...]]:
    """What is on the host besides our own files."""
    return snapshot(root, besides=OUTSIDE)


def gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put(root: Path, kind: str, path: str = PATH) -> None:
    """Puts something at a path: one of `BEFORE`."""
    place = root / path[1:]
    gone(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind in ("new", "old", "third"):
        place.write_bytes({"new": NEW, "old": OLD, "third": b"somebody's work\n"}[kind])
        place.chmod(0o640 if kind == "new" else 0o600)
    elif kind == "mode":
        place.write_bytes(NEW)
        place.chmod(0o600)
    elif kind in ("link", "other link"):
        place.symlink_to("target" if kind == "link" else "elsewhere")
    elif kind in ("dir", "closed"):
        place.mkdir(mode=0o755)
        place.chmod(0o755 if kind == "dir" else 0o700)
    elif kind == "pipe":
        os.mkfifo(place)


def entry(kind: str, path: str = PATH, **fields: Any) -> Json:
    """What is wanted at a path: one of `WANTED`."""
    owner = {"uid": 0 if os.geteuid() == 0 else -1, "gid": 0 if os.geteuid() == 0 else -1}
    made: dict[str, Json] = {
        "new": {"kind": "file", "mode": 0o640, "sha256": sha256_hex(NEW), "source": "/stage/new", **owner},
        "link": {"kind": "link", "target": "target"},
        "dir": {"kind": "dir", "mode": 0o755, **owner},
        "absent": {"kind": "absent"},
    }
    return {"path": path, **made[kind], **fields}


BEFORE = ("absent", "new", "old", "mode", "link", "other link", "dir", "closed")
WANTED = ("new", "link", "dir", "absent")
IS_DIR = ("dir", "closed")


def is_possible(before: str, want: str) -> bool:
    return "absent" in (before, want) or (before in IS_DIR) == (want == "dir")


ALL = [(before, want) for before in BEFORE for want in WANTED]
PAIRS = [pair for pair in ALL if is_possible(*pair)]


def args(*entries: Json) -> Json:
    return {"batch": "test-0", "entries": list(entries)}


def wanted(before: str, want: str, path: str = PATH) -> Json:
    """An entry as the planner makes it: a directory that goes names what is in it."""
    tree = {"tree": []} if before in IS_DIR and want == "absent" else {}
    return entry(want, path, **tree)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "host")


def make(root: Path) -> Path:
    (root / "stage").mkdir(parents=True)
    (root / "stage/new").write_bytes(NEW)
    (root / "srv/a").mkdir(parents=True)
    return root


@pytest.mark.parametrize(("before", "want"), PAIRS)
def test_done_undone_done_and_finished(root: Path, before: str, want: str) -> None:
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
    other = "directory" if (kind, want) == ("link", "dir") else entry(want)["kind"]
    assert caught.value.what == f"is a {kind} where the release has a {other}"


@pytest.mark.parametrize("want", ["new", "link", "dir"])
def test_what_is_neither_file_nor_link_nor_directory_is_never_replaced(root: Path, want: str) -> None:
    put(root, "pipe")
    words, within = args(entry(want)), on(root)
    with pytest.raises(StepError, match="is a other where the release has a "):
        CHANGE.do(within, words, CHANGE.observe(within, words))
    assert (root / PATH[1:]).is_fifo()


# -- everything at once: cut short anywhere ------------------------------------------------------------

EVERYTHING = [
    ("absent", "new"), ("old", "new"), ("mode", "new"), ("other link", "new"), ("new", "new"),
    ("absent", "link"), ("old", "link"), ("other link", "link"),
    ("absent", "dir"), ("closed", "dir"), ("old", "absent"), ("link", "absent"), ("dir", "absent"),
]  # fmt: skip


def all_at_once(root: Path) -> Json:
    entries = []
    for number, (before, want) in enumerate(EVERYTHING):
        path = f"/srv/{'ab'[number % 2]}/{number}"
        put(root, before, path)
        entries.append(wanted(before, want, path))
    # A directory that goes with what is in it, and one that is made and filled.
    put(root, "old", "/srv/c/old/x")
    entries.append({**entry("absent", "/srv/c/old"), "tree": ["/srv/c/old/x"]})
    entries += [entry("dir", "/srv/d"), entry("new", "/srv/d/x")]
    (root / "srv/f").mkdir()
    return {**args(*entries), "prune": ["/srv/f", "/srv/a"]}


def is_done(within: Context, words: Json) -> bool:
    return all(matches(within.system.observe(each["path"]), each) for each in words["entries"])


@pytest.mark.parametrize("fault", ["kill half", "kill after"])
def test_killed_at_any_effect_of_it_everything_is_undone(tmp_path: Path, fault: str) -> None:
    at, reached = 0, True
    while reached:
        at += 1
        root = make(tmp_path / f"{at}")
        words, old = all_at_once(root), there(root)
        preimage = CHANGE.observe(on(root), words)
        system = FaultySystem(root, at, fault)
        with suppress(Killed):
            CHANGE.do(on(root, system), words, preimage)
        reached = len(system.trace) >= at
        CHANGE.undo(on(root), words, preimage)
        assert there(root) == old, at
        shutil.rmtree(root)
    assert at > 60


@pytest.mark.parametrize("then", ["undo", "finish"])
def test_killed_at_any_effect_of_undoing_or_finishing_it_is_done_again(tmp_path: Path, then: str) -> None:
    at, reached = 0, True
    while reached:
        at += 1
        root = make(tmp_path / f"{at}")
        words, old = all_at_once(root), there(root)
        preimage = CHANGE.observe(on(root), words)
        CHANGE.do(on(root), words, preimage)
        system = FaultySystem(root, at, "kill after")
        with suppress(Killed):
            getattr(CHANGE, then)(on(root, system), words, preimage)
        reached = len(system.trace) >= at
        getattr(CHANGE, then)(on(root), words, preimage)
        if then == "undo":
            assert there(root) == old, at
        else:
            assert is_done(on(root), words)
            assert not [name for name in there(root) if ".waybill" in name]
            assert not (root / "srv/f").exists()
            assert (root / "srv/a").exists()
        shutil.rmtree(root)
    assert at > 10


def after_a_power_cut(tap: Tap, cut: Path) -> list[dict[str, tuple[Any, ...]]]:
    """What can be on the host if the power goes now."""
    found = []
    for _, state in tap.disk.cuts(0, len(tap.disk.log)):
        state.write(cut)
        if there(cut) not in found:
            found.append(there(cut))
        shutil.rmtree(cut)
    return found


def test_wherever_the_power_goes_everything_is_undone(tmp_path: Path) -> None:
    root = make(tmp_path / "host")
    words, old = all_at_once(root), there(root)
    preimage = CHANGE.observe(on(root), words)
    with tapped(root) as tap:
        CHANGE.do(on(root), words, preimage)
    tried = 0
    for end, state in tap.disk.cuts(0):
        cut = tmp_path / "cut"
        state.write(cut)
        CHANGE.undo(on(cut), words, preimage)
        assert there(cut) == old, end
        shutil.rmtree(cut)
        tried += 1
    assert tried > 50
    new = there(root)
    with tapped(root) as tap:
        CHANGE.undo(on(root), words, preimage)
    assert old != new
    assert after_a_power_cut(tap, tmp_path / "cut") == [old], "what is undone is on the disk"


def test_what_is_done_and_finished_is_on_the_disk(tmp_path: Path) -> None:
    root = make(tmp_path / "host")
    words = all_at_once(root)
    with tapped(root) as tap:
        preimage = CHANGE.observe(on(root), words)
        CHANGE.do(on(root), words, preimage)
    assert after_a_power_cut(tap, tmp_path / "cut") == [there(root)]
    with tapped(root) as tap:
        CHANGE.finish(on(root), words, preimage)
    assert after_a_power_cut(tap, tmp_path / "cut") == [there(root)]


# -- somebody else's work ------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "want"), [pair for pair in PAIRS if pair[1] != "dir"])
def test_what_somebody_put_there_since_is_left_alone_and_named(root: Path, before: str, want: str) -> None:
    put(root, before)
    put(root, "old", "/srv/a/y")
    words, within = args(entry("new", "/srv/a/y"), wanted(before, want)), on(root)
    preimage = CHANGE.observe(within, words)
    unchanged = matches(within.system.observe(PATH), words["entries"][1])
    CHANGE.do(within, words, preimage)
    put(root, "third")
    if unchanged:
        CHANGE.undo(within, words, preimage)
    else:
        for _ in range(2):
            with pytest.raises(ThirdStateError) as caught:
                CHANGE.undo(within, words, preimage)
            assert [problem.where for problem in caught.value.problems] == [PATH]
    assert (root / PATH[1:]).read_bytes() == b"somebody's work\n"
    # The others are undone all the same.
    assert (root / "srv/a/y").read_bytes() == OLD


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
    put(root, "old", "/srv/a/y")
    words = args(entry("new", "/srv/a/y"), entry("new"))
    within = meddling(root, "write_new /srv/a/.waybill", lambda: put(root, "third"))
    preimage = CHANGE.observe(within, words)
    with pytest.raises(StepError, match="was changed while the release was applied") as caught:
        CHANGE.do(within, words, preimage)
    assert caught.value.where == PATH
    # It never was ours: undoing is no third state, and leaves nothing of ours.
    CHANGE.undo(within, words, preimage)
    assert (root / PATH[1:]).read_bytes() == b"somebody's work\n"
    assert (root / "srv/a/y").read_bytes() == OLD
    assert sorted(path.name for path in (root / "srv/a").iterdir()) == ["x", "y"]


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


# -- what the plan saw ---------------------------------------------------------------------------------


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


def test_of_a_thousand_changes_fifty_are_named(root: Path) -> None:
    words, within = args(*(entry("new", f"/srv/a/{number}", saw="link x") for number in range(60))), on(root)
    with pytest.raises(StepError) as caught:
        CHANGE.require_unchanged(within, words)
    assert len(caught.value.problems) == 50


# -- small things --------------------------------------------------------------------------------------

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


def test_its_places_are_the_directories_that_hold_the_entries() -> None:
    assert CHANGE.places(args(entry("new"), entry("dir", "/srv/b"))) == {"/srv/a", "/srv"}


def test_a_replaced_file_that_the_operator_keeps_is_kept(root: Path) -> None:
    put(root, "old")
    words, within = args(entry("new", keep="/kept/x")), on(root)
    preimage = CHANGE.observe(within, words)
    CHANGE.do(within, words, preimage)
    CHANGE.finish(within, words, preimage)
    assert (root / "kept/x").read_bytes() == OLD


def test_names_cannot_be_foreseen_and_differ(root: Path) -> None:
    words, within = args(entry("new")) | {"batch": "some name-0"}, on(root)
    tags = {CHANGE.observe(within, words)["tag"] for _ in range(3)}
    assert len(tags) == 3
    assert all(tag.startswith("000001-some-name-0-") for tag in tags)


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
