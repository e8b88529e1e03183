"""Approvals next to a bundle: found under the names that copies have, and damaged ones block nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.errors import NotApprovedError, TamperedError, UsageError, WaybillError
from installer.core.trust.approval_sidecar import Sidecars, find_sidecars
from installer.core.trust.policy import Decision
from installer.core.verify import check_approvals, open_trusted
from tests.rig.bundlebuild import BytesMedium
from tests.rig.trustworld import APPROVALS, Said, World, person

OPS = f"ops-{person('Ops').key.keyid8}.json"
WITHOUT_OPS = tuple(said for said in APPROVALS if said.role != "ops")


def write(directory: Path, world: World, said: tuple[Said, ...] = (Said("ops"),)) -> Path:
    """Writes approvals as files."""
    directory.mkdir(parents=True)
    for name, data in world.files(said).items():
        (directory / name.removeprefix("approvals/")).write_bytes(data)
    return directory


def decide(world: World, sidecars: Sidecars) -> Decision:
    """Decides as a host does, with what was found."""
    opened = open_trusted(BytesMedium(world.tar()), world.trust(), lambda _manifest: world.host)
    return check_approvals(opened, world.trust(), sidecars)


NAMES = {
    "its own": ("shop-1.0.tar", "shop-1.0.tar.approvals", str),
    "a browser's number": ("shop-1.0 (1).tar", "shop-1.0.tar.approvals", str),
    "a browser's number in both": ("shop-1.0(12).tar", "shop-1.0(12).tar.approvals", str),
    "a number behind everything": ("shop-1.0.tar (2)", "shop-1.0.tar.approvals", str),
    "ISO 9660, upper case": ("SHOP-1.0.TAR", "SHOP-1.0.TAR.APPROVALS", str.upper),
    "ISO 9660, with versions": ("SHOP-1.0.TAR;1", "SHOP-1.0.TAR.APPROVALS", lambda name: f"{name.upper()};1"),
    "upper case in the directory only": ("shop-1.0.tar", "SHOP-1.0.TAR.APPROVALS", str.upper),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_copy_that_lost_its_name_is_found(case: str, tmp_path: Path) -> None:
    bundle, directory, rename = NAMES[case]
    (tmp_path / bundle).touch()
    world = replace(World(), approvals=WITHOUT_OPS)
    for each in write(tmp_path / directory, world).iterdir():
        each.rename(each.with_name(rename(each.name)))
    found = find_sidecars(str(tmp_path / bundle))
    assert f"{tmp_path / directory} (1 approvals)" in found.looked
    assert decide(world, found).filled["ops"] == ("Ops",)


def test_a_link_finds_what_is_next_to_the_bundle_that_it_leads_to(tmp_path: Path) -> None:
    world = replace(World(), approvals=WITHOUT_OPS)
    write(tmp_path / "releases/shop-1.0.tar.approvals", world)
    (tmp_path / "releases/shop-1.0.tar").touch()
    (tmp_path / "latest.tar").symlink_to("releases/shop-1.0.tar")
    found = find_sidecars(str(tmp_path / "latest.tar"))
    assert decide(world, found).filled["ops"] == ("Ops",)
    assert found.looked[0] == f"{tmp_path / 'latest.tar.approvals'} (no such directory)"


def test_a_refusal_says_where_it_was_looked(tmp_path: Path) -> None:
    bundle, world = tmp_path / "renamed.tar", replace(World(), approvals=WITHOUT_OPS)
    bundle.touch()
    write(tmp_path / "shop-1.0.tar.approvals", world)
    (tmp_path / "more").mkdir()
    (tmp_path / "more/NOTES.txt").touch()
    with pytest.raises(NotApprovedError) as caught:
        decide(world, find_sidecars(str(bundle), [tmp_path / "more"]))
    assert caught.value.hint.endswith(
        f"looked in the bundle, and in {bundle}.approvals (no such directory), "
        f"{tmp_path / 'more'} (0 approvals)"
    )
    with pytest.raises(NotApprovedError, match=r"standard input has no directory next to it \(--approvals"):
        decide(world, find_sidecars("-"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("-", "standard input has no directory next to it"),
        ("oci://r.lan/a:1", "an address has no directory next to it"),
        ("http://store.lan/a.tar", "an address has no directory next to it"),
    ],
)
def test_a_bundle_without_a_place_of_its_own_is_called_what_it_is(
    tmp_path: Path, name: str, words: str
) -> None:
    world, published = replace(World(), approvals=WITHOUT_OPS), name != "-"
    with pytest.raises(NotApprovedError) as caught:
        decide(world, find_sidecars(name, published=published))
    assert caught.value.hint.endswith(f"; looked in the bundle; {words} (--approvals names one)")
    with pytest.raises(NotApprovedError) as caught:
        decide(world, find_sidecars(name, [tmp_path], published=published))
    looked = f"looked in the bundle, and in {tmp_path} (0 approvals)"
    assert caught.value.hint.endswith(f"; {looked}; {words} (--approvals names one)")


def test_only_a_refusal_for_want_of_approvals_says_where_it_was_looked(tmp_path: Path) -> None:
    world = replace(World(), approvals=WITHOUT_OPS)
    with pytest.raises(NotApprovedError) as caught:
        decide(world, Sidecars())
    assert (caught.value.step, "looked in" in caught.value.hint) == (18, False)

    elsewhere = replace(World(), host=replace(World().host, environment="staging"))
    (tmp_path / "shop-1.0.tar").touch()
    with pytest.raises(NotApprovedError) as caught:
        decide(elsewhere, find_sidecars(str(tmp_path / "shop-1.0.tar")))
    assert (caught.value.step, "looked in" in caught.value.hint) == (15, False)


def test_a_directory_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        find_sidecars(str(tmp_path / "b.tar"), [tmp_path / "none"])


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    "a flipped bit": lambda path: path.write_bytes(path.read_bytes().replace(b"CHG-7", b"CHG-8")),
    "too large": lambda path: path.write_bytes(bytes(70_000)),
    "a link": link,
    "a pipe": pipe,
    "a directory": directory,
    "empty signatures": lambda path: [each.write_bytes(b"") for each in path.parent.glob("*.json.*")],
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_one_that_is_not_needed_is_a_warning_by_its_name(case: str, tmp_path: Path) -> None:
    world = World()
    place = write(tmp_path / "b.tar.approvals", world)
    DAMAGES[case](place / OPS)
    decision = decide(world, find_sidecars(str(tmp_path / "b.tar")))
    assert decision.filled == decide(world, Sidecars()).filled
    assert decision.damaged
    for warning in decision.damaged:
        assert warning.startswith(f"{place}/ops-")
        assert "it is not needed, and does not count" in warning
    assert any(file.startswith(f"{place}/ops-") for file, _ in decision.rejected)


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_one_that_is_needed_is_named_by_its_path(case: str, tmp_path: Path) -> None:
    world = replace(World(), approvals=WITHOUT_OPS)
    place = write(tmp_path / "b.tar.approvals", world)
    DAMAGES[case](place / OPS)
    with pytest.raises(WaybillError) as caught:
        decide(world, find_sidecars(str(tmp_path / "b.tar")))
    assert isinstance(caught.value, TamperedError)
    assert caught.value.where.startswith(f"{place}/ops-")
    assert caught.value.step == 16


def test_a_damaged_one_in_the_bundle_still_ends_the_verification() -> None:
    name = f"approvals/{OPS}"
    world = World()
    edits = {name: world.files((Said("ops"),))[name].replace(b"CHG-7", b"CHG-8")}
    with pytest.raises(TamperedError):
        decide(replace(world, edits=edits), Sidecars())


def test_too_many_of_them_are_set_aside_as_a_whole(tmp_path: Path) -> None:
    place = write(tmp_path / "b.tar.approvals", World())
    for number in range(65):
        (place / f"ops-{number:08x}.json").write_bytes(b"{}")
    decision = decide(World(), find_sidecars(str(tmp_path / "b.tar")))
    assert decision.damaged == (f"{place}: has more than 64 approvals; it is not needed, and does not count",)
