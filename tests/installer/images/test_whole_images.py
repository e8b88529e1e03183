"""An image that travels whole: its index, platforms, attestation and signature are those of its maker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundler.commands.create import plan_bundle, write_bundle
from bundler.config.loader import load
from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.core.digest import oci_digest
from installer.core.format.manifest import WholeImage
from installer.core.format.manifest_rules import used_features
from installer.deploy.site.images import site_references
from installer.host.context import Context
from installer.planning.plan import Options, Plan
from installer.planning.planner import plan_apply
from installer.shared.progress import Progress
from installer.state.release import open_release
from installer.state.state import load as load_state
from tests.rig import bundlebuild as build
from tests.rig.faulty import Killed
from tests.rig.imagebuild import digest
from tests.rig.products import BUNDLE, make_product, put
from tests.rig.registry import Registry
from tests.rig.registrysite import RegistrySite, registry_site
from tests.rig.releases import SIGNED, recovered, remove
from tests.rig.staging import run as stage
from tests.rig.wholeimages import AMD, ARM, ATTESTATION, INDEX, Signer, push, repository

pytestmark = [pytest.mark.needs("registry"), pytest.mark.needs("cosign"), pytest.mark.needs("cosign3")]
TOP = digest(INDEX)
SIG = f"{TOP.replace(':', '-')}.sig"


@dataclass
class Vendor:
    """A vendor's signed image, and a bundle that has it whole.

    Attributes:
        signer: The vendor's cosign 2, which makes a tag.
        newer: The vendor's cosign 3, whose signature refers to the image.
        bundle: The bytes of the bundle.
        whole: The entry in its manifest.
    """

    signer: Signer
    newer: Signer
    bundle: bytes
    whole: WholeImage


@pytest.fixture(scope="module")
def vendor(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    home = tmp_path_factory.mktemp("vendor")
    place = f"{registry.name}/vendor/app"
    push(repository(registry, "vendor/app"))
    signer, newer = Signer(home), Signer(home / "newer", "cosign3")
    newer.home.mkdir()
    for each in (signer, newer):
        each.sign(f"{place}@{TOP}")
    product = make_product(home / "product")
    entry = f"images: [{{registry: 'http://{place}:1', as: 'team/app:1', whole: true}}]\n"
    put(product, "bundle.yaml", BUNDLE + entry)
    planned = plan_bundle(load(product, "1.4.0"))
    assert not [each for each in planned.warnings if each.code == "not-an-image"]
    created = write_bundle(planned, home / "bundle.tar", [], Progress())
    (whole,) = created.manifest.whole_images
    return Vendor(signer, newer, (home / "bundle.tar").read_bytes(), whole)


@pytest.fixture
def site(registry: Registry, tmp_path: Path) -> Iterator[RegistrySite]:
    with registry_site(registry, tmp_path / "host") as made:
        yield made


@contextmanager
def planned(within: Context, vendor: Vendor) -> Iterator[Plan]:
    with exclusive(within) as (state, _):
        staged = stage(within.system, build.BytesMedium(vendor.bundle))
        yield plan_apply(within, state, staged, Options(), evidence=SIGNED, keeps_key=True)


def install(within: Context, vendor: Vendor) -> None:
    with planned(within, vendor) as plan:
        execute_plan(within, plan)


def test_a_bundle_has_the_index_and_what_belongs_to_it_byte_for_byte(vendor: Vendor) -> None:
    bundle = build.read(vendor.bundle)
    assert used_features(bundle.manifest) == ("whole-images/1",)
    assert vendor.whole.digest == TOP
    assert [each.platform for each in bundle.manifest.images] == ["linux/amd64", "linux/arm64"]
    assert [each.manifest for each in bundle.manifest.images] == [digest(AMD.manifest), digest(ARM.manifest)]
    attestation, signature, newer = vendor.whole.attached
    assert (attestation.manifest, attestation.tag, attestation.subject) == (digest(ATTESTATION), "", "")
    assert (signature.tag, signature.subject) == (SIG, "")
    assert (newer.tag, newer.subject) == ("", TOP)


def test_a_site_has_the_digest_and_the_signature_of_the_maker_until_the_release_goes(
    vendor: Vendor, site: RegistrySite
) -> None:
    within = site.context()
    place = f"{site.registry.name}/{site.prefix}/team/app@{TOP}"
    with planned(within, vendor) as plan:
        lines = [line for step in plan.methods if step.name == "images" for line in step.lines]
        execute_plan(within, plan)
    assert any(line.strip().endswith("….sig comes with it") for line in lines)
    named = site.named("team/app")
    assert named.keys() == {"1", SIG, SIG.removesuffix(".sig")}
    assert (named["1"], named[SIG]) == (TOP, vendor.whole.attached[1].manifest)
    assert oci_digest(site.registry.blob(TOP).read_bytes()) == TOP
    assert vendor.signer.verifies(place)
    assert vendor.newer.verifies(place)
    current = load_state(within.system, within.layout).current
    assert current is not None
    references = site_references(within, open_release(within.system, within.layout, current))
    assert references["team/app:1"].endswith(f"team/app:1@{TOP}")
    site.gate.seen.clear()
    with planned(within, vendor) as plan:
        assert plan.nothing
    assert site.gate.sent() == 0
    remove(within)
    assert site.tags("team/app") == {}
    assert not vendor.signer.verifies(place)
    assert not vendor.newer.verifies(place)


def test_a_signature_that_the_site_has_under_that_tag_stays(vendor: Vendor, site: RegistrySite) -> None:
    theirs = repository(site.registry, f"{site.prefix}/team/app")
    push(theirs, "theirs")
    own = Signer(site.root.parent)
    own.sign(f"{site.registry.name}/{site.prefix}/team/app@{TOP}")
    before = site.tags("team/app")
    within = site.context()
    with planned(within, vendor) as plan:
        lines = [line for step in plan.methods for line in step.lines]
        execute_plan(within, plan)
    assert any("….sig stays as it is: the site has another one" in line for line in lines)
    assert site.tags("team/app")[SIG] == before[SIG]
    remove(within)
    assert site.tags("team/app") == before


@pytest.mark.parametrize("fault", ["kill before", "kill after"])
def test_a_push_that_was_killed_at_any_request_leaves_no_tag_or_all(
    vendor: Vendor, registry: Registry, tmp_path: Path, fault: str
) -> None:
    with registry_site(registry, tmp_path / "golden") as golden:
        within = golden.context()
        install(within, vendor)
        trace: list[str] = within.system.trace  # type: ignore[attr-defined]
        numbers = [at for at, name in enumerate(trace, 1) if name.startswith("registry.put")]
        names = set(golden.tags("team/app").values())
    assert len(numbers) > 5
    # The last ones are those of the tags: the signatures, the tag of this host, the name.
    for at in numbers[-4:]:
        with registry_site(registry, tmp_path / f"at-{at}") as site:
            with pytest.raises(Killed):
                install(site.context(at, fault), vendor)
            recovered(site.context())
            assert site.tags("team/app") == {}, at
            install(site.context(), vendor)
            assert set(site.tags("team/app").values()) == names, at
