"""Where images go: where the steps of a release take them from, else where the host has them."""

from __future__ import annotations

import pytest

from installer.deploy.site.image_places import NOWHERE, ImagePlaces, image_places, taken_images

ENGINE, REGISTRY = ImagePlaces(engine=True, registry=False), ImagePlaces(engine=False, registry=True)
BOTH = ImagePlaces(engine=True, registry=True)


@pytest.mark.parametrize(
    ("taken", "live", "registry", "places"),
    [
        # No step takes them: on a live host the registry of the site comes before the engine.
        (NOWHERE, True, False, ENGINE),
        (NOWHERE, True, True, REGISTRY),
        (NOWHERE, False, False, NOWHERE),
        (NOWHERE, False, True, NOWHERE),
        # Compose takes them from the engine, whatever else the site has.
        (ENGINE, True, True, ENGINE),
        (ENGINE, False, True, ENGINE),
        # A cluster takes them from the registry; without one, its nodes have them in their engines.
        (REGISTRY, True, True, REGISTRY),
        (REGISTRY, False, True, REGISTRY),
        (REGISTRY, True, False, ENGINE),
        (REGISTRY, False, False, ENGINE),
        (BOTH, True, True, BOTH),
        (BOTH, False, False, ENGINE),
    ],
)
def test_images_go_where_steps_take_them_from(
    taken: ImagePlaces, live: bool, registry: bool, places: ImagePlaces
) -> None:
    assert taken.on_host(live=live, registry=registry) == places


def test_the_methods_of_a_release_say_where_it_takes_them_from() -> None:
    assert taken_images(["files", "images", "systemd"]) == NOWHERE
    assert taken_images(["files", "images", "compose"]) == ENGINE
    assert taken_images(["of-a-newer-version"]) == NOWHERE


def test_a_release_without_images_has_none_anywhere() -> None:
    assert image_places(["files", "compose"], live=True, registry=True) == NOWHERE
    assert image_places(["files", "images"], live=True, registry=True) == REGISTRY
