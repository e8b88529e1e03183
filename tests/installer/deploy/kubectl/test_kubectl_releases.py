"""The method `kubectl` in a cluster: its objects come, change, come back and go."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.commands.common.recovery import exclusive
from installer.core.errors import RolledBackError
from installer.core.format.manifest import HealthCheck
from installer.host.context import Context
from installer.planning.plan import Options
from installer.planning.planner import plan_remove
from tests.rig.charted import charted, drift, remove_namespace, secret_in, site_secret
from tests.rig.kube import Cluster
from tests.rig.manifested import CLAIM, LOGIN, SETTINGS, FaultyKubectl, Parts, levels, manifests
from tests.rig.releases import PRODUCT, ReleaseSpec, context, install, plan_for, remove, roll_back, root

UNHEALTHY = (HealthCheck("command", "", command=("/bin/false",), within=0),)
EXTRA = SETTINGS.format(level="extra").replace("settings", "extra")
OTHERS = "lan-chat-others"
ROLE = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: rig-chat}
rules: []
---
apiVersion: v1
kind: Namespace
metadata: {name: lan-chat-others}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: apart, namespace: lan-chat-others}
data: {level: apart}
"""


@pytest.fixture
def host(api_cluster: Cluster, tmp_path: Path) -> Iterator[Context]:
    with charted(api_cluster, tmp_path, "4") as within:
        yield within


def steps(within: Context, spec: ReleaseSpec) -> list[str]:
    return [line for step in plan_for(within, spec).methods for line in step.lines]


def test_objects_come_change_are_pruned_roll_back_and_go(host: Context, api_cluster: Cluster) -> None:
    first = manifests(1, Parts({"login.yaml": LOGIN, "extra.yaml": EXTRA}))
    lines = steps(host, first)
    assert lines[0] == f"apply 3 objects in namespace {PRODUCT}"
    assert {f"create namespace {PRODUCT}", "create ConfigMap/settings", "create Secret/login"} <= set(lines)
    assert any(line.startswith("programs: kubectl 1.") for line in lines)
    install(host, first)
    before = {"settings": "1", "extra": "extra"}
    assert (levels(api_cluster), drift(host)) == (before, [])
    assert steps(host, first) == []

    files = {"login.yaml": LOGIN.replace("none", "open-sesame")}
    lines = steps(host, manifests(2, Parts(files)))
    assert {"    data.level: 1 → 2", "    data.password: changes (hidden)"} <= set(lines)
    assert "delete ConfigMap/extra" in lines
    assert "open-sesame" not in "".join(lines)

    new = {**files, "new.yaml": EXTRA.replace("extra", "new")}
    with pytest.raises(RolledBackError):
        install(host, manifests(2, Parts(new, health=UNHEALTHY)))
    assert (levels(api_cluster), drift(host)) == (before, [])

    install(host, manifests(2, Parts(files)))
    assert (levels(api_cluster), drift(host)) == ({"settings": "2"}, [])
    roll_back(host)
    assert levels(api_cluster) == before
    done = remove(host)
    assert done.removal is not None
    assert not done.removal.of("left")
    assert levels(api_cluster) == {}


def test_what_a_person_changed_is_found_and_put_back(host: Context, api_cluster: Cluster) -> None:
    spec = manifests(1, Parts({"login.yaml": LOGIN}))
    install(host, spec)
    api_cluster.kubectl("patch", "configmap", "settings", "-n", PRODUCT, "-p", '{"data":{"level":"9"}}')
    api_cluster.kubectl("delete", "secret", "login", "-n", PRODUCT)
    found = drift(host)
    assert "ConfigMap/settings was changed: data.level: 9 → 1" in found
    assert "Secret/login is missing" in found
    install(host, spec)
    assert (levels(api_cluster), drift(host)) == ({"settings": "1"}, [])


def test_a_first_release_that_fails_leaves_nothing(host: Context, api_cluster: Cluster) -> None:
    try:
        with pytest.raises(RolledBackError):
            install(host, manifests(1, Parts({"role.yaml": ROLE}, health=UNHEALTHY)))
        for words in (("namespace", PRODUCT), ("namespace", OTHERS), ("clusterrole", "rig-chat")):
            assert api_cluster.kubectl("get", *words, check=False).returncode == 1
        install(host, manifests(1, Parts({"role.yaml": ROLE})))
        assert drift(host) == []
        assert api_cluster.get("configmap", "apart", "-n", OTHERS)["data"] == {"level": "apart"}
        # What anybody may have put into a namespace stays with it.
        with exclusive(host) as (state, _):
            lines = [line for step in plan_remove(host, state).methods for line in step.lines]
        assert {"delete ClusterRole/rig-chat", f"Namespace/{OTHERS} stays"} <= set(lines)
        remove(host)
        assert api_cluster.kubectl("get", "clusterrole", "rig-chat", check=False).returncode == 1
        assert api_cluster.kubectl("get", "namespace", OTHERS, check=False).returncode == 0
    finally:
        remove_namespace(api_cluster, OTHERS)


def test_values_of_the_site_reach_the_objects_and_secrets_no_file(
    host: Context, api_cluster: Cluster
) -> None:
    secret = site_secret(host)
    template = LOGIN.replace("none", "{{ password | tojson }}") + "---\n" + EXTRA
    parts = Parts(
        template=template.replace('"extra"', "{{ level | tojson }}"),
        defaults='level: "0"\npassword: none\n',
    )
    install(host, manifests(1, parts))
    assert levels(api_cluster) == {"settings": "1", "extra": "7"}
    login = api_cluster.get("secret", "login", "-n", PRODUCT)["data"]["password"]
    assert base64.b64decode(login) == b"open-sesame"
    assert secret_in(host) == [str(secret)]
    # The same release with another value, whose file is in the place of the old one when it is undone.
    site = root(host) / "etc/waybill/lan-chat/values.yaml"
    site.write_text(site.read_text().replace("7", "8"))
    with pytest.raises(RolledBackError):
        install(context(FaultyKubectl(root(host), "apply", "fail")), manifests(1, parts))
    assert levels(api_cluster) == {"settings": "1", "extra": "7"}
    install(host, manifests(1, parts))
    assert levels(api_cluster) == {"settings": "1", "extra": "8"}
    # Without the secret, which is not asked for again to look whether somebody changed something.
    secret.unlink()
    assert drift(host) == []


def test_claims_stay_when_a_release_goes_unless_their_data_are_to_be_deleted(
    host: Context, api_cluster: Cluster
) -> None:
    spec = manifests(1, Parts({"claim.yaml": CLAIM}))
    install(host, spec)
    remove(host)
    assert api_cluster.get("persistentvolumeclaims", "-n", PRODUCT)["items"]
    install(host, spec)
    done = remove(host, Options(purge=True))
    assert done.removal is not None
    assert not done.removal.of("left")
    assert api_cluster.get("persistentvolumeclaims", "-n", PRODUCT)["items"] == []
