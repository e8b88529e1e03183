"""Releases with values, a schema and a template, for hosts with layers of values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from installer.core.format.manifest import ClusterNeeds, Deployment, HealthCheck, ValuesLayer
from installer.core.format.manifest_rules import section_rank
from tests.rig import bundlebuild as build
from tests.rig.bench import Bench
from tests.rig.trustworld import APPROVALS, FILES, World

DEFAULTS = (
    "ports:\n  client: 4222\n  monitor: 8222\nlog: info\npeers: [a]\ndb:\n  password: ''\n  pin: 1000\n"
)
SCHEMA: dict[str, Any] = {
    "properties": {
        "ports": {"additionalProperties": {"type": "integer", "maximum": 65535}},
        "log": {"enum": ["info", "debug"]},
        "db": {"properties": {"pin": {"type": "integer", "writeOnly": True}}},
    }
}
TEMPLATE = (
    "# {{ 'ports.client' | origin }}\nlisten {{ ports.client }}\nlog {{ log }}\n"
    "peers {{ peers | join(' ') }}\npassword {{ db.password }}\n"
)
CONFIG = "etc/waybill/lan-chat"
CHART = "deploy/helm/chat/Chart.yaml"
MANIFESTS = "deploy/kubernetes/chat.yaml"
STATE = "deploy/salt/chat/init.sls"
PLAYBOOK = "deploy/ansible/site.yml"
REVERSE = "deploy/ansible/undo.yml"


def configured(
    version: str = "1.4.0",
    sequence: int = 100_040_000_999,
    defaults: str = DEFAULTS,
    schema: Mapping[str, Any] | None = SCHEMA,
    template: str = TEMPLATE,
    mode: int = 0o640,
    script: str = "",
    undo: str = "#!/bin/sh\n",
    health: tuple[HealthCheck, ...] = (),
    layers: Mapping[str, str] = MappingProxyType({}),
    cluster: ClusterNeeds | None = None,
    said: Mapping[str, Any] = MappingProxyType({}),
    chart: str = "",
    manifests: str = "",
    playbook: str = "",
    groups: tuple[str, ...] = (),
    state: str = "",
) -> World:
    """Return a release whose one file /etc/chat.conf is rendered with values.

    `script` runs as its step, and `undo` undoes that.

    `layers` has the values that it brings for `environment/production`, `cluster/plant-3` and so on, `said`
    what else its manifest says of the file, `chart` the one file of a chart, `manifests` a file of manifests,
    `playbook` that of a playbook,
    `groups` those of the inventory that it addresses, `state` that of a Salt state.
    """
    files = FILES | {"config/chat.conf": template.encode(), "config/values.yaml": defaults.encode()}
    entries: dict[str, dict[str, Any]] = {
        "config/chat.conf": {"install": "/etc/chat.conf", "kind": "template", "mode": mode, **said},
        "config/values.yaml": {"kind": "values"},
    }
    fields: dict[str, Any] = {"values": "config/values.yaml", "health": health, "cluster": cluster}
    if schema is not None:
        files["config/values.schema.json"] = json.dumps(schema).encode()
        entries["config/values.schema.json"] = {"kind": "schema"}
        fields["values_schema"] = "config/values.schema.json"
    rows = [ValuesLayer(*name.split("/"), f"config/{name}.yaml") for name in sorted(layers)]  # type: ignore[arg-type]
    files |= {f"config/{name}.yaml": text.encode() for name, text in layers.items()}
    entries |= {row.path: {"kind": "values"} for row in rows}
    fields |= {"values_layers": tuple(rows)} if rows else {}
    if script:
        programs = {"deploy/apply.sh": script.encode(), "deploy/undo.sh": undo.encode()}
        files |= programs
        entries |= {path: {"kind": "script", "mode": 0o755} for path in programs}
        fields["deploy"] = (Deployment("script", {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh"}),)
    if chart:
        files[CHART], entries[CHART] = chart.encode(), {"kind": "chart"}
        fields["deploy"] = (Deployment("helm", {"chart": [CHART]}),)
    if state:
        files[STATE], entries[STATE] = state.encode(), {"kind": "deploy"}
        fields["deploy"] = (Deployment("salt", {"state": [STATE]}),)
    if manifests:
        files[MANIFESTS], entries[MANIFESTS] = manifests.encode(), {"kind": "kubernetes"}
        fields["deploy"] = (Deployment("kubectl", {"manifests": [MANIFESTS]}),)
    if playbook:
        files[PLAYBOOK], entries[PLAYBOOK] = playbook.encode(), {"kind": "playbook"}
        fields["deploy"] = (Deployment("ansible", {"playbook": [PLAYBOOK]}),)
    if groups:
        files[REVERSE], entries[REVERSE] = playbook.encode(), {"kind": "playbook"}
        hosts = {"undo": REVERSE, "inventory": "inventory.yaml", "groups": [*groups]}
        fields["deploy"] = (Deployment("ansible", {"playbook": [PLAYBOOK, REVERSE], **hosts}),)
    ordered = sorted(files, key=lambda path: (section_rank(path), path))
    plan = build.plan(
        {path: files[path] for path in ordered}, room=512, rollback="docs/ROLLBACK.md", entries=entries,
        version=version, sequence=sequence, **fields,
    )  # fmt: skip
    back = "none" if version == "1.4.0" else "1.4.0"
    return World(
        plan=plan, approvals=tuple(replace(each, fields={"rollback_to": back}) for each in APPROVALS)
    )


def layer(bench: Bench, name: str, text: str, mode: int = 0o600) -> Path:
    """Write a values file of a host: `values.yaml`, `environments/production.yaml`."""
    path = bench.host / CONFIG / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def in_cluster(bench: Bench, name: str) -> None:
    """Say which cluster a host belongs to."""
    (bench.host / "etc/waybill/cluster").write_text(f"{name}\n")
