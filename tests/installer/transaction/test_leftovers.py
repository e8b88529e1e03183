"""What cannot be cleared is told by command, status and metrics, is tried again, and stops no command."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from installer.commands.common.plan_execution import TransactionResult
from installer.commands.metrics import of_product
from installer.commands.status import product_status
from installer.core.errors import RolledBackError
from installer.host.context import Context
from installer.host.system import System
from installer.planning.plan import Options
from installer.transaction import leftovers
from installer.transaction.finalize import KEEP_JOURNALS
from tests.rig.chatd import ONE, THREE, TWO, numbered
from tests.rig.faulty import FaultySystem, Killed, snapshot
from tests.rig.releases import Notes, context, install, recovered, remove, roll_back, root, state_file

pytestmark = pytest.mark.host(ONE, TWO, THREE)


class Sticky(System):
    """A host on which some paths cannot be removed or renamed.

    Attributes:
        stuck: Decides by the path.
        number: What it fails with.
    """

    stuck: Callable[[str], bool] = staticmethod(lambda _path: False)
    number = errno.EPERM

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        if name in ("unlink", "rmdir", "rename") and self.stuck(str(args[0])):
            raise OSError(self.number, os.strerror(self.number), str(args[0]))
        return super().around(name, args, call)


def sticky(host: Context, stuck: Callable[[str], bool], number: int = errno.EPERM) -> Context:
    system = Sticky(root(host))
    system.stuck, system.number = stuck, number  # type: ignore[method-assign]
    return context(system)


def told(host: Context) -> str:
    assert isinstance(host.progress, Notes)
    return "\n".join(host.progress.lines)


def oldest(host: Context) -> Path:
    return min(state_file(host, "releases").iterdir())


def in_metrics(host: Context) -> int:
    (metric,) = [each for each in of_product(host) if each.name == "leftovers"]
    return int(metric.samples[0][1])


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.EMFILE, errno.EIO, errno.EBUSY])
def test_an_old_release_that_cannot_be_removed_stops_no_command(host: Context, number: int) -> None:
    old = oldest(host).name
    stuck = sticky(host, lambda path: f"releases/{old}" in path, number)
    done = install(stuck, numbered(4))
    assert done.changed
    assert done.pending == ""
    assert f"releases/{old}" in told(stuck)
    assert os.strerror(number) in told(stuck)
    status = product_status(stuck)
    assert status.unfinished == ""
    assert status.drift == ()
    (left,) = [each for each in status.leftover if "/releases/" in each.where]
    assert left.where.startswith(f"{host.layout.releases}/{old}")
    # It may be what a kill has left: nobody has tried to remove that.
    assert left.what == "is not needed any more, and is still there"
    assert f"NOT CLEARED {left.where}" in status.text()
    assert left.where in [each["where"] for each in status.as_json()["leftover"]]
    assert in_metrics(stuck) == len(status.leftover)
    # Every verb still works, and the next command that can clears it.
    assert recovered(stuck) == []
    assert roll_back(stuck).changed
    assert install(stuck, numbered(5)).changed
    assert recovered(host) == []
    assert product_status(host).leftover == ()
    assert in_metrics(host) == 0


@pytest.mark.parametrize("place", ["rendered/000001", "txn/000004.backup", "staging/0123456789ab"])
def test_no_other_directory_of_ours_stops_a_command_either(host: Context, place: str) -> None:
    if place.startswith("staging/"):
        state_file(host, "staging/0123456789ab.gone").mkdir()
    stuck = sticky(host, lambda path: f"lan-chat/{place}" in path)
    assert install(stuck, numbered(4)).changed
    assert [each.where for each in product_status(stuck).leftover if place in each.where] != []
    assert recovered(stuck) == []
    assert recovered(host) == []
    assert product_status(host).leftover == ()


def test_a_backup_beside_a_file_that_cannot_be_removed_is_noted_and_tried_again(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a file system of its own: the backup lies beside the file.
    def link(self: System, source: str, target: str) -> None:
        if "/txn/" in target:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(self, source, target)

    real = System.link
    monkeypatch.setattr(System, "link", link)
    stuck = sticky(host, lambda path: path.startswith("/opt/.waybill-") and path.endswith(".old"))
    assert install(stuck, numbered(4)).changed
    left = [each for each in product_status(stuck).leftover if each.where.startswith("/opt")]
    assert left != []
    assert "Operation not permitted" in left[0].what
    assert recovered(stuck) == []
    # Its backups are needed as long as the note is there.
    assert state_file(host, "txn/000004.left").exists()
    assert recovered(host) == []
    assert not state_file(host, "txn/000004.left").exists()
    assert product_status(host).leftover == ()
    assert list((root(host) / "opt").rglob("*.waybill-*")) == []


def test_a_backup_is_not_touched_again_once_another_transaction_has_followed(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later transaction may need what lies there; the note tells the operator."""
    tried: list[str] = []
    real = leftovers.try_again
    monkeypatch.setattr(
        leftovers, "try_again", lambda within: (tried.append(within.transaction), real(within))
    )
    note = state_file(host, "txn/000003.left")
    note.write_bytes(b'{"left": [{"where": "/opt/d.old", "what": "cannot be cleared", "hint": "see"}]}\n')
    assert recovered(host) == []
    assert tried == ["000003"]
    assert not note.exists()
    note.write_bytes(b'{"left": [{"where": "/opt/d.old", "what": "cannot be cleared", "hint": "see"}]}\n')
    stuck = sticky(host, lambda path: path.endswith("000003.left"))
    assert install(stuck, numbered(4)).changed
    tried.clear()
    assert recovered(host) == []
    assert tried == []
    assert [each.where for each in product_status(host).leftover] == ["/opt/d.old"]


