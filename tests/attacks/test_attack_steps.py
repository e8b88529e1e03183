"""Hostile steps, probes and templates that a trusted key signed: each is refused, the host as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from installer.core.format.manifest import Deployment, HealthCheck
from tests.attacks.box import Box
from tests.attacks.makers import Made, steps, template

ATTACKS: dict[str, tuple[Callable[[], Made], int, str]] = {
    "a template whose text multiplies": (
        template(
            "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
            "{{ ns.x }}"
        ),
        15,
        r"config/a\.j2:1: .*too large",
    ),
    "a template that indents without end": (
        template("{{ [1] | tojson(indent=10**9) }}"),
        15,
        r"config/a\.j2:1: indents by more than 64",
    ),
    "a template with a width of its own": (
        template("{{ '{:{w}}'.format(1, w=2*10**9) }}"),
        15,
        r"config/a\.j2(:1)?: .*(too much memory|MiB of memory|too large)",
    ),
    "a template with a chain without end": (
        template("{{ 1" + "|string" * 5000 + " }}"),
        15,
        r"config/a\.j2: is nested too deeply",
    ),
    "a template that installs what is not there": (
        template("{{ [{'a': 1}, {}] | map(attribute='a') | list }}"),
        15,
        r"config/a\.j2:1: .*not defined",
    ),
    "a time limit that is no number": (
        steps(Deployment("script", {"apply": "deploy/a.sh", "undo": "deploy/a.sh", "timeout": "abc"})),
        11,
        r"bundle\.json: deploy\[0\]\.options\.timeout: is 'abc', but must be an integer",
    ),
    "a time limit below zero": (
        steps(Deployment("script", {"apply": "deploy/a.sh", "undo": "deploy/a.sh", "timeout": -1})),
        11,
        r"bundle\.json: deploy\[0\]\.options\.timeout: is -1, but must be",
    ),
    "units that are no list": (
        steps(Deployment("systemd", {"units": 5})),
        11,
        r"bundle\.json: deploy\[0\]\.options\.units: is 5, but must be a list",
    ),
    "a step whose script is not in the bundle": (
        steps(Deployment("script", {"apply": "deploy/a.sh", "undo": "../../etc/passwd"})),
        11,
        r"bundle\.json: deploy\[0\]\.options\.undo: '\.\./\.\./etc/passwd' is not in the bundle",
    ),
    "a probe of a file": (
        steps(health=(HealthCheck("http", "file:///etc/passwd"),)),
        11,
        r"bundle\.json: health\[0\]\.target: is 'file:///etc/passwd', but must be a URL",
    ),
    "a probe of a port that does not exist": (
        steps(health=(HealthCheck("http", "http://127.0.0.1:99999/"),)),
        11,
        r"bundle\.json: health\[0\]\.target",
    ),
    "a probe of no address": (
        steps(health=(HealthCheck("tcp", "x"),)),
        11,
        r"bundle\.json: health\[0\]\.target: is 'x', but must be an address and port",
    ),
    "a probe of a method that does not exist": (
        steps(health=(HealthCheck("tcp", "127.0.0.1:1", when="nope"),)),
        11,
        r"bundle\.json: health\[0\]\.when: is 'nope', but must be one of files",
    ),
}


@pytest.mark.parametrize("fault", ATTACKS)
def test_a_hostile_step_is_refused_before_anything_is_done(box: Box, fault: str) -> None:
    make, code, words = ATTACKS[fault]
    box.carry(make())
    box.watch()
    box.refused(box.apply(), code, words)
    box.agreed(code)
