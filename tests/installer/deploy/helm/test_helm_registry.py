"""The method `helm` on a site with a registry: nodes pull what `install` has pushed, by digest."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.errors import HostNotReadyError, RolledBackError
from installer.host.context import Context
from tests.rig.charted import WEB, Parts, chart, charted, drift
from tests.rig.imagerelease import ReleaseDirectory, described
from tests.rig.kube import Cluster
from tests.rig.needs import needs
from tests.rig.registry import Registry
from tests.rig.releases import PRODUCT, ReleaseSpec, install, planned, roll_back, root

IMAGE = "maker.example/team/web:1"
SERVE = 'image: maker.example/team/web:1\nargs: [/busybox, httpd, -f, -p, "8080"]\n'


@pytest.fixture
def site(cluster: Cluster, registry: Registry, tmp_path: Path) -> Iterator[Context]:
    """A host with Helm 4 whose site has a registry."""
    with charted(cluster, tmp_path / "host", "4") as within:
        settings = tmp_path / "host/etc/waybill/registry.yaml"
        settings.write_text(f"address: {registry.url}\nprefix: {tmp_path.name}\n")
        settings.chmod(0o644)
        yield within


def layer(page: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        program = Path(needs("busybox")).read_bytes()
        for name, data, mode in (("busybox", program, 0o755), ("index.html", page, 0o644)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def release(directory: Path, number: int, *, web: str = WEB) -> ReleaseSpec:
    """Return a release with a chart, and with the image that its pods run."""
    made = ReleaseDirectory(directory / f"release-{number}")
    made.image(IMAGE, [layer(f"page {number}".encode())], "gzip")
    images = described(made, f"{number}.0.0", number)
    spec = chart(number, Parts({"web.yaml": web}, values=SERVE))
    blobs = {path: each for path, each in images.members.items() if path.startswith("images/")}
    return replace(spec, members={**spec.members, **blobs}, extra=images.extra)


def running(cluster: Cluster) -> str:
    """Return the reference that the ready pod runs."""
    pods = cluster.get("pods", "-n", PRODUCT, "-l", "app=web")["items"]
    (ready,) = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    assert ready["status"]["containerStatuses"][0]["ready"]
    return str(ready["spec"]["containers"][0]["image"])


def test_pods_run_the_pushed_image_by_its_digest_through_upgrade_and_rollback(
    site: Context, cluster: Cluster, registry: Registry, tmp_path: Path
) -> None:
    one, two = (release(tmp_path, number) for number in (1, 2))
    wanted = [
        f"{registry.name}/{tmp_path.name}/team/web:1@{spec.extra['images'][0].manifest}"
        for spec in (one, two)
    ]
    install(site, one)
    assert running(cluster) == wanted[0]
    assert drift(site) == []
    with planned(site, two) as plan:
        lines = [line for step in plan.methods for line in step.lines]
    assert any(wanted[1] in line for line in lines)
    install(site, two)
    assert running(cluster) == wanted[1]
    roll_back(site)
    assert running(cluster) == wanted[0]
    assert drift(site) == []


def test_a_failed_upgrade_leaves_cluster_and_registry_with_the_release_from_before(
    site: Context, cluster: Cluster, registry: Registry, tmp_path: Path
) -> None:
    one = release(tmp_path, 1)
    install(site, one)
    before = registry.tags(f"{tmp_path.name}/team/web")
    crash = WEB.replace("{{ .Values.args | toJson }}", "[/busybox, sh, -c, 'exit 7']")
    two = release(tmp_path, 2, web=crash)
    (step,) = two.deploy
    with pytest.raises(RolledBackError):
        install(site, replace(two, deploy=(replace(step, options={**step.options, "timeout": 12}),)))
    assert running(cluster).endswith(one.extra["images"][0].manifest)
    assert registry.tags(f"{tmp_path.name}/team/web") == before


def test_wrong_settings_of_the_registry_are_named_before_anything_changes(
    site: Context, cluster: Cluster, tmp_path: Path
) -> None:
    (root(site) / "etc/waybill/registry.yaml").write_text("address: registry.lan\n")
    with pytest.raises(HostNotReadyError) as caught:
        install(site, release(tmp_path, 1))
    assert "registry.yaml" in "\n".join(f"{each.where} {each.what}" for each in caught.value.problems)
    assert cluster.kubectl("get", "namespace", PRODUCT, "--ignore-not-found").stdout == ""