@pytest.mark.parametrize("has_backups", [True, False], ids=["with backups", "backups beside the file"])
def test_what_a_note_needs_stays_whatever_follows_and_is_told_each_time(
    host: Context, has_backups: bool
) -> None:
    """An older transaction is not tried again: its backups and its journal are all that an operator has."""
    note, backup = state_file(host, "txn/000003.left"), state_file(host, "txn/000003.backup")
    note.write_bytes(b'{"left": [{"where": "/opt/d.old", "what": "cannot be cleared", "hint": "see"}]}\n')
    if has_backups:
        backup.mkdir()
        (backup / "000000").write_bytes(b"x")
    stuck = sticky(host, lambda path: path.endswith("000003.left"))
    for number in range(4, KEEP_JOURNALS + 6):
        assert install(stuck, numbered(number)).changed
    assert (backup / "000000").exists() == has_backups
    assert state_file(host, "txn/000003.done").exists()
    assert not state_file(host, "txn/000004.done").exists()
    assert "not cleared yet: /opt/d.old: cannot be cleared; hint: see" in told(stuck)


def test_a_journal_stays_as_long_as_its_backups_do(host: Context) -> None:
    """Backups without a journal would look as if somebody had deleted it: exit 21 for ever."""
    stuck = sticky(host, lambda path: "lan-chat/txn/000004.backup" in path)
    for number in range(4, 18):
        assert install(stuck, numbered(number)).changed
    assert recovered(stuck) == []
    assert state_file(host, "txn/000004.done").exists()
    assert recovered(host) == []
    assert not state_file(host, "txn/000004.done").exists()
    assert len(list(state_file(host, "txn").iterdir())) == KEEP_JOURNALS


def test_a_removal_and_a_rollback_that_cannot_clear_end_all_the_same(host: Context) -> None:
    old = oldest(host).name
    stuck = sticky(host, lambda path: f"releases/{old}" in path)
    found = remove(stuck).removal
    assert found is not None
    assert found.exit_code == 21
    assert [each.name for each in found.of("left")] == [f"{host.layout.releases}/{old}"]
    assert recovered(stuck) == []
    assert install(stuck, numbered(4)).changed


def test_a_release_that_was_rolled_back_and_cannot_be_cleared_is_told(host: Context) -> None:
    failed: list[str] = []

    def stuck(path: str) -> bool:
        # The first file cannot be replaced, once: what was done is undone.
        if path.startswith("/opt/.waybill-") and not failed:
            failed.append(path)
            return True
        return "txn/000004.backup" in path

    within = sticky(host, stuck)
    with pytest.raises(RolledBackError):
        install(within, numbered(4))
    assert failed != []
    assert f"not cleared yet: {host.layout.transactions}/000004.backup" in told(within)


