"""The method `helm` on a real API server: releases come, change, come back and go, with Helm 3 and Helm 4."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands.remove import check_removed
from installer.core.errors import RolledBackError
from installer.core.format.manifest import Deployment, HealthCheck
from installer.deploy.kubernetes import tools
from installer.host.context import Context
from installer.planning.plan import Options
from installer.state.state import load
from tests.rig.charted import (
    CONFIG,
    HELMS,
    Faulty,
    OnDirectory,
    Parts,
    chart,
    charted,
    drift,
    secret_in,
    site_secret,
    with_tools,
)
from tests.rig.faulty import Killed
from tests.rig.kube import Cluster
from tests.rig.needs import needs
from tests.rig.releases import (
    PRODUCT,
    Member,
    ReleaseSpec,
    context,
    install,
    plan_for,
    recovered,
    remove,
    roll_back,
    root,
)

UNHEALTHY = (HealthCheck("command", "", command=("/bin/false",), within=0),)
CLAIM = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: history}
spec: {accessModes: [ReadWriteOnce], storageClassName: "", volumeName: history,
  resources: {requests: {storage: 1Mi}}}
"""
VOLUME = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": "history"},
    "spec": {
        "capacity": {"storage": "1Mi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/nonexistent"},
        "persistentVolumeReclaimPolicy": "Retain",
    },
}


@pytest.fixture(params=HELMS)
def host(request: pytest.FixtureRequest, api_cluster: Cluster, tmp_path: Path) -> Iterator[Context]:
    with charted(api_cluster, tmp_path, request.param) as within:
        yield within


@pytest.fixture
def host4(api_cluster: Cluster, tmp_path: Path) -> Iterator[Context]:
    with charted(api_cluster, tmp_path, "4") as within:
        yield within


@pytest.fixture
def volume(api_cluster: Cluster) -> Iterator[None]:
    api_cluster.apply(VOLUME)
    yield
    api_cluster.kubectl("delete", "persistentvolume", "history")


def level(cluster: Cluster) -> str:
    return str(cluster.get("configmap", "settings", "-n", PRODUCT)["data"]["level"])


def of_level(number: int, **more: object) -> Parts:
    return Parts({"config.yaml": CONFIG.replace(".Values.level", f'"{number}"')}, **more)  # type: ignore[arg-type]


def revisions(cluster: Cluster) -> list[str]:
    found = cluster.get("secrets", "-n", PRODUCT, "-l", "owner=helm")["items"]
    rows = sorted((int(each["metadata"]["labels"]["version"]), each["metadata"]["labels"]) for each in found)
    return [f"{number} {labels['status']}" for number, labels in rows]


def has_namespace(cluster: Cluster) -> bool:
    return cluster.kubectl("get", "namespace", PRODUCT, check=False).returncode == 0


def steps(within: Context, spec: object) -> list[str]:
    return [line for step in plan_for(within, spec).methods for line in step.lines]  # type: ignore[arg-type]


def with_script(spec: ReleaseSpec) -> ReleaseSpec:
    """Return a release that is for hosts, too: with a script, which the manager of a cluster leaves out."""
    script = {"apply": "deploy/apply.sh", "undo": "deploy/apply.sh"}
    member = Member(b'#!/bin/sh\ntouch "$WAYBILL_ROOT/ran"\n', mode=0o755, kind="script")
    return replace(
        spec,
        members={**spec.members, "deploy/apply.sh": member},
        deploy=(Deployment("script", script), *spec.deploy),
    )


def test_a_release_comes_changes_is_rolled_back_and_goes(host: Context, api_cluster: Cluster) -> None:
    only = Options(only=frozenset({"helm"}))
    install(host, with_script(chart(1, of_level(1))), only)
    assert (level(api_cluster), drift(host)) == ("1", [])
    install(host, with_script(chart(2, of_level(2))), only)
    assert level(api_cluster) == "2"
    # Without the flag: by the steps that the releases were installed with.
    roll_back(host)
    assert level(api_cluster) == "1"
    assert not (root(host) / "ran").exists()
    assert revisions(api_cluster) == ["1 superseded", "2 superseded", "3 deployed"]
    remove(host)
    assert revisions(api_cluster) == []


def test_a_release_that_is_not_healthy_leaves_the_revision_from_before(
    host: Context, api_cluster: Cluster
) -> None:
    with pytest.raises(RolledBackError):
        install(host, chart(1, of_level(1, health=UNHEALTHY)))
    assert not has_namespace(api_cluster)
    install(host, chart(1, of_level(1)))
    with pytest.raises(RolledBackError):
        install(host, chart(2, of_level(2, health=UNHEALTHY)))
    assert level(api_cluster) == "1"
    assert revisions(api_cluster)[-1] == "3 deployed"
    assert drift(host) == []


def test_a_release_that_changes_nothing_makes_no_revision(host4: Context, api_cluster: Cluster) -> None:
    install(host4, chart(1))
    assert steps(host4, chart(2)) == []
    install(host4, chart(2))
    assert revisions(api_cluster) == ["1 deployed"]


def test_a_plan_shows_each_object_and_hides_secrets(host4: Context, api_cluster: Cluster) -> None:
    first = steps(host4, chart(1))
    assert first[0] == f"install {PRODUCT} in namespace {PRODUCT} with chart chat 1.0.0"
    assert {"create namespace lan-chat", "create ConfigMap/settings", "create Secret/login"} <= set(first)
    install(host4, chart(1))
    changed = CONFIG.replace(".Values.level", '"2"').replace(".Values.password", '"open-sesame"')
    lines = steps(host4, chart(2, Parts({"config.yaml": changed})))
    assert "    data.level: 1 → 2" in lines
    assert "    data.password: changes (hidden)" in lines
    assert "open-sesame" not in "".join(lines)
    assert lines[0].endswith("now revision 1")


