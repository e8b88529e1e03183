"""What programs and libraries say is cut only after its secrets are hidden: half of one is not recognised."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from installer.core.errors import HostNotReadyError, Problem
from installer.core.format.manifest import Deployment, FileEntry
from installer.core.schema_errors import findings
from installer.deploy.operation import LINE, StepError, output_lines
from installer.shared.child.process import Completed, run
from installer.shared.review.review import WIDTH, review
from installer.shared.secrecy.known import EARLIER, MESSAGE, Secrets
from tests.rig.bundlebuild import plan

SECRET = "kie8Xohb4aiw-Zq7-hunter"
HALF = SECRET[:8]
KEY = "MIGHAgEAMBMGByqGSM49AwEHBG0wawIBAQQg"
ROOT = Path(__file__).resolve().parents[4]
PRODUCT = ("deploy", "images", "planning", "transaction", "commands", "staging", "state", "audit")


@pytest.fixture
def secrets() -> Secrets:
    known = Secrets()
    known.add([SECRET])
    return known


def failed(output: str) -> Completed:
    return Completed(("x",), 1, output.encode(), b"")


def across(place: int) -> str:
    """A line in which a secret stands across a place."""
    return "x" * (place - len(SECRET) // 2) + SECRET + "y" * 100


def test_the_reason_of_a_failure_has_no_half_of_a_secret(secrets: Secrets) -> None:
    reason = failed(across(400)).reason(secrets)
    assert HALF not in reason
    assert len(reason) < 430


def test_the_output_of_a_step_has_no_half_of_a_secret(secrets: Secrets) -> None:
    error = StepError("failed").of(failed(across(LINE)), secrets)
    assert HALF not in "".join(error.output)
    assert len(error.output[0]) <= LINE


def test_the_end_of_an_output_has_no_end_of_a_private_key(secrets: Secrets) -> None:
    lines = ["-----BEGIN PRIVATE KEY-----", *[KEY] * 40, "no marks of keys here", "ended"]
    assert output_lines(failed("\n".join(lines)), secrets, 5) == ("***", "***", "***", "***", "***")


def test_a_long_output_is_looked_at_from_some_lines_before_its_end(secrets: Secrets) -> None:
    lines = ["-----BEGIN PRIVATE KEY-----", *["text"] * (EARLIER + 5)]
    assert output_lines(failed("\n".join(lines)), secrets, 5) == ("text",) * 5


def test_an_error_has_no_half_of_a_secret(secrets: Secrets) -> None:
    error = HostNotReadyError(across(MESSAGE), problems=[Problem("x", across(MESSAGE))])
    secrets.hide_error(error)
    assert HALF not in f"{error} {error.problems}"
    assert max(len(error.what), len(error.problems[0].what)) <= MESSAGE


def test_what_a_release_does_is_shown_without_half_of_a_secret(secrets: Secrets) -> None:
    line = "curl http://x/ | sh # " + across(WIDTH - 60)
    manifest = plan(
        {"deploy/apply.sh": line.encode()},
        entries={"deploy/apply.sh": {"kind": "script"}},
        deploy=(Deployment("script", {"apply": "deploy/apply.sh"}),),
    ).manifest

    def read(_: FileEntry) -> bytes:
        return line.encode()

    found = review(manifest, read, secrets=secrets)
    (said,) = [each.what for each in found.risks if each.kind == "command"]
    assert HALF not in str(found)
    assert len(said) == WIDTH


RULES = {
    "pattern": {"pattern": "^[0-9]+$"},
    "type": {"type": "integer"},
    "enum": {"enum": ["a"]},
    "const": {"const": "a"},
    "not": {"not": {"type": "string"}},
    "any of": {"anyOf": [{"type": "integer"}, {"type": "boolean"}]},
    "false": False,
}


@pytest.mark.parametrize("rule", RULES)
def test_a_long_value_that_breaks_a_rule_of_the_schema_is_not_quoted_in_part(rule: str) -> None:
    value = SECRET * 20
    (found,) = findings({"properties": {"x": RULES[rule]}}, {"x": value}, str)
    assert HALF not in f"{found.problem}"
    assert f"a value of {len(value)} characters" in found.problem.what


def test_entries_of_a_list_that_is_too_long_are_not_quoted() -> None:
    schema = {"properties": {"x": {"prefixItems": [{}], "items": False}}}
    (found,) = findings(schema, {"x": ["a", SECRET * 20]}, str)
    assert HALF not in f"{found.problem}"


def test_a_short_value_that_breaks_a_rule_is_quoted() -> None:
    (found,) = findings({"properties": {"x": {"pattern": "^a"}}}, {"x": "b"}, str)
    assert found.problem.what == "x is 'b', which is not in the required form"


def test_the_first_line_is_whole_of_more_output_than_is_kept() -> None:
    ended = run(["sh", "-c", f"yes {SECRET} | head -c 3000001"], timeout=50)
    assert set(ended.stdout.splitlines()[:-1]) == {SECRET.encode()}


def test_a_line_of_which_the_beginning_is_not_kept_is_not_shown() -> None:
    ended = run(["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"], timeout=50)
    assert ended.stdout == b"(a line of more than 1 MiB; not shown)"


def cuts(source: str) -> list[int]:
    """Where a module cuts text to a fixed number of characters, as only `shortened` may."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            upper = node.slice.upper
            if isinstance(upper, ast.Constant) and isinstance(upper.value, int) and upper.value >= 100:
                found.append(node.lineno)
    return found


def test_a_cut_is_found() -> None:
    assert cuts("a = line[:300]\nb = digest[:64]\nc = lines[-6:]") == [1]


def test_whatever_speaks_of_a_host_leaves_cutting_to_what_hides() -> None:
    modules = [path for name in PRODUCT for path in (ROOT / "installer" / name).rglob("*.py")]
    assert len(modules) > 50
    assert [f"{path.name}:{line}" for path in modules for line in cuts(path.read_text())] == []
