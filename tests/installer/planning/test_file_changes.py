"""From what the old release has and what is there to what the new one wants: every combination."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from installer.planning.drift import drift
from tests.rig.filechanges import CONF, DATA, KEPT, POLICIES, carry_out, content, item, old_file, planned
from tests.rig.fileentries import make, on, put, there

SEEN = ("absent", "old", "new", "third", "other link", "dir", "full", "pipe")
OLDS = ("nothing", "file")
WANTS = ("nothing", "file", "link", "dir")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = make(tmp_path / "host")
    (made / "etc").mkdir(mode=0o755)
    return made


def lay(root: Path, seen: str, path: str) -> None:
    if seen == "full":
        put(root, "third", f"{path}/theirs")
    else:
        put(root, seen, path)


class Case:
    """One combination, and what has to become of it."""

    def __init__(self, old: str, seen: str, want: str, policy: str, path: str) -> None:
        self.old, self.seen, self.want, self.policy, self.path = old, seen, want, policy, path
        self.is_edited = seen in ("third", "other link") or (
            seen in ("old", "new") and not (old == "file" and seen == "old")
        )

    def outcome(self) -> str:
        """What the plan has to say: nothing, add, restore, make, remove, copy, replace, keep or refuse."""
        if self.want == "nothing":
            if self.old == "nothing" or self.seen in ("absent", "dir", "full", "pipe"):
                return "nothing"
            if not self.is_edited:
                return "remove"
            return {"nothing": "take", "replace": "take", "keep": "stay", "refuse": "refuse"}[self.policy]
        if self.want == "dir":
            if self.seen == "absent":
                return "make"
            if self.seen in ("dir", "full"):
                return "nothing"
            return "remove, make" if self.old == "file" and self.seen == "old" else "refuse"
        if self.want == "file" and self.seen == "new":
            return "nothing"
        if self.seen == "absent":
            return "restore" if self.old == "file" else "add"
        if self.seen in ("dir", "full", "pipe"):
            return "refuse"
        if not self.is_edited:
            return "replace"
        if self.policy == "replace":
            return "copy"
        return "keep" if self.policy == "keep" and self.want == "file" and self.path == CONF else "refuse"


CASES = [
    Case(old, seen, want, policy, path)
    for old in OLDS
    for seen in SEEN
    for want in WANTS
    for policy in POLICIES
    for path in (CONF, DATA)
    if (path == CONF or policy == "keep") and (old == "file" or policy != "refuse")
]


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: " ".join(vars(case)[n] for n in ("old", "seen", "want", "policy", "path"))
)
def test_every_combination_has_its_outcome(root: Path, case: Case) -> None:
    path = case.path
    lay(root, case.seen, path)
    before, was = there(root), content(root, path)
    old = [old_file(path)] if case.old == "file" else []
    wanted = [] if case.want == "nothing" else [item(case.want, path)]
    changes, outcome = planned(root, old, wanted, POLICIES[case.policy]), case.outcome()
    assert bool(changes.problems) == (outcome == "refuse")
    assert [problem.where for problem in changes.problems] == [path] * (outcome == "refuse")
    verbs = [change.verb for change in changes.changes]
    kept = KEPT + path
    expected = {
        "nothing": [], "refuse": [], "stay": [], "keep": ["add"], "copy": ["replace"], "take": ["remove"],
        "remove, make": ["remove", "make"],
    }.get(outcome, [outcome])  # fmt: skip
    if case.seen in ("dir", "full") and case.want == "dir":
        assert changes.installed[0].was, "what was there is the operator's"
    assert verbs == expected
    assert all("saw" in each for each in (*changes.early, *changes.entries, *changes.late))
    assert [change.kept for change in changes.changes if change.kept] == [kept] * (
        outcome in ("copy", "take")
    )
    treatment = {"keep": "keep", "stay": "keep", "copy": "replace", "refuse": "refuse"}.get(outcome)
    edited = case.is_edited and case.want != "dir" and (case.want != "nothing" or case.old == "file")
    assert [each.treatment for each in changes.drifted] == ([treatment] if treatment and edited else [])
    if outcome == "refuse":
        assert there(root) == before
        return
    carry_out(root, changes)
    if outcome in ("copy", "take"):
        assert content(root, kept) == (was if case.seen != "other link" else None)
        assert case.seen != "other link" or os.readlink(root / kept[1:]) == "elsewhere"
    else:
        assert not (root / KEPT[1:]).exists()
    if outcome in ("nothing", "stay"):
        assert there(root) == before
    if outcome == "keep":
        assert there(root).keys() == before.keys() | {f"{path[1:]}.waybill-new"}
        assert content(root, path) == was
    elif case.want == "nothing" and outcome != "stay":
        assert case.old == "nothing" or case.seen in ("dir", "full", "pipe") or not (root / path[1:]).exists()
    elif case.want != "nothing":
        assert drift(on(root).system, [replace(each, policy="") for each in changes.installed]) == ([], [])
    # Planned again, there is nothing to do; and what is taken away again leaves nothing of ours.
    wants = [each for each in changes.installed if each.origin and each.policy != "beside"]
    again = planned(root, changes.installed, [replace(each, policy="", was="") for each in wants])
    assert (again.operations(), again.problems) == ([], [])
    assert again.installed == changes.installed
