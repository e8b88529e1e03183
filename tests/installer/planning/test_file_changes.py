"""From what the old release has and what is there to what the new one wants: every combination."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.core.digest import sha256_hex
from installer.core.errors import Problem
from installer.deploy.file_operations import CLEARED, ChangeFiles
from installer.host.context import Context
from installer.planning.changes import Changes, FileChange
from installer.planning.destinations import Admission
from installer.planning.drift import NOTHING_SAID, Policy, drift
from installer.planning.file_changes import compare
from installer.state.release import Installed
from tests.rig.fileentries import NEW, OLD, gone, make, on, put, there

CONF, DATA = "/etc/x", "/srv/a/x"
KEPT = "/var/lib/waybill/lan-chat/kept/000009"
SEEN = ("absent", "old", "new", "third", "other link", "dir", "full", "pipe")
OLDS = ("nothing", "file")
WANTS = ("nothing", "file", "link", "dir")
POLICIES = {"nothing": NOTHING_SAID, **{word: Policy(word) for word in ("refuse", "keep", "replace")}}  # type: ignore[arg-type]
OWNER = {"uid": 0, "gid": 0} if os.geteuid() == 0 else {"uid": -1, "gid": -1}


def item(kind: str, path: str, data: bytes = NEW, **fields: Any) -> Installed:
    made = {
        "file": {
            "sha256": sha256_hex(data),
            "size": len(data),
            "mode": 0o640,
            **OWNER,
            "source": "/stage/new",
        },
        "link": {"target": "target"},
        "dir": {"mode": 0o755, **OWNER},
    }[kind]
    return Installed(path, kind, **{"origin": "docs/x", **made, **fields})  # type: ignore[arg-type]


def old_file(path: str, **fields: Any) -> Installed:
    return item("file", path, OLD, mode=0o600, **fields)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = make(tmp_path / "host")
    (made / "etc").mkdir(mode=0o755)
    return made


def planned(
    root: Path,
    old: Sequence[Installed],
    wanted: Sequence[Installed],
    policy: Policy = NOTHING_SAID,
    **more: Any,
) -> Changes:
    host = on(root)
    return compare(host.system, host.layout, "000009", old, wanted, Admission(host), policy=policy, **more)


def lay(root: Path, seen: str, path: str) -> None:
    if seen == "full":
        put(root, "third", f"{path}/theirs")
    else:
        put(root, seen, path)


def carry_out(root: Path, changes: Changes) -> None:
    """Does it, undoes it, does it again, and finishes it."""
    operations, files, before = changes.operations(), ChangeFiles(), there(root)
    host: Context = on(root)
    for last in (False, True):
        done = []
        for op in operations:
            files.require_unchanged(host, op.args) if not done else None
            done.append((op.args, files.observe(host, op.args)))
            files.do(host, *done[-1])
        for args, preimage in done if last else reversed(done):
            (files.finish if last else files.undo)(host, args, preimage)
        assert last or there(root) == before


def content(root: Path, path: str) -> bytes | None:
    place = root / path[1:]
    return place.read_bytes() if place.is_file() and not place.is_symlink() else None


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
def test_every_combination(root: Path, case: Case) -> None:
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


# -- directories on the way ----------------------------------------------------------------------------


def paths(changes: Changes) -> list[tuple[str, str]]:
    return [(change.verb, change.path) for change in changes.changes]


def test_directories_that_are_needed_are_made_once_and_recorded_as_ours(root: Path) -> None:
    wanted = [item("file", "/opt/a/b/x"), item("file", "/opt/a/b/y"), item("file", "/opt/a/z")]
    changes = planned(root, [], wanted)
    assert paths(changes) == [
        ("make", "/opt"), ("make", "/opt/a"), ("make", "/opt/a/b"),
        ("add", "/opt/a/b/x"), ("add", "/opt/a/b/y"), ("add", "/opt/a/z"),
    ]  # fmt: skip
    assert [
        (each.path, each.origin, each.mode, each.uid) for each in changes.installed if each.kind == "dir"
    ] == [(path, "", 0o755, OWNER["uid"]) for path in ("/opt", "/opt/a", "/opt/a/b")]
    saws = {each["path"]: each["saw"] for each in changes.entries}
    assert saws == {
        path: "absent" if path == "/opt" else CLEARED
        for path in ("/opt", "/opt/a", "/opt/a/b", "/opt/a/b/x", "/opt/a/b/y", "/opt/a/z")
    }
    carry_out(root, changes)
    # They stay ours with the next release, and go with the last.
    again = planned(root, changes.installed, wanted)
    assert (again.operations(), again.installed) == ([], changes.installed)
    last = planned(root, changes.installed, [])
    assert last.prune == ["/opt/a/b", "/opt/a", "/opt"]
    carry_out(root, last)
    assert not (root / "opt").exists()


@pytest.mark.parametrize("seen", ["third", "other link", "pipe"])
def test_what_is_in_the_way_of_a_directory_is_named(root: Path, seen: str) -> None:
    put(root, seen, "/srv/a/b")
    changes = planned(root, [], [item("file", "/srv/a/b/x"), item("file", "/srv/a/b/c/y")])
    what = "a dangling link" if seen == "other link" else "not a directory"
    assert changes.problems[0] == Problem(
        "/srv/a/b", f"is {what}, but /srv/a/b/x needs a directory there", "move it away"
    )
    assert {problem.where for problem in changes.problems} == {"/srv/a/b"}
    assert changes.operations() == []


def test_a_file_of_the_release_in_the_way_of_another_is_an_error_of_the_release(root: Path) -> None:
    changes = planned(root, [], [item("file", "/srv/a/b"), item("file", "/srv/a/b/x")])
    (problem,) = changes.problems
    assert problem.where == "/srv/a/b"
    assert problem.what == "is a file of the release, but /srv/a/b/x needs a directory there"
    assert paths(changes) == [("add", "/srv/a/b")]


def test_a_file_of_the_old_release_becomes_a_directory_of_the_new_one(root: Path) -> None:
    put(root, "old", "/srv/a/b")
    changes = planned(root, [old_file("/srv/a/b")], [item("file", "/srv/a/b/x")])
    assert paths(changes) == [("remove", "/srv/a/b"), ("make", "/srv/a/b"), ("add", "/srv/a/b/x")]
    assert [each["path"] for each in changes.early] == ["/srv/a/b"]
    assert [each["saw"] for each in changes.entries] == [CLEARED, CLEARED]
    carry_out(root, changes)
    assert content(root, "/srv/a/b/x") == NEW


def test_an_edited_file_in_the_way_of_a_directory_cannot_stay(root: Path) -> None:
    put(root, "third", "/srv/a/b")
    old, wanted = [old_file("/srv/a/b", policy="kept")], [item("file", "/srv/a/b/x")]
    assert planned(root, old, wanted, POLICIES["keep"]).problems[0].where == "/srv/a/b"
    changes = planned(root, old, wanted)
    assert changes.early[0]["keep"] == f"{KEPT}/srv/a/b"
    carry_out(root, changes)
    assert content(root, f"{KEPT}/srv/a/b") == b"somebody's work\n"


def test_a_directory_of_the_old_release_becomes_a_file_of_the_new_one(root: Path) -> None:
    for name in ("x", "c/y"):
        put(root, "old", f"/srv/a/b/{name}")
    old = [
        item("dir", "/srv/a/b", origin=""), item("dir", "/srv/a/b/c", origin=""),
        old_file("/srv/a/b/x"), old_file("/srv/a/b/c/y"),
    ]  # fmt: skip
    changes = planned(root, old, [item("file", "/srv/a/b")])
    assert changes.problems == []
    assert paths(changes) == [("remove", "/srv/a/b/c/y"), ("remove", "/srv/a/b/x"), ("replace", "/srv/a/b")]
    (early,) = changes.early
    assert early["tree"] == ["/srv/a/b/c", "/srv/a/b/c/y", "/srv/a/b/x"]
    assert [words.split()[0] for words in early["below"]] == ["dir", "file", "file"]
    assert changes.entries[0]["saw"] == CLEARED
    assert (changes.late, changes.prune) == ([], [])
    carry_out(root, changes)
    assert content(root, "/srv/a/b") == NEW


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda root: put(root, "third", "/srv/a/b/x"), "/srv/a/b/x"),
        (lambda root: put(root, "third", "/srv/a/b/theirs"), "/srv/a/b/theirs"),
        (lambda root: put(root, "dir", "/srv/a/b/theirs"), "/srv/a/b/theirs"),
    ],
)
def test_but_not_with_anything_in_it_that_is_not_as_installed(root: Path, spoil: Any, named: str) -> None:
    put(root, "old", "/srv/a/b/x")
    spoil(root)
    old = [item("dir", "/srv/a/b", origin=""), old_file("/srv/a/b/x")]
    changes = planned(root, old, [item("file", "/srv/a/b")], POLICIES["replace"])
    (problem,) = changes.problems
    assert problem.what == f"is a directory that contains {named}, which was not installed by Waybill"
    assert changes.early == []


def test_nor_with_what_the_new_release_has_in_it_nor_one_that_nobody_installed(root: Path) -> None:
    put(root, "old", "/srv/a/b/x")
    old = [item("dir", "/srv/a/b", origin=""), old_file("/srv/a/b/x")]
    changes = planned(root, old, [item("link", "/srv/a/b"), old_file("/srv/a/b/x")])
    assert "is a directory that contains /srv/a/b/x" in changes.problems[0].what
    gone(root / "srv/a/b/x")
    for before in (
        old_file("/srv/a/b/x"), old_file("/srv/a/b"), item("dir", "/srv/a/b", was="0755 0:0"),
    ):  # fmt: skip
        changes = planned(root, [before], [item("file", "/srv/a/b")], POLICIES["replace"])
        (problem,) = changes.problems
        assert problem.what == "is a directory, which was not installed by Waybill"


def test_a_link_that_becomes_a_directory_is_removed_first(root: Path) -> None:
    put(root, "link", "/srv/a/b")
    old = [item("link", "/srv/a/b")]
    changes = planned(root, old, [item("dir", "/srv/a/b"), item("file", "/srv/a/b/x")])
    assert paths(changes) == [("remove", "/srv/a/b"), ("make", "/srv/a/b"), ("add", "/srv/a/b/x")]
    carry_out(root, changes)
    assert content(root, "/srv/a/b/x") == NEW


# -- what was kept before ------------------------------------------------------------------------------


def test_what_was_kept_stays_kept_for_the_version_that_it_was_kept_against(root: Path) -> None:
    put(root, "third", CONF)
    wanted, before = [item("file", CONF)], [item("file", CONF, policy="kept")]
    beside = item("file", f"{CONF}.waybill-new", policy="beside")
    assert planned(root, before, wanted).problems == []
    assert planned(root, before, wanted).installed == [replace(wanted[0], policy="kept"), beside]
    # The other version was removed by the operator, and is not written again; edited, it is replaced.
    assert planned(root, before, wanted).operations() == []
    for known, kept in ((False, f"{KEPT}{CONF}.waybill-new"), (True, "")):
        put(root, "old", f"{CONF}.waybill-new")
        row = [old_file(f"{CONF}.waybill-new", policy="beside")] if known else []
        (change,) = planned(root, [*before, *row], wanted).changes
        assert change == FileChange("replace", f"{CONF}.waybill-new", len(NEW), "docs/x", kept)
    put(root, "dir", f"{CONF}.waybill-new")
    (problem,) = planned(root, before, wanted).problems
    assert problem.what == "is a dir that was not installed by Waybill"


@pytest.mark.parametrize("back", [False, True])
def test_another_version_is_asked_for_again_but_not_by_a_rollback(root: Path, back: bool) -> None:
    put(root, "third", CONF)
    changes = planned(root, [old_file(CONF, policy="kept")], [item("file", CONF)], back=back)
    assert bool(changes.problems) != back
    if back:
        assert [change.path for change in changes.changes] == [f"{CONF}.waybill-new"]
    # What was not kept is refused either way.
    assert planned(root, [old_file(CONF)], [item("file", CONF)], back=back).problems


def test_what_was_kept_stays_at_the_removal_and_what_lies_beside_goes(root: Path) -> None:
    put(root, "third", CONF)
    put(root, "third", f"{CONF}.waybill-new")
    old = [item("file", CONF, policy="kept"), item("file", f"{CONF}.waybill-new", policy="beside")]
    changes = planned(root, old, [])
    assert paths(changes) == [("remove", f"{CONF}.waybill-new")]
    assert [each.path for each in changes.drifted] == [CONF]
    assert paths(planned(root, old, [], POLICIES["replace"])) == [
        ("remove", CONF), ("remove", f"{CONF}.waybill-new"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "rendered", "before", "hint"),
    [
        (CONF, False, True, "move it away; to keep it: --on-drift keep; to replace it"),
        (CONF, True, False, "move it away; to keep it: --on-drift keep; to replace it"),
        (
            DATA,
            True,
            True,
            "put the change into the values file of the site; to keep it: --on-drift keep; to",
        ),
        (DATA, False, True, "move it away; to replace it (a copy is kept): --on-drift replace"),
    ],
)
def test_the_remedies_fit(root: Path, path: str, rendered: bool, before: bool, hint: str) -> None:
    put(root, "third", path)
    old = [old_file(path)] if before else []
    (problem,) = planned(root, old, [item("file", path)], rendered=[path] if rendered else []).problems
    said = (
        "was changed on this host (has different content)"
        if before
        else "already exists and was not installed"
    )
    assert problem.what.startswith(said)
    assert problem.hint.startswith(hint)


def test_a_place_that_cannot_be_examined_is_a_problem_of_its_own(root: Path) -> None:
    (root / "srv/loop").symlink_to("loop")
    changes = planned(root, [], [item("file", "/srv/loop/x"), item("file", "/srv/a/x")])
    (problem,) = changes.problems
    assert problem.where.startswith("/srv/loop")
    assert paths(changes) == [("add", "/srv/a/x")]
