"""What Prometheus is told: valid under its own tools, true, and never half-written."""

from __future__ import annotations

import re
import socket
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from installer.commands import metrics
from installer.commands.metrics import Metric
from installer.core.errors import HostNotReadyError
from installer.host.system import System
from tests.rig.auditlogs import break_log
from tests.rig.bench import Bench, release
from tests.rig.faulty import FaultySystem, Killed
from tests.rig.needs import needs
from tests.rig.process import Daemon

INTO = "/var/lib/node-exporter"
SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (-?[0-9.e+]+)")


@pytest.fixture
def watched(bench: Bench) -> Bench:
    """A host that has chosen a directory."""
    (bench.host / INTO[1:]).mkdir(parents=True)
    (bench.host / metrics.SETTING[1:]).write_text(f"{INTO}\n")
    return bench


def samples(bench: Bench) -> dict[str, float]:
    """Gives everything that is told, by name and labels; promtool has nothing against it."""
    found = {}
    for path in sorted((bench.host / INTO[1:]).glob("*.prom")):
        data = path.read_bytes()
        done = subprocess.run(
            [needs("promtool"), "check", "metrics"], input=data, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, b""), path
        assert path.stat().st_mode & 0o777 == 0o644
        for line in data.decode().splitlines():
            if not line.startswith("#"):
                name, labels, value = SAMPLE.fullmatch(line).groups()  # type: ignore[union-attr]
                found[f"{name.removeprefix('waybill_')}{{{labels or ''}}}"] = float(value)
    return found


P = '{product="lan-chat"}'


def attempts(verb: str, result: str, product: str = "lan-chat") -> str:
    return f'attempts_total{{product="{product}",verb="{verb}",result="{result}"}}'


def test_metrics_follow_what_is_done(watched: Bench) -> None:
    world = release()
    path = watched.bundle(world)
    assert watched.run(str(path), "--yes")[0] == 0
    told = samples(watched)
    manifest = world.plan.manifest
    assert told[f"release_sequence{P}"] == told[f"highest_sequence{P}"] == manifest.sequence
    assert told[f"release_expiry_timestamp_seconds{P}"] == manifest.expires
    assert told[f"retained_bytes{P}"] == sum(entry.size for entry in manifest.files)
    assert (told[f"drift{P}"], told[f"unfinished{P}"], told[f"last_attempt_exit_code{P}"]) == (0, 0, 0)
    assert told[attempts("apply", "done")] == 1
    assert told[f"last_success_timestamp_seconds{P}"] == told[f"last_attempt_timestamp_seconds{P}"] > 0
    assert (told["audit_intact{}"], told["audit_records{}"]) == (1, 2)
    (info,) = [name for name in told if name.startswith("release_info")]
    assert 'version="1.4.0"' in info
    assert world.identity in info
    assert 'environment="production"' in info

    assert watched.run(str(watched.bundle(release("1.3.0", 100_030_000_999), "old.tar")), "--yes")[0] == 13
    told = samples(watched)
    assert told[f"last_attempt_exit_code{P}"] == 13
    assert (told[attempts("apply", "refused")], told[attempts("apply", "done")]) == (1, 1)

    (watched.host / "opt/a").write_text("edited")
    written = watched.run("metrics")[1]["files"]
    assert written == [f"{INTO}/waybill-lan-chat.prom", f"{INTO}/waybill.prom"]
    assert samples(watched)[f"drift{P}"] == 1

    assert watched.run("remove", "lan-chat", "--yes")[0] == 0
    told = samples(watched)
    assert not [name for name in told if name.startswith("release_")]
    assert (told[f"retained_releases{P}"], told[attempts("remove", "done")]) == (0, 1)


def test_a_bundle_that_nobody_vouches_for_is_counted_without_a_product(watched: Bench) -> None:
    junk = watched.stick / "junk.tar"
    junk.write_bytes(b"junk" * 1000)
    assert watched.run(str(junk), "--yes")[0] == 11
    told = samples(watched)
    assert told[attempts("apply", "refused", "")] == 1
    assert not [name for name in told if name.startswith("last_")]


def test_a_broken_log_is_told(watched: Bench) -> None:
    watched.run(str(watched.bundle(release())), "--yes")
    break_log(watched.host)
    assert watched.run("metrics")[0] == 0
    assert samples(watched)["audit_intact{}"] == 0


