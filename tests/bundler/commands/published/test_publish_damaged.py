"""`bundle publish` of a damaged bundle: refused as `bundle verify` refuses it, and its name stays free."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundler.commands.published.publish import publish_bundle
from installer.core.errors import MediaError, TamperedError, UnfitInputError
from installer.core.format.tar_header import BLOCK
from installer.shared.progress import Progress
from tests.rig import bundlebuild as build
from tests.rig.filestore import FileStore
from tests.rig.registrygate import Gate

pytestmark = pytest.mark.needs("registry")
SERIAL = itertools.count()
FILES = {
    "docs/CHANGELOG.md": b"# 1\n",
    "bin/linux-amd64/chatd": random.Random("chatd").randbytes(5 << 20),
    "trees/web/a.js": b"ExecStart=/opt\n",
}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A bundle of 5 MB: one member that is read alone, and small ones that are read together."""
    path = tmp_path / "whole.tar"
    plan = build.plan(FILES, entries={"docs/CHANGELOG.md": {"install": ""}}, room=32768)
    path.write_bytes(build.signed(plan).tar())
    return path


def changed(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert (data.count(old), len(old)) == (1, len(new))
    other = path.with_name("damaged.tar")
    other.write_bytes(data.replace(old, new))
    return other


def padded(path: Path) -> Path:
    """Put a byte next to the content of a member, where no digest covers it."""
    data = FILES["trees/web/a.js"]
    room = bytes(BLOCK - len(data))
    return changed(path, data + room, data + room[:-1] + b"x")


DAMAGES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a small member": (
        lambda path: changed(path, b"ExecStart=/opt", b"ExecStart=/opx"),
        "the SHA-256 of trees/web/a.js does not match the signed list",
    ),
    "a large member": (
        lambda path: changed(path, FILES["bin/linux-amd64/chatd"][-999:], bytes(999)),
        "the SHA-256 of bin/linux-amd64/chatd does not match the signed list",
    ),
    "padding": (padded, "the padding of trees/web/a.js is not zero"),
}


def name_of(server: str, gate: Gate, store: FileStore) -> str:
    return (
        f"oci://{gate.name}/damaged/chat{next(SERIAL)}:1"
        if server == "registry"
        else f"http://{store.name}/a.tar"
    )


@pytest.mark.parametrize("server", ["registry", "web server"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_member_is_named_and_the_name_stays_free_for_the_intact_bundle(
    whole: Path, gate: Gate, server: str, damage: str
) -> None:
    damaged, words = DAMAGES[damage][0](whole), DAMAGES[damage][1]
    with FileStore().serve() as store:
        target = name_of(server, gate, store)
        gate.seen.clear()
        with pytest.raises(TamperedError, match=words) as caught:
            publish_bundle(damaged, target, Progress())
        assert caught.value.exit_code == 11
        assert str(damaged) in caught.value.where
        # Not even asked: nothing of it is there.
        assert (gate.seen, store.seen) == ([], [])
        assert publish_bundle(whole, target, Progress()).changed


@pytest.mark.parametrize("server", ["registry", "web server"])
@pytest.mark.parametrize("length", [20_000, 1_000_000, -2048, -1])
def test_a_truncated_bundle_is_an_incomplete_copy(whole: Path, gate: Gate, server: str, length: int) -> None:
    size = whole.stat().st_size
    with whole.open("r+b") as file:
        file.truncate(length % size)
    with FileStore().serve() as store:
        gate.seen.clear()
        with pytest.raises(TamperedError, match="but the bundle is longer") as caught:
            publish_bundle(whole, name_of(server, gate, store), Progress())
        assert caught.value.exit_code == 11
        assert "the copy is not complete" in caught.value.hint
        assert "copy the bundle again" in caught.value.hint
        assert (gate.seen, store.seen) == ([], [])


class Meanwhile(Progress):
    """Changes a file when a phase begins."""

    def __init__(self, phase: str, change: Callable[[], Any]) -> None:
        self._phase, self._change = phase, change

    def start(self, label: str, total: int) -> None:
        if label == self._phase:
            self._change()


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"other")


def test_a_bundle_that_somebody_writes_to_while_it_is_read_is_not_published(whole: Path, gate: Gate) -> None:
    def append() -> None:
        with whole.open("ab") as file:
            file.write(bytes(BLOCK))

    gate.seen.clear()
    with pytest.raises((TamperedError, MediaError)):
        publish_bundle(whole, f"oci://{gate.name}/damaged/other:1", Meanwhile("read", append))
    assert gate.seen == []


def test_a_head_that_changes_while_it_is_read_is_not_published(
    whole: Path, gate: Gate, tmp_path: Path
) -> None:
    other = tmp_path / "other.tar"
    other.write_bytes(build.signed(build.plan(FILES | {"trees/web/a.js": b"ExecStart=/opx\n"})).tar())
    with pytest.raises(MediaError, match="was changed while it was read"):
        publish_bundle(
            whole, f"oci://{gate.name}/damaged/other:1", Meanwhile("read", lambda: os.replace(other, whole))
        )


@pytest.mark.parametrize("dav", [False, True], ids=["a store", "WebDAV"])
def test_a_file_that_changes_after_it_was_checked_gets_no_name_on_a_web_server(
    whole: Path, dav: bool
) -> None:
    with FileStore(dav=dav).serve() as store:
        target, good = f"http://{store.name}/a.tar", whole.read_bytes()
        with pytest.raises(MediaError, match="was changed while it was published") as caught:
            publish_bundle(whole, target, Meanwhile("publish", lambda: overwrite(whole)))
        assert "publish it again" in caught.value.hint
        assert store.files == {}
        whole.write_bytes(good)
        assert publish_bundle(whole, target, Progress()).changed
        assert store.files["/a.tar"] == good
        other = whole.with_name("other.tar")
        other.write_bytes(build.signed(build.plan(FILES)).tar())
        with pytest.raises(UnfitInputError, match="exists with other content"):
            publish_bundle(other, target, Progress())
