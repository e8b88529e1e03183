"""bundle.yaml becomes a checked configuration, or a list of everything that is wrong with it."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from bundler.commands.init import init_project
from bundler.config.loader import load
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Deployment, HealthCheck
from tests.rig.products import BUNDLE, add, elf, faults, hints, put


def test_a_small_release_is_read_and_filled_in(product_dir):
    config = load(product_dir, "v1.4.0")
    assert (config.manifest.product, config.manifest.version, config.manifest.sequence) == (
        "lan-chat",
        "1.4.0",
        100_040_000_999,
    )
    assert config.expires == 180 * 86400
    assert config.compression == "zstd"
    assert config.release_notes == "- Faster.\n"
    binary = config.items[0]
    assert (binary.given, binary.member) == ("build/linux-amd64/chatd", "bin/linux-amd64/chatd")
    assert (binary.install, binary.mode, binary.platform) == ("/opt/lan-chat/bin/chatd", 0o755, "linux/amd64")
    assert [item.member for item in config.items[1:]] == ["docs/CHANGELOG.md", "docs/UPGRADE.md"]


def test_steps_and_probes_carry_bundle_paths_and_seconds(product_dir):
    put(product_dir, "units/chatd.service", "[Service]\nExecStart=/opt/lan-chat/bin/chatd\n")
    put(product_dir, "deploy/apply.sh", "#!/bin/sh\n")
    put(product_dir, "deploy/undo.sh", "#!/bin/sh\n")
    add(
        product_dir,
        """\
deploy:
  - {method: files}
  - {method: systemd, units: [units/chatd.service]}
  - {method: script, apply: deploy/apply.sh, undo: deploy/undo.sh, optional: true}
health:
  - {http: "http://127.0.0.1:8080/healthz", within: 2m, stable: 10s, status: 204, when: systemd}
  - {tcp: "127.0.0.1:5432"}
  - {command: [/opt/lan-chat/bin/chatd, "check {version}"]}
  - {container: chat}
""",
    )
    config = load(product_dir, "1.4.0")
    assert config.manifest.deploy == (
        Deployment("files", {}),
        Deployment("systemd", {"units": ["deploy/systemd/chatd.service"]}),
        Deployment("script", {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh"}, True),
    )
    assert config.manifest.health[0] == HealthCheck(
        "http", "http://127.0.0.1:8080/healthz", within=120, stable=10, status=204, when="systemd"
    )
    assert config.manifest.health[2].command == ("/opt/lan-chat/bin/chatd", "check 1.4.0")
    assert [check.kind for check in config.manifest.health] == ["http", "tcp", "command", "container"]
    assert {item.mode for item in config.items if item.kind == "script"} == {0o755}


def test_a_step_that_cannot_be_undone_carries_the_reason_and_its_time(product_dir):
    put(product_dir, "deploy/migrate.sh", "#!/bin/sh\n")
    add(
        product_dir,
        """\
deploy:
  - {method: script, apply: deploy/migrate.sh, roll_forward_only: the column nick is dropped, timeout: 2h}
""",
    )
    (step,) = load(product_dir, "1.4.0").manifest.deploy
    assert step.options == {
        "apply": "deploy/migrate.sh",
        "roll_forward_only": "the column nick is dropped",
        "timeout": 7200,
    }


def test_scripts_that_save_and_bring_back_are_carried_as_programs(product_dir):
    for name in ("migrate", "save", "restore"):
        put(product_dir, f"deploy/{name}.sh", "#!/bin/sh\n")
    add(
        product_dir,
        """\
deploy:
  - {method: script, apply: deploy/migrate.sh, snapshot: deploy/save.sh, restore: deploy/restore.sh}
""",
    )
    config = load(product_dir, "1.4.0")
    assert config.manifest.deploy[0].options == {
        "apply": "deploy/migrate.sh",
        "snapshot": "deploy/save.sh",
        "restore": "deploy/restore.sh",
    }
    assert {item.mode for item in config.items if item.kind == "script"} == {0o755}


def test_a_tree_is_listed_with_modes_links_and_directories(product_dir):
    put(product_dir, "build/web/index.html", "<p>")
    put(product_dir, "build/web/js/app.js", "1")
    (product_dir / "build/web/js/app.js").chmod(0o755)
    (product_dir / "build/web/empty").mkdir()
    (product_dir / "build/web/latest.js").symlink_to("js/app.js")
    add(product_dir, "trees:\n  - {path: build/web, install: /opt/lan-chat/web}\n")
    tree = load(product_dir, "1.4.0").trees[0]
    assert (tree.member, tree.install) == ("trees/web", "/opt/lan-chat/web")
    assert [(file.path, file.size) for file in tree.files] == [("index.html", 3), ("js/app.js", 1)]
    assert tree.files[1].mode == 0o755
    assert [tuple(link) for link in tree.links] == [("latest.js", "js/app.js")]
    assert [(each.path, each.empty) for each in tree.directories] == [("empty", True), ("js", False)]


def test_platforms_can_be_chosen(product_dir):
    put(product_dir, "build/linux-arm64/chatd", elf(183))
    text = BUNDLE.replace("[linux/amd64]", "[linux/amd64, linux/arm64]")
    put(product_dir, "bundle.yaml", text)
    assert [item.member for item in load(product_dir, "1.4.0").items][:2] == [
        "bin/linux-amd64/chatd",
        "bin/linux-arm64/chatd",
    ]
    assert load(product_dir, "1.4.0", platforms=["linux/arm64"]).manifest.platforms == ("linux/arm64",)
    assert "linux/arm is not listed under platforms" in faults(product_dir, platforms=["linux/arm"])[0]


def test_everything_wrong_is_said_at_once_in_the_order_of_the_file(product_dir):
    put(
        product_dir,
        "bundle.yaml",
        """\