def test_a_log_that_was_removed_is_told_as_broken(watched: Bench) -> None:
    watched.run(str(watched.bundle(release())), "--yes")
    for path in watched.host.glob("var/lib/waybill/audit.*"):
        path.unlink()
    assert watched.run("metrics")[0] == 0
    assert samples(watched)["audit_intact{}"] == 0


def test_what_recovery_would_refuse_is_told_as_unfinished(watched: Bench) -> None:
    watched.run(str(watched.bundle(release())), "--yes")
    assert samples(watched)['unfinished{product="lan-chat"}'] == 0
    (watched.host / "var/lib/waybill/lan-chat/txn/000009.backup").mkdir()
    assert watched.run("recover")[0] == 21
    assert samples(watched)['unfinished{product="lan-chat"}'] == 1


def test_a_state_that_is_gone_is_told_as_not_readable(watched: Bench) -> None:
    watched.run(str(watched.bundle(release())), "--yes")
    (watched.host / "var/lib/waybill/lan-chat/state.json").unlink()
    assert watched.run("metrics")[0] == 0
    assert samples(watched)['state_readable{product="lan-chat"}'] == 0
    assert watched.run("recover")[0] == 0
    assert samples(watched)['state_readable{product="lan-chat"}'] == 1


def test_no_metrics_are_written_without_a_setting_and_the_command_says_what_to_do(bench: Bench) -> None:
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    code, document, _ = bench.run("metrics")
    assert (code, document.where) == (2, metrics.SETTING)
    assert not list(bench.host.rglob("*.prom"))


@pytest.mark.parametrize("text", ["", "relative\n", "/not/there\n", "/etc/hostname\n", "/a\n/b\n"])
def test_a_setting_that_names_no_directory_is_said_and_no_install_fails_for_it(
    bench: Bench, text: str
) -> None:
    (bench.host / metrics.SETTING[1:]).write_text(text)
    code, _, said = bench.run(str(bench.bundle(release())), "--yes")
    assert code == 0
    assert f"WARNING: the metrics were not written: {metrics.SETTING}" in said
    assert bench.run("metrics")[0] == 15


def test_each_file_is_whole_after_a_kill_at_any_effect_and_the_next_run_leaves_nothing_behind(
    watched: Bench,
) -> None:
    watched.run(str(watched.bundle(release())), "--yes")
    into = watched.host / INTO[1:]
    whole = {path.name: path.read_bytes() for path in into.iterdir()}
    for fault in ("kill before", "kill half", "kill after"):
        at = 0
        while True:
            at += 1
            system = FaultySystem(watched.host, at, fault)
            with suppress(Killed):
                metrics.write(system)
            for path in into.glob("*.prom"):
                assert path.read_bytes().count(b"\n") == whole[path.name].count(b"\n")
            if len(system.trace) < at:
                break
        assert {path.name for path in into.iterdir()} == set(whole)


def test_labels_are_escaped() -> None:
    hostile = 'a"b\\c\nd'
    metric = Metric("x", "Text.")
    metric.add(1, product=hostile)
    data = metrics.text([metric])
    assert data.decode().splitlines()[-1] == r'waybill_x{product="a\"b\\c\nd"} 1'
    done = subprocess.run(
        [needs("promtool"), "check", "metrics"], input=data, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_real_node_exporter_serves_them(watched: Bench, tmp_path: Path) -> None:
    watched.run(str(watched.bundle(release())), "--yes")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [
        needs("node-exporter"), "--collector.disable-defaults", "--collector.textfile",
        f"--collector.textfile.directory={watched.host / INTO[1:]}", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    daemon = Daemon(command, tmp_path / "exporter.log")

    def page() -> str:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            return str(answer.read().decode())
        return ""

    try:
        daemon.wait_until(lambda: bool(page()), 30)
        said = page()
    finally:
        daemon.stop()
    assert "node_textfile_scrape_error 0" in said
    assert 'waybill_release_sequence{product="lan-chat"} 1.00040000999e+11' in said
    assert "waybill_audit_intact 1" in said


def test_a_write_that_fails_leaves_what_was_there(watched: Bench) -> None:
    watched.run(str(watched.bundle(release())), "--yes")
    before = samples(watched)

    class Full(System):
        def around(self, name: str, args: Any, call: Any) -> Any:
            if name == "write_new":
                raise OSError(28, "No space left on device", args[0])
            return super().around(name, args, call)

    with pytest.raises(HostNotReadyError, match="No space"):
        metrics.write(Full(watched.host))
    assert samples(watched) == before
