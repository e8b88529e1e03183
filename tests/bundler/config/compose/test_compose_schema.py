"""Compose files are checked with the schema of the specification: typing errors, wrong types, keys twice."""

from __future__ import annotations

import pytest

from bundler.config.compose.document import read
from bundler.config.compose.schema import check

SOUND = """\
name: chat
x-log: &log {logging: {driver: local}}
services:
  web:
    <<: *log
    image: web:1
    tty: false
    ports: [22:22, "80", {target: 80, published: "8080"}]
    deploy:
      replicas: 2
      resources: {reservations: {devices: [{driver: nvidia, count: 1, capabilities: [gpu]}]}}
    depends_on: {once: {condition: service_completed_successfully}}
    pull_policy: never
    scale: ${COUNT:-2}
    cpus: 1e-1
    x-own: 1
  once: {image: once:1, profiles: [setup], environment: [A=1], volumes: !reset [], init: !reset 5}
  two: {image: two:1, oom_score_adj: 0o17}
volumes: {data: , theirs: {external: true, name: theirs}}
networks: {front: {external: true}}
"""


def test_a_sound_file_has_no_problems() -> None:
    document = read(SOUND.encode(), "c.yaml")
    assert (document.problems, *check(document)) == ([], [], [])


@pytest.mark.parametrize(
    ("text", "line", "what", "hint"),
    [
        ("  web: {imge: 'a:1'}", 2, "unknown key imge in services.web", "did you mean image?"),
        ("  web: {image: 5}", 2, "services.web.image must be text, but is 5", 'put it in quotes: "5"'),
        ("  web:\n    image: a:1\n    privileged: 3", 4, "services.web.privileged must be", ""),
        ("  web: {depends_on: {a: {condition: service_helthy}}}", 2, "'service_helthy'", "service_healthy"),
        ("  web: {volumes: [{type: bnd}]}", 2, "services.web.volumes[0].type is 'bnd'", "did you mean bind?"),
        ("  web: [a]", 2, "services.web must be a mapping, but is a list", ""),
        ("  web: {image: 'a:1'}\nservcies: {}", 3, "unknown key servcies", "did you mean services?"),
        ("  web: &w {imge: x}\n  db:\n    <<: *w", 2, "unknown key imge in services.web", "image"),
    ],
)
def test_what_the_specification_does_not_allow_is_named_with_its_line(
    text: str, line: int, what: str, hint: str
) -> None:
    problems, warnings = check(read(f"services:\n{text}\n".encode(), "c.yaml"))
    assert not warnings
    assert problems[0].where == f"c.yaml:{line}"
    assert what in problems[0].what
    assert hint in problems[0].hint


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("web: [a]", "services.web must be a mapping, but is a list"),
        ("web: {ports: 5}", "services.web.ports must be a list, but is 5"),
        ("web: {environment: 5}", "services.web.environment is 5, which is not one of: a mapping; a list"),
        ("web: {depends_on: 7}", "services.web.depends_on is 7, which is not one of: a list; a mapping"),
        ("web: {volumes: [{source: a}]}", "type is missing in services.web.volumes[0]"),
    ],
)
def test_the_hint_of_a_wrong_type_is_a_remedy_not_what_the_key_is_for(text: str, what: str) -> None:
    (problem,), _ = check(read(f"services:\n  {text}\n".encode(), "c.yaml"))
    assert (problem.what, problem.hint) == (what, "see the reference of Compose files")


def test_a_key_that_a_newer_compose_may_know_is_a_warning() -> None:
    problems, (warning,) = check(read(b"services:\n  a: {image: 'a:1', teleport: now}\n", "c.yaml"))
    assert not problems
    assert (warning.where, warning.code) == ("c.yaml:2", "compose-unknown-key")
    assert "unknown key teleport in services.a" in warning.what


@pytest.mark.parametrize(
    "text", ["services:\n  a:\n    image: a:1\n    image: a:2\n", "x-a: {}\nb: 1\nx-a: 1\n"]
)
def test_a_key_that_is_there_twice_is_refused(text: str) -> None:
    (problem,) = read(text.encode(), "c.yaml").problems
    assert "twice, first in line" in problem.what
    assert problem.where == f"c.yaml:{len(text.splitlines())}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-0x1f", -31),
        ("017", 15),
        ("0o17", 15),
        ("09", 9),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("22:22", "22:22"),
        ("yes", "yes"),
        ("True", True),
        ("tRue", "tRue"),
        ("~", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("2024-01-01", "2024-01-01"),
    ],
)
def test_scalars_are_read_as_compose_reads_them(text: str, value: object) -> None:
    found = read(f"x-a: {text}\n".encode(), "c.yaml").value["x-a"]
    assert (found, type(found)) == (value, type(value))
