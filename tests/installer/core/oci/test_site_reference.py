"""References on the site: the registry and its prefix in place of the old registry, by digest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.core.oci.reference import familiar, reference_fault, split_reference
from installer.core.oci.site_reference import on_site, site_reference, site_repository

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
PLACE = "registry.lan:5000/airgap"


def known(*references: str) -> dict[str, str]:
    """Return what a release has on the site."""
    return {each: site_reference(each, DIGEST, PLACE) for each in references}


PART = st.from_regex(r"[a-z0-9]{1,8}(?:[._-][a-z0-9]{1,8})?", fullmatch=True)


@pytest.mark.parametrize(
    ("reference", "repository"),
    [
        ("redis:7", "airgap/redis"),
        ("docker.io/library/redis:7", "airgap/redis"),
        ("docker.io/team/app:1", "airgap/team/app"),
        ("images.example/team/gateway:1.4.0", "airgap/team/gateway"),
        ("localhost/app:1", "airgap/app"),
        ("registry.lan:5000/app:1", "airgap/app"),
        # Made under the very name that it has on the site.
        ("registry.lan:5000/airgap/app:1", "airgap/app"),
        ("registry.lan:5000/airgapped/app:1", "airgap/airgapped/app"),
        ("images.example/airgap/app:1", "airgap/airgap/app"),
    ],
)
def test_the_registry_of_the_site_takes_the_place_of_the_old_one(reference: str, repository: str) -> None:
    assert site_repository(reference, PLACE) == repository
    tag = split_reference(reference)[1]
    assert site_reference(reference, DIGEST, PLACE) == f"registry.lan:5000/{repository}:{tag}@{DIGEST}"


def test_a_site_without_a_prefix_has_the_path_alone() -> None:
    assert (
        site_reference("images.example/team/app:1", DIGEST, "registry.lan")
        == f"registry.lan/team/app:1@{DIGEST}"
    )


@pytest.mark.parametrize(
    "reference",
    ["app:1", "docker.io/library/app:1", f"app:1@{OTHER}", f"app@{OTHER}", f"docker.io/library/app@{DIGEST}"],
)
def test_every_form_of_a_reference_leads_to_what_the_registry_has(reference: str) -> None:
    assert on_site(reference, known("app:1")) == f"registry.lan:5000/airgap/app:1@{DIGEST}"


@pytest.mark.parametrize(
    "reference", ["app", "app:2", "other:1", "app/app:1", f"app@{OTHER}", "no reference", ""]
)
def test_an_image_that_the_release_does_not_have_keeps_its_reference(reference: str) -> None:
    assert on_site(reference, known("app:1", "app:3")) == reference


@given(st.lists(PART, min_size=1, max_size=3), PART, st.sampled_from(["", "images.example/", "r.lan:5000/"]))
def test_every_rewritten_reference_is_one_and_rewriting_it_again_changes_nothing(
    path: list[str], tag: str, host: str
) -> None:
    reference = f"{host}{'/'.join(path)}:{tag}"
    if reference_fault(reference):
        return
    found = on_site(reference, known(familiar(reference)))
    assert reference_fault(found) is None
    assert found.endswith(f":{tag}@{DIGEST}")
    again = found.partition("@")[0]
    assert on_site(again, known(familiar(again))) == found
