"""Anybody can try everything: without root, systemd and Docker, `--root DIR` holds a whole host."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.rig.desk import BETTER, GOOD, PRODUCT, Desk
from tests.rig.hang import ends
from tests.rig.host import Result

NOBODY = 65534


@dataclass
class Directory:
    """A directory that stands for a host, and a user who is nobody."""

    desk: Desk
    home: Path

    @property
    def root(self) -> Path:
        return self.home / "host"

    def run(self, *words: str | Path) -> Result:
        """Runs `install` as an unprivileged user."""
        command = [str(self.desk.programs.install), *map(str, words), "--root", str(self.root)]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        done = subprocess.run(command, env=env, cwd="/", capture_output=True, check=False)
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def install(self, *words: str | Path, exit_code: int = 0) -> str:
        rc, out, err = self.run(*words)
        assert rc == exit_code, f"install {' '.join(map(str, words))}: exit {rc}\n{out}{err}"
        return out + err

    def status(self) -> Any:
        rc, out, err = self.run("status", "--json")
        assert rc == 0, err
        (found,) = json.loads(out)["products"]
        assert found["drift"] == []
        return found

    def images(self) -> dict[str, Any]:
        """The index of the images in the release that runs, by reference."""
        index = json.loads((self.root / f"var/lib/waybill/{PRODUCT}/current/images/index.json").read_text())
        return {
            entry["annotations"]["org.opencontainers.image.ref.name"]: entry for entry in index["manifests"]
        }

    def files(self) -> dict[str, bytes]:
        """Gives what the product has outside of Waybill's own places."""
        found = [path for name in ("opt", "etc") for path in (self.root / name).rglob("*") if path.is_file()]
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in found
            if "waybill" not in path.parts
        }


@pytest.fixture(scope="module")
def home(desk: Desk) -> Iterator[Path]:
    """A home of somebody who is nobody, where others write nothing, with what came on the stick."""
    home = (
        Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
    ) / f"waybill-e2e-{os.getpid()}"
    home.mkdir(parents=True)
    shutil.copy2(desk.programs.install, home / "install")
    shutil.copy2(desk.root, home / "root.json")
    if os.geteuid() == 0:
        os.chown(home, NOBODY, NOBODY)
    yield home
    shutil.rmtree(home)


@pytest.fixture
def place(desk: Desk, home: Path) -> Iterator[Directory]:
    """An empty directory that trusts the desk."""
    programs = type(desk.programs)(home / "install", desk.programs.bundle)
    made = Directory(Desk(desk.home, programs, made=desk.made), home)
    made.root.mkdir()
    if os.geteuid() == 0:
        os.chown(made.root, NOBODY, NOBODY)
    made.install("trust", "init", home / "root.json", "--fingerprint", desk.fingerprint)
    yield made
    shutil.rmtree(made.root)


def carried(place: Directory, bundle: Path) -> Path:
    target = place.home / bundle.name
    if not target.exists():
        shutil.copy2(bundle, target)
        target.chmod(0o644)
    return target


ONLY = ("--yes", "--only", "files,images")


def test_a_directory_holds_the_whole_story_without_root(place, desk):
    good, better = (carried(place, desk.release(version)) for version in (GOOD, BETTER))
    place.install(good, "--verify", *ONLY)
    first = place.files()
    assert place.status()["installed"]["version"] == GOOD
    assert set(place.images()) == {f"lan-chat/server:{GOOD}"}
    assert "nats-server: v" in subprocess.check_output(
        [place.root / "opt/lan-chat/bin/nats-server", "--version"], text=True
    )
    place.install(better, "--verify", *ONLY)
    assert place.status()["installed"]["version"] == BETTER
    assert set(place.images()) == {f"lan-chat/server:{BETTER}"}
    assert place.files() != first
    place.install(good, *ONLY, exit_code=13)
    place.install("rollback", *ONLY)
    assert place.files() == first
    assert set(place.images()) == {f"lan-chat/server:{GOOD}"}
    assert place.status()["installed"]["version"] == GOOD
    place.install("remove", PRODUCT, "--yes")
    assert place.files() == {}
    assert not (place.root / "opt").exists()
    assert place.status()["installed"] is None


