"""The short run of all fuzz targets, and what makes it worth something: it finds what is planted."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.catalogue import TARGETS
from tests.fuzz.target import Target
from tests.rig.hang import ends
from tests.rig.needs import needs

TOP = Path(__file__).parents[2]
PLANTED = """
import sys
from tests.fuzz.__main__ import main
from tests.fuzz.target import Target

def check(data):
    if data[:4] == b"good" and len(data) > 8 and data[4] > data[5] > data[6]:
        {fault}

sys.exit(main([Target("planted", check, lambda: [b"good0000"], runs=200000, words=(b"good",))]))
"""
FAULTS = {
    "an error that is none of ours": "raise KeyError(data)",
    "memory without bound": "bytearray(2 << 30)",
    "an exit": "raise SystemExit(0)",
    "no end": "while True: pass",
}


def run(*words: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Runs the fuzzer below a directory, with no less than it takes: the guard is for what never ends."""
    needs("atheris")
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    with ends(within=600):
        return subprocess.run(
            [sys.executable, *words],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


def test_the_short_run_of_every_target_finds_nothing(tmp_path: Path) -> None:
    done = run("-m", "tests.fuzz", directory=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^(\S+) +(\d+) runs, +(\d+) edges", done.stdout, re.MULTILINE)
    assert [name for name, _, _ in found] == [target.name for target in TARGETS]
    for target, (_, runs, edges) in zip(TARGETS, found, strict=True):
        assert int(runs) >= target.runs, target.name
        assert int(edges) > 10, f"{target.name} is not instrumented"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_its_input_kept(tmp_path: Path, fault: str) -> None:
    # Only what never ends is waited for in vain: a busy machine may need long for the others.
    patience = "2" if fault == "no end" else "300"
    done = run("-c", PLANTED.format(fault=FAULTS[fault]), "--patience", patience, directory=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "FAULT" in done.stdout
    (kept,) = (tmp_path / "build/fuzz").iterdir()
    assert kept.read_bytes()[:4] == b"good"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_seeds_and_what_is_near_them_go_through(target: Target) -> None:
    """Needs no atheris: each seed as it is, cut, doubled, with bytes turned."""
    pick = random.Random(target.name)
    seeds = target.seeds()
    assert seeds
    with ends():
        for seed in seeds:
            target.check(seed)
            for _ in range(6):
                at = pick.randrange(len(seed) + 1)
                turned = bytearray(seed)
                if seed:
                    turned[at - 1] ^= 1 << pick.randrange(8)
                for data in (bytes(turned), seed[:at], seed[:at] + seed, seed[at:]):
                    target.check(data[: target.most])


def test_names_are_unique_and_every_target_has_a_good_seed() -> None:
    assert len({target.name for target in TARGETS}) == len(TARGETS)
