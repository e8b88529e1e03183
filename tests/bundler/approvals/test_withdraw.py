"""An approver takes an approval back; whatever interrupts that, nobody else loses one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.approvals.withdraw import own_approvals, withdraw
from bundler.archive import append as appending
from bundler.commands import approve
from installer.core.errors import NotApprovedError, UnfitInputError
from installer.core.format.bundle_source import FileSource
from installer.core.trust.approval_sidecar import read_sidecar, sidecar_path
from tests.rig import bundlebuild as build
from tests.rig.approving import ASKED, OPS
from tests.rig.trustworld import APPROVALS, NOW, World

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


def test_it_takes_back_its_own_and_keeps_the_bytes_of_others(path: Path) -> None:
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


def test_one_of_several_by_role_and_environment(path: Path) -> None:
    assert own_approvals(path, [OPS.keyid8], role="security") == []
    withdraw(path, own_approvals(path, [OPS.keyid8], "ops", "test"))
    assert [each.approval.environment for each in own_approvals(path, [OPS.keyid8])] == ["production"]


def test_the_others_still_count(path: Path) -> None:
    withdraw(path, own_approvals(path, [OPS.keyid8]))
    approve.approve_bundle(path, OPS, ASKED, NOW)
    _, decision = World().verify(FileSource(path))
    assert len(decision.counted) == 3


def test_out_of_a_sidecar(path: Path) -> None:
    before = tail(path)
    another = replace(ASKED, environment="staging")
    approve.approve_bundle(path, OPS, another, NOW, sidecar=sidecar_path(path))
    own = [each for each in own_approvals(path, [OPS.keyid8]) if each.directory]
    assert len(own) == 1
    withdraw(path, own)
    assert read_sidecar(sidecar_path(path)) == {}
    assert tail(path) == before


def test_of_a_bundle_that_cannot_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
