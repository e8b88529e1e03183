"""Values for environments and clusters in the manifest: a word where they are used, and each once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest

from installer.core.errors import TamperedError
from installer.core.format import manifest_json
from installer.core.format.features import LAYERS
from installer.core.format.manifest import LAYERS_OF, LayerOf, Manifest, ValuesLayer
from installer.core.limits import LIMITS
from tests.rig import bundlebuild as build

FILES = {
    "docs/CHANGELOG.md": b"# 1.4.0\n",
    "config/clusters/plant-3.yaml": b"a: 1\n",
    "config/environments/production.yaml": b"a: 2\n",
    "config/values.yaml": b"a: 0\n",
}
VALUES = {path: {"kind": "values"} for path in FILES if path.startswith("config/")}
ROWS = (
    ValuesLayer("cluster", "plant-3", "config/clusters/plant-3.yaml"),
    ValuesLayer("environment", "production", "config/environments/production.yaml"),
)


def manifest(rows: tuple[ValuesLayer, ...] = ROWS) -> Manifest:
    return build.plan(FILES, entries=VALUES, values="config/values.yaml", values_layers=rows).manifest


def refused(change: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(manifest_json.dump(manifest()))
    change(document)
    with pytest.raises(TamperedError) as caught:
        manifest_json.parse(json.dumps(document).encode())
    return str(caught.value)


def entry(document: dict[str, Any]) -> dict[str, Any]:
    (found,) = [each for each in document["files"] if each["path"] == ROWS[0].path]
    return found  # type: ignore[no-any-return]


def test_layers_are_written_and_read_with_their_word() -> None:
    data = manifest_json.dump(manifest())
    document = json.loads(data)
    assert document["requires"] == [LAYERS]
    assert document["values_layers"] == [
        {"layer": "cluster", "name": "plant-3", "path": "config/clusters/plant-3.yaml"},
        {"layer": "environment", "name": "production", "path": "config/environments/production.yaml"},
    ]
    assert manifest_json.parse(data) == manifest()


def test_a_bundle_without_layers_has_neither_the_word_nor_the_field() -> None:
    document = json.loads(manifest_json.dump(manifest(())))
    assert not {"requires", "values_layers"} & document.keys()


def test_two_names_can_share_a_file() -> None:
    shared = (ROWS[0], replace(ROWS[0], name="plant-4"))
    assert manifest_json.parse(manifest_json.dump(manifest(shared))).values_layers == shared


def test_a_layer_is_of_an_environment_or_of_a_cluster() -> None:
    assert get_args(LayerOf) == LAYERS_OF == ("environment", "cluster")


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no word": (lambda m: m.pop("requires"), "requires [], but uses ['layers/1']"),
    "a word without layers": (lambda m: m.pop("values_layers"), "requires ['layers/1'], but uses []"),
    "a layer of a host": (
        lambda m: m["values_layers"][0].update(layer="host"),
        "one of environment, cluster",
    ),
    "a name in capitals": (lambda m: m["values_layers"][0].update(name="Plant"), "lower-case letters"),
    "a name that climbs": (lambda m: m["values_layers"][0].update(name="../x"), "lower-case letters"),
    "a name that is too long": (lambda m: m["values_layers"][0].update(name="a" * 33), "at most 32"),
    "an empty name": (lambda m: m["values_layers"][0].update(name=""), "lower-case letters"),
    "a layer without path": (lambda m: m["values_layers"][0].pop("path"), "values_layers[0].path"),
    "a layer with another field": (lambda m: m["values_layers"][0].update(mode="0644"), "mode"),
    "a layer twice": (
        lambda m: m["values_layers"].insert(0, m["values_layers"][0]),
        "plant-3 is listed twice",
    ),
    "layers in another order": (lambda m: m["values_layers"].reverse(), "plant-3 is in the wrong place"),
    "a path that is not there": (
        lambda m: m["values_layers"][0].update(path="config/x.yaml"),
        "values_layers[0]: 'config/x.yaml' is not in the bundle",
    ),
    "a path outside of config": (
        lambda m: (
            m["values_layers"][0].update(path="docs/CHANGELOG.md"),
            m["files"][0].update(kind="values"),
        ),
        "'docs/CHANGELOG.md' is not below config/",
    ),
    "a file of another kind": (
        lambda m: entry(m).update(kind="template"),
        "listed as template, not as values",
    ),
    "a file for one platform": (lambda m: entry(m).update(platform="linux/amd64"), "is for linux/amd64 only"),
    "a file of a byte too much": (
        lambda m: entry(m).update(size=LIMITS.values_layer_bytes + 1),
        "is larger than 1024 KiB",
    ),
    "too many layers": (
        lambda m: m.update(
            values_layers=[m["values_layers"][0] | {"name": f"a{number:03}"} for number in range(257)]
        ),
        "256",
    ),
    "layers that are no list": (lambda m: m.update(values_layers={"production": "x"}), "values_layers"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_layer_with_a_fault_is_refused_and_named(fault: str) -> None:
    change, words = FAULTS[fault]
    assert words in refused(change)


def test_the_largest_layer_is_accepted() -> None:
    document = json.loads(manifest_json.dump(manifest()))
    entry(document).update(size=LIMITS.values_layer_bytes)
    assert manifest_json.parse(json.dumps(document).encode()).values_layers == ROWS
