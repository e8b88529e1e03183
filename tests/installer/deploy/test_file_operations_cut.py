"""`files.change` cut short anywhere, by a kill or by the power: it is undone, and nothing is left."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from installer.deploy.file_checks import matches
from installer.deploy.operation import Json
from installer.host.context import Context
from tests.rig.faulty import FaultySystem, Killed
from tests.rig.fileentries import CHANGE, Split, after_a_power_cut, args, entry, make, on, put, there, wanted
from tests.rig.tap import tapped

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


@pytest.mark.parametrize(
    ("kind", "fault"), [(FaultySystem, "kill half"), (FaultySystem, "kill after"), (Split, "kill after")]
)
def test_everything_is_undone_after_a_kill_at_any_effect_of_an_operation(
    tmp_path: Path, kind: type[FaultySystem], fault: str
) -> None:
    golden = kind(make(tmp_path / "golden"))
    words = all_at_once(tmp_path / "golden")
    CHANGE.do(on(tmp_path / "golden", golden), words, CHANGE.observe(on(tmp_path / "golden"), words))
    # Half an effect is another thing than all of it for writes only.
    numbers = [at for at, name in enumerate(golden.trace, 1) if fault == "kill after" or name == "write"]
    for at in numbers:
        root = make(tmp_path / f"{at}")
        words, old = all_at_once(root), there(root)
        preimage = CHANGE.observe(on(root), words)
        with pytest.raises(Killed):
            CHANGE.do(on(root, kind(root, at, fault)), words, preimage)
        CHANGE.undo(on(root), words, preimage)
        assert there(root) == old, at
        shutil.rmtree(root)
    assert len(numbers) > (60 if fault == "kill after" else 3)


@pytest.mark.parametrize("then", ["undo", "finish"])
def test_undoing_and_finishing_are_done_again_after_a_kill_at_any_effect(tmp_path: Path, then: str) -> None:
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


@pytest.mark.parametrize(
    ("kind", "effect", "left"),
    [(FaultySystem, "rename", 2), (Split, "rename", 3), (Split, "write_new /srv/a/.waybill", 2)],
)
def test_what_is_undone_after_a_kill_is_on_the_disk(
    tmp_path: Path, kind: type[FaultySystem], effect: str, left: int
) -> None:
    root = make(tmp_path / "host")
    put(root, "old")
    put(root, "link", "/srv/b/y")
    old, words = there(root), args(entry("new"), entry("new", "/srv/b/y"))
    preimage = CHANGE.observe(on(root), words)
    golden = kind(make(tmp_path / "golden"))
    put(tmp_path / "golden", "old")
    put(tmp_path / "golden", "link", "/srv/b/y")
    CHANGE.do(on(tmp_path / "golden", golden), words, preimage)
    at = next(number for number, name in enumerate(golden.trace, 1) if name.startswith(effect))
    with pytest.raises(Killed):
        CHANGE.do(on(root, kind(root, at, "kill before")), words, preimage)
    assert len(list((root / "srv/a").iterdir())) == left
    with tapped(root) as tap:
        CHANGE.undo(on(root), words, preimage)
    assert after_a_power_cut(tap, tmp_path / "cut") == [old]


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
