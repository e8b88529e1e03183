"""Names: what a bundle may carry, how a name is split for the tar, and where files may go on a host."""

from __future__ import annotations

import re
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.core.format import member_names
from installer.core.format.member_names import (
    COMPONENT,
    destination_fault,
    link_target_fault,
    path_fault,
    split_ustar,
)

component = st.from_regex(COMPONENT, fullmatch=True).filter(lambda text: len(text) <= 100)
path = st.lists(component, min_size=1, max_size=12).map("/".join)


@pytest.mark.parametrize(
    "name",
    [
        "docs/CHANGELOG.md",
        "deploy/helm/chat/templates/_helpers.tpl",
        "deploy/helm/chat/.helmignore",
        "deploy/systemd/name@.service",
        "trees/web/a+b=c,d%20~e-f",
        "...",
        ".hidden",
        "a/..b/c..",
        "x" * 100,
        "/".join(["d" * 77, "d" * 77, "f" * 99]),
    ],
)
def test_names_that_releases_have_fit(name: str) -> None:
    assert path_fault(name) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("/etc/passwd", "empty"),
        ("a//b", "empty"),
        ("a/", "empty"),
        ("..", "`..`"),
        ("a/../b", "`..`"),
        ("a/./b", "`.`"),
        ("-rf", "starts with -"),
        ("a/-rf", "starts with -"),
        ("~root/x", "starts with - or ~"),
        ("a b", "characters"),
        ("a\0b", "characters"),
        ("a\nb", "characters"),
        ("a\n", "characters"),
        ("a\\b", "characters"),
        ("a:b", "characters"),
        ("a*b", "characters"),
        ("a;b", "characters"),
        ("$HOME", "characters"),
        ("caf\u00e9", "characters"),
        ("\uff41", "characters"),
        ("a\u202eb", "characters"),
        ("x" * 101, "too long"),
        ("a/" * 128 + "b", "too long"),
        ("/".join(["d" * 78, "d" * 77, "f" * 99]), "too long"),
    ],
    ids=repr,
)
def test_a_name_that_could_mean_something_else_is_refused(name: str, why: str) -> None:
    assert why in (path_fault(name) or "")


@given(path)
def test_the_split_is_the_shortest_prefix_and_joins_to_the_same_name(name: str) -> None:
    found = split_ustar(name)
    if found is None:
        assert len(name) > 100
        return
    prefix, rest = found
    assert (f"{prefix}/{rest}" if prefix else rest) == name
    assert len(prefix) <= 155
    assert len(rest) <= 100
    assert (prefix == "") == (len(name) <= 100)
    if prefix:
        shorter = prefix.rpartition("/")[0]
        assert len(name) - len(shorter) - (1 if shorter else 0) > 100


@given(path)
def test_every_name_that_fits_is_read_back_by_tarfile(name: str) -> None:
    from installer.core.format.tar_header import Header, encode

    if path_fault(name) is None:
        block = encode(Header(name, 0o644, 0, 0))
        assert tarfile.TarInfo.frombuf(block, "ascii", "strict").name == name


@pytest.mark.parametrize(
    "place",
    [
        "/opt/chat/bin/chatd",
        "/etc/chat.yaml",
        "/srv/a~b/c@d",
        "/x",
        "/opt/a b",
        "/opt/$(id)",
        "/opt/caf\u00e9",
    ],
)
def test_absolute_places_are_destinations(place: str) -> None:
    assert destination_fault(place) is None


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("opt/x", "not an absolute"),
        ("/", "names a directory, not a file"),
        ("/opt/x/", "names a directory, not a file"),
        ("/opt//x", "empty"),
        ("/opt/../etc/shadow", "`..`"),
        ("/opt/./x", "`.`"),
        ("/opt/a\nb", "U+000A"),
        ("/opt/cafe\u0301", "NFC"),
        ("/opt/\u202egpj.exe", "U+202E"),
        ("/opt/\udce9", "not UTF-8"),
        ("/" + "x" * 256, "more than 255"),
        ("/" + "x/" * 600 + "x", "longer than 1024"),
        ("/etc/waybill/trust/root.json", "is reserved for Waybill"),
        ("/etc/waybill", "is reserved for Waybill"),
        ("/var/lib/waybill/chat/state.json", "is reserved for Waybill"),
        ("/opt/waybill/bin/install", "is reserved for Waybill"),
        ("/var/cache/waybill/x", "is reserved for Waybill"),
    ],
)
def test_a_destination_that_is_no_place_of_the_release_is_refused(place: str, why: str) -> None:
    assert why in (destination_fault(place) or "")


def test_a_place_that_only_begins_like_waybills_is_free() -> None:
    assert destination_fault("/opt/waybill-demo/x") is None


@pytest.mark.parametrize(
    "target", ["x", "./x", "b/c", "../x", "..", ".", "..//x", "../../web/x", "a b", "../\u00e9"]
)
def test_a_link_may_point_to_anything_in_its_tree(target: str) -> None:
    assert link_target_fault("trees/web/a/l", target, "trees/web") is None


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("", "not a relative"),
        ("/etc/passwd", "not a relative"),
        ("../../x", "points outside trees/web"),
        ("../../../../x", "points outside the bundle"),
        ("../../other/x", "points outside trees/web"),
        ("../..", "points outside trees/web"),
        ("a\nb", "U+000A"),
        ("../e\u0301", "NFC"),
        ("x" * 1025, "not a relative"),
    ],
)
def test_a_link_that_leaves_its_tree_is_refused(target: str, why: str) -> None:
    assert why in (link_target_fault("trees/web/a/l", target, "trees/web") or "")


def test_a_link_cannot_leave_its_tree_by_way_of_another_link() -> None:
    # up -> ../.. stays inside, and `up/../x` looks as if it did; but up leads to trees/web, so up/.. is trees
    assert link_target_fault("trees/web/a/b/up", "../..", "trees/web") is None
    assert "after a name" in (link_target_fault("trees/web/out", "a/b/up/../x", "trees/web") or "")


odd = (
    st.text("./ab~-@:\n\0é A", max_size=12)
    | st.sampled_from(member_names.WAYBILL_DIRECTORIES)
    | path.map("/{}".format)
)


@given(st.lists(odd, max_size=4).map("/".join))
def test_the_look_at_a_whole_name_finds_what_the_look_at_each_part_does(name: str) -> None:
    quick = path_fault(name), destination_fault(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(member_names, "_PATH", re.compile(r"(?!)"))
        patch.setattr(member_names, "_PLAIN", re.compile(r"(?!)"))
        assert (path_fault(name), destination_fault(name)) == quick
