"""What is in the inputs of bundle.yaml is looked at before anything is packed."""

from __future__ import annotations

import json

from bundler.config.loader import load
from tests.rig.products import BUNDLE, add, faults, put


def test_templates_values_and_probes_are_checked_together(product_dir):
    put(product_dir, "config/chatd.j2", "port={{ chat.port }}\nhost={{ hosst }}\n")
    put(product_dir, "config/values.yaml", "chat: {port: high}\n")
    put(
        product_dir,
        "config/schema.json",
        json.dumps(
            {
                "type": "object",
                "required": ["host"],
                "properties": {
                    "host": {"type": "string"},
                    "chat": {"type": "object", "properties": {"port": {"type": "integer"}}},
                },
            }
        ),
    )
    add(
        product_dir,
        """\
config: [{template: config/chatd.j2, install: /etc/chatd.conf, mode: "0640", owner: "root:chat"}]
values: {defaults: config/values.yaml, schema: config/schema.json}
health: [{http: "http://127.0.0.1:{{ chat.prt }}/"}]
""",
    )
    assert faults(product_dir) == ["config/values.yaml:1: chat.port must be a whole number, but is 'high'"]
    put(product_dir, "config/values.yaml", "chat: {port: 80}\n")
    assert faults(product_dir) == [
        "bundle.yaml:10: the probe uses chat.prt, which is not a known value",
        "config/chatd.j2:2: uses hosst, which is not a known value",
    ]
    put(product_dir, "config/chatd.j2", "port={{ chat.port }}\nhost={{ host }}\n")
    add(product_dir, (product_dir / "bundle.yaml").read_text().removeprefix(BUNDLE).replace("prt", "port"))
    config = load(product_dir, "1.4.0")
    template = next(item for item in config.items if item.kind == "template")
    assert (template.install, template.mode, template.owner) == ("/etc/chatd.conf", 0o640, "root:chat")
    assert (config.manifest.values, config.manifest.values_schema) == (
        "config/values.yaml",
        "config/schema.json",
    )


def test_images_of_compose_files_have_to_be_listed(product_dir):
    put(
        product_dir,
        "deploy/compose.yaml",
        "services:\n  db: {image: 'redis:7'}\n  web: {image: 'web:${WAYBILL_VERSION}'}\n",
    )
    add(product_dir, "deploy: [{method: compose, file: deploy/compose.yaml}]\nimages: ['web:{version}']\n")
    assert faults(product_dir) == [
        "deploy/compose.yaml:2: service db uses redis:7, which is not listed under images"
    ]
    add(
        product_dir,
        "deploy: [{method: compose, file: deploy/compose.yaml}]\nimages: ['web:{version}', 'redis:7']\n",
    )
    assert [image.reference for image in load(product_dir, "1.4.0").images] == ["web:1.4.0", "redis:7"]


def test_secrets_are_refused_unless_they_are_allowed_with_a_reason(product_dir):
    token = "gh" + "p_" + "a1B2c3D4e" * 4
    put(product_dir, "web/app.js", f"const t = '{token}'\n")
    put(product_dir, "deploy/apply.sh", "#!/bin/sh\nDB_PASSWORD=hunter22\n")
    text = "trees: [{path: web}]\ndeploy: [{method: script, apply: deploy/apply.sh, undo: deploy/apply.sh}]\n"
    add(product_dir, text)
    found = faults(product_dir)
    assert found == [
        "deploy/apply.sh:2: contains a literal DB_PASSWORD",
        "web/app.js:1: contains a credential (rule github-pat)",
    ]
    assert token not in "".join(found)
    allow = """\
secrets_allow:
  - {path: web/*.js, reason: a token of the demo}
  - {path: deploy/*, reason: it is known}
"""
    add(product_dir, text + allow)
    load(product_dir, "1.4.0")
    add(product_dir, text + allow + "  - {path: old/*, reason: nobody knows}\n")
    assert faults(product_dir) == ["bundle.yaml:13: secrets_allow lists old/*, but no secret was found there"]


def test_a_script_that_no_shell_would_run_is_named(product_dir):
    put(product_dir, "a.sh", "echo\n")
    put(product_dir, "b.sh", "#!/bin/sh\r\necho\r\n")
    add(product_dir, "deploy: [{method: script, apply: a.sh, undo: b.sh}]\n")
    assert faults(product_dir) == ["a.sh:1: does not start with #!", "b.sh:1: has CRLF line endings"]


def test_a_unit_goes_where_systemd_looks_and_clashes_there(product_dir):
    put(product_dir, "a.service", "[Service]\n")
    put(product_dir, "unit.txt", "[Service]\n")
    add(
        product_dir,
        "config: [{template: a.service, install: /etc/systemd/system/a.service}]\n"
        "deploy: [{method: systemd, units: [a.service, unit.txt]}]\n",
    )
    found = faults(product_dir)
    assert any("both install to /etc/systemd/system/a.service" in fault for fault in found)
    assert any("unit.txt is not a valid name of a systemd unit" in fault for fault in found)
    assert len(found) == 2
