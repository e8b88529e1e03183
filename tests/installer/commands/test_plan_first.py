"""`plan --trust-root`: what a first installation would do on a host that trusts nothing yet."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from bundler.trust.root_files import root_bytes
from installer.core.trust.root import fingerprint
from tests.rig.bench import Bench, release
from tests.rig.trustworld import NOW, root


@pytest.fixture
def fresh(bench: Bench) -> Bench:
    for path in sorted(bench.host.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return bench


@pytest.fixture
def carried(bench: Bench) -> Path:
    path = bench.stick / "root.json"
    path.write_bytes(root_bytes(root()))
    return path


def given(path: Path) -> tuple[str, ...]:
    return "--trust-root", str(path), "--fingerprint", fingerprint(path.read_bytes())


def test_plan_changes_nothing(fresh: Bench, carried: Path) -> None:
    bundle = str(fresh.bundle(release()))
    code, document, _ = fresh.run("plan", bundle, "--env", "production", *given(carried))
    assert (code, document["problems"]) == (0, [])
    assert "/opt/a" in json.dumps(document)
    assert list(fresh.host.iterdir()) == []


def test_the_environment_has_to_be_said(fresh: Bench, carried: Path) -> None:
    bundle = str(fresh.bundle(release()))
    code, document, _ = fresh.run("plan", bundle, *given(carried))
    assert (code, document.step) == (2, 15)
    code, document, _ = fresh.run("plan", bundle, "--env", "staging", *given(carried))
    assert (code, document.step) == (14, 15)


def test_a_bundle_that_this_root_does_not_trust_is_refused(fresh: Bench, carried: Path) -> None:
    bundle = str(fresh.bundle(release(), "other.tar"))
    carried.write_bytes(root_bytes(root(revoked_bundles=frozenset({release().identity}))))
    code, document, _ = fresh.run("plan", bundle, "--env", "production", *given(carried))
    assert (code, document["code"]) == (12, "revoked")


def test_an_expired_root_that_is_given_is_named(fresh: Bench, carried: Path) -> None:
    bundle = str(fresh.bundle(release()))
    carried.write_bytes(root_bytes(root(expires=NOW - timedelta(days=1))))
    code, document, _ = fresh.run("plan", bundle, "--env", "production", *given(carried))
    assert (code, document["code"], document.where) == (12, "expired", str(carried))
    assert document.what.startswith("the root expired on")
    assert "install trust update" not in document.hint


def test_a_wrong_fingerprint_is_refused(fresh: Bench, carried: Path) -> None:
    words = ("plan", str(fresh.bundle(release())), "--env", "production", "--trust-root", str(carried))
    code, document, _ = fresh.run(*words, "--fingerprint", "0" * 64)
    assert (code, document["code"], document.where) == (10, "untrusted", str(carried))


@pytest.mark.parametrize("option", ["--trust-root", "--fingerprint"])
def test_an_option_without_its_pair_is_wrong_usage(fresh: Bench, carried: Path, option: str) -> None:
    words = given(carried)
    pair = words[words.index(option) : words.index(option) + 2]
    code, document, _ = fresh.run("plan", str(fresh.bundle(release())), *pair)
    assert (code, document["code"]) == (2, "usage")
    assert "together" in document.hint


def test_a_host_that_trusts_another_root_decides_by_its_own(bench: Bench, carried: Path) -> None:
    bundle = str(bench.bundle(release()))
    # The same root is no other one.
    assert bench.run("plan", bundle, *given(carried))[0] == 0
    carried.write_bytes(root_bytes(root(version=2)))
    code, document, _ = bench.run("plan", bundle, *given(carried))
    assert (code, document["code"]) == (13, "refused")
    assert "omit --trust-root" in document.hint
