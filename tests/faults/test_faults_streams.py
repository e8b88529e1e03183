"""Standard streams that are closed, full or without a reader change neither what is done nor its code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults import table
from tests.faults.invariants import violations
from tests.faults.stories import copy, outside
from tests.faults.upgrade import Upgrade, environment, from_source
from tests.rig.executables import executables
from tests.rig.share import share

BROKEN = {
    "all closed": "<&- >&- 2>&-",
    "stdout closed": ">&-",
    "stderr closed": "2>&-",
    "all full": ">/dev/full 2>/dev/full",
    "stdout full": ">/dev/full",
}
READERS = {"stdout without a reader": (1,), "all without a reader": (1, 2)}
SHARE = 6
"""Lines after which the reader goes away in `make test`."""


@pytest.fixture(scope="module", params=["source", "shipped"])
def upgrade(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Upgrade:
    base = tmp_path_factory.mktemp("streams")
    return Upgrade.make(base, from_source(base) if request.param == "source" else executables())


def run(words: Sequence[str | Path], how: str) -> int:
    """Run a command with broken streams; give its exit code."""
    command = [str(word) for word in words]
    if how in BROKEN:
        command = ["sh", "-c", f'exec "$@" {BROKEN[how]}', "sh", *command]
        done = subprocess.run(command, env=environment(), capture_output=True, check=False, timeout=600)
        return done.returncode
    reader, writer = os.pipe()
    os.close(reader)
    streams = {1: "stdout", 2: "stderr"}
    given = {name: writer if fd in READERS[how] else subprocess.DEVNULL for fd, name in streams.items()}
    done = subprocess.run(command, env=environment(), check=False, timeout=600, **given)  # type: ignore[call-overload]
    os.close(writer)
    return int(done.returncode)


def test_an_upgrade_goes_on_when_its_reader_goes_away_after_a_line(upgrade: Upgrade, fast: Path) -> None:
    """`| head`, `| grep -m1`, and ssh whose connection is cut."""
    root = copy(upgrade.world, fast / "whole")
    together = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": environment()}
    whole = subprocess.run(upgrade.command(root), check=True, **together)  # type: ignore[call-overload]
    lines = whole.stdout.count(b"\n")
    assert lines > 10
    row = table.row("an upgrade as a process", "its reader goes away", lines)
    for count in share(range(lines), SHARE):
        root = copy(upgrade.world, fast / f"after-{count}")
        with subprocess.Popen(upgrade.command(root), **together) as running:  # type: ignore[call-overload]
            for _ in range(count):
                running.stdout.readline()
            running.stdout.close()
        row.runs += 1
        row.broken += [f"after {count} lines: exit {running.returncode}"] if running.returncode else []
        row.broken += [f"after {count} lines: {each}" for each in violations(root, upgrade.ends, "done")]
        shutil.rmtree(root)
    assert row.broken == []


def test_an_upgrade_goes_on_when_its_terminal_goes_away(upgrade: Upgrade, fast: Path) -> None:
    """Under nohup: without the signal, every write and the bar of the progress fail (EIO)."""
    root = copy(upgrade.world, fast / "host")
    ours, theirs = os.openpty()
    words = ["setsid", "--ctty", "sh", "-c", 'trap "" HUP; exec "$@"', "sh", *upgrade.command(root)]
    with subprocess.Popen(words, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        os.read(ours, 1)
        os.close(ours)
    assert running.returncode == 0
    assert violations(root, upgrade.ends, "done") == []


@pytest.mark.parametrize("how", [*BROKEN, *READERS])
def test_every_verb_does_the_same_and_ends_the_same(how: str, upgrade: Upgrade, fast: Path) -> None:
    install, root = upgrade.programs.install, fast / "host"
    (root / "etc").mkdir(parents=True)
    at = ("--root", root)

    def ends(code: int, *words: str | Path) -> None:
        assert (words, run([install, *words, *at], how)) == (words, code)

    ends(10, "verify", upgrade.bundle)
    ends(0, "trust", "init", upgrade.desk.root, "--fingerprint", upgrade.desk.fingerprint)
    ends(0, "verify", upgrade.bundle, "--json")
    ends(0, "plan", upgrade.bundle, "--json")
    ends(2, upgrade.bundle)
    ends(0, upgrade.bundle, "--yes", "--log-format", "json")
    ends(0, upgrade.bundle, "--yes")
    for words in (["status", "--json"], ["history"], ["audit", "--json"], ["trust", "show"], ["recover"]):
        ends(0, *words)
    ends(0, "support", fast / "support.tar")
    ends(13, upgrade.bundle.with_name("1.3.0.tar"), "--yes", "--json")
    ends(0, "remove", "lan-chat", "--yes", "--json")
    shutil.rmtree(root)
    root = copy(upgrade.world, fast / "host")
    ends(0, upgrade.bundle, "--yes", "--json")
    assert outside(root) == upgrade.ends.new
    ends(0, "rollback", "--yes")
    assert outside(root) == upgrade.ends.old
    # A rollback that is asked for keeps the floor of the upgrade, unlike an upgrade that is undone.
    floor = f"the highest sequence went from {upgrade.ends.highest} to "
    (said,) = violations(root, upgrade.ends, "rolled back")
    assert said.startswith(floor)


def test_nothing_is_left_behind_by_a_plan_whose_output_is_lost(upgrade: Upgrade, fast: Path) -> None:
    """Of a live host the documents lie in /tmp, below `--root` in its top directory."""
    root = copy(upgrade.world, fast / "host")
    before = sorted(root.iterdir())
    for how in (*BROKEN, *READERS):
        assert run([upgrade.programs.install, "plan", upgrade.bundle, "--json", "--root", root], how) == 0
        assert sorted(root.iterdir()) == before


@pytest.mark.parametrize("how", [*BROKEN, *READERS])
def test_bundle_has_a_code_for_output_that_was_asked_for(how: str, upgrade: Upgrade, fast: Path) -> None:
    bundle, made = upgrade.programs.bundle, fast / "1.4.0.tar"
    lost = 0 if how == "stderr closed" else 4
    product, public = upgrade.bundle.with_name("1.4.0"), upgrade.desk.home / "release.pub"
    create = ["create", "1.4.0", "-C", product, "-o", made, "--key", upgrade.desk.key]
    assert run([bundle, *create], how) == 0
    assert run([bundle, "verify", made, "--key", public], how) == 0
    made.unlink()
    assert run([bundle, *create, "--json"], how) == lost
    assert run([bundle, "verify", made, "--key", public], how) == 0
    assert run([bundle, "inspect", made, "--json"], how) == lost
    assert run([bundle, "trust", "sheet", upgrade.desk.root], how) == lost
    assert run([bundle, "inspect", made], how) == 0
    assert run([bundle, "verify", made, "--key", upgrade.desk.root.with_name("none.pub"), "--json"], how) == 2
    assert run([bundle, "--help"], how) == run([bundle, "--version"], how) == 0


def test_a_size_limit_is_a_full_disk(upgrade: Upgrade, fast: Path) -> None:
    """SIGXFSZ, which `ulimit -f` sends, would end the program."""
    product = fast / "large"
    shutil.copytree(upgrade.bundle.with_name("1.4.0"), product, symlinks=True)
    (product / "web/large.bin").write_bytes(os.urandom(3 << 20))
    whole, cut = fast / "whole.tar", fast / "cut.tar"
    create = [upgrade.programs.bundle, "create", "1.4.0", "-C", product, "--key", upgrade.desk.key, "-o"]
    subprocess.run([*create, whole], env=environment(), check=True, capture_output=True)
    root = copy(upgrade.world, fast / "host")
    for words, code, said in (
        ([*create, cut], 30, "File too large"),
        ([upgrade.programs.install, whole, "--yes", "--root", root], 15, "File too large"),
    ):
        limited = ["bash", "-c", 'ulimit -f 2000; exec "$@"', "bash", *map(str, words)]
        done = subprocess.run(limited, env=environment(), check=False, capture_output=True)
        assert (done.returncode, said in done.stderr.decode()) == (code, True), done.stderr.decode()
    assert not cut.exists()
    assert violations(root, upgrade.ends, "refused: exit 15") == []
    log = subprocess.run(
        [upgrade.programs.install, "audit", "--json", "--root", root], check=True, capture_output=True
    )
    assert "refused" in {record["event"] for record in json.loads(log.stdout)["records"]}
