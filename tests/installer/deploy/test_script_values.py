"""Scripts that get the values of the site: a JSON file in memory, and variables for what is no secret."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.errors import HostNotReadyError, RolledBackError
from installer.core.format.manifest import Deployment
from installer.deploy.site.script_values import variable_problems, variables
from installer.host.context import Context
from tests.rig.releases import Member, Notes, ReleaseSpec, root
from tests.rig.scripts import SCRIPT, scripted
from tests.rig.steps import install_steps

WORD = "open-sesame-4711"
READS = (
    SCRIPT
    + b"""\
case $WAYBILL_VALUES in /dev/shm/*|/run/*) ;; *) exit 9 ;; esac
cp "$WAYBILL_VALUES" "$WAYBILL_ROOT/got"
env | grep ^WAYBILL_VALUE_ | sort > "$WAYBILL_ROOT/variables"
dirname "$WAYBILL_VALUES" > "$WAYBILL_ROOT/place"
cat "$WAYBILL_VALUES"
"""
)
TEMPLATE = (
    "port: {{ port | tojson }}\ndb:\n  password: {{ password | tojson }}\n  use-tls: true\n  hosts: [a]\n"
)


def release(number: int, apply: bytes = READS, template: str = TEMPLATE) -> ReleaseSpec:
    spec = scripted(f"{number}.0.0", number, apply, READS)
    members = {
        **spec.members,
        "deploy/values.j2": Member(template.encode(), kind="template"),
        "config/values.yaml": Member(b"port: 8080\npassword: none\n", kind="values"),
    }
    (step,) = spec.deploy
    step = Deployment("script", {**step.options, "values": "deploy/values.j2"})
    return replace(spec, members=members, deploy=(step,), values="config/values.yaml")


@pytest.fixture
def site(host: Context) -> Context:
    secrets = root(host) / "etc/waybill/lan-chat/secrets"
    secrets.mkdir(parents=True)
    (secrets / "db").write_text(WORD)
    (secrets / "db").chmod(0o600)
    (root(host) / "etc/waybill/lan-chat/values.yaml").write_text("port: 9090\npassword: secret://file/db\n")
    return host


def test_a_script_reads_its_values_from_memory_and_secrets_are_in_no_variable(site: Context) -> None:
    install_steps(site, release(1))
    top = root(site)
    wanted = f'{{"port": 9090, "db": {{"password": "{WORD}", "use-tls": true, "hosts": ["a"]}}}}'
    assert (top / "got").read_text() == wanted
    assert (top / "variables").read_text().splitlines() == [
        "WAYBILL_VALUE_DB_USE_TLS=true",
        "WAYBILL_VALUE_PORT=9090",
    ]
    assert not Path((top / "place").read_text().strip()).exists()
    (top / "got").unlink()
    kept = {path.name for path in top.rglob("*") if path.is_file() and WORD.encode() in path.read_bytes()}
    assert kept == {"db"}


def test_an_undo_gets_the_values_of_its_own_release_and_no_message_a_secret(site: Context) -> None:
    install_steps(site, release(1))
    with pytest.raises(RolledBackError) as caught:
        install_steps(site, release(2, READS + b"exit 4\n"))
    assert WORD not in str(caught.value) + str(caught.value.output)
    assert isinstance(site.progress, Notes)
    assert WORD not in str(site.progress.lines)
    assert (root(site) / "got").exists()


def test_a_secret_that_cannot_be_had_is_found_before_the_switch(site: Context) -> None:
    (root(site) / "etc/waybill/lan-chat/secrets/db").unlink()
    with pytest.raises(HostNotReadyError, match="db"):
        install_steps(site, release(1))
    assert not (root(site) / "log").exists()


def test_values_that_would_be_one_variable_are_refused(site: Context) -> None:
    with pytest.raises(
        HostNotReadyError, match="db-host and db_host are the same variable, WAYBILL_VALUE_DB_"
    ):
        install_steps(site, release(1, template="db-host: a\ndb_host: b\n"))


def test_what_does_not_fit_into_a_variable_is_in_the_file_only() -> None:
    values = {"long": "x" * 5000, "none": None, "zero": "a\0b", "text": "a b", "many": {"x": [1]}}
    assert variables(values, values) == {"WAYBILL_VALUE_NONE": "", "WAYBILL_VALUE_TEXT": "a b"}
    assert variable_problems(b"a: {b: 1}\nb: 2\n", "t") == []


@pytest.mark.parametrize("template", ["- {{ port }}\n", "{{ port }}\n", "[]\n", "port: [\n"])
def test_values_that_are_no_mapping_are_refused_once(site: Context, template: str) -> None:
    with pytest.raises(HostNotReadyError) as caught:
        install_steps(site, release(1, template=template))
    (problem,) = caught.value.problems
    assert problem.where.startswith("deploy/values.j2 (rendered)")
    assert problem.what.startswith("is not ")
    assert problem.hint
