"""A step that cannot be undone, in the shipped executable: killed, hung up on, failing, and gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.rig.desk import Desk
from tests.rig.host import Result
from tests.rig.product import Product
from tests.rig.products import put

STEP = """\
deploy:
  - {method: script, apply: deploy/migrate.sh, roll_forward_only: the column nick is dropped, timeout: 2m}
  - {method: script, apply: deploy/start.sh, undo: deploy/start.sh}
"""
MIGRATE = """\
#!/bin/sh
cd "$WAYBILL_ROOT" && echo "$WAYBILL_VERSION" > data && touch begun
while [ -e wait ]; do sleep 0.05; done
"""
START = '#!/bin/sh\ncd "$WAYBILL_ROOT" && ! [ -e broken ] && touch started\n'


@dataclass
class Host:
    """A directory that stands for a host, with the first release, and the bundle of the second."""

    root: Path
    program: Path
    bundle: Path

    def command(self, *words: str | Path) -> list[str]:
        return [str(self.program), *map(str, words), "--root", str(self.root)]

    def run(self, *words: str | Path) -> Result:
        done = subprocess.run(self.command(*words), capture_output=True, check=False)
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def status(self) -> Any:
        (found,) = json.loads(self.run("status", "--json").out)["products"]
        return found

    def upgrade_until_the_step(self) -> subprocess.Popen[bytes]:
        """Begins the upgrade and comes back when the step is at work, and waits."""
        (self.root / "wait").touch()
        words = self.command(self.bundle, "--yes", "--only", "script")
        began = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (self.root / "begun").exists() and began.poll() is None:
            time.sleep(0.02)
        return began


@pytest.fixture(scope="module")
def bundles(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("no-way-back")
    first, second = Product.make(base / "1"), Product.make(base / "2", b"\x7fELF newer\n")
    for name, text in (("migrate", MIGRATE), ("start", START)):
        put(second.directory, f"deploy/{name}.sh", text)
        (second.directory / f"deploy/{name}.sh").chmod(0o755)
    with (second.directory / "bundle.yaml").open("a") as file:
        file.write(STEP)
    made = base / "1.3.0.tar", base / "1.4.0.tar"
    for product, bundle in zip((first, second), made, strict=True):
        desk.bundle("create", bundle.stem, "-C", product.directory, "-o", bundle, "--key", desk.key)
    return made


@pytest.fixture
def host(desk: Desk, bundles: tuple[Path, Path], tmp_path: Path) -> Host:
    root = tmp_path / "host"
    root.mkdir()
    found = Host(root, desk.programs.install, bundles[1])
    assert found.run("trust", "init", desk.root, "--fingerprint", desk.fingerprint).rc == 0
    assert found.run(bundles[0], "--yes").rc == 0
    return found


def test_the_next_command_goes_on_after_a_kill_in_the_step(host: Host) -> None:
    began = host.upgrade_until_the_step()
    began.kill()
    began.wait()
    now = host.status()
    assert (now["installed"]["version"], bool(now["unfinished"])) == ("1.3.0", True)
    (host.root / "wait").unlink()
    rc, out, err = host.run("recover")
    assert rc == 0, err
    assert "was past the point of no return and is now completed: 1.4.0 is installed" in out
    now = host.status()
    assert (now["installed"]["version"], now["installed"]["incomplete"], now["drift"]) == ("1.4.0", None, [])
    assert (host.root / "started").exists()
    assert host.run("recover").out == "nothing to recover\n"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_lost_session_does_not_stop_it(host: Host, number: signal.Signals) -> None:
    began = host.upgrade_until_the_step()
    began.send_signal(number)
    (host.root / "wait").unlink()
    assert began.wait() == 0
    assert host.status()["installed"]["version"] == "1.4.0"


def test_what_fails_after_it_ends_with_21_and_the_same_bundle_mends_it(host: Host) -> None:
    (host.root / "broken").touch()
    rc, out, err = host.run(host.bundle, "--yes", "--only", "script", "--json")
    said = json.loads(out)
    assert (rc, said["exit"], said["code"]) == (21, 21, "incomplete")
    assert "1.4.0 is INCOMPLETE: committed, but a step failed" in err
    assert "deploy/start.sh" in host.status()["installed"]["incomplete"]
    (host.root / "broken").unlink()
    assert host.run(host.bundle, "--yes").rc == 0
    assert host.status()["installed"]["incomplete"] is None


def test_recovery_that_cannot_do_all_says_so_once_and_blocks_nothing(host: Host) -> None:
    began = host.upgrade_until_the_step()
    began.kill()
    began.wait()
    (host.root / "broken").touch()
    (host.root / "wait").unlink()
    rc, out, _ = host.run("recover", "--json")
    assert (rc, json.loads(out)["code"]) == (21, "incomplete")
    assert host.run("recover").rc == 0
    (host.root / "broken").unlink()
    assert host.run(host.bundle, "--yes").rc == 0
