"""A release is examined with bounds, and what was not examined is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from installer.core.format.manifest import Deployment, DirectoryEntry, FileEntry, HealthCheck, Manifest
from installer.core.risk.risk import Risk
from installer.shared.review.review import (
    MOST,
    WIDTH,
    Review,
    program_lines,
    review,
    review_lines,
    risk_lines,
)
from installer.shared.review.yaml_values import NotReadableError, yaml_values
from installer.shared.secrecy.known import Secrets
from tests.rig import bundlebuild as build
from tests.rig.hang import ends

SCRIPT = b"#!/bin/sh\nset -e\nrm -rf /\n"
COMPOSE = b"x-all: &all {privileged: true}\nservices:\n  web: {<<: *all, ports: ['80:80']}\n"
UNIT = b"[Service]\nExecStartPre=rm -rf /\n"
FILES = {
    "deploy/apply.sh": (SCRIPT, "script", 0o755),
    "deploy/compose.yaml": (COMPOSE, "compose", 0o644),
    "deploy/x.service": (UNIT, "unit", 0o644),
    "docs/a": (b"a", "doc", 0o666),
}
STEPS = (
    Deployment("systemd", {"units": ["deploy/x.service"]}),
    Deployment("compose", {"file": "deploy/compose.yaml"}),
    Deployment("script", {"apply": "deploy/apply.sh", "roll_forward_only": "a long reason"}),
)


def manifest(*steps: Deployment, **contents: bytes) -> Manifest:
    entries = [
        build.entry_for(path, data, kind=kind, mode=mode, install="/opt/a" if kind == "doc" else "")
        for path, (data, kind, mode) in FILES.items()
    ]
    return replace(build.plan().manifest, files=tuple(entries), deploy=steps)


def read(entry: FileEntry) -> bytes:
    return FILES[entry.path][0]


def kinds(found: Review) -> list[tuple[str, str]]:
    return [(each.kind, each.where) for each in found.risks]


def test_a_release_is_examined_by_the_rules_of_its_methods() -> None:
    found = review(manifest(*STEPS), read)
    assert kinds(found) == [
        ("root", "deploy/x.service"),
        ("root", "deploy/apply.sh"),
        ("host", "deploy/compose.yaml: service web"),
        ("port", "deploy/compose.yaml: service web"),
        ("writable", "docs/a"),
        ("command", "deploy/x.service:2"),
        ("command", "deploy/apply.sh:3"),
    ]
    assert [each.text for each in found.programs] == ["ExecStartPre=rm -rf /", SCRIPT.decode()]


def test_only_what_runs_is_examined() -> None:
    assert kinds(review(manifest(*STEPS), read, {"compose"})) == [
        ("host", "deploy/compose.yaml: service web"),
        ("port", "deploy/compose.yaml: service web"),
        ("writable", "docs/a"),
    ]


VARIABLE = b"services: {web: {privileged: '${RIGHTS:-false}', volumes: ['${DATA:-/safe}:/x']}}\n"


def risks_of_project(**given: Any) -> set[str]:
    options = {"file": "deploy/compose.yaml", **({"env": "deploy/e.j2"} if given.pop("env", True) else {})}
    step = Deployment("compose", {**options, **given.pop("options", {})})
    return {each.what for each in review(manifest(step), lambda _: VARIABLE, **given).risks}


def test_a_variable_of_the_site_has_any_value_where_no_site_is_known() -> None:
    without, unknown = risks_of_project(env=False), risks_of_project()
    assert any("/safe" in what for what in without)
    assert not any("/safe" in what for what in unknown)
    assert any("${DATA}" in what for what in unknown)
    assert any("${RIGHTS}" in what or "privileged" in what for what in unknown)


def test_with_the_values_of_a_host_the_real_mounts_are_told_and_secrets_hidden() -> None:
    found = risks_of_project(rendered={"deploy/e.j2": b"DATA=/etc\nWAYBILL_ROOT=''\n"})
    assert any("/etc" in what for what in found)
    assert not any("privileged" in what for what in found)
    secrets = Secrets()
    secrets.add(["/srv/wrong-horse"])
    hidden = risks_of_project(rendered={"deploy/e.j2": b"DATA=/srv/wrong-horse\n"}, secrets=secrets)
    assert not any("wrong-horse" in what for what in hidden)


def test_what_a_site_adds_is_examined_or_said_to_be_unknown() -> None:
    options = {"override": "more.yaml"}
    assert "a site may add it to the step compose" in risks_of_project(options=options)
    assert "a site may add it to the step compose" not in risks_of_project(options=options, rendered={})
    more = {"deploy/compose.override.yaml": b"services: {web: {ports: ['81:80']}}\n"}
    assert any("81" in what for what in risks_of_project(options=options, rendered=more))
    more = {"deploy/compose.override.yaml": b"a: ["}
    assert any("is not YAML" in what for what in risks_of_project(options=options, rendered=more))


def test_an_inventory_of_a_site_says_where_a_playbook_runs() -> None:
    options = {"playbook": "deploy/a/site.yml", "undo": "deploy/a/undo.yml", "groups": ["chat"]}
    step = Deployment("ansible", {**options, "inventory": "inventory.yaml"})
    found = review(replace(manifest(), deploy=(step,)), read).risks
    assert Risk("root", "inventory.yaml of the site", "says on which hosts the step ansible runs") in found


def test_health_checks_that_are_commands_run_as_root() -> None:
    check = HealthCheck("command", "", ("/opt/check", "--all"))
    found = review(replace(manifest(), health=(check,)), read)
    assert ("root", "bundle.json: health[0]") in kinds(found)
    assert [(each.user, each.text) for each in found.programs] == [("root", "/opt/check --all")]


@pytest.mark.parametrize(("mode", "sticky"), [(0o777, False), (0o1777, True)])
def test_directories_that_everybody_may_write_to_are_told(mode: int, sticky: bool) -> None:
    found = review(replace(manifest(), directories=(DirectoryEntry("t", mode, "/opt/t"),)), read)
    (risk,) = [each for each in found.risks if each.where == "t"]
    assert f"every user may write into /opt/t (mode {mode:04o}" in risk.what
    assert ("each may remove only its own" in risk.what) == sticky


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfe", "is not YAML"),
        (b"a: [", "is not YAML"),
        (b"[" * 5000, "nested"),
        (b"x" * (1024 * 1024 + 1), "is larger than"),
    ],
)
def test_a_file_that_cannot_be_examined_is_a_finding(data: bytes, words: str) -> None:
    found = review(manifest(STEPS[1]), lambda _: data)
    (risk,) = [each for each in found.risks if each.kind == "unread"]
    assert words in risk.what


def test_a_binary_program_and_one_that_cannot_be_read_are_findings() -> None:
    found = review(manifest(STEPS[2]), lambda _: b"\x7fELF\xff")
    assert {("root", "deploy/apply.sh"), ("unread", "deploy/apply.sh")} <= {*kinds(found)}

    def fails(_: FileEntry) -> bytes:
        raise OSError(5, "Input/output error")

    (risk,) = [each for each in review(manifest(STEPS[1]), fails).risks if each.kind == "unread"]
    assert risk.what == "cannot be read: Input/output error"


def test_a_method_of_a_later_version_is_a_finding() -> None:
    assert ("unread", "deploy: nomad") in kinds(review(manifest(Deployment("nomad", {})), read))


def test_files_that_are_too_large_together_are_a_finding() -> None:
    large = tuple(replace(entry, size=20 * 1024 * 1024) for entry in manifest().files)
    found = review(replace(manifest(*STEPS), files=large), read)
    assert [each for each in kinds(found) if each[0] != "writable"] == [
        ("root", "deploy/apply.sh"),
        ("unread", "deploy/x.service"),
        ("unread", "deploy/compose.yaml"),
        ("unread", "deploy/apply.sh"),
    ]
    assert [(each.where, each.text) for each in found.programs] == [
        ("deploy/apply.sh", "(the files to examine are larger than 16 MiB together)")
    ]


def test_findings_are_bounded() -> None:
    data = ("services: {web: {cap_add: [" + ", ".join(f"C{n}" for n in range(5000)) + "]}}").encode()
    found = review(manifest(STEPS[1]), lambda _: data)
    assert (len(found.risks), found.risks[-1].kind) == (MOST + 1, "unread")


def test_a_long_text_with_many_aliases_is_not_multiplied_out() -> None:
    aliases = ", ".join(["*a"] * 9000)
    keys = ("cap_add", "devices", "extra_hosts", "security_opt", "ports", "user", "env_file", "post_start")
    web = ", ".join(f"{key}: [[{aliases}]]" for key in keys)
    data = f"x-a: &a {'x' * 700_000}\nservices:\n  web: {{{web}, sysctls: {{*a : *a}}}}\n".encode()
    with ends():
        found = review(manifest(STEPS[1]), lambda _: data)
    assert found.risks
    assert all(len(each.what) < 5000 for each in found.risks)


def test_a_program_after_too_many_findings_is_shown() -> None:
    data = ("services: {web: {cap_add: [" + ", ".join(f"C{n}" for n in range(5000)) + "]}}").encode()
    found = review(manifest(*STEPS[1:]), lambda entry: data if entry.kind == "compose" else read(entry))
    assert [each.where for each in found.programs] == ["deploy/apply.sh"]


def test_yaml_is_read_as_engines_read_it() -> None:
    text = b"a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4}]}\nd: [true, no, null, 'no', ~]\n"
    assert yaml_values(text) == {
        "a": {"x": "1", "y": "2"},
        "b": {"x": "1", "y": "3"},
        "c": {"x": "1", "y": "2", "z": "4"},
        "d": [True, "no", None, "no", None],
    }


def test_aliases_that_multiply_are_ended() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    with pytest.raises(NotReadableError, match="more than 100000 values"):
        yaml_values("\n".join(lines).encode())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("? [a, b]\n: c\n", r"has a key that is not text \(line 1\)"),
        ("a: 1\n? {b: c}\n: d\n", r"has a key that is not text \(line 2\)"),
        ("a: &a [1]\n? *a\n: c\n", r"has a key that is not text \(line 2\)"),
        ("a: {b: 1, b: 2}\n", r"has the key b twice \(line 1\)"),
        ("a: &a [*a]\n", r"uses the alias \*a, which contains itself \(line 1\)"),
        ("a: *a\n", r"uses the alias \*a, which nothing before it sets \(line 1\)"),
        ("a: 1\n---\nb: 1\n", r"contains a second YAML document \(line 2\)"),
        ("a: 1\nb: [\n", r"is not YAML \(line 3\)"),
    ],
)
def test_yaml_that_engines_refuse_or_read_differently_is_not_read(text: str, words: str) -> None:
    with pytest.raises(NotReadableError, match=words):
        yaml_values(text.encode())


def test_a_key_that_only_has_the_tag_of_a_merge_is_a_key() -> None:
    assert yaml_values(b"!!merge privileged: true\n") == {"privileged": True}


def test_keys_that_multiply_are_ended() -> None:
    # The text of such a key would be twice as long with every line.
    lines = ["k:", "  a0: &a0 [x, x]", *(f"  ? &a{n} [*a{n - 1}, *a{n - 1}]\n  : 1" for n in range(1, 40))]
    with ends(), pytest.raises(NotReadableError, match="a key that is not text"):
        yaml_values("\n".join(lines).encode())


def test_aliases_that_nest_are_ended() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100))]
    with pytest.raises(NotReadableError, match="is nested deeper than 64 levels"):
        yaml_values("\n".join(lines).encode())


def test_the_review_has_lines_for_people() -> None:
    found = review(manifest(*STEPS), read)
    shown = list(risk_lines(found.risks, 1))
    assert shown[:3] == [
        "runs as root:",
        "  deploy/x.service: the service runs as root: no User= is set in this file",
        "  … and 1 more of this kind; --all shows all of them",
    ]
    assert list(risk_lines(found.risks, 0)) == list(risk_lines(found.risks, len(found.risks)))
    assert list(program_lines(found.programs, 2)) == [
        "deploy/x.service:2 (as root): ExecStartPre=rm -rf /",
        "deploy/apply.sh (as root), 3 lines:",
        "  | #!/bin/sh",
        "  | set -e",
        "  | rm -rf /",
    ]
    assert list(program_lines(found.programs, 1))[-2:] == [
        *("  | #!/bin/sh", "  … and 2 more lines; --all shows all of them"),
    ]
    again = list(program_lines(found.programs, 2, {"deploy/apply.sh"}, "1.3.0"))
    assert again[-1] == "deploy/apply.sh (as root), 3 lines, the same as in 1.3.0"
    assert isinstance(found.risks[0], Risk)


def test_a_plan_names_each_program_once_and_shows_its_text_there() -> None:
    check = HealthCheck("command", "", command=("/bin/check", "all"))
    found = review(replace(manifest(*STEPS), health=(check,)), read)
    assert list(review_lines(found, 20, 2)) == [
        "runs as root:",
        "  deploy/x.service: the service runs as root: no User= is set in this file",
        "  deploy/apply.sh: runs as root (apply), 3 lines:",
        "    | #!/bin/sh",
        "    | set -e",
        "    | rm -rf /",
        "  bundle.json: health[0]: runs as root, again and again: /bin/check all",
        *risk_lines([each for each in found.risks if each.kind != "root"], 20),
        "what else runs on this host:",
        "  deploy/x.service:2 (as root): ExecStartPre=rm -rf /",
    ]
    again = list(review_lines(found, 20, 2, {"deploy/apply.sh"}, "1.3.0"))
    assert "  deploy/apply.sh: runs as root (apply), 3 lines, the same as in 1.3.0" in again
    assert not any("set -e" in line for line in again)


def test_a_program_is_shown_although_its_finding_is_one_too_many_or_cut() -> None:
    check = HealthCheck("command", "", command=("/bin/check", "x" * WIDTH, "; rm -rf /"))
    found = review(replace(manifest(*STEPS), health=(check,)), read)
    shown = list(review_lines(found, 1, 20))
    assert "  deploy/apply.sh (as root), 3 lines:" in shown
    assert f"  bundle.json: health[0] (as root): {' '.join(check.command)}" in shown
    assert f"    | {' '.join(check.command)}" in list(review_lines(found, 20, 20))


def test_a_long_finding_keeps_its_end_which_says_what_it_means() -> None:
    data = f"services: {{web: {{provider: {{type: {'x' * 3000}}}}}}}".encode()
    (said,) = [each.what for each in review(manifest(STEPS[1]), lambda _: data).risks if each.kind == "root"]
    assert len(said) == WIDTH
    assert said.startswith("provider: xxx")
    assert said.endswith("xxx: a program of the host is run in place of a container")


def test_files_that_a_compose_file_includes_and_extends_are_examined_too() -> None:
    project = {
        "deploy/a/compose.yaml": b"include: [../b/inc.yaml]\nservices:\n"
        b"  web: {extends: {file: base/b.yaml, service: b}}\n",
        "deploy/a/over.yaml": b"services: {web: {privileged: true, extends: {file: n.yaml, service: x}}}\n",
        "deploy/a/base/b.yaml": b"services:\n  b: {pid: host, extends: {file: c.yaml, service: c}}\n",
        "deploy/a/base/c.yaml": b"services: {c: {ipc: host, extends: {file: ../compose.yaml, service: web}}}",
        "deploy/b/inc.yaml": b"include: [/srv/x.yaml]\nservices:\n  inc: {uts: host}\n",
        "deploy/a/unused.yaml": b"services:\n  unused: {cgroup: host}\n",
    }
    files = tuple(build.entry_for(path, data, kind="compose") for path, data in project.items())
    step = Deployment("compose", {"file": ["deploy/a/compose.yaml", "deploy/a/over.yaml"]})
    found = review(replace(manifest(step), files=files), lambda entry: project[entry.path])
    assert sorted((each.kind, each.where) for each in found.risks) == [
        ("host", "deploy/a/base/b.yaml: service b"),
        ("host", "deploy/a/base/c.yaml: service c"),
        ("host", "deploy/a/over.yaml: service web"),
        ("host", "deploy/b/inc.yaml: service inc"),
        ("unread", "deploy/a/over.yaml"),
        ("unread", "deploy/b/inc.yaml"),
    ]
    assert {each.what for each in found.risks if each.kind == "unread"} == {
        "extends of service web: deploy/a/n.yaml, which was not examined",
        "include: /srv/x.yaml, which was not examined",
    }


def test_a_relative_mount_that_is_written_is_told() -> None:
    data = b"services:\n  web: {volumes: ['./data:/data', './conf:/conf:ro']}\n"
    found = review(manifest(*STEPS[1:2]), lambda entry: data if entry.kind == "compose" else read(entry))
    told = [each.what for each in found.risks if each.where == "deploy/compose.yaml: service web"]
    assert told == [
        (
            "mounts ./data: it is in the directory of the release, "
            "and data in it do not move to the next release"
        ),
        "mounts ./conf, read-only",
    ]
