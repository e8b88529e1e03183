"""A secret of a store is in the rendered file, in its copy, and nowhere else: also after a kill."""

from __future__ import annotations

import shutil
import stat
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
FAILING = f'{SPY}cat "$WAYBILL_ROOT/etc/chat.conf" >&2\nexit 3\n'


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


def exposed(host: Path) -> list[str]:
    """Files with one of the secrets, but for the rendered one and private copies of it to undo with."""
    found = []
    for name in (*places(host, OLD), *places(host, NEW)):
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
