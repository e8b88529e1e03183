"""A secret of a store is in the rendered file, in its copy, and nowhere else: also after a kill."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.format.manifest import HealthCheck
from installer.host.context import Context
from installer.host.system import System
from tests.rig.bench import Bench
from tests.rig.chatd import ONE, TWO
from tests.rig.configured import layer
from tests.rig.faulty import FaultySystem, Killed
from tests.rig.releases import Member, ReleaseSpec, context, install, recovered, root
from tests.rig.share import share
from tests.rig.storesecrets import NEW, OLD, STORE, VALUES, bundle, places, secret

# Everything that others could read of a program and of who started it, and what is in its own hands.
SPY = """#!/bin/sh
cat /proc/$$/cmdline /proc/$$/environ /proc/$PPID/environ /proc/$PPID/cmdline > "$WAYBILL_ROOT/spied"
echo to the log
"""
ROOT = Path(__file__).resolve().parents[3]
# The word alone: no notation says that it is one.
FAILING = f'{SPY}cut -d" " -f2 "$WAYBILL_ROOT/etc/chat.conf" >&2\nexit 3\n'


def test_no_command_and_no_child_passes_it_on(bench: Bench) -> None:
    layer(bench, "values.yaml", VALUES)
    said = []
    for version, sequence, script, value, ends in (
        ("1.4.0", 100_040_000_999, SPY, OLD, 0),
        ("1.5.0", 100_050_000_999, FAILING, NEW, 20),
    ):
        secret(bench, value)
        path = bundle(bench, version=version, sequence=sequence, script=script)
        said.append(bench.text("plan", path, "--only", "files,script")[1])
        code, text = bench.text("apply", path, "--yes", "--only", "files,script")
        assert code == ends, text
        said += [text, *(bench.text(word)[1] for word in ("status", "history", "audit"))]
    assert "exit status 3: ***\n" in said[-4]
    assert (bench.host / "etc/chat.conf").read_text().endswith(f"{OLD}\n")
    archive = bench.stick / "support.tar"
    assert bench.run("support", str(archive))[0] == 0
    spied = (bench.host / "spied").read_bytes()
    assert b"WAYBILL_ROOT" in spied
    shown = "".join(said).encode() + archive.read_bytes() + spied
    for value in (OLD, NEW):
        at = shown.find(value.encode())
        assert at < 0, shown[max(0, at - 200) : at + 100]
        allowed = ("etc/chat.conf", "var/lib/waybill/lan-chat/rendered/")
        assert [each for each in places(bench.host, value) if not each.startswith(allowed)] == []


# Everything that is to be seen of all processes of this machine, and in the files that this one has open.
LOOK = """#!/bin/sh
cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ > "$WAYBILL_ROOT/spied" 2> /dev/null
for each in /proc/$PPID/fd/*; do test -f "$each" && cat "$each" >> "$WAYBILL_ROOT/spied"; done
cat "$WAYBILL_ROOT/etc/chat.conf"
# It dies with the line in its log, however busy the machine is; the plan shows the line, too.
until grep -q '"event": "output", "message": "no notation' /proc/$PPID/fd/1; do sleep 0.1; done
kill -ABRT $PPID
sleep 60
"""
TELL = '#!/bin/sh\ncat "$WAYBILL_ROOT/etc/chat.conf" >&2\n'
COMMAND = """
import resource, installer.commands.common.session as session
from installer.cli.main import main
from tests.rig.trustworld import NOW
session.utc_now = lambda: NOW
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
main()
"""


def process(bench: Bench, place: Path, *words: str) -> int:
    """Run `install` in a process of its own, with its working directory and its output in `place`."""
    command = [sys.executable, "-c", COMMAND, "--log-format", "json", *words, "--root", str(bench.host)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (place / "said").open("ab") as said:
        running = subprocess.Popen(command, cwd=place, env=env, stdout=said, stderr=said)
        _, status = os.waitpid(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    return status


@pytest.mark.needs("core-dumps")
def test_a_process_that_dies_with_it_leaves_it_in_no_dump_log_or_view_of_processes(
    bench: Bench, tmp_path: Path
) -> None:
    # Of this test alone: all processes are looked at, those of other tests included.
    old, new = (f"of-{name}-{secrets.token_hex(8)}" for name in ("old", "new"))
    layer(bench, "values.yaml", VALUES)
    secret(bench, old)
    words = ("--yes", "--only", "files,script")
    template = "no notation {{ db.password }}\n"
    said = [bench.text("apply", bundle(bench, template, script=TELL, mode=0o644), *words)[1]]
    secret(bench, new)
    newer = {"version": "1.5.0", "sequence": 100_050_000_999, "script": LOOK, "undo": TELL}
    path = bundle(bench, template, mode=0o644, **newer)
    place = tmp_path / "cwd"
    place.mkdir()
    status = process(bench, place, "apply", path, *words)
    assert (os.WTERMSIG(status), os.WCOREDUMP(status)) == (signal.SIGABRT, False)
    assert (bench.host / "etc/chat.conf").read_text().endswith(f"{new}\n")
    assert exposed(bench.host, old, new) == []
    # The command that undoes it asks no store, and runs scripts that print the one and the other.
    assert process(bench, place, "recover") == 0
    assert (bench.host / "etc/chat.conf").read_text().endswith(f"{old}\n")
    assert exposed(bench.host, old, new) == []
    said += [bench.text(word)[1] for word in ("status", "history", "audit")]
    assert bench.run("support", str(place / "support.tar"))[0] == 0
    seen = {each.name: each.read_bytes() for each in place.iterdir()}
    assert set(seen) == {"said", "support.tar"}
    # Of the script that looks, of its undo and of the script of the old release.
    assert seen["said"].count(b'"event": "output", "message": "no notation ***"') == 3
    spied = (bench.host / "spied").read_bytes()
    assert b"--log-format\0json\0apply\0" in spied
    shown = "".join(said).encode() + b"".join(seen.values()) + spied
    assert [value for value in (old, new) if value.encode() in shown] == []


def test_a_probe_that_fails_does_not_tell_the_secret_in_its_target(bench: Bench) -> None:
    layer(bench, "values.yaml", VALUES)
    secret(bench, OLD)
    target = "http://127.0.0.1:1/health?token={{ db.password }}"
    probe = HealthCheck("http", target, within=1)
    path = bundle(bench, template="host {{ db.host }}\n", health=(probe,), script="#!/bin/sh\n")
    code, document, text = bench.run("apply", path, "--yes", "--only", "files,script")
    assert code == 20, document
    shown = f"{document}{text}" + "".join(bench.text(word)[1] for word in ("status", "history", "audit"))
    assert "token=***" in shown
    assert OLD not in shown
    assert [each for each in places(bench.host, OLD) if not each.endswith("/record.json")] == []


def rendered(spec: ReleaseSpec) -> ReleaseSpec:
    members = {
        **spec.members,
        "config/values.yaml": Member(b"db:\n  password: ''\n", kind="values"),
        "config/chat.conf": Member(b"requirepass {{ db.password }}\n", "/etc/chat.conf", kind="template"),
    }
    return replace(spec, members=members, values="config/values.yaml")


def store(host: Path, value: str) -> None:
    for path, text in (
        (host / STORE / "db", value),
        (host / "etc/waybill/lan-chat/values.yaml", VALUES),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)


def exposed(host: Path, *values: str) -> list[str]:
    """Files with one of the secrets, but for the rendered one and private copies of it to undo with."""
    found = []
    for name in {name for value in values or (OLD, NEW) for name in places(host, value)}:
        path = host / name
        ours = path.parent == host / "etc" or "/rendered/" in name or ".backup/" in name
        if not ours or stat.S_IMODE(path.stat().st_mode) & 0o077:
            found.append(name)
    return found


def test_a_kill_at_any_operation_leaves_it_nowhere_else(
    host: Context, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before, aside = root(host), tmp_path_factory.mktemp("killed")
    store(before, OLD)
    install(host, rendered(ONE))
    store(before, NEW)
    counting = FaultySystem(shutil.copytree(before, aside / "counted", symlinks=True))
    install(context(counting), rendered(TWO))
    assert places(Path(counting.root), NEW)
    broken = []
    for at in share(list(range(1, len(counting.trace) + 1)), 60):
        here = shutil.copytree(before, aside / "host", symlinks=True)
        try:
            install(context(FaultySystem(here, at, "kill after")), rendered(TWO))
        except Killed:
            broken += [f"killed at {at}: {each}" for each in exposed(here)]
            recovered(context(System(here)))
        broken += [f"recovered from {at}: {each}" for each in exposed(here)]
        inside = {str(path.relative_to(here)) for path in here.rglob(".waybill*") if "etc" in path.parts}
        broken += [f"left by {at}: {each}" for each in inside]
        shutil.rmtree(here)
    assert broken == []
