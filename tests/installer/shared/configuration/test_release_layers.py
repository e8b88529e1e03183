"""Which values files of a release a host uses, and what it is told of the others."""

from __future__ import annotations

import pytest

from installer.core.errors import Problem
from installer.core.format.manifest import Manifest, ValuesLayer
from installer.shared.configuration.release_layers import CHOSEN_BY, ReleaseLayers, release_layers
from installer.state.host_identity import CLUSTER_FILE, ENVIRONMENT_FILE
from tests.rig import bundlebuild as build

FILES = {f"config/{name}.yaml": name.encode() for name in ("defaults", "production", "plant-3", "plant-4")}
ROWS = tuple(
    ValuesLayer(of, name, f"config/{name}.yaml")  # type: ignore[arg-type]
    for of, name in (("cluster", "plant-3"), ("cluster", "plant-4"), ("environment", "production"))
)


def manifest(rows: tuple[ValuesLayer, ...] = ROWS) -> Manifest:
    entries = {path: {"kind": "values"} for path in FILES}
    return build.plan(FILES, entries=entries, values="config/defaults.yaml", values_layers=rows).manifest


def layers(environment: str, cluster: str, rows: tuple[ValuesLayer, ...] = ROWS) -> ReleaseLayers:
    return release_layers(manifest(rows), FILES.__getitem__, environment, cluster)


@pytest.mark.parametrize(
    ("environment", "cluster", "used"),
    [
        ("production", "plant-4", ["defaults", "production", "plant-4"]),
        ("production", "", ["defaults", "production"]),
        ("", "plant-3", ["defaults", "plant-3"]),
        ("plant-3", "production", ["defaults"]),
        ("", "", ["defaults"]),
    ],
)
def test_a_host_uses_the_defaults_and_those_of_its_own_names(
    environment: str, cluster: str, used: list[str]
) -> None:
    assert [layer.data.decode() for layer in layers(environment, cluster).layers] == used


def test_files_for_others_are_not_read() -> None:
    read: list[str] = []
    release_layers(manifest(), lambda path: read.append(path) or FILES[path], "production", "plant-9")  # type: ignore[func-returns-value]
    assert read == ["config/defaults.yaml", "config/production.yaml"]


def test_a_file_that_changed_after_it_was_verified_is_not_used() -> None:
    found = release_layers(manifest(), lambda path: FILES[path] + b"!", "production", "")
    what, hint = "differs from the verified content", "run the same command again"
    assert found.problems == [
        Problem("config/defaults.yaml", what, hint), Problem("config/production.yaml", what, hint),
    ]  # fmt: skip
    assert [layer.data for layer in found.layers] == [b"", b""]


def test_a_host_of_another_name_is_told_nothing() -> None:
    assert layers("test", "north").notes == []


def test_a_release_with_defaults_only_tells_nothing() -> None:
    assert layers("", "", ()).notes == []


@pytest.mark.parametrize(
    ("cluster", "note"),
    [
        (
            "plant3",
            "config/plant-3.yaml of the release is for the cluster plant-3; this host belongs to plant3",
        ),
        ("", "the values of the release for the clusters plant-3, plant-4, since this host belongs to none"),
    ],
)
def test_a_host_that_may_have_been_meant_is_told(cluster: str, note: str) -> None:
    (told,) = layers("production", cluster).notes
    assert told.startswith(f"not used: {note}")


def test_many_names_are_counted() -> None:
    rows = tuple(ValuesLayer("cluster", f"p{number}", "config/plant-3.yaml") for number in range(9))
    assert "p0, p1, p2, p3, p4, … 4 more" in layers("", "", rows).notes[0]


def test_the_files_that_choose_are_those_of_the_host() -> None:
    assert (CHOSEN_BY.format(of="environment"), CHOSEN_BY.format(of="cluster")) == (
        ENVIRONMENT_FILE, CLUSTER_FILE,
    )  # fmt: skip
