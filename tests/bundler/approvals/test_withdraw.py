"""An approver takes an approval back; whatever interrupts that, nobody else loses one."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.approvals.withdraw import own_approvals, withdraw
from bundler.archive import append as appending
from bundler.commands import approve
from installer.core.errors import BusyError, NotApprovedError, UnfitInputError
from installer.core.format.approval_names import signed_name
from installer.core.format.bundle_source import FileSource
from installer.core.limits import LIMITS
from installer.core.trust.approval_sidecar import read_sidecar, sidecar_path
from tests.rig import bundlebuild as build
from tests.rig.approvaldesk import interrupt_append
from tests.rig.approving import ASKED, OPS
from tests.rig.trustworld import APPROVALS, NOW, World, person

Call = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A bundle with approvals of two others, then ours, then one of somebody else again."""
    file = tmp_path / "b.tar"
    file.write_bytes(replace(World(), approvals=APPROVALS[:1]).tar())
    approve.approve_bundle(file, OPS, ASKED, NOW)
    approve.approve_bundle(file, OPS, replace(ASKED, environment="test"), NOW)
    last = replace(World(), approvals=APPROVALS[1:2])
    files = build.read(last.tar()).read_tail()
    with file.open("r+b") as opened:
        appending.append(opened.fileno(), with_tail(file), files)
    return file


def with_tail(path: Path) -> Any:
    bundle = build.read(path.read_bytes())
    bundle.read_tail()
    return bundle


def tail(path: Path) -> dict[str, bytes]:
    return dict(build.read(path.read_bytes()).read_tail())


def mine(names: Any) -> list[str]:
    return [name for name in names if f"-{OPS.keyid8}." in name]


def test_a_withdrawal_removes_own_approvals_and_keeps_the_bytes_of_others(path: Path) -> None:
    before = tail(path)
    own = own_approvals(path, [OPS.keyid8])
    assert [each.approval.environment for each in own] == ["production", "test"]
    withdraw(path, own)
    assert tail(path) == {name: data for name, data in before.items() if name not in mine(before)}
    assert not sidecar_path(path).exists()
    assert own_approvals(path, [OPS.keyid8]) == []
    # As if it had never been given: nothing of it stays behind the end of the archive.
    fresh = path.with_name("fresh.tar")
    fresh.write_bytes(replace(World(), approvals=APPROVALS[:2]).tar())
    assert path.stat().st_size == fresh.stat().st_size
    assert path.read_bytes().endswith(bytes(1024))


def test_one_of_several_approvals_is_chosen_by_role_and_environment(path: Path) -> None:
    assert own_approvals(path, [OPS.keyid8], role="security") == []
    withdraw(path, own_approvals(path, [OPS.keyid8], "ops", "test"))
    assert [each.approval.environment for each in own_approvals(path, [OPS.keyid8])] == ["production"]


def test_the_others_still_count(path: Path) -> None:
    withdraw(path, own_approvals(path, [OPS.keyid8]))
    approve.approve_bundle(path, OPS, ASKED, NOW)
    _, decision = World().verify(FileSource(path))
    assert len(decision.counted) == 3


def test_an_approval_in_a_sidecar_is_withdrawn(path: Path) -> None:
    before = tail(path)
    another = replace(ASKED, environment="staging")
    approve.approve_bundle(path, OPS, another, NOW, sidecar=sidecar_path(path))
    own = [each for each in own_approvals(path, [OPS.keyid8]) if each.directory]
    assert len(own) == 1
    withdraw(path, own)
    assert read_sidecar(sidecar_path(path)) == {}
    assert tail(path) == before


def test_an_approval_in_a_bundle_that_cannot_be_written_is_not_withdrawn(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_approvals(path, [OPS.keyid8])
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with pytest.raises(UnfitInputError, match="cannot be written, and the approval is in it"):
        withdraw(path, own)


class KilledError(BaseException):
    """The process ends here."""


def calls(monkeypatch: pytest.MonkeyPatch, stop_at: int) -> list[str]:
    """Counts the writes to the bundle, and ends before one of them."""
    done = list[str]()

    def counted(name: str, call: Call) -> Call:
        def instead(*words: Any, **more: Any) -> Any:
            if len(done) == stop_at:
                raise KilledError
            done.append(name)
            return call(*words, **more)

        return instead

    for name in ("pwrite", "ftruncate", "unlink", "fsync"):
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    return done


def fails(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """From one of the writes on, the disk takes nothing; what frees space still works."""
    done = list[str]()

    def counted(name: str, call: Call) -> Call:
        def instead(*words: Any, **more: Any) -> Any:
            done.append(name)
            # A write of zeros over what is there needs no space.
            if len(done) > at and name in ("write", "pwrite", "mkdir") and words[1:2] != (b"\0",):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), words[0])
            return call(*words, **more)

        return instead

    for name in ("pwrite", "write", "mkdir", "ftruncate", "unlink", "fsync"):
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))


