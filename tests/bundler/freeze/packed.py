"""A program so small that every test starts afresh, to pack behind the real shell head; and how to run it."""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAM = """#!/bin/sh
[ "$1" != fail ] || exit 7
printf '%s\\n' "$0" "$@"
[ "$1" != env ] || env
[ "$1" != sleep ] || sleep "$2"
"""
DATA = random.Random(1).randbytes(20_000)
SHELLS = {"dash": ("dash",), "bash": ("bash", "--posix"), "busybox": ("busybox", "sh")}


def run(
    tool: Path, cache: Path, *arguments: str, shell: tuple[str, ...] = (), **extra: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "WAYBILL_CACHE": str(cache), **extra}
    command = [*shell, str(tool), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def unpacked(cache: Path) -> list[Path]:
    return sorted(cache.glob("tool-*"))


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 126
    assert done.stdout == ""
    assert "\nhint: set WAYBILL_CACHE" in done.stderr
    assert not re.search(r":\s*$", done.stderr, re.MULTILINE) or "start itself:\n  " in done.stderr
    return done.stderr


def damage(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (126, "")
    return done.stderr


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
