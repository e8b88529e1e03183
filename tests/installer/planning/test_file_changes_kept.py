"""What the operator kept against a release stays kept, and what is refused names the remedies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from installer.host import file_systems
from installer.planning.changes import FileChange
from installer.planning.destinations import Admission
from installer.planning.owners import Owner
from tests.rig.filechanges import CONF, DATA, KEPT, POLICIES, item, old_file, paths, planned
from tests.rig.fileentries import NEW, make, on, put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = make(tmp_path / "host")
    (made / "etc").mkdir(mode=0o755)
    return made


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
    put(root, "third", f"{CONF}.waybill-new")
    row = [old_file(f"{CONF}.waybill-new", policy="beside")]
    changes = planned(root, [*before, *row], wanted)
    assert changes.changes[0].kept == changes.entries[0]["keep"] == f"{KEPT}{CONF}.waybill-new"
    put(root, "other link", f"{CONF}.waybill-new")
    assert planned(root, before, wanted).changes[0].kept == f"{KEPT}{CONF}.waybill-new"
    put(root, "dir", f"{CONF}.waybill-new")
    (problem,) = planned(root, before, wanted).problems
    assert problem.what == "is a directory that was not installed by Waybill"


@pytest.mark.parametrize("back", [False, True])
def test_another_version_is_asked_for_again_but_not_by_a_rollback(root: Path, back: bool) -> None:
    put(root, "third", CONF)
    changes = planned(root, [old_file(CONF, policy="kept")], [item("file", CONF)], back=back)
    assert bool(changes.problems) != back
    assert planned(root, [old_file(CONF, policy="kept")], [item("file", CONF)]).problems
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
    assert [(each.path, each.treatment) for each in changes.drifted] == [(CONF, "keep")]
    assert changes.problems == []
    assert paths(planned(root, old, [], POLICIES["keep"])) == [("remove", f"{CONF}.waybill-new")]
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
def test_the_remedies_fit_what_was_found(
    root: Path, path: str, rendered: bool, before: bool, hint: str
) -> None:
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


def test_the_version_of_the_release_is_written_when_a_file_is_first_kept_even_if_it_is_the_same(
    root: Path,
) -> None:
    put(root, "third", CONF)
    changes = planned(root, [item("file", CONF)], [item("file", CONF)], POLICIES["keep"])
    assert paths(changes) == [("add", f"{CONF}.waybill-new")]


def test_what_only_an_earlier_version_can_have_placed_stays_and_is_told(root: Path) -> None:
    put(root, "old", "/etc/waybill/x")
    changes = planned(root, [old_file("/etc/waybill/x")], [])
    assert changes.stays == {"/etc/waybill/x": "is reserved for Waybill"}
    assert changes.notes == ["/etc/waybill/x is not removed: it is reserved for Waybill"]
    assert changes.operations() == []


def test_what_another_product_has_too_is_left_to_it_and_only_files_are_told(root: Path) -> None:
    put(root, "old", DATA)
    admission = Admission(on(root))
    old = [old_file(DATA), item("dir", "/srv/a", origin="")]
    for each in old:
        admission.others.places[each.path] = Owner("other", each)
    changes = planned(root, old, [], admission=admission)
    assert changes.stays == dict.fromkeys((DATA, "/srv/a"), "belongs to other too")
    assert changes.notes == [f"{DATA} is not removed: it belongs to other too"]
    assert changes.operations() == []


def test_what_is_refused_does_not_go_either(root: Path) -> None:
    put(root, "third", DATA)
    admission = Admission(on(root))
    admission.others.places[DATA] = Owner("other", item("file", DATA))
    changes = planned(root, [old_file(DATA)], [item("file", DATA)], admission=admission)
    assert [each.where for each in changes.problems] == [DATA]
    assert (changes.stays, changes.operations()) == ({}, [])


def test_no_modes_are_compared_where_the_file_system_keeps_none(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_systems, "_poor_types", lambda: {root.stat().st_dev: "vfat"})
    (entry,) = planned(root, [], [item("file", DATA)]).entries
    assert entry["loose"] is True


def test_the_remedy_for_another_mode_alone_is_the_command_that_sets_it_back(root: Path) -> None:
    put(root, "mode", CONF)
    for before in ([item("file", CONF)], []):
        (problem,) = planned(root, before, [item("file", CONF)]).problems
        assert problem.hint.startswith(f"set it back: `chmod 0640 {CONF}`; to keep it")
    # Of the version that was installed, not of the new one.
    (problem,) = planned(root, [old_file(CONF)], [item("file", CONF)], rendered=[CONF]).problems
    assert problem.hint.startswith("put the change into the values file of the site; ")
    (problem,) = planned(root, [item("file", CONF)], [], POLICIES["refuse"]).problems
    assert problem.hint.startswith(f"set it back: `chmod 0640 {CONF}`; to remove it (a copy is kept)")
    put(root, "third", CONF)
    (problem,) = planned(root, [item("file", CONF)], [], POLICIES["refuse"]).problems
    assert problem.hint.startswith("move it away; to remove it (a copy is kept)")
