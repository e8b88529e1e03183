"""`cluster` of bundle.json: its form, its word in `requires`, and bundles without it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from installer.core.errors import NeedsNewerError, TamperedError
from installer.core.format import features, manifest_json
from installer.core.format.manifest import ClusterNeeds, Manifest
from installer.core.jsonio import dumps_lines
from tests.rig.manifests import FULL

NEEDS = ClusterNeeds("cluster.peers", "cluster.node", 6222, "resolve", "majority")


def dumped(needs: ClusterNeeds | None) -> dict[str, Any]:
    return json.loads(manifest_json.dump(replace(FULL, cluster=needs)))


def parsed(cluster: Any) -> Manifest:
    return manifest_json.parse(dumps_lines(dumped(NEEDS) | {"cluster": cluster}))


@pytest.mark.parametrize(
    "needs", [NEEDS, ClusterNeeds("peers"), ClusterNeeds("a.b.c", quorum="7", port=65535)], ids=repr
)
def test_a_cluster_is_read_as_it_was_written(needs: ClusterNeeds) -> None:
    made = replace(FULL, cluster=needs)
    assert manifest_json.parse(manifest_json.dump(made)) == made
    assert "cluster/1" in dumped(needs)["requires"]


def test_a_bundle_without_it_has_no_word_and_no_field() -> None:
    assert not dumped(None).keys() & {"cluster", "requires"}


def test_defaults_of_a_cluster_are_not_written() -> None:
    assert dumped(ClusterNeeds("peers"))["cluster"] == {"peers": "peers"}


def test_a_reader_from_before_is_told_that_it_needs_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "KNOWN", frozenset({features.NAMES}))
    with pytest.raises(NeedsNewerError) as caught:
        manifest_json.parse(manifest_json.dump(replace(FULL, cluster=NEEDS)))
    assert "requires cluster/1" in caught.value.what


@pytest.mark.parametrize(
    "cluster",
    [
        None,
        {},
        [],
        {"peers": ""},
        {"peers": "a..b"},
        {"peers": "a b"},
        {"peers": ".".join("abcdefghi")},
        {"peers": "a", "node": "0"},
        {"peers": "a", "port": -1},
        {"peers": "a", "port": 65536},
        {"peers": "a", "port": "1"},
        {"peers": "a", "check": "ping"},
        {"peers": "a", "quorum": "0"},
        {"peers": "a", "quorum": "most"},
        {"peers": "a", "quorum": 2},
        {"peers": "a", "more": 1},
    ],
    ids=repr,
)
def test_another_form_is_malformed(cluster: Any) -> None:
    with pytest.raises(TamperedError):
        parsed(cluster)


def test_the_word_without_the_field_is_malformed() -> None:
    with pytest.raises(TamperedError, match="requires"):
        manifest_json.parse(dumps_lines(dumped(None) | {"requires": ["cluster/1"]}))


@pytest.mark.parametrize(("count", "quorum"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_majority_is_more_than_half(count: int, quorum: int) -> None:
    assert ClusterNeeds("peers", quorum="majority").quorum_of(count) == quorum


def test_a_quorum_can_be_a_number_or_none() -> None:
    assert ClusterNeeds("peers", quorum="4").quorum_of(5) == 4
    assert ClusterNeeds("peers").quorum_of(5) == 0