schema: waybill/v1
product: Lan Chat
platforms: [linux/amd46]
expires: soon
binaries:
  - {path: build/chatd, mode: 755}
  - {path: build/missing, instal: /x}
trees:
  - {path: CHANGELOG.md}
docs: {upgrade: docs/UPGRADEME.md}
deploy:
  - {method: systemd, units: [nothing.service]}
  - {method: salt, state: deploy/salt}
rollbck: {plan: x}
""",
    )
    found = faults(product_dir, "1.5.0")
    assert [fault.split(": ")[0] for fault in found[:-1]] == [
        f"bundle.yaml:{line}" for line in (2, 3, 4, 6, 7, 9, 10, 12, 13, 14)
    ]
    assert found[-1] == "CHANGELOG.md: has no section for 1.5.0"


def test_a_missing_bundle_yaml_says_how_to_make_one(tmp_path):
    assert "does not exist" in faults(tmp_path)[0]
    assert "bundle init" in hints(tmp_path)


def test_a_directory_in_place_of_bundle_yaml_is_named(tmp_path):
    (tmp_path / "bundle.yaml").mkdir()
    assert "cannot be read: Is a directory" in faults(tmp_path)[0]


@pytest.mark.parametrize(
    ("text", "line", "what", "hint"),
    [
        ("binares: []\n", 8, "unknown key binares", "did you mean binaries?"),
        ("expires: 180\n", 8, "expires must be text", "A number and a unit"),
        ("sequence: '7'\n", 8, "sequence must be a whole number", ""),
        (
            "sequence: 9007199254740992\n",
            8,
            "sequence is 9007199254740992, the maximum is 2000000000000000",
            "",
        ),
        ("expires: no\n", 8, "no is ambiguous: it can mean false or a text", 'or "no" in quotes'),
        ("product: twice\n", 8, "'product' twice", "keep one"),
        ("images: [{archve: x.tar}]\n", 8, "unknown key archve", "did you mean archive?"),
        ("images:\n  - lan-chat/web\n", 9, "has no tag", "lan-chat/web:{version}"),
        ("images:\n  - Lan-Chat:1\n", 9, "not a valid image reference", ""),
        ("images: [{archive: docs}]\n", 8, "is a directory, but a file is needed", ""),
        ("images: [{oci: docs}]\n", 8, "not an OCI image layout", "oci-layout"),
        ("images: [{oci: CHANGELOG.md}]\n", 8, "is a file, but a directory is needed", ""),
        ("trees: [{path: build/{arch}}]\n", 8, "not YAML", "quotes"),
        ("trees: [{path: 'build/{arch}'}]\n", 8, "{arch} is not a known placeholder here", "{version}"),
        ("trees: [{path: nothing}]\n", 8, "nothing does not exist", ""),
        ("config: [{template: a.j2}]\n", 8, "install is missing", "rendered file"),
        ("deploy: [{method: compos, file: x}]\n", 8, "'compos'", "did you mean compose?"),
        (
            "deploy: [{method: script, apply: a.sh}]\n",
            8,
            "undo, or snapshot and restore, or roll_forward_only is missing in deploy[0]",
            "reference",
        ),
        ("deploy: [{method: script, apply: a, undo: b, roll_forward_only: it}]\n", 8, "unknown key", ""),
        ("deploy: [{method: script, apply: a, roll_forward_only: no}]\n", 8, "can mean false", ""),
        ("deploy: [{method: script, apply: a, roll_forward_only: why}]\n", 8, "too short", ""),
        ("deploy: [{method: salt, state: x}]\n", 8, "x does not exist", ""),
        ("deploy: [{method: salt, state: docs}]\n", 8, "docs has neither init.sls nor top.sls", "file root"),
        ("deploy: [{method: ansible, playbook: x}]\n", 8, "x does not exist", "build it first"),
        ("health: [{tcp: 'a:1', when: compose}]\n", 8, "has when: compose", "use one of"),
        ("health: [{http: 'ftp://x'}]\n", 8, "not in the required form", "URL"),
        ("health: [{http: 'http://h:99999/'}]\n", 8, "must be a URL such as", "correct it there"),
        ("health: [{tcp: 'h:99999'}]\n", 8, "must be an address and port", "correct it there"),
        ("health: [{tcp: 'h:1', within: 2d}]\n", 8, "at most 1d", "shorter"),
        ("health: [{tcp: 'h:1', stable: 2w}]\n", 8, "at most 1d", "shorter"),
        ("health: [{tcp: 'h:1', when: nope}]\n", 8, "health[0].when is 'nope'", "allowed: files, images"),
        ("secrets_allow: [{path: '**', reason: because we can}]\n", 8, "not in the required form", ""),
        ("secrets_allow: [{path: a.pem}]\n", 8, "reason is missing", ""),
    ],
)
def test_a_fault_has_its_line_and_a_way_out(product_dir, text, line, what, hint):
    add(product_dir, text)
    found = [fault for fault in faults(product_dir) if what in fault]
    assert found
    assert found[0].startswith(f"bundle.yaml:{line}: ")
    assert hint in hints(product_dir)


@pytest.mark.parametrize("version", ["1.4", "latest", "1.4.0.0"])
def test_a_version_that_is_not_semantic_is_refused_with_the_other_problems(product_dir, version):
    (product_dir / "docs/UPGRADE.md").unlink()
    found = faults(product_dir, version)
    assert any("is not a semantic version" in fault for fault in found)
    assert any("docs/UPGRADE.md does not exist" in fault for fault in found)


def test_a_version_without_a_sequence_asks_for_one(product_dir):
    put(product_dir, "CHANGELOG.md", "## [1.4.0-dev.1]\n- x\n")
    assert "no sequence number can be derived from" in faults(product_dir, "1.4.0-dev.1")[0]
    add(product_dir, "sequence: 17\n")
    assert load(product_dir, "1.4.0-dev.1").manifest.sequence == 17


def test_a_missing_input_names_what_is_beside_it(product_dir):
    (product_dir / "build/linux-amd64/chatd").rename(product_dir / "build/linux-amd64/chatd2")
    assert faults(product_dir) == ["bundle.yaml:5: build/linux-amd64/chatd does not exist"]
    assert hints(product_dir) == "did you mean build/linux-amd64/chatd2?"


def test_an_empty_binary_a_directory_and_a_pipe_are_no_binaries(product_dir):
    binary = product_dir / "build/linux-amd64/chatd"
    binary.write_bytes(b"")
    assert "is empty" in faults(product_dir)[0]
    binary.unlink()
    os.mkfifo(binary)
    assert "not a regular file" in faults(product_dir)[0]
    binary.unlink()
    binary.mkdir()
    assert "is a directory, but a file is needed" in faults(product_dir)[0]


def test_a_binary_for_another_architecture_is_noticed(product_dir):
    put(product_dir, "build/linux-amd64/chatd", elf(183))
    assert faults(product_dir) == [
        "bundle.yaml:5: build/linux-amd64/chatd is built for arm64, but listed for linux/amd64"
    ]


def test_a_release_that_ships_nothing_is_refused(product_dir):
    put(product_dir, "bundle.yaml", "schema: waybill/v1\nproduct: a\nplatforms: [linux/amd64]\n")
    assert "is empty" in faults(product_dir)[0]
    put(product_dir, "bundle.yaml", "schema: waybill/v1\nproduct: a\nplatforms: [linux/amd64]\nx: 1\n")
    assert not any("is empty" in each for each in faults(product_dir))


def test_a_step_that_is_wrong_does_not_make_a_release_look_empty(product_dir):
    text = "schema: waybill/v1\nproduct: a\nplatforms: [linux/amd64]\ndeploy: [{method: ansible}]\n"
    put(product_dir, "bundle.yaml", text)
    assert faults(product_dir) == ["bundle.yaml:4: playbook is missing in deploy[0]"]


@pytest.mark.parametrize(
    ("entry", "example"),
    [
        ("{method: ansible, playbook: a.yml, ansible_core: '~=2.15'}", "works with, such as >=2.15,<2.20"),
        ("{method: helm, chart: a, namespace: a b}", "does not have it, such as lan-chat"),
        ("{method: salt, state: a, salt_version: '~=3'}", "bounds such as >=3006,<3010"),
    ],
)
def test_what_has_not_the_required_form_is_told_with_an_example(product_dir, entry, example):
    add(product_dir, f"deploy: [{entry}]\n")
    assert "is not in the required form" in " ".join(faults(product_dir))
    assert example in hints(product_dir)


def test_links_that_lead_out_and_files_that_are_no_files_are_refused(product_dir):
    put(product_dir, "web/a", "x")
    (product_dir / "web/absolute").symlink_to("/etc/passwd")
    (product_dir / "web/out").symlink_to("../../etc")
    os.mkfifo(product_dir / "web/pipe")
    put(product_dir, "web/suid", "x")
    (product_dir / "web/suid").chmod(0o4755)
    add(product_dir, "trees: [{path: web}]\n")
    found = faults(product_dir)
    assert [fault.split(": ")[0] for fault in found] == ["web/absolute", "web/out", "web/pipe", "web/suid"]


def test_two_inputs_that_would_get_one_name_are_named(product_dir):
    put(product_dir, "other/chatd", elf())
    text = BUNDLE.replace("docs:", "  - {path: other/chatd}\ndocs:")
    put(product_dir, "bundle.yaml", text)
    assert faults(product_dir) == [
        (
            "bundle.yaml:7: other/chatd and build/linux-amd64/chatd (line 5) would both be "
            "bin/linux-amd64/chatd in the bundle"
        )
    ]


def test_one_file_may_have_two_roles(product_dir):
    add(product_dir, "rollback: {plan: docs/UPGRADE.md}\n")
    config = load(product_dir, "1.4.0")
    assert config.manifest.rollback == "docs/UPGRADE.md"
    assert [item.member for item in config.items].count("docs/UPGRADE.md") == 1


def test_a_line_break_in_a_name_is_refused(product_dir):
    add(product_dir, 'trees: [{path: "a\\nb"}]\n')
    assert "control character" in faults(product_dir)[0]


def test_problems_are_printed_for_people_and_as_json(product_dir):
    (product_dir / "docs/UPGRADE.md").unlink()
    with pytest.raises(UnfitInputError) as caught:
        load(product_dir, "1.4.0")
    assert str(caught.value).endswith(
        "- bundle.yaml:7: docs/UPGRADE.md does not exist\n  hint: build it first, or correct the path"
    )
    json.dumps(caught.value.as_json())


def test_a_release_without_probes_is_warned_of(product_dir):
    put(product_dir, "a.service", "[Service]\n")
    add(product_dir, "deploy: [{method: systemd, units: [a.service]}]\n")
    assert any("no health probes" in warning.what for warning in load(product_dir, "1.4.0").warnings)


@pytest.mark.parametrize("template", ["service", "compose"])
def test_what_init_lays_down_is_fit_to_ship(tmp_path, template):
    init_project(tmp_path / "lan-chat", template)
    config = load(tmp_path / "lan-chat", "v0.1.0")
    assert config.manifest.product == "lan-chat"
    # The documents ask their author for something; nothing else is open.
    assert [warning.where for warning in config.warnings] == ["docs/UPGRADE.md:5", "docs/ROLLBACK.md:4"]


LEFTOVERS = (
    ".DS_Store",
    "._index.html",
    "__MACOSX/._x",
    ".Spotlight-V100/store",
    "css/.main.css.swp",
    "css/.main.css.swo",
    "css/main.css~",
    "img/Thumbs.db",
    "img/desktop.ini",
    ".nfs000000000001",
    ".fuse_hidden0000001",
)
SHIPPED = ("index.html", "css/main.css", "img/a.swp", ".htaccess", "a.bak", "_static/x", "x.orig")


def test_leftovers_of_desktops_and_editors_are_named_and_not_shipped(product_dir):
    for name in SHIPPED:
        put(product_dir, f"web/{name}", "x")
    add(product_dir, "trees: [{path: web}]\n")
    clean = load(product_dir, "1.4.0")
    assert sorted(file.path for file in clean.trees[0].files) == sorted(SHIPPED)
    for name in LEFTOVERS:
        put(product_dir, f"web/{name}", "x")
    (product_dir / "web/.#index.html").symlink_to("user@desk.4711:1")
    config = load(product_dir, "1.4.0")
    # The bundle is the same as without them.
    assert replace(config.trees[0], left_out=()) == clean.trees[0]
    (warning,) = (each for each in config.warnings if "desktops" in each.what)
    assert warning.where.startswith("bundle.yaml:")
    # A directory counts once, whatever is in it.
    assert "which are not shipped: 12 (" in warning.what
    assert clean.warnings == tuple(each for each in config.warnings if each != warning)


def test_a_tree_of_leftovers_alone_is_empty(product_dir):
    put(product_dir, "web/.DS_Store", "x")
    add(product_dir, "trees: [{path: web}]\n")
    assert "web contains no files" in " ".join(faults(product_dir, "1.4.0"))
