"""Links that lie in wait where something is written: nothing is ever written outside of the host's root."""

from __future__ import annotations

import ctypes
import os
import shutil
import threading
from pathlib import Path

import pytest

from tests.attacks.box import Box, plan
from tests.rig import bundlebuild as build

LIBC = ctypes.CDLL(None, use_errno=True)
AT_CWD, EXCHANGE = -100, 2
PLACES = (
    "opt/lan-chat",
    "opt/lan-chat/chatd",
    "var/lib/waybill/lan-chat",
    "var/lib/waybill/lan-chat/staging",
    "var/lib/waybill/lan-chat/releases",
    "var/lib/waybill/lan-chat/current",
    "var/lib/waybill/lan-chat/transactions",
    "var/lib/waybill/lan-chat/state.json",
    "var/lib/waybill/lan-chat/state.json.new",
    "var/lib/waybill/lan-chat/history.jsonl",
    "var/lib/waybill/lan-chat/lock",
    "var/lib/waybill/trusted-time",
    "var/lib/waybill/trusted-time.new",
)


def outside(box: Box) -> dict[str, bytes]:
    """Gives everything beside the host's root."""
    top = box.home / "outside"
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


@pytest.mark.parametrize("target", ["outside", "outside/precious"], ids=["directory", "file"])
@pytest.mark.parametrize("place", PLACES)
def test_a_planted_link_is_never_written_through(tmp_path: Path, place: str, target: str) -> None:
    box = Box(tmp_path)
    link = box.host / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(box.home / target, link.parent))
    box.carry(plan())
    said = box.apply()
    assert outside(box) == {"precious": b"precious"}
    assert "Traceback" not in said.err, said.err[-1500:]
    assert said.code in (0, 15, 20, 21), said.err
    if said.code == 0:
        assert (box.host / "opt/lan-chat/chatd").exists() or link.is_symlink()


def test_a_directory_that_turns_into_a_link_meanwhile_leads_nowhere(tmp_path: Path) -> None:
    """Somebody swaps a directory for a link to the outside and back, as fast as can be, meanwhile."""
    box = Box(tmp_path)
    box.carry(plan())
    place, link = box.host / "opt/lan-chat", box.host / "opt/link"
    place.mkdir()
    link.symlink_to("../../outside")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            assert LIBC.renameat2(AT_CWD, bytes(place), AT_CWD, bytes(link), EXCHANGE) == 0

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(4):
            box.apply()
            shutil.rmtree(box.host / "var/lib/waybill/lan-chat", ignore_errors=True)
    finally:
        done.set()
        thread.join()
    assert outside(box) == {"precious": b"precious"}
    assert build.FILES["bin/linux-amd64/chatd"] not in outside(box).values()
