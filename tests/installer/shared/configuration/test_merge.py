"""Layers are merged by one set of rules, and every value knows the layer that set it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from installer.shared import strict_yaml
from installer.shared.configuration.merge import LayerKind, Merged, Part, merge

TEXTS: dict[LayerKind, str] = {
    "defaults": "ports:\n  client: 4222\n  monitor: 8\npeers: [a]\ntls: {cert: x}\nlog: info\nlabels: {}\n",
    "environment": "log: warn\nports:\n  monitor: 9\n",
    "cluster": "peers:\n- c\n- d\n",
    "host": "tls: null\nlabels:\n  rack: '7'\n",
}


def merged(texts: dict[LayerKind, str]) -> Merged:
    parts = [Part(kind, strict_yaml.load(text.encode(), f"{kind}.yaml")) for kind, text in texts.items()]
    assert not any(part.document.problems for part in parts)
    return merge(parts)


def origins(found: Merged) -> dict[str, str]:
    return {".".join(map(str, path)): origin.where for path, origin in found.origins()}


def test_maps_are_merged_key_by_key_and_everything_else_is_replaced() -> None:
    assert merged(TEXTS).values == {
        "ports": {"client": 4222, "monitor": 9},
        "peers": ["c", "d"],
        "tls": None,
        "log": "warn",
        "labels": {"rack": "7"},
    }


def test_every_leaf_has_the_file_and_the_line_that_set_it() -> None:
    assert origins(merged(TEXTS)) == {
        "ports.client": "defaults.yaml:2",
        "ports.monitor": "environment.yaml:3",
        "peers": "cluster.yaml:1",
        "tls": "host.yaml:1",
        "log": "environment.yaml:1",
        "labels.rack": "host.yaml:3",
    }


def test_an_empty_map_is_a_value_until_a_stronger_layer_puts_something_into_it() -> None:
    assert origins(merged({"defaults": "a: {}\n", "host": "a: {}\n"})) == {"a": "defaults.yaml:1"}


def test_null_is_a_value_and_not_the_default_again() -> None:
    found = merged({"defaults": "log: info\n", "environment": "log: warn\n", "host": "log: null\n"})
    assert (found.values, origins(found)) == ({"log": None}, {"log": "host.yaml:1"})


def test_null_replaces_a_whole_group_and_a_later_layer_begins_it_anew() -> None:
    found = merged({"defaults": "a: {b: 1, c: 2}\n", "cluster": "a: null\n", "host": "a:\n  c: 3\n"})
    assert (found.values, origins(found)) == ({"a": {"c": 3}}, {"a.c": "host.yaml:2"})


def test_a_single_value_in_place_of_a_group_is_a_mistake_in_the_file_that_has_it() -> None:
    (problem,) = merged(
        {"defaults": "a: {b: 1}\n", "environment": "a: {b: 2}\n", "host": "\na: 3\n"}
    ).problems
    assert (problem.where, problem.hint) == ("host.yaml:2", "set the keys inside it")


def test_what_is_wrong_with_an_entry_is_in_the_line_of_the_list_that_won() -> None:
    found = merged({"defaults": "peers:\n- a\n- b\n", "host": "\n\npeers:\n- c\n- d\n"})
    assert found.where(("peers", 1)) == "host.yaml:5"
    assert found.where(("peers",)) == "host.yaml:3"


def test_what_is_wrong_with_a_group_is_in_the_strongest_layer_that_sets_something_in_it() -> None:
    found = merged({"defaults": "a: {b: 1}\n", "environment": "\na: {c: 1}\n", "host": "d: 1\n"})
    assert found.where(("a",)) == "environment.yaml:2"
    assert found.where(("a", "b")) == "defaults.yaml:1"
    assert found.where(("x",)) == found.where(()) == "host.yaml"


TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.lists(st.integers(0, 9), max_size=3)),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
LAYERS = st.lists(st.dictionaries(st.sampled_from("abc"), TREES, max_size=3), max_size=4)


def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if isinstance(value, dict) and value:
        return {k: v for key, each in value.items() for k, v in leaves(each, (*path, key)).items()}
    return {path: value} if path else {}


@given(LAYERS)
def test_the_layer_that_a_leaf_names_has_that_very_value_there(layers: list[dict[str, Any]]) -> None:
    parts = [Part("host", strict_yaml.Document(str(at), each, {})) for at, each in enumerate(layers)]
    found = merge(parts)
    named = {path: int(origin.file) for path, origin in found.origins()}
    assert leaves(found.values).keys() == named.keys()
    for path, at in named.items():
        value: Any = layers[at]
        for key in path:
            value = value[key]
        assert value == leaves(found.values)[path]


@given(LAYERS)
def test_layers_are_not_changed_by_a_merge(layers: list[dict[str, Any]]) -> None:
    before = repr(layers)
    merge([Part("host", strict_yaml.Document("x", each, {})) for each in layers])
    assert repr(layers) == before