def stops(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Every kind of moment: around each sync, cut and removal, and a few of the many writes of one byte."""
    with monkeypatch.context() as within:
        done = calls(within, -1)
        withdraw(path, own_approvals(path, [OPS.keyid8]))
    telling = {at for at, name in enumerate(done) if name != "pwrite"}
    yield from sorted({0, *(at + step for at in telling for step in (-1, 0, 1)), *range(0, len(done), 97)})


def test_a_kill_at_any_moment_loses_no_approval_of_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, before = path.read_bytes(), tail(path)
    others = {name: made for name, made in before.items() if name not in mine(before)}
    count = 0
    for at in stops(path, monkeypatch):
        path.write_bytes(data)
        for file in sidecar_path(path).glob("*"):
            file.unlink()
        with monkeypatch.context() as within:
            calls(within, at)
            try:
                withdraw(path, own_approvals(path, [OPS.keyid8]))
            except KilledError:
                count += 1
        # Whoever reads it now, in the bundle and next to it, has every approval of the others.
        found = {**tail(path), **read_sidecar(sidecar_path(path))}
        assert others.items() <= found.items(), at
        with suppress(NotApprovedError):
            World().verify(FileSource(path))
        # And a second try ends where the first would have.
        approve.repair(path)
        withdraw(path, own_approvals(path, [OPS.keyid8]))
        found = {**tail(path), **read_sidecar(sidecar_path(path))}
        assert found == others, at
    assert count > 20


def everywhere(path: Path) -> dict[str, bytes]:
    """What hosts read: the files of the bundle, and next to it those whose content is not in it."""
    inside = tail(path)
    beside = read_sidecar(sidecar_path(path))
    return {**inside, **{f"beside/{name}": data for name, data in beside.items()}}


def test_a_full_disk_loses_no_approval_of_others_and_the_message_is_true(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, before = path.read_bytes(), tail(path)
    others = {made for name, made in before.items() if name not in mine(before)}
    own = {made for name, made in before.items() if name in mine(before)}
    said = Counter[str]()
    for at in stops(path, monkeypatch):
        path.write_bytes(data)
        for file in sidecar_path(path).glob("*"):
            file.unlink()
        wanted = own_approvals(path, [OPS.keyid8])
        with monkeypatch.context() as within:
            fails(within, at)
            try:
                withdraw(path, wanted)
            except UnfitInputError as error:
                message = f"{error.what} {error.hint}"
            else:
                message = "done"
        found = set(everywhere(path).values())
        assert others <= found, at
        left = [name for name in mine(tail(path)) if name.endswith(".json") and signed_name(name) == ""]
        if not own & found:
            assert message == "done" or "the approval was withdrawn, but" in message, (at, message)
        else:
            assert (
                "nothing was withdrawn" in message or f"not withdrawn: {', '.join(sorted(left))}:" in message
            )
        if others - set(tail(path).values()):
            assert f"the approvals of others are in {sidecar_path(path)}: carry it with the bundle" in message
        said[message.partition(",")[0]] += 1
    assert {"done", "the approval was withdrawn"} < set(said)
    assert any("cannot be copied here before the bundle is rewritten" in each for each in said)


def test_a_file_of_the_same_name_with_other_content_does_not_stand_for_the_approval_of_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Next to the bundle is an earlier one by the same person; a kill leaves only what is there."""
    before = tail(path)
    theirs = f"approvals/security-{person('Sec').key.keyid8}.json"
    sidecar = sidecar_path(path)
    sidecar.mkdir()
    (sidecar / Path(theirs).name).write_bytes(b"an earlier one")
    with monkeypatch.context() as within:
        kill_before_appending(within)
        with pytest.raises(KilledError):
            withdraw(path, own_approvals(path, [OPS.keyid8]))
    assert theirs not in tail(path)
    beside = read_sidecar(sidecar)
    assert beside[theirs] == b"an earlier one"
    assert beside[theirs.replace(".json", ".2.json")] == before[theirs]
    assert beside[theirs.replace(".json", ".2.json.sig")] == before[f"{theirs}.sig"]


def kill_before_appending(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_words: Any) -> None:
        raise KilledError

    monkeypatch.setattr(appending, "append", killed)


def test_a_copy_that_was_there_before_stays_there(path: Path) -> None:
    before = tail(path)
    others = {name: data for name, data in before.items() if name not in mine(before)}
    last = [name for name in others if name.startswith("approvals/security-")]
    sidecar = sidecar_path(path)
    sidecar.mkdir()
    for name in last:
        (sidecar / Path(name).name).write_bytes(others[name])
    withdraw(path, own_approvals(path, [OPS.keyid8]))
    assert tail(path) == others
    assert read_sidecar(sidecar) == {name: others[name] for name in last}


def test_copies_that_would_be_more_than_hosts_read_are_not_made(path: Path) -> None:
    sidecar = sidecar_path(path)
    sidecar.mkdir()
    for number in range(LIMITS.approvals):
        (sidecar / f"ops-{number:08x}.json").write_bytes(b"x")
    data = path.read_bytes()
    with pytest.raises(UnfitInputError, match="cannot be copied next to the bundle") as caught:
        withdraw(path, own_approvals(path, [OPS.keyid8]))
    assert "nothing was withdrawn" in caught.value.hint
    assert (path.read_bytes(), len(read_sidecar(sidecar))) == (data, LIMITS.approvals)


@pytest.mark.parametrize("written", [0, 60, 300])
def test_an_approval_that_is_there_in_part_is_not_passed_over(path: Path, written: int) -> None:
    """A repair could complete it after somebody has read that there is nothing to withdraw."""
    withdraw(path, own_approvals(path, [OPS.keyid8]))
    interrupt_append(path, written=written)
    with pytest.raises(UnfitInputError, match="an earlier `bundle approve` was interrupted"):
        own_approvals(path, [OPS.keyid8])
    assert approve.repair(path).outcome == "finished"
    assert len(own_approvals(path, [OPS.keyid8])) == 1


def upper_case(directory: Path) -> Path:
    """As a CD without long names has it."""
    made = directory.with_name(directory.name.upper())
    made.mkdir()
    for file in directory.iterdir():
        (made / f"{file.name.upper()};1").write_bytes(file.read_bytes())
        file.unlink()
    directory.rmdir()
    return made


def test_an_approval_is_withdrawn_from_a_sidecar_with_upper_case_names(path: Path) -> None:
    withdraw(path, own_approvals(path, [OPS.keyid8]))
    approve.approve_bundle(path, OPS, ASKED, NOW, sidecar=sidecar_path(path))
    made = upper_case(sidecar_path(path))
    own = own_approvals(path, [OPS.keyid8])
    assert [each.directory for each in own] == [made]
    withdraw(path, own)
    assert list(made.iterdir()) == []
    assert own_approvals(path, [OPS.keyid8]) == []


@pytest.mark.parametrize("named", ["the link", "the file"])
def test_a_bundle_that_a_link_leads_to_has_its_approval_withdrawn(path: Path, named: str) -> None:
    """Its approvals are next to the link or next to the file: hosts read both."""
    link = path.parent / "media" / "latest.tar"
    link.parent.mkdir()
    link.symlink_to(path)
    approve.approve_bundle(
        link,
        OPS,
        replace(ASKED, environment="staging"),
        NOW,
        sidecar_path(link if named == "the link" else path),
    )
    before = tail(path)
    own = own_approvals(link, [OPS.keyid8])
    assert len(own) == 3
    withdraw(link, own)
    assert link.is_symlink()
    assert own_approvals(link, [OPS.keyid8]) == own_approvals(path, [OPS.keyid8]) == []
    assert tail(path) == {name: data for name, data in before.items() if name not in mine(before)}


def test_a_directory_with_two_names_is_looked_into_once(path: Path) -> None:
    approve.approve_bundle(path, OPS, replace(ASKED, environment="staging"), NOW, sidecar_path(path))
    link = path.with_name("latest.tar")
    link.symlink_to(path)
    sidecar_path(link).symlink_to(sidecar_path(path))
    assert len(own_approvals(link, [OPS.keyid8])) == 3


def test_approvals_that_another_process_has_withdrawn_meanwhile_are_named(path: Path) -> None:
    own = own_approvals(path, [OPS.keyid8])
    withdraw(path, own)
    data = path.read_bytes()
    with pytest.raises(BusyError, match="another process has changed the approvals"):
        withdraw(path, own)
    assert path.read_bytes() == data


def test_an_approval_that_was_given_anew_meanwhile_is_not_removed(path: Path) -> None:
    own = own_approvals(path, [OPS.keyid8], environment="test")
    withdraw(path, own)
    approve.approve_bundle(path, OPS, replace(ASKED, environment="plant"), NOW)
    assert own[0].name in tail(path)
    with pytest.raises(BusyError, match="nothing was withdrawn"):
        withdraw(path, own)
    assert own[0].name in tail(path)


def test_nothing_next_to_a_bundle_is_removed_before_the_bundle_can_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve.approve_bundle(path, OPS, replace(ASKED, environment="staging"), NOW, sidecar_path(path))
    own, before = own_approvals(path, [OPS.keyid8]), everywhere(path)
    assert len(own) == 3
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with pytest.raises(UnfitInputError) as caught:
        withdraw(path, own)
    assert "nothing was withdrawn" in caught.value.hint
    assert everywhere(path) == before


def test_what_is_next_to_the_bundle_and_cannot_be_removed_is_named_with_what_was_withdrawn(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve.approve_bundle(path, OPS, replace(ASKED, environment="staging"), NOW, sidecar_path(path))
    own = own_approvals(path, [OPS.keyid8])

    def refused(file: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))

    (kept,) = [each for each in own if each.directory]
    with monkeypatch.context() as within:
        within.setattr(
            Path, "unlink", lambda file, **more: refused(file) if file in kept.paths else os.unlink(file)
        )
        with pytest.raises(
            UnfitInputError, match="the approval cannot be withdrawn: Permission denied"
        ) as caught:
            withdraw(path, own)
    assert "withdrawn before: lan-chat 1.4.0 for production, role ops (in the bundle)" in caught.value.hint
    assert [each.directory for each in own_approvals(path, [OPS.keyid8])] == [sidecar_path(path)]
