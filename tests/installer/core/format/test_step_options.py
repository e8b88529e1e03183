"""Options of steps and targets of probes are refused with the manifest, before anything of it is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from installer.core.errors import TamperedError
from installer.core.format import manifest_json
from installer.core.format.health_target import target_fault
from installer.core.format.manifest import Deployment, HealthCheck, Manifest
from installer.core.format.manifest_rules import WRONG_RELEASE
from installer.core.jsonio import dumps_lines
from tests.rig.independent import verifier
from tests.rig.manifests import FULL

SCHEMA = Path(__file__).parents[4] / "schemas/v1/bundle.schema.json"

SYSTEMD, COMPOSE, SCRIPT = 0, 1, 2


def refusal(data: bytes) -> TamperedError:
    with pytest.raises(TamperedError) as caught:
        manifest_json.parse(data)
    return caught.value


def edited(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(manifest_json.dump(FULL))
    change(document)
    return json.dumps(document).encode()


def options(step: int, **given: Any) -> bytes:
    return edited(lambda m: m["deploy"][step]["options"].update(given))


def probe(kind: str, target: str) -> Manifest:
    return replace(FULL, health=(HealthCheck(kind, target),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "key", "value"),
    [
        *((SCRIPT, "timeout", value) for value in ("abc", "60", -1, 0, True, None, 2**53, [])),
        *((SCRIPT, "apply", value) for value in (5, None, "", [], {}, "a\nb")),
        *((SYSTEMD, "units", value) for value in (5, "deploy/x.service", [], [5], [""], [["x"]], None)),
        *((COMPOSE, "file", value) for value in (5, "", None, [], [5], [""], ["deploy/compose.yaml"] * 2)),
        *((COMPOSE, "project", value) for value in ("", "Chat", "-p", "a b", "x" * 64, 5, None)),
    ],
)
def test_a_wrong_option_is_named_with_its_place_and_a_remedy(step: int, key: str, value: Any) -> None:
    error = refusal(options(step, **{key: value}))
    assert error.where.startswith(f"bundle.json: deploy[{step}].options.{key}")
    assert error.hint == WRONG_RELEASE


@pytest.mark.parametrize("step", [SYSTEMD, COMPOSE, SCRIPT])
def test_an_option_that_the_method_does_not_have_is_refused(step: int) -> None:
    error = refusal(options(step, privileged=True))
    assert error.where == f"bundle.json: deploy[{step}].options.privileged"


def test_a_method_without_options_has_none() -> None:
    error = refusal(edited(lambda m: m["deploy"].append({"method": "files", "options": {"x": 1}})))
    assert error.where == "bundle.json: deploy[4].options.x"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"apply": "deploy/apply.sh"},
        {"undo": "deploy/undo.sh"},
        {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh", "roll_forward_only": "it cannot be undone"},
        {"apply": "deploy/apply.sh", "snapshot": "deploy/undo.sh"},
    ],
)
def test_a_script_without_an_inverse_or_with_two_is_refused(given: dict[str, str]) -> None:
    error = refusal(edited(lambda m: m["deploy"][SCRIPT].update(options=given)))
    assert error.where == "bundle.json: deploy[2].options"
    assert error.what.startswith("must have `apply` and `undo`, or ")


def test_a_step_that_lacks_what_its_method_needs_is_refused() -> None:
    for step in (SYSTEMD, COMPOSE):
        error = refusal(edited(lambda m, step=step: m["deploy"][step].pop("options")))  # type: ignore[misc]
        assert error.where == f"bundle.json: deploy[{step}].options"


@pytest.mark.parametrize(
    ("method", "given", "what"),
    [
        ("systemd", {"units": ["deploy/no.service"]}, "is not in the bundle"),
        ("systemd", {"units": ["deploy/apply.sh"]}, "is listed as script, not as unit"),
        ("compose", {"file": "deploy/x.service"}, "is listed as unit, not as compose"),
        ("script", {"apply": "deploy/apply.sh", "undo": "trees/web/index.html"}, "is listed as tree"),
        ("script", {"apply": "deploy/apply.sh", "undo": "/etc/passwd"}, "is not in the bundle"),
    ],
)
def test_a_file_that_is_not_what_the_step_needs_is_refused(
    method: str, given: dict[str, Any], what: str
) -> None:
    error = refusal(manifest_json.dump(replace(FULL, deploy=(Deployment(method, given),))))
    assert what in error.what
    assert error.what.startswith("deploy[0].options.")


def test_a_script_that_cannot_be_executed_and_a_unit_without_its_name_are_refused() -> None:
    def files(**changes: Any) -> Manifest:
        made = [replace(entry, **changes.get(entry.kind, {})) for entry in FULL.files]
        return replace(FULL, files=tuple(made))

    assert "is not executable by its owner" in refusal(manifest_json.dump(files(script={"mode": 0o644}))).what
    named = files(unit={"path": "deploy/x.conf"})
    steps = (Deployment("systemd", {"units": ["deploy/x.conf"]}),)
    assert ".service" in refusal(manifest_json.dump(replace(named, deploy=steps))).what


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        *(
            ("http", target)
            for target in (
                "file:///etc/passwd", "http://127.0.0.1:99999/", "http://127.0.0.1:0/", "http://", "http:///x",
                "ftp://h/", "127.0.0.1:80", "http://h:port/", "http://[::1/", "http://a b/", "http://h/ü",
                "http://user:secret@h/", "HTTP://h/",
            )
        ),
        *(("tcp", target) for target in ("x", "x:", ":80", "h:0", "h:65536", "h:99999", "a b:80", "::1:80")),
        *(("container", target) for target in ("-f", "a b", "a/b", "ü")),
    ],
)  # fmt: skip
def test_a_target_that_no_probe_can_use_is_refused(kind: str, target: str) -> None:
    error = refusal(manifest_json.dump(probe(kind, target)))
    assert error.where == "bundle.json: health[0].target"
    assert "must be" in error.what
    assert "secret" not in error.what


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("http", "http://127.0.0.1:8080/healthz?full=1#x"), ("http", "https://chat.lan"), ("http", "http://[::1]:80/"),
        ("http", "http://{{ host }}:{{ ports.http }}/{{ path | default('x y') }}"),
        ("http", "http://h:6553{{ last }}/"), ("http", "http://h:9999{{ last }}/"),
        ("http", "http://bücher.lan/"), ("tcp", "{{ host }}:{{ port }}"),
        ("tcp", "127.0.0.1:5432"), ("tcp", "[::1]:65535"), ("tcp", "h:{{ p }}"),
        ("container", "lan-chat-nats-1"), ("container", "{{ name }}"),
    ],
)  # fmt: skip
def test_a_target_that_is_right_stays_right(kind: str, target: str) -> None:
    assert manifest_json.parse(manifest_json.dump(probe(kind, target))).health[0].target == target
    assert target_fault(kind, target) == ""


def test_a_probe_of_a_method_that_does_not_exist_is_refused() -> None:
    error = refusal(edited(lambda m: m["health"][0].update(when="nope")))
    assert (error.where, error.hint) == ("bundle.json: health[0].when", WRONG_RELEASE)
    kept = edited(lambda m: m["health"][0].update(when="helm"))
    assert manifest_json.parse(kept).health[0].when == "helm"


def test_an_empty_word_of_a_command_is_refused() -> None:
    error = refusal(edited(lambda m: m["health"][1].update(command=["chatctl", ""])))
    assert error.where == "bundle.json: health[1].command[1]"


def test_a_release_that_is_on_the_host_is_read_as_an_older_version_accepted_it() -> None:
    """It may be the running one: status, rollback and remove must work on it."""
    wrong = edited(
        lambda m: (m["deploy"][SCRIPT]["options"].update(timeout="abc"), m["health"][0].update(when="x"))
    )
    read = manifest_json.parse(wrong, retained=True)
    assert (read.deploy[SCRIPT].options["timeout"], read.health[0].when) == ("abc", "x")


def test_all_problems_of_the_steps_are_listed_at_once() -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["deploy"][SCRIPT]["options"].update(timeout=-1)
        manifest["deploy"][SYSTEMD]["options"].update(units=5)
        manifest["health"][0].update(target="file:///etc/passwd")

    error = refusal(edited(change))
    assert [error.where, *(problem.where for problem in error.problems)] == [
        "bundle.json: deploy[0].options.units",
        "bundle.json: deploy[2].options.timeout",
        "bundle.json: health[0].target",
    ]


def with_project(*files: str) -> Manifest:
    """Return a manifest whose Compose project has several files, of which some refer to others."""
    entry = next(entry for entry in FULL.files if entry.path == "deploy/compose.yaml")
    more = (replace(entry, path="deploy/conf/app.conf"), replace(entry, path="deploy/production.yaml"))
    deploy = list(FULL.deploy)
    deploy[COMPOSE] = replace(deploy[COMPOSE], options={"file": list(files)})
    at = FULL.files.index(entry) + 1
    return replace(FULL, files=(*FULL.files[:at], *more, *FULL.files[at:]), deploy=tuple(deploy))


def test_a_project_of_several_files_is_read_as_it_was_written_and_needs_a_reader_that_knows_it() -> None:
    manifest = with_project("deploy/compose.yaml", "deploy/production.yaml")
    data = manifest_json.dump(manifest)
    assert manifest_json.parse(data) == manifest
    document = json.loads(data)
    assert "compose-project/1" in document["requires"]
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    assert b"compose-project" not in manifest_json.dump(FULL)
    without = dumps_lines({key: value for key, value in document.items() if key != "requires"})
    assert refusal(without).where.startswith("bundle.json")
    other = with_project("deploy/compose.yaml", "docs/CHANGELOG.md")
    with pytest.raises(TamperedError):
        manifest_json.parse(manifest_json.dump(other))
    # The second reader has the same answers.
    main: Any = verifier()
    check = main.check_manifest
    check(document)
    for wrong in (json.loads(without), json.loads(manifest_json.dump(other))):
        with pytest.raises(main.Refused):
            check(wrong)
    twice = with_project("deploy/compose.yaml", "deploy/compose.yaml")
    with pytest.raises(main.Refused):
        check(json.loads(manifest_json.dump(twice)))
    assert refusal(manifest_json.dump(twice)).where.endswith("deploy[1].options.file")
