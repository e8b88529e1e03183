"""Images in Podman: the same promises as for Docker, where Podman does something else on its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.deploy.operation import StepError
from installer.images import docker_engine
from installer.images.docker_socket import InUseError
from installer.images.method import METHOD
from installer.images.prune import sweep
from installer.images.repair import repair_images
from tests.rig.hang import ends
from tests.rig.imagerelease import plain_layer
from tests.rig.imagesite import Site, site_of
from tests.rig.podman import PodmanEngine


@pytest.fixture
def site(podman_engine: PodmanEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Podman with a product; afterwards it is empty."""
    yield site_of(podman_engine, tmp_path, monkeypatch)
    podman_engine.podman("rm", "--all", "--force", "--time", "0")
    podman_engine.podman("rmi", "--all", "--force")


def test_an_image_is_loaded_planned_and_kept_by_id(site: Site) -> None:
    release = site.release()
    image = release.image(f"{site.name}/app:1", ["a", "b"])
    lines = METHOD.plan(site.context, None, release.target())
    assert lines[0].startswith(f"load image {image.reference}, ")
    assert lines[-1] == f"engine: {site.engine.host} (Podman 4.3.1)"
    assert METHOD.check(site.context, None, release.target()) == []
    site.apply(None, release.target())
    assert site.id(image.reference) == site.id(site.kept(image)) == image.config
    assert not any(":staged" in line for line in site.everything())
    assert METHOD.drift(site.context, release.target()) == []
    assert METHOD.plan(site.context, None, release.target()) == []
    site.engine.docker("tag", image.reference, f"{site.name}/mine:1")
    site.engine.docker("rmi", image.reference)
    [gone] = METHOD.drift(site.context, release.target())
    assert gone.what == f"points to no image, not to {image.config[7:19]}"


def test_the_plan_counts_all_that_is_sent_of_each_image(site: Site) -> None:
    release = site.release()
    for name in ("app", "job"):
        release.image(f"{site.name}/{name}:1", ["base", name], "tar")
    lines = METHOD.plan(site.context, None, release.target())
    assert [line.endswith(", 20.5 kB") for line in lines[:2]] == [True, True]
    site.apply(None, release.target())
    assert site.meter.total == sum(layer.expanded for image in release.images for layer in image.layers)


def test_an_upgrade_is_undone_and_pruned(site: Site) -> None:
    first, second = site.release(), site.release()
    first.image(f"{site.name}/app:latest", ["base", "a"])
    second.image(f"{site.name}/app:latest", ["base", "b"])
    site.apply(None, first.target())
    before = site.everything()
    done = site.apply(first.target(), second.target(2))
    assert site.everything() != before
    site.undo(done)
    assert site.everything() == before
    site.apply(first.target(), second.target(2))
    sweep(site.context, [first.target().release.manifest], [second.target(2).release.manifest])
    assert not site.id(first.images[0].config)
    assert site.id(second.images[0].reference) == second.images[0].config
    sweep(site.context, [second.target(2).release.manifest], [])
    assert site.everything() == set()


def test_a_podman_killed_while_it_loads_gives_a_clear_error_and_the_next_run_is_clean(site: Site) -> None:
    release = site.release()
    image = release.image(f"{site.name}/app:1", [plain_layer("big", 20_000_000)], "tar")
    killed = threading.Event()

    def kill_in_the_middle(count: int) -> None:
        site.meter.count += count
        if site.meter.count > 5_000_000 and not killed.is_set():
            killed.set()
            site.engine.kill()

    site.meter.advance = kill_in_the_middle  # type: ignore[method-assign]
    with ends(), pytest.raises(StepError, match=r"closed the connection|not running|did not answer"):
        site.apply(None, release.target())
    site.engine.start()
    site.apply(None, release.target())
    assert site.id(image.reference) == image.config
    assert not any(":staged" in line for line in site.everything())


def test_damaged_layers_are_loaded_again_unless_a_container_would_go_with_them(site: Site) -> None:
    release = site.release()
    image = release.image(f"{site.name}/app:1", ["a", "b"])
    site.apply(None, release.target())
    site.engine.text("create", "--name", f"{site.name}-user", "--network", "none", image.reference)
    for file in (site.engine.data_root / "overlay").glob("*/diff/a"):
        file.write_bytes(b"")
    # Podman removes the containers of an image that it has to remove.
    with pytest.raises((InUseError, StepError), match=f"containers use this image.*{site.name}-user"):
        repair_images(site.context, release.target().release.manifest, str(release.path))
    assert site.engine.text("ps", "-aq")
    site.engine.docker("rm", f"{site.name}-user")
    assert repair_images(site.context, release.target().release.manifest, str(release.path)) == [
        image.reference
    ]
    assert site.id(image.reference) == image.config
    engine = docker_engine.connect(site.system)
    assert {layer.diff_id for layer in image.layers} <= engine.contents(image.reference)
    engine.close()


def test_a_podman_whose_service_does_not_run_is_a_problem_with_its_command(site: Site) -> None:
    release = site.release()
    release.image(f"{site.name}/app:1", ["a"])
    socket = Path(site.engine.host.removeprefix("unix://"))
    aside = socket.with_suffix(".aside")
    socket.rename(aside)
    try:
        [problem] = METHOD.check(site.context, None, release.target())
    finally:
        aside.rename(socket)
    assert problem.what == "Podman's socket is not there: its service does not run"
    assert "`systemctl enable --now podman.socket`" in problem.hint