def test_what_a_person_changed_is_found_and_put_back(host4: Context, api_cluster: Cluster) -> None:
    spec = chart(1)
    install(host4, spec)
    api_cluster.kubectl("patch", "configmap", "settings", "-n", PRODUCT, "-p", '{"data":{"level":"9"}}')
    api_cluster.kubectl("delete", "secret", "login", "-n", PRODUCT)
    found = drift(host4)
    assert "ConfigMap/settings was changed: data.level: 9 → 1" in found
    assert "Secret/login is missing" in found
    install(host4, spec)
    assert (level(api_cluster), drift(host4)) == ("1", [])


def test_values_of_the_site_reach_the_chart_and_secrets_no_file(host: Context, api_cluster: Cluster) -> None:
    secret = site_secret(host)
    parts = Parts(
        site="level: {{ level | tojson }}\npassword: {{ password | tojson }}\n",
        defaults='level: "0"\npassword: none\n',
    )
    install(host, chart(1, parts))
    assert level(api_cluster) == "7"
    login = api_cluster.get("secret", "login", "-n", PRODUCT)["data"]["password"]
    assert base64.b64decode(login) == b"open-sesame"
    # Neither a file nor a command line has it, and Helm's own values have the reference.
    assert secret_in(host) == [str(secret)]
    command = [needs("helm3"), "--kubeconfig", str(api_cluster.kubeconfig), "-n", PRODUCT]
    values = subprocess.run([*command, "get", "values", PRODUCT], check=True, capture_output=True, text=True)
    assert "secret://file/chat" in values.stdout
    # Rolled back or installed again, the secret is asked for again.
    assert drift(host) == []


def test_claims_stay_when_a_release_goes_unless_their_data_are_to_be_deleted(
    host4: Context, api_cluster: Cluster
) -> None:
    api_cluster.apply(VOLUME)
    try:
        install(host4, chart(1, Parts({"config.yaml": CONFIG, "claim.yaml": CLAIM})))
        remove(host4)
        assert api_cluster.get("persistentvolumeclaims", "-n", PRODUCT)["items"]
    finally:
        api_cluster.kubectl("delete", "persistentvolumeclaims", "--all", "-n", PRODUCT)
        api_cluster.kubectl("delete", "persistentvolume", "history")


def with_a_claim(number: int) -> ReleaseSpec:
    parts = of_level(number)
    return chart(number, replace(parts, templates={**parts.templates, "claim.yaml": CLAIM}))


@pytest.mark.usefixtures("volume")
def test_carried_programs_do_all_on_a_host_that_has_none(
    api_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with charted(api_cluster, tmp_path, "") as bare:
        problems = [f"{each.where} {each.what}" for each in plan_for(bare, chart(1, of_level(1))).problems]
        assert problems == ["helm is not installed", "kubectl is not installed"]
        first, second = (with_tools(with_a_claim(n), each) for n, each in enumerate(HELMS, 1))
        (line,) = (line for line in steps(bare, first) if line.startswith("programs: "))
        assert re.fullmatch(r"programs: helm 3\.\S+ from the release, kubectl 1\.\S+ from the release", line)
        install(bare, first)
        assert any(line.startswith("programs: helm 4.") for line in steps(bare, second))
        with pytest.raises(RolledBackError):
            install(bare, replace(second, health=UNHEALTHY))
        install(bare, second)
        assert (level(api_cluster), drift(bare)) == ("2", [])
        roll_back(bare)
        assert (level(api_cluster), drift(bare)) == ("1", [])
        program = Path(f"{root(bare)}{bare.layout.current}/deploy/tools/linux-amd64/helm")
        with program.open("r+b") as file:
            file.truncate(size := program.stat().st_size - 1)
        (found,) = drift(bare)
        assert found.endswith("linux-amd64/helm was changed since it was installed")
        with program.open("r+b") as file:
            file.seek(size)
            file.write(first.members["deploy/tools/linux-amd64/helm"].data[-1:])
        with pytest.raises(Killed):
            remove(context(Faulty(root(bare), "uninstall", "kill after")))
        # The program of the next command has opened nothing yet.
        monkeypatch.setattr(tools, "_open", {})
        recovered(again := context(OnDirectory(root(bare))))
        assert level(api_cluster) == "1"
        # Data are deleted, and looked for, once the removal is committed and the release is gone.
        removed = remove(again, Options(purge=True))
        assert removed.removal is not None
        assert not removed.removal.of("left")
        assert revisions(api_cluster) == []
        assert api_cluster.get("persistentvolumeclaims", "-n", PRODUCT)["items"] == []


def test_what_went_with_its_programs_is_gone_though_nobody_can_look_again(
    api_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with charted(api_cluster, tmp_path, "") as bare:
        install(bare, with_tools(chart(1), "4"))
        remove(bare)
        monkeypatch.setattr(tools, "_open", {})
        checked = check_removed(bare, load(bare.system, bare.layout))
        assert checked is not None
        assert checked.removal is not None
        assert not checked.removal.of("left")
        (row,) = (row for row in checked.removal.of("gone") if row.kind == "Helm release")
        assert "went with the release" in row.what
