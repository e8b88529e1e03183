"""Images in the registry of a site: pushed by a host, kept while a release needs them, removed afterwards."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands.common.recovery import exclusive
from installer.commands.common.session import Session
from installer.commands.remove import remove as remove_product
from installer.commands.status import product_status
from installer.core.digest import oci_digest
from installer.core.errors import RolledBackError
from installer.core.format.manifest import HealthCheck
from installer.deploy.site.images import site_references, site_rule
from installer.planning.plan import Options
from installer.planning.planner import plan_apply
from installer.staging.preview import previewed
from installer.state.release import open_release
from installer.state.state import load
from tests.rig.bundlebuild import BytesMedium
from tests.rig.imagerelease import ReleaseDirectory, described, plain_layer
from tests.rig.needs import needs
from tests.rig.registry import Registry
from tests.rig.registrygate import answers
from tests.rig.registrysite import RegistrySite, image, registry_site
from tests.rig.releases import PRODUCT, ReleaseSpec, install, plan_for, remove, roll_back
from tests.rig.staging import opened
from tests.rig.staging import plan as staged_plan

pytestmark = pytest.mark.needs("registry")
BASE, ONE, TWO = (plain_layer(name, 40_000) for name in ("base", "one", "two"))
SICK = (HealthCheck("command", "", command=("/bin/false",), within=0),)


def lines_of(site: RegistrySite, spec: ReleaseSpec) -> list[str]:
    """Return what a plan says of images."""
    return [
        line
        for step in plan_for(site.context(), spec).methods
        if step.name == "images"
        for line in step.lines
    ]


def test_an_image_is_pushed_under_its_name_with_the_digest_that_was_signed(
    registry_host: RegistrySite,
) -> None:
    spec = registry_host.release("1.0.0", {"images.example/team/app:1": [BASE, ONE]})
    lines = lines_of(registry_host, spec)
    where = f"{registry_host.gate.name}/{registry_host.prefix}"
    assert lines[0].startswith(f"push image images.example/team/app:1 to {where}/team/app:1, ")
    assert f"registry: http://{where}" in lines
    install(registry_host.context(), spec)
    assert registry_host.named("team/app") == {"1": image(spec).manifest}
    assert list(registry_host.kept("team/app").values()) == [image(spec).manifest]
    for digest in (image(spec).config, *(layer.digest for layer in image(spec).layers)):
        assert oci_digest(registry_host.registry.blob(digest).read_bytes()) == digest


def test_a_bundle_that_is_only_looked_at_has_the_same_plan(registry_host: RegistrySite) -> None:
    within = registry_host.context()
    (registry_host.root / "tmp").mkdir()
    with (
        exclusive(within) as (state, _),
        previewed(
            opened(BytesMedium(staged_plan().tar())), within.system, within.layout, within.progress
        ) as (_, staged),
    ):
        made = plan_apply(within, state, staged, Options())
    assert made.problems == ()
    (lines,) = [step.lines for step in made.methods if step.name == "images"]
    where = f"{registry_host.gate.name}/{registry_host.prefix}"
    assert lines[0].startswith(f"push image shop/app:1 to {where}/shop/app:1, ")
    assert registry_host.registry.tags(f"{registry_host.prefix}/shop/app") == {}


def test_an_install_of_what_is_there_sends_nothing(registry_host: RegistrySite) -> None:
    spec = registry_host.release("1.0.0", {"app:1": [BASE]})
    install(registry_host.context(), spec)
    registry_host.gate.seen.clear()
    assert lines_of(registry_host, spec) == []
    assert registry_host.gate.sent() == 0


def test_a_release_with_one_small_changed_layer_sends_that_layer_and_documents_only(
    registry_host: RegistrySite,
) -> None:
    large = plain_layer("large", 3_000_000)
    old = registry_host.release("1.0.0", {"app:1": [large, ONE]})
    new = registry_host.release("2.0.0", {"app:2": [large, TWO]})
    install(registry_host.context(), old)
    registry_host.gate.seen.clear()
    install(registry_host.context(), new)
    changed = image(new).layers[1]
    assert registry_host.gate.sent("PATCH") == changed.size + len(
        new.members[f"images/blobs/sha256/{image(new).config[7:]}"].data
    )
    manifest = len(new.members[f"images/blobs/sha256/{image(new).manifest[7:]}"].data)
    # By its digest, under the tag of this host, under its name; the manifest of 1.0.0 goes nowhere.
    assert registry_host.gate.sent("PUT") == 3 * manifest
    assert registry_host.gate.count("PATCH") == 2


def test_a_layer_that_another_repository_has_is_mounted_and_not_sent(registry_host: RegistrySite) -> None:
    spec = registry_host.release("1.0.0", {"app:1": [BASE], "web:1": [BASE, ONE]})
    install(registry_host.context(), spec)
    base, one = image(spec, 1).layers
    sizes = [size for method, _, size in registry_host.gate.seen if method == "PATCH"]
    assert sizes.count(base.size) == 1
    assert sizes.count(one.size) == 1
    assert any("mount=" in path and base.digest in path for _, path, _ in registry_host.gate.seen)
    assert registry_host.named("web") == {"1": image(spec, 1).manifest}


def test_an_image_for_two_platforms_is_one_index_of_the_very_manifests(
    registry_host: RegistrySite, tmp_path: Path
) -> None:
    made = ReleaseDirectory(tmp_path / "two")
    both = [made.image("app:1", [BASE], platform=f"linux/{each}") for each in ("amd64", "arm64")]
    spec = described(made, "1.0.0", 1, platforms=("linux/amd64", "linux/arm64"))
    install(registry_host.context(), spec)
    digest = registry_host.named("app")["1"]
    index = registry_host.registry.blob(digest).read_text()
    assert [each.manifest in index for each in both] == [True, True]
    assert all(registry_host.registry.blob(each.manifest).is_file() for each in both)
    current = load(registry_host.context().system, registry_host.context().layout).current
    assert current is not None
    within = registry_host.context()
    rule = site_rule(site_references(within, open_release(within.system, within.layout, current)))
    place = f"{registry_host.gate.name}/{registry_host.prefix}"
    assert rule("docker.io/library/app:1") == f"{place}/app:1@{digest}"
    assert rule("other:1") == "other:1"


@pytest.mark.needs("crane")
def test_another_client_finds_a_pushed_image_whole(registry_host: RegistrySite, tmp_path: Path) -> None:
    made = ReleaseDirectory(tmp_path / "two")
    for each in ("amd64", "arm64"):
        # crane reads layers as gzip, as most clients do.
        made.image("app:1", [BASE, ONE], "gzip", platform=f"linux/{each}")
    install(registry_host.context(), described(made, "1.0.0", 1, platforms=("linux/amd64", "linux/arm64")))
    name = f"{registry_host.registry.name}/{registry_host.prefix}/app:1"
    crane = [needs("crane"), "--insecure"]
    assert (
        "PASS"
        in subprocess.run(
            [*crane, "validate", "--remote", name], check=True, capture_output=True, text=True, timeout=120
        ).stdout
    )
    digest = subprocess.run([*crane, "digest", name], check=True, capture_output=True, text=True, timeout=120)
    assert digest.stdout.strip() == registry_host.named("app")["1"]


def test_a_release_that_is_not_healthy_takes_its_tags_back_and_no_others(registry_host: RegistrySite) -> None:
    old = registry_host.release("1.0.0", {"app:latest": [BASE], "web:1": [BASE]})
    install(registry_host.context(), old)
    before = registry_host.tags("app"), registry_host.tags("web")
    new = registry_host.release("2.0.0", {"app:latest": [BASE, ONE], "web:2": [TWO]})
    with pytest.raises(RolledBackError):
        install(registry_host.context(), replace(new, health=SICK))
    assert (registry_host.tags("app"), registry_host.tags("web")) == before


def test_a_name_that_somebody_else_moved_meanwhile_is_left_alone(registry_host: RegistrySite) -> None:
    install(registry_host.context(), registry_host.release("1.0.0", {"app:latest": [BASE]}))
    other = registry_host.release("9.0.0", {"app:other": [TWO]})
    install(registry_host.context(), other)
    new = registry_host.release("10.0.0", {"app:latest": [BASE, ONE]})
    within = registry_host.context()
    moved = image(other).manifest

    def move(request: object) -> bool:
        # When the undo asks for the name: the push of the name was the last thing before the health check.
        path = str(getattr(request, "path", ""))
        if getattr(request, "command", "") == "PUT" and path.endswith("/manifests/latest"):
            move.armed = True  # type: ignore[attr-defined]
        elif getattr(move, "armed", False) and path.endswith("/manifests/latest"):
            move.asked = getattr(move, "asked", 0) + 1  # type: ignore[attr-defined]
            if move.asked == 2:  # type: ignore[attr-defined]
                link = f"{registry_host.prefix}/app/_manifests/tags/latest/current/link"
                base = registry_host.registry.home / "storage/docker/registry/v2/repositories"
                (base / link).write_text(moved)
        return False

    registry_host.gate.spoil = move
    with pytest.raises(RolledBackError):
        install(within, replace(new, health=SICK))
    assert registry_host.named("app")["latest"] == moved
    notes = within.progress.lines  # type: ignore[attr-defined]
    assert any("somebody else moved the name" in line for line in notes)


def test_retained_releases_keep_their_images_and_others_lose_them(registry_host: RegistrySite) -> None:
    specs = [registry_host.release(f"{n}.0.0", {f"app:{n}": [BASE, plain_layer(str(n))]}) for n in (1, 2, 3)]
    for spec in specs:
        install(registry_host.context(), spec, Options(keep=2))
    assert registry_host.named("app") == {str(n): image(specs[n - 1]).manifest for n in (2, 3)}
    assert set(registry_host.kept("app").values()) == {image(spec).manifest for spec in specs[1:]}
    registry_host.gate.seen.clear()
    roll_back(registry_host.context())
    assert registry_host.gate.count("PATCH") == 0
    remove(registry_host.context())
    assert registry_host.tags("app") == {}


def test_an_image_with_two_names_loses_both_with_the_release(registry_host: RegistrySite) -> None:
    made = ReleaseDirectory(registry_host.root.parent / "names")
    first = made.image("app:1", [BASE], label="same")
    second = made.image("app:latest", [BASE], label="same")
    assert first.manifest == second.manifest
    install(registry_host.context(), described(made, "1.0.0", 1))
    assert set(registry_host.named("app")) == {"1", "latest"}
    remove(registry_host.context())
    assert registry_host.tags("app") == {}


def test_what_another_host_keeps_survives_the_removal(
    registry_host: RegistrySite, registry: Registry, tmp_path: Path
) -> None:
    spec = registry_host.release("1.0.0", {"app:1": [BASE]})
    install(registry_host.context(), spec)
    with registry_site(registry, tmp_path / "other") as other:
        other.prefix = registry_host.prefix
        other.configure()
        install(other.context(), spec)
        assert len(other.kept("app")) == 2
        remove(other.context())
    assert registry_host.named("app") == {"1": image(spec).manifest}
    assert len(registry_host.kept("app")) == 1


def test_an_image_that_a_registry_kept_goes_with_a_second_removal_which_is_a_change(
    registry_host: RegistrySite,
) -> None:
    install(registry_host.context(), registry_host.release("1.0.0", {"app:1": [BASE]}))
    passes = registry_host.gate.spoil
    registry_host.gate.spoil = lambda request: request.command == "DELETE" and answers(request, 405)
    assert remove(registry_host.context()).changed
    assert len(registry_host.kept("app")) == 1
    registry_host.gate.spoil = passes
    session = Session(registry_host.context().system)
    assert [remove_product(session, PRODUCT, yes=True).changed for _ in range(2)] == [True, False]
    assert registry_host.kept("app") == {}


def test_a_name_that_was_there_before_the_product_stays_after_it(registry_host: RegistrySite) -> None:
    spec = registry_host.release("1.0.0", {"app:1": [BASE]})
    install(registry_host.context(), spec)
    # As a pipeline of the site would have pushed it: without a tag of a host.
    (tag,) = registry_host.kept("app")
    base = registry_host.registry.home / "storage/docker/registry/v2/repositories"
    shutil.rmtree(base / registry_host.prefix / "app/_manifests/tags" / tag)
    shutil.rmtree(registry_host.root / "var/lib/waybill")
    install(registry_host.context(), spec)
    assert [each.endswith(".found") for each in registry_host.kept("app")] == [True]
    remove(registry_host.context())
    assert registry_host.tags("app") == {"1": image(spec).manifest}


def test_status_names_an_image_that_the_registry_lost(registry_host: RegistrySite) -> None:
    spec = registry_host.release("1.0.0", {"app:1": [BASE]})
    install(registry_host.context(), spec)
    assert not product_status(registry_host.context()).drift
    base = registry_host.registry.home / "storage/docker/registry/v2/repositories"
    shutil.rmtree(base / registry_host.prefix / "app")
    (problem,) = product_status(registry_host.context()).drift
    assert problem.what == "is missing from the registry"
    assert problem.where.endswith(f"/app:1@{image(spec).manifest}")
    install(registry_host.context(), spec)
    assert registry_host.named("app") == {"1": image(spec).manifest}
