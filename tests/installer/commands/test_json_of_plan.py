"""Plans of a release with much in it: documents in the form of their schema where there are values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from installer.core.format.entries.config_file import OnChange
from installer.core.format.manifest import Deployment, Source
from installer.core.format.manifest_rules import section_rank
from tests.rig import bundlebuild as build
from tests.rig.bench import Bench
from tests.rig.trustworld import APPROVALS, FILES, World

ONLY = ("--only", "files,script")


def rich(version: str, sequence: int, mode: int = 0o644) -> World:
    """A release that decides over the host, runs programs and cannot be undone."""
    script = {"kind": "script", "mode": 0o755}
    files = {
        **FILES,
        "config/a": b"a: %s {{ level }}\n" % version.encode(),
        "config/values.yaml": b"level: %s\n" % version.encode(),
        "deploy/apply.sh": b"#!/bin/sh\ntrue\n",
        "docs/b": b"b\n",
    }
    entries = {
        "config/a": {
            "install": "/etc/sudoers.d/chat", "kind": "template", "validate": ("sh", "-n", "{file}"),
            "on_change": OnChange(command=("true",)), "timeout": 60,
        },
        "config/values.yaml": {"kind": "values"},
        "deploy/apply.sh": script,
        "docs/b": {"install": "/opt/b", "mode": mode},
    }  # fmt: skip
    files = dict(sorted(files.items(), key=lambda item: (section_rank(item[0]), item[0])))
    step = Deployment("script", {"apply": "deploy/apply.sh", "roll_forward_only": "adds a user"})
    plan = build.plan(
        files, room=512, rollback="docs/ROLLBACK.md", version=version, sequence=sequence, entries=entries,
        values="config/values.yaml", deploy=(step,), source=Source("c" * 40, f"v{version}"),
    )  # fmt: skip
    back = tuple(replace(each, fields={"rollback_to": "none"}) for each in APPROVALS)
    return World(plan=plan, approvals=back)


@pytest.fixture
def upgraded(bench: Bench) -> Bench:
    """A host that went from one such release to the next."""
    for version, sequence in (("1.4.0", 100_040_000_999), ("1.5.0", 100_050_000_999)):
        path = str(bench.bundle(rich(version, sequence), f"{version}.tar"))
        code, found, said = bench.run(path, "--yes", *ONLY)
        assert code == 0, (found, said)
    return bench


def test_the_plan_of_an_upgrade_has_its_fields(upgraded: Bench) -> None:
    path = str(upgraded.bundle(rich("1.6.0", 100_060_000_999, 0o600), "1.6.0.tar"))
    code, found, _ = upgraded.run("plan", path, *ONLY)
    assert code == 0, found
    expected = ("files", "risks", "programs", "sensitive", "irreversible", "point_of_no_return", "methods")
    assert [name for name in expected if not found[name]] == []
    assert found["source"] == {"commit": "c" * 40, "tag": "v1.6.0", "dirty": False}
    (row,) = [each for each in found["files"] if each["path"] == "/opt/b"]
    assert (row["verb"], row["origin"]) == ("replace", "docs/b")


def test_the_plan_of_a_rollback_has_the_values_that_change(upgraded: Bench) -> None:
    code, found, _ = upgraded.run("rollback", "--yes", "--data-restored")
    assert code == 0, found
    assert [(each["key"], each["change"]) for each in found["plan"]["values"]] == [("level", "changed")]
    assert found["plan"]["source"]["commit"] == "c" * 40
    (product,) = upgraded.run("status")[1]["products"]
    assert product["installed"]["irreversible"]
