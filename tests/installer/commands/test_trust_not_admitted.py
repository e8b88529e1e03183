"""Releases of a host that a new root does not admit: the commands that take a root name them, once each."""

from __future__ import annotations

import pytest

from installer.core.trust.root import fingerprint
from installer.state.trust_store import ROOT_FILE
from tests.rig.bench import Bench, release
from tests.rig.trustworld import headed, person, write_root


@pytest.mark.parametrize("verb", ["update", "ensure"])
def test_the_command_warns_of_what_the_new_root_does_not_admit_also_where_a_later_one_is_bad(
    bench: Bench, verb: str
) -> None:
    bench.trust(headed(1, "Ann"))
    for version, sequence in (("1.3.0", 100_030_000_999), ("1.4.0", 100_040_000_999)):
        assert bench.run(str(bench.bundle(release(version, sequence))), "--yes")[0] == 0
    gone = frozenset({release().identity, release("1.3.0", 100_030_000_999).identity})
    new = bench.stick / "new"
    first = write_root(new, "1.root.json", headed(1, "Ann"), "Ann")
    write_root(new, "2.root.json", headed(2, "Ann", revoked_bundles=gone), "Ann")
    bad = write_root(new, "3.root.json", headed(3, "Ann", revoked_bundles=gone), "Ann")
    good = bad.read_bytes()
    bad.write_bytes(b"{")
    words = ["trust", "update", str(new)]
    if verb == "ensure":
        given = fingerprint(first.read_bytes())
        words = ["trust", "ensure", str(first), "--fingerprint", given, "--update", str(new)]
    said = [
        "lan-chat 1.4.0 is installed on this host and is now revoked: install the release that replaces it",
        "lan-chat 1.3.0 is retained on this host and is now revoked: no rollback to it",
    ]
    code, document, _ = bench.run(*words)
    assert (code, document["to"]["sequence"]) == (11, 2)
    assert [each["what"] for each in document["warnings"]] == said
    # Once it is in force they are named again, and exactly once.
    bad.write_bytes(good)
    (bench.host / ROOT_FILE[1:]).write_bytes(first.read_bytes())
    code, document, shown = bench.run(*words)
    assert code == 0
    assert [each["what"] for each in document["warnings"]] == said
    assert [shown.count(each) for each in said] == [1, 1]
    assert [(each["version"], each["running"]) for each in document["not_admitted"]] == [
        ("1.4.0", True),
        ("1.3.0", False),
    ]
    if verb == "update":
        assert document["revoked_here"] == ["lan-chat 1.4.0"]
    assert bench.run("status")[1]["products"][0]["installed"]["version"] == "1.4.0"


def test_who_begins_again_with_another_root_is_told_what_it_does_not_admit(bench: Bench) -> None:
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    other = headed(1, "Ben", revoked_bundles=frozenset({release().identity}))
    path = write_root(bench.stick / "other", "root.json", other, "Ben")
    (bench.host / ROOT_FILE[1:]).unlink()
    code, document, _ = bench.run(
        "trust", "ensure", str(path), "--fingerprint", fingerprint(path.read_bytes())
    )
    assert code == 0
    assert [each["version"] for each in document["not_admitted"]] == ["1.4.0"]
    assert "is now revoked" in document["warnings"][0]["what"]


@pytest.mark.parametrize("verb", ["update", "ensure"])
def test_the_command_warns_of_what_nobody_can_sign_by_the_new_root_and_takes_it(
    bench: Bench, verb: str
) -> None:
    bench.trust(headed(1, "Ann"))
    new = bench.stick / "new"
    first = write_root(new, "1.root.json", headed(1, "Ann"), "Ann")
    gone = frozenset({person("Sec").key.keyid})
    write_root(new, "2.root.json", headed(2, "Ann", revoked_keys=gone), "Ann")
    words = ["trust", "update", str(new)]
    if verb == "ensure":
        given = fingerprint(first.read_bytes())
        words = ["trust", "ensure", str(first), "--fingerprint", given, "--update", str(new)]
    code, document, _ = bench.run(*words)
    assert (code, document["to"]["sequence"]) == (0, 2)
    role, policy = (each["what"] for each in document["warnings"])
    assert role.startswith("role security: signatures of 1 owner are required, but no owners have a key")
    assert policy.startswith("environment production: the policy cannot be met: ")
    assert "too few owners have a key for security; ask the owners of the root keys" in policy
