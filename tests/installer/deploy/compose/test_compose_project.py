"""A project of several files runs from what was verified, and its paths mean the directory of the release."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from installer.commands import status
from installer.core.format.manifest import Deployment
from installer.host.context import Context
from installer.state.state import load
from tests.rig.host import Host
from tests.rig.releases import Member, ReleaseSpec, install, plan_for, remove
from tests.rig.services import with_project

pytestmark = [pytest.mark.needs("docker", "compose"), pytest.mark.host(machine="bookworm-docker")]
FILES = {
    "compose.yaml": """\
include: [parts/other.yaml]
services:
  nats:
    extends: {file: common/base.yaml, service: base}
    env_file: [chat.env, {path: site.env, required: false}]
    environment: {PRICE: "$$5", RELEASE: "${WAYBILL_VERSION}"}
    configs: [{source: motd, target: /motd}]
    volumes: ["./conf:/conf:ro"]
configs: {motd: {file: ./motd}}
""",
    "override.yaml": """\
services:
  nats: {environment: {OVER: ridden}}
  extra: {profiles: [never], image: "none:1"}
""",
    "common/base.yaml": "services: {base: {image: 'rig/nats:1', network_mode: none, env_file: base.env}}\n",
    "common/base.env": "BASE=1\n",
    "parts/other.yaml": "services: {other: {image: 'rig/nats:1', network_mode: none, env_file: o.env}}\n",
    "parts/o.env": "OTHER=1\n",
    "chat.env": "CHAT={version}\n",
    "motd": "hello {version}\n",
    "conf/a.conf": "a\n",
}


def project(version: str, number: int, **changed: str) -> ReleaseSpec:
    """Give a release of a project of several files."""
    texts = {name: text.replace("{version}", version) for name, text in FILES.items()} | changed
    members = {f"deploy/{name}": Member(text.encode(), kind="compose") for name, text in texts.items()}
    listed = ["deploy/compose.yaml", "deploy/override.yaml"]
    return replace(
        with_project(version, number), members=members, deploy=(Deployment("compose", {"file": listed}),)
    )


def inspected(machine: Host, service: str) -> dict[str, Any]:
    (found,) = json.loads(machine.check(f"docker inspect lan-chat-{service}-1"))
    return dict(found)


def directory(host: Context) -> str:
    current = load(host.system, host.layout).current
    assert current
    return host.layout.release(current.name)


def test_everything_that_the_files_refer_to_reaches_the_containers(host: Context, machine: Host) -> None:
    install(host, project("1.0.0", 1))
    nats, place = inspected(machine, "nats"), directory(host)
    assert {"BASE=1", "CHAT=1.0.0", "PRICE=$5", "RELEASE=1.0.0", "OVER=ridden"} <= set(nats["Config"]["Env"])
    assert {each["Destination"]: (each["Source"], each["RW"]) for each in nats["Mounts"]} == {
        "/conf": (f"{place}/deploy/conf", False),
        "/motd": (f"{place}/deploy/motd", False),
    }
    assert "OTHER=1" in inspected(machine, "other")["Config"]["Env"]
    assert status.product_status(host).drift == ()
    # Nothing of the copy in which Compose resolved the project is left.
    assert machine.check("find /var/lib/waybill -name '.run-*'") == ""
    install(host, project("2.0.0", 2))
    assert "CHAT=2.0.0" in inspected(machine, "nats")["Config"]["Env"]
    remove(host)
    assert machine.check("docker ps -aq") == ""


def test_a_file_that_was_edited_or_planted_reaches_nothing(host: Context, machine: Host) -> None:
    install(host, project("1.0.0", 1))
    place = f"{directory(host)}/deploy"
    machine.check(f"echo 'BASE=evil' > {place}/site.env && echo 'X=evil' > {place}/parts/.env")
    with_x = {
        "parts/other.yaml": FILES["parts/other.yaml"].replace("o.env", "o.env, environment: ['Y=${X:-1}']")
    }
    install(host, project("1.0.0", 1, **with_x))
    machine.check(f"echo 'X=evil' > {directory(host)}/deploy/parts/.env")
    install(host, project("2.0.0", 2, **with_x))
    assert "BASE=1" in inspected(machine, "nats")["Config"]["Env"]
    edited = f"{directory(host)}/deploy/common/base.env"
    machine.check(f"echo 'BASE=evil' > {edited}")
    assert [problem.where for problem in status.product_status(host).drift] == [edited]
    assert [each.where for each in plan_for(host, project("3.0.0", 3)).problems] == [edited]
    with pytest.raises(Exception, match="was changed since it was installed"):
        remove(host)
    machine.check(f"echo 'BASE=1' > {edited}")
    remove(host)


def test_what_compose_refuses_is_told_with_the_file_of_the_release(host: Context, machine: Host) -> None:
    with pytest.raises(Exception, match="is not ready") as caught:
        install(host, project("1.0.0", 1, **{"parts/other.yaml": "services: {other: {imag: x}}\n"}))
    said = str(caught.value) + "".join(map(str, getattr(caught.value, "problems", ())))
    assert "/releases/" in said
    assert ".run-" not in said


def test_data_in_the_directory_of_a_release_are_told_before_they_stay_behind(
    host: Context, machine: Host
) -> None:
    """Bundles from before such mounts were refused; what a container wrote is imitated by a file."""
    text = "services: {nats: {image: 'rig/nats:1', network_mode: none, volumes: ['./data:/data']}}\n"
    old = with_project("1.0.0", 1)
    old.members["deploy/compose.yaml"].data = text.encode()
    install(host, old)
    place = f"{directory(host)}/deploy/data"

    def warnings() -> list[str]:
        plan = plan_for(host, project("2.0.0", 2))
        return [line for each in plan.methods for line in each.lines if "WARNING" in line]

    assert warnings() == []
    machine.check(f"echo row > {place}/rows")
    (line,) = warnings()
    assert f"{place}, which service nats mounts as ./data, stay in the directory of release 1.0.0" in line
    assert "named volume" in line
    install(host, project("2.0.0", 2))
    assert machine.check(f"cat {place}/rows") == "row\n"
