"""A release is examined with bounds, and what was not examined is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from installer.core.format.manifest import Deployment, DirectoryEntry, FileEntry, HealthCheck, Manifest
from installer.core.risk.risk import Risk
from installer.shared.review.review import MOST, Review, program_lines, review, risk_lines
from installer.shared.review.yaml_values import NotReadableError, yaml_values
from tests.rig import bundlebuild as build

SCRIPT = b"#!/bin/sh\nset -e\nrm -rf /\n"
COMPOSE = b"x: &all {privileged: true}\nservices:\n  web: {<<: *all, ports: ['80:80']}\n"
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


def test_health_checks_that_are_commands_run_as_root() -> None:
    check = HealthCheck("command", "", ("/opt/check", "--all"))
    found = review(replace(manifest(), health=(check,)), read)
    assert ("root", "bundle.json: health[0]") in kinds(found)
    assert [(each.user, each.text) for each in found.programs] == [("root", "/opt/check --all")]


@pytest.mark.parametrize(("mode", "sticky"), [(0o777, False), (0o1777, True)])
def test_directories_that_everybody_may_write_to(mode: int, sticky: bool) -> None:
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
    assert ("unread", "deploy: helm") in kinds(review(manifest(Deployment("helm", {})), read))


def test_files_that_are_too_large_together_are_a_finding() -> None:
    large = tuple(replace(entry, size=20 * 1024 * 1024) for entry in manifest().files)
    found = review(replace(manifest(*STEPS), files=large), read)
    assert {kind for kind, _ in kinds(found) if kind != "writable"} == {"unread"}


def test_findings_are_bounded() -> None:
    data = ("services: {web: {cap_add: [" + ", ".join(f"C{n}" for n in range(5000)) + "]}}").encode()
    found = review(manifest(STEPS[1]), lambda _: data)
    assert (len(found.risks), found.risks[-1].kind) == (MOST + 1, "unread")


def test_yaml_as_engines_read_it() -> None:
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


def test_lines_for_people() -> None:
    found = review(manifest(*STEPS), read)
    shown = list(risk_lines(found.risks, 1))
    assert shown[:3] == [
        "runs as root:",
        "  deploy/x.service: the service runs as root: no User= is set",
        "  … 1 more of this kind",
    ]
    assert list(program_lines(found.programs, 2)) == [
        "deploy/x.service:2 (as root): ExecStartPre=rm -rf /",
        "deploy/apply.sh (as root), 3 lines:",
        "  | #!/bin/sh",
        "  | set -e",
        "  … 1 more lines",
    ]
    again = list(program_lines(found.programs, 2, {"deploy/apply.sh"}, "1.3.0"))
    assert again[-1] == "deploy/apply.sh (as root), 3 lines, the same as in 1.3.0"
    assert isinstance(found.risks[0], Risk)
