"""Directories on the way of a release's files, and in place of them: made, kept, replaced or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.core.errors import Problem
from installer.deploy.file_backups import saw
from installer.deploy.file_checks import CLEARED
from installer.planning.destinations import Admission
from installer.planning.file_changes import compare
from installer.planning.owners import Owner
from installer.state.release import Installed
from tests.rig.filechanges import (
    DATA,
    KEPT,
    OWNER,
    POLICIES,
    carry_out,
    content,
    item,
    old_file,
    paths,
    planned,
)
from tests.rig.fileentries import NEW, gone, make, on, put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = make(tmp_path / "host")
    (made / "etc").mkdir(mode=0o755)
    return made


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


@pytest.mark.parametrize("old", [item("dir", "/srv/a/b/c", origin=""), old_file("/srv/a/b/c")])
def test_nothing_is_planned_below_an_obstacle(root: Path, old: Installed) -> None:
    put(root, "third", "/srv/a/b")
    admission = Admission(on(root))
    for known in ([old], []):
        changes = planned(root, known, [item("file", "/srv/a/b/c/x")], admission=admission)
        assert [each.where for each in changes.problems] == ["/srv/a/b"]
        assert (changes.installed, changes.changes, changes.early) == ([], [], [])
        admission.others.places["/srv/a/b/c"] = Owner("other", item("dir", "/srv/a/b/c", origin=""))


def test_a_directory_goes_back_once_to_what_it_was(root: Path) -> None:
    put(root, "dir", "/srv/a/b")
    old = item("dir", "/srv/a/b", was=f"0700 {OWNER['uid']}:{OWNER['gid']}")
    changes = planned(root, [old], [item("file", "/srv/a/b/x")])
    assert [each["mode"] for each in changes.late] == [0o700]


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
    # The mode of a directory that only holds others is not looked at.
    (root / "srv/a/b/c").chmod(0o700)
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
    assert early["saw"].startswith("dir 0755 ")
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
        (lambda root: put(root, "dir", "/srv/a/b/x"), "/srv/a/b/x"),
    ],
)
def test_a_directory_with_content_that_is_not_as_installed_is_not_replaced_by_a_file(
    root: Path, spoil: Any, named: str
) -> None:
    put(root, "old", "/srv/a/b/x")
    spoil(root)
    old = [item("dir", "/srv/a/b", origin=""), old_file("/srv/a/b/x")]
    changes = planned(root, old, [item("file", "/srv/a/b")], POLICIES["replace"])
    (problem,) = changes.problems
    assert problem.what == f"is a directory that contains {named}, which was not installed by Waybill"
    assert changes.early == []


def test_a_directory_that_the_new_release_uses_or_nobody_installed_is_not_replaced(root: Path) -> None:
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


def test_what_is_in_a_directory_that_is_made_cannot_be_there(root: Path) -> None:
    changes = planned(root, [], [item("dir", "/srv/a/b"), item("file", "/srv/a/b/x")])
    assert [(each["path"], each["saw"]) for each in changes.entries] == [
        ("/srv/a/b", "absent"),
        ("/srv/a/b/x", CLEARED),
    ]


def test_a_user_who_is_not_root_is_given_no_owners(root: Path) -> None:
    host = on(root)
    host.system.privileged = False
    changes = compare(host.system, host.layout, "000009", [], [item("file", "/opt/x")], Admission(host))
    assert changes.installed[0] == Installed("/opt", "dir", mode=0o755)


def test_a_link_that_becomes_a_directory_is_removed_first(root: Path) -> None:
    put(root, "link", "/srv/a/b")
    # Where the link led, somebody has a file of that name: it is another place from now on.
    put(root, "third", "/srv/a/target/x")
    put(root, "dir", "/srv/a/target/c")
    below = planned(root, [item("link", "/srv/a/b")], [item("dir", "/srv/a/b"), item("file", "/srv/a/b/c/x")])
    assert paths(below)[1:] == [("make", "/srv/a/b"), ("make", "/srv/a/b/c"), ("add", "/srv/a/b/c/x")]
    old = [item("link", "/srv/a/b")]
    changes = planned(root, old, [item("dir", "/srv/a/b"), item("file", "/srv/a/b/x")])
    assert paths(changes) == [("remove", "/srv/a/b"), ("make", "/srv/a/b"), ("add", "/srv/a/b/x")]
    carry_out(root, changes)
    assert content(root, "/srv/a/b/x") == NEW


def test_a_directory_that_was_there_is_changed_only_when_told_so(root: Path) -> None:
    put(root, "closed", DATA)
    seen = on(root).system.observe(DATA)
    was, wanted = saw(seen).removeprefix("dir "), item("dir", DATA)
    for policy, treatment in (
        ("nothing", "refuse"),
        ("refuse", "refuse"),
        ("keep", "keep"),
        ("replace", "replace"),
    ):
        changes = planned(root, [], [wanted], POLICIES[policy])
        assert [(each.treatment, each.kind) for each in changes.drifted] == [(treatment, "dir")]
        assert [each.where for each in changes.problems] == [DATA] * (treatment == "refuse")
        assert changes.installed == [replace(wanted, was=was, policy="kept" if policy == "keep" else "")]
        assert [each["saw"] for each in changes.entries] == [saw(seen)] * (policy == "replace")
        assert paths(changes) == [("set", DATA)] * (policy == "replace")
    # What was kept against this very mode is not asked for again; nor by a rollback.
    kept = replace(wanted, was=was, policy="kept")
    other = replace(kept, mode=0o711)
    for before, back, treatment in (
        (kept, False, "keep"), (kept, True, "keep"), (other, False, "refuse"), (other, True, "keep"),
        (replace(kept, policy=""), False, "refuse"), (replace(kept, policy=""), True, "refuse"),
    ):  # fmt: skip
        changes = planned(root, [before], [wanted], back=back)
        assert [each.treatment for each in changes.drifted] == [treatment]
    assert paths(planned(root, [kept], [wanted], POLICIES["replace"], back=True)) == [("set", DATA)]
    # One that Waybill created is set right without a word.
    changes = planned(root, [replace(wanted, origin="")], [wanted])
    assert (paths(changes), changes.drifted, changes.problems) == ([("set", DATA)], [], [])
    assert changes.installed == [wanted]
    carry_out(root, changes)


def test_a_directory_that_holds_waybills_own_is_never_changed(root: Path) -> None:
    changes = planned(root, [], [item("dir", "/etc", mode=0o700)], POLICIES["replace"])
    (problem,) = changes.problems
    assert problem.what.startswith("holds files of Waybill")
    assert (changes.operations(), changes.drifted) == ([], [])