def test_every_blob_of_the_images_is_there(place, desk):
    place.install(carried(place, desk.release(GOOD)), *ONLY)
    store = place.root / f"var/lib/waybill/{PRODUCT}/current/images"
    assert set(place.images()) == {f"lan-chat/server:{GOOD}"}
    for entry in place.images().values():
        manifest = json.loads((store / "blobs" / entry["digest"].replace(":", "/")).read_text())
        for part in (manifest["config"], *manifest["layers"]):
            assert (store / "blobs" / part["digest"].replace(":", "/")).stat().st_size == part["size"]


def test_nothing_outside_of_the_directory_is_touched(place, desk):
    outside = [path for path in place.home.iterdir() if path.name not in ("host", ".cache")]
    before = {path: path.stat().st_mtime_ns for path in outside}
    place.install(carried(place, desk.release(GOOD)), *ONLY)
    after = {path: path.stat().st_mtime_ns for path in outside}
    assert after == before
    assert not Path("/opt/lan-chat").exists()
    assert not Path("/etc/lan-chat").exists()


def test_edited_config_is_named_and_not_overwritten(place, desk):
    place.install(carried(place, desk.release(GOOD)), *ONLY)
    config = place.root / "etc/lan-chat/nats.conf"
    config.write_text("edited\n")
    rc, out, _ = place.run("status", "--json")
    assert (rc, [each["where"] for each in json.loads(out)["products"][0]["drift"]]) == (
        0,
        ["/etc/lan-chat/nats.conf"],
    )
    said = place.install(carried(place, desk.release(BETTER)), *ONLY, exit_code=15)
    assert "/etc/lan-chat/nats.conf" in said
    assert config.read_text() == "edited\n"
    place.install(carried(place, desk.release(BETTER)), *ONLY, "--on-drift", "replace")
    assert "edited" not in config.read_text()


def test_the_next_run_goes_on_after_a_kill_while_staging(place, desk):
    """The bundle comes through a pipe that stops half-way, and the installer dies there."""
    bundle = carried(place, desk.release(GOOD))
    command = [str(place.desk.programs.install), "-", *ONLY, "--root", str(place.root)]
    if os.geteuid() == 0:
        command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
    env = {"PATH": os.environ["PATH"], "HOME": str(place.home)}
    data = bundle.read_bytes()
    staging = place.root / f"var/lib/waybill/{PRODUCT}/staging"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd="/"
    ) as running:
        assert running.stdin
        running.stdin.write(data[: len(data) * 2 // 3])
        running.stdin.flush()
        with ends():
            while len([path for path in staging.rglob("*") if path.is_file()]) < 8:
                time.sleep(0.05)
        running.kill()
    said = place.install(bundle, *ONLY)
    found = re.search(r"(\d+) of (\d+) files are staged already .*: checked, not copied again", said)
    assert found, said
    assert 0 < int(found[1]) < int(found[2])
    assert place.status()["installed"]["version"] == GOOD
    assert list(staging.iterdir()) == []


def test_what_is_staged_is_cleared_by_recover(place, desk):
    better = carried(place, desk.release(BETTER))
    place.install(carried(place, desk.release(GOOD)), *ONLY)
    (place.root / "etc/lan-chat/nats.conf").write_text("edited\n")
    said = place.install(better, *ONLY, exit_code=15)
    assert "run the same command again to continue, or `" in said
    assert f"/install recover --root {place.root}` to remove them" in said
    staging = place.root / f"var/lib/waybill/{PRODUCT}/staging"
    assert len(list(staging.iterdir())) == 1
    place.install("recover")
    assert list(staging.iterdir()) == []


def test_site_values_are_laid_over_the_defaults(place, desk):
    values = place.home / "values.yaml"
    values.write_text("ports: {client: 14222}\n")
    place.install(carried(place, desk.release(GOOD)), *ONLY, "--values", values)
    assert ":14222" in (place.root / "etc/lan-chat/nats.conf").read_text()
    values.write_text("ports: {client: many}\n")
    said = place.install(carried(place, desk.release(BETTER)), *ONLY, "--values", values, exit_code=15)
    assert "ports" in said
    assert place.status()["installed"]["version"] == GOOD


def test_the_real_host_is_refused_in_words_without_root_rights(place, desk):
    bundle = carried(place, desk.release(GOOD))
    command = (
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    )
    done = subprocess.run(
        [*command, place.desk.programs.install, bundle, "--yes"],
        env={"PATH": os.environ["PATH"], "HOME": str(place.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (10, 15)
    assert "Traceback" not in done.stderr
