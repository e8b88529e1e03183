"""A probe that can never pass is a problem of the plan, not a reason to stop services and roll back."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from installer.core.errors import HostNotReadyError, Problem
from installer.core.format.manifest import Deployment, HealthCheck
from installer.host.context import Context
from installer.planning.plan import Options
from tests.rig.chatd import ONE
from tests.rig.releases import Member, ReleaseSpec, install, plan_for, root
from tests.rig.tlscerts import Authority

ALL = Options(only=frozenset({"files", "script"}))
SCRIPT = Member(b"#!/bin/sh\n", mode=0o755, kind="script")
TLS = HealthCheck("http", "https://127.0.0.1:1/", ca="/etc/chat/ca.pem", when="files")


def checked(host: Context, *checks: HealthCheck, spec: ReleaseSpec = ONE) -> list[Problem]:
    # Asked although the host is a directory: that is what `when` and a named method say.
    health = tuple(replace(each, when="files") for each in checks)
    return list(plan_for(host, replace(spec, health=health), Options()).problems)


def with_file(path: str, data: bytes, install: str, kind: str = "doc", **fields: object) -> ReleaseSpec:
    return replace(ONE, members={**ONE.members, path: Member(data, install, kind=kind)}, **fields)  # type: ignore[arg-type]


def test_a_program_that_is_nowhere_is_named(host: Context) -> None:
    one, other = checked(
        host,
        HealthCheck("command", "", ("no-such-program", "x")),
        HealthCheck("command", "", ("/opt/none/check",)),
        HealthCheck("command", "", ("true",)),
    )
    assert (one.where, one.what) == (
        "no-such-program",
        "is not on the PATH of this host, but a health check runs it",
    )
    assert other.where == "/opt/none/check"
    assert "neither in the release nor on this host" in other.what


def test_nothing_is_touched_where_a_probe_can_never_pass(host: Context) -> None:
    spec = replace(ONE, health=(HealthCheck("command", "", ("/opt/none/check",), when="files"),))
    with pytest.raises(HostNotReadyError):
        install(host, spec)
    assert not (root(host) / "opt").exists()


def test_a_program_of_the_release_is_there(host: Context) -> None:
    spec = with_file("docs/check", b"#!/bin/sh\n", "/opt/chat/check")
    current = f"{host.layout.current}/docs/check"
    words = [("/opt/chat/check",), (current,)]
    assert checked(host, *(HealthCheck("command", "", each) for each in words), spec=spec) == []
    (problem,) = checked(host, HealthCheck("command", "", (f"{host.layout.current}/docs/none",)), spec=spec)
    assert "neither in the release" in problem.what


def test_a_program_that_a_script_may_bring_is_not_missed(host: Context) -> None:
    members = {**ONE.members, "deploy/a.sh": SCRIPT, "deploy/u.sh": SCRIPT}
    step = Deployment("script", {"apply": "deploy/a.sh", "undo": "deploy/u.sh"})
    spec = replace(ONE, members=members, deploy=(step,))
    assert checked(host, HealthCheck("command", "", ("/opt/none/check",)), spec=spec) == []


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be used: No such file or directory"),
        (b"no certificate", "cannot be used: it has no certificate in PEM form that can be read"),
        (b"x" * (1024 * 1024 + 1), "cannot be used: is larger than the 1048576 bytes allowed"),
    ],
    ids=["missing", "not one", "too large"],
)
def test_a_ca_that_cannot_be_used_is_named(host: Context, content: bytes | None, what: str) -> None:
    if content is not None:
        (root(host) / "etc/chat").mkdir(parents=True)
        (root(host) / "etc/chat/ca.pem").write_bytes(content)
    (problem,) = checked(host, TLS)
    assert problem.where == "/etc/chat/ca.pem"
    assert problem.what == f"{what}; the health check http https://127.0.0.1:1/ needs it"


def test_the_ca_of_the_release_is_looked_at_before_it_is_installed(host: Context) -> None:
    pem = Authority("site").pem.encode()
    assert checked(host, TLS, spec=with_file("docs/ca.pem", pem, "/etc/chat/ca.pem")) == []
    (problem,) = checked(host, TLS, spec=with_file("docs/ca.pem", b"x", "/etc/chat/ca.pem"))
    assert "no certificate" in problem.what
    rendered = with_file(
        "config/ca.pem", pem.replace(b"MII", b"{{ head }}"), "/etc/chat/ca.pem", "template",
        values="config/values.yaml",
    )  # fmt: skip
    rendered.members["config/values.yaml"] = Member(b"head: MII\n", kind="values")  # type: ignore[index]
    assert checked(host, TLS, spec=rendered) == []


def test_a_ca_named_by_values_is_looked_at_by_its_name_here(host: Context) -> None:
    spec = replace(ONE, values="config/values.yaml")
    spec = replace(
        spec, members={**ONE.members, "config/values.yaml": Member(b"ca: /etc/x.pem\n", kind="values")}
    )
    (problem,) = checked(host, replace(TLS, ca="{{ ca }}"), spec=spec)
    assert problem.where == "/etc/x.pem"
    (problem,) = checked(host, replace(TLS, ca="{{ ca }}/../y"), spec=spec)
    assert problem.where == "bundle.json: health[0].ca"
    assert "but must be an absolute path" in problem.what


def test_a_unit_that_the_release_brings_is_there(host: Context) -> None:
    spec = with_file("docs/a@.service", b"[Service]\n", "/etc/systemd/system/a@.service")
    checks = [HealthCheck("unit", name) for name in ("a@.service", "a@1.service")]
    assert checked(host, *checks, spec=spec) == []


def test_a_unit_on_a_host_without_systemd_is_a_problem(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name, **more: None if name == "systemctl" else which(name, **more)
    )
    (problem,) = checked(host, HealthCheck("unit", "none.service"))
    assert (problem.where, "none.service" in problem.what) == ("systemctl", True)
