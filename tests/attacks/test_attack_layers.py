"""Hostile values for environments and clusters in signed bundles: each refused, the host as it was.

All of them are signed by the key that the host trusts. The verifier of the documents says the same of each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from installer.core.format import manifest_json
from installer.core.format.manifest import ValuesLayer
from installer.core.jsonio import dumps_lines
from tests.attacks.box import Box, plan
from tests.attacks.makers import Made
from tests.rig.bundlebuild import FILES, Plan

PATH = "config/environments/production.yaml"
ROW = {"layer": "environment", "name": "production", "path": PATH}


def layered(data: bytes = b"a: 1\n", path: str = PATH, **fields: Any) -> Plan:
    """A good bundle with values for one environment."""
    files = {**{name: each for name, each in FILES.items() if name.startswith("docs/")}, path: data}
    ordered = dict(sorted(files.items(), key=lambda item: (item[0].startswith("config/"), item[0])))
    rows = (ValuesLayer("environment", "production", path),)
    return plan(ordered, entries={path: {"kind": "values"}}, values_layers=rows, **fields)


def edited(
    change: Callable[[dict[str, Any]], object], good: Callable[[], Plan] = layered
) -> Callable[[], Made]:
    """That bundle with a manifest that was changed, listed and signed."""

    def make() -> Made:
        made = good()
        document = json.loads(manifest_json.dump(made.manifest))
        change(document)
        return made.resealed(document=dumps_lines(document))

    return make


def rows(*changes: Mapping[str, Any]) -> Callable[[], Made]:
    return edited(lambda m: m.update(values_layers=[ROW | dict(change) for change in changes]))


ATTACKS: dict[str, tuple[Callable[[], Made], str]] = {
    "layers that nobody said": (edited(lambda m: m.pop("requires")), r"requires \[\], but uses"),
    "a word for layers without layers": (
        edited(lambda m: m.pop("values_layers")),
        r"requires \['layers/1'\], but uses \[\]",
    ),
    "a layer outside of config": (
        edited(
            lambda m: (
                m["files"][0].update(kind="values"),
                m["values_layers"][0].update(path=m["files"][0]["path"]),
            )
        ),
        "is not below config/",
    ),
    "a layer that is not in the bundle": (rows({"path": "config/x.yaml"}), "is not in the bundle"),
    "a layer of the host": (rows({"path": "/etc/waybill/lan-chat/values.yaml"}), "is not in the bundle"),
    "a layer that climbs": (rows({"path": "config/../../etc/shadow"}), "is not in the bundle"),
    "a layer twice": (rows({}, {}), "production is listed twice"),
    "a layer in the wrong place": (rows({"name": "b"}, {"name": "a"}), "a is in the wrong place"),
    "a layer of all hosts": (rows({"layer": "host"}), "one of environment, cluster"),
    "a name of a layer that climbs": (rows({"name": "../x"}), "lower-case letters"),
    "a name of a layer with a line break": (rows({"name": "a\n"}), "lower-case letters"),
    "more layers than there may be": (
        rows(*({"name": f"a{number:03}"} for number in range(257))),
        "256",
    ),
    "a layer that is a program": (edited(lambda m: m["files"][-1].update(kind="script")), "listed as script"),
    "a layer for another platform": (
        edited(lambda m: m["files"][-1].update(platform="linux/amd64")),
        "is for linux/amd64 only",
    ),
    "a layer of a byte too much": (lambda: layered(b"#" * (1024 * 1024 + 1)), "is larger than 1024 KiB"),
    "a layer with another content": (
        lambda: layered().changed(PATH, data=b"a: 2\n"),
        "does not match|digest",
    ),
}


@pytest.mark.parametrize("fault", ATTACKS)
def test_a_hostile_layer_is_refused_and_the_host_is_as_it_was(box: Box, fault: str) -> None:
    make, words = ATTACKS[fault]
    box.carry(make())
    box.watch()
    box.refused(box.apply(), 11, words)
    box.agreed(11)


def test_a_good_bundle_with_a_layer_is_verified_by_both_readers(box: Box) -> None:
    box.carry(layered())
    assert box.apply().code == 0
    box.agreed(0)