@pytest.mark.needs("root")
def test_an_immutable_file_in_an_old_release_is_told(host: Context) -> None:
    file = next(path for path in oldest(host).rglob("*") if path.is_file() and path.name != "bundle.json")
    subprocess.run(["chattr", "+i", file], check=True)
    try:
        assert install(host, numbered(4)).changed
        assert recovered(host) == []
        (left,) = product_status(host).leftover
        assert left.where.startswith(host.layout.releases)
        assert "the file may be immutable" in told(host)
    finally:
        subprocess.run(["chattr", "-i", *state_file(host, "releases").rglob(file.name)], check=True)
    assert recovered(host) == []
    assert product_status(host).leftover == ()


@pytest.fixture
def image(host: Context, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """The host as a golden image under an overlay: everything is in its read-only lower layer."""
    place = tmp_path_factory.mktemp("overlay")
    theirs = state_file(host, "releases/mine/deep")
    theirs.mkdir(parents=True)
    (theirs / "work").write_text("a week")
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    for name in ("upper", "work", "root"):
        (place / name).mkdir()
    options = f"lowerdir={root(host)},upperdir={place}/upper,workdir={place}/work"
    subprocess.run(["mount", "-t", "overlay", "none", "-o", options, place / "root"], check=True)
    yield context(System(place / "root"))
    subprocess.run(["umount", place / "root"], check=True)
    subprocess.run(["umount", place], check=True)


@pytest.mark.needs("root")
def test_releases_in_the_lower_layer_of_an_overlay_are_removed(host: Context, image: Context) -> None:
    """Overlayfs renames no directory of its lower layer: EXDEV."""
    old, before = oldest(image), snapshot(root(host))
    assert install(image, numbered(4)).changed
    assert not old.exists()
    assert recovered(image) == []
    assert product_status(image).leftover == ()
    assert product_status(image).drift == ()
    # What somebody laid there is moved, as a whole.
    assert (state_file(image, "kept/releases-1/mine/deep/work")).read_text() == "a week"
    steps: list[Callable[[], TransactionResult]] = [
        lambda: roll_back(image),
        lambda: install(image, numbered(5)),
        lambda: remove(image),
    ]
    for step in steps:
        assert step().changed
    assert snapshot(root(host)) == before, "the golden image itself is never written"


@pytest.mark.needs("root")
def test_a_release_in_the_lower_layer_is_installed_again_over_itself(image: Context) -> None:
    assert install(image, THREE, Options(keep=2)).changed
    status = product_status(image)
    assert (status.drift, status.leftover, [each.version for each in status.kept]) == (
        (),
        (),
        ["3.0.0", "2.0.0"],
    )
    assert list(state_file(image, "staging").iterdir()) == []


class Layered(FaultySystem):
    """As under an overlay: no directory of a release can be renamed from where it is."""

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        if name == "rename" and args[1].endswith(".replaced") and "/releases/" in args[0]:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), args[0])
        return super().around(name, args, call)


@pytest.mark.parametrize("fault", ["kill before", "kill after", "EIO"])
def test_a_release_is_whole_again_after_a_stop_anywhere_while_it_is_set_aside(
    host: Context, tmp_path_factory: pytest.TempPathFactory, fault: str
) -> None:
    saved = tmp_path_factory.mktemp("saved") / "host"
    shutil.copytree(root(host), saved, symlinks=True)
    counting = Layered(root(host))
    install(context(counting), THREE, Options(keep=2))
    began = next(at for at, step in enumerate(counting.trace, 1) if ".replaced.part" in step)
    ended = max(
        at for at, step in enumerate(counting.trace, 1) if step.startswith("rmdir") and "/releases/3-" in step
    )
    assert ended > began + 5
    before = snapshot(saved / "var/lib/waybill/lan-chat/releases")
    for at in range(began, ended + 1):
        place = tmp_path_factory.mktemp("run") / "host"
        shutil.copytree(saved, place, symlinks=True)
        with suppress(Killed, RolledBackError):
            install(context(Layered(place, at, fault)), THREE, Options(keep=2))
        healthy = context(System(place))
        recovered(healthy)
        assert snapshot(place / "var/lib/waybill/lan-chat/releases") == before, (fault, at)
        assert product_status(healthy).leftover == ()
        assert product_status(healthy).drift == ()
