"""Images in real engines: every version and store that the rig has."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from installer.core.errors import TamperedError
from installer.core.format.manifest import Image
from installer.deploy.operation import StepError, ThirdStateError
from installer.images import docker_engine
from installer.images.method import HANDLERS, METHOD, space_needed
from installer.images.prune import sweep
from tests.rig.imagerelease import ReleaseDirectory, packed, plain_layer
from tests.rig.imagesite import Site


@pytest.mark.parametrize("form", ["tar", "gzip", "zstd"])
def test_a_loaded_image_has_the_signed_id_and_its_public_name(site: Site, form: str) -> None:
    release = site.release()
    image = release.image(f"{site.name}/app:1", ["a", "b", "a"], form)
    site.apply(None, release.target())
    assert site.id(image.reference) == site.wanted(image)
    assert site.id(site.kept(image)) == site.wanted(image)
    assert not any(":staged" in line for line in site.everything())
    with_layers = site.engine.client.images.get(image.reference).attrs["RootFS"]["Layers"]
    assert with_layers == [layer.diff_id for layer in image.layers]


def test_the_loaded_image_reads_back_whole(site: Site) -> None:
    release = site.release()
    image = release.image(f"{site.name}/app:1", ["a", "b"])
    site.apply(None, release.target())
    engine = docker_engine.connect(site.system)
    there = engine.contents(image.reference)
    engine.close()
    wanted = {layer.digest if engine.info.store == "containerd" else layer.diff_id for layer in image.layers}
    assert wanted <= there


def test_the_engine_is_synced_after_the_load_and_before_the_image_is_kept(site: Site) -> None:
    release = site.release()
    release.image(f"{site.name}/app:1", ["a"])
    site.apply(None, release.target())
    relevant = [name for name in site.system.effects if name in ("docker.load", "sync_fs", "docker.tag")]
    assert relevant[:3] == ["docker.load", "sync_fs", "docker.tag"]


def test_a_second_time_nothing_is_sent_and_nothing_is_done(site: Site) -> None:
    release = site.release()
    release.image(f"{site.name}/app:1", ["a"])
    site.apply(None, release.target())
    assert METHOD.plan(site.context, None, release.target()) == []
    site.system.effects.clear()
    assert site.apply(None, release.target()) == []
    assert site.system.effects == []


def test_doing_it_twice_is_doing_it_once(site: Site) -> None:
    release = site.release()
    release.image(f"{site.name}/app:1", ["a"])
    done = site.apply(None, release.target())
    after = site.everything()
    for op, preimage in done:
        HANDLERS[op.kind].do(site.context, op.args, preimage)
    assert site.everything() == after


def test_only_the_layers_that_the_classic_store_lacks_are_sent(site: Site) -> None:
    first, second = site.release(), site.release()
    one = first.image(f"{site.name}/app:1", ["base", "a"], "tar")
    two = second.image(f"{site.name}/app:2", ["base", "a", "new"], "tar")
    site.apply(None, first.target())
    plan = METHOD.plan(site.context, first.target(), second.target(2))
    site.meter.total = site.meter.count = 0
    site.apply(first.target(), second.target(2))
    assert site.id(two.reference) == site.wanted(two)
    if site.wanted(two) == two.config:
        assert site.meter.total == site.meter.count == two.layers[2].expanded
        assert "2 of 3 layers are already in the engine" in plan[0]
    else:
        assert site.meter.total == sum(layer.size for layer in two.layers)
    assert site.id(one.reference) == site.wanted(one)


def test_layers_that_images_of_a_release_share_count_once(site: Site) -> None:
    release = site.release()
    app = release.image(f"{site.name}/app:1", ["base", "a"], "tar")
    job = release.image(f"{site.name}/job:1", ["base", "job"], "tar")
    plan = METHOD.plan(site.context, None, release.target())
    with closing(docker_engine.connect(site.system)) as engine:
        needed = sum(space_needed(site.context, engine, [app, job]))
    distinct = {layer.digest: layer for image in (app, job) for layer in image.layers}.values()
    unpacked = sum(layer.expanded for layer in distinct)
    if site.wanted(app) == app.config:
        archives = [sum(layer.expanded for layer in app.layers), job.layers[1].expanded]
        assert needed == unpacked + max(archives)
        assert plan[1] == f"load image {job.reference}, 10.2 kB; 1 of 2 layers are in the engine by then"
    else:
        assert needed == unpacked + sum(layer.size for layer in distinct)
    site.meter.total = 0
    site.apply(None, release.target())
    if site.wanted(app) == app.config:
        assert site.meter.total == sum(archives)


def test_what_was_left_out_in_vain_is_sent_after_all(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    release = site.release()
    image = release.image(f"{site.name}/app:1", ["never seen", "nor this"])
    believed = frozenset({image.layers[0].diff_id})
    monkeypatch.setattr("installer.images.operations.present_chains", lambda _engine: believed)
    site.apply(None, release.target())
    assert site.id(image.reference) == site.wanted(image)


def test_undo_leaves_the_engine_as_it_was(site: Site) -> None:
    first, second = site.release(), site.release()
    first.image(f"{site.name}/app:latest", ["base", "a"])
    second.image(f"{site.name}/app:latest", ["base", "b"])
    second.image(f"{site.name}/extra:1", ["base", "c"])
    site.apply(None, first.target())
    before = site.everything()
    done = site.apply(first.target(), second.target(2))
    assert site.everything() != before
    site.undo(done)
    assert site.everything() == before
    site.undo(done)
    assert site.everything() == before


def test_undo_of_the_first_install_leaves_no_image(site: Site) -> None:
    before = site.everything()
    release = site.release()
    release.image(f"{site.name}/app:1", ["a"])
    site.undo(site.apply(None, release.target()))
    assert site.everything() == before


def test_undo_keeps_an_image_that_was_there_before_under_another_name(site: Site) -> None:
    release = site.release()
    image = release.image(f"{site.name}/app:1", ["a"])
    done = site.apply(None, release.target())
    site.engine.docker("tag", image.reference, f"{site.name}/mine:1")
    site.undo(done)
    before = site.everything()
    assert any(f"{site.name}/mine:1" in line for line in before)
    site.undo(site.apply(None, release.target()))
    assert site.everything() == before


def test_a_tag_that_somebody_moved_meanwhile_is_left_alone(site: Site) -> None:
    release, other = site.release(), site.release()
    image = release.image(f"{site.name}/app:1", ["a"])
    foreign = other.image(f"{site.name}/foreign:1", ["b"])
    site.apply(None, other.target())
    done = site.apply(None, release.target())
    site.engine.docker("tag", foreign.reference, image.reference)
    op, preimage = done[-1]
    with pytest.raises(ThirdStateError, match="was moved by somebody else"):
        HANDLERS[op.kind].undo(site.context, op.args, preimage)
    assert site.id(image.reference) == site.wanted(foreign)


def test_an_image_that_a_container_uses_survives_undo(site: Site) -> None:
    release = site.release()
    image = release.image(f"{site.name}/app:1", ["a"])
    done = site.apply(None, release.target())
    name = f"{site.name}-user"
    site.engine.docker("create", "--name", name, image.reference)
    site.undo(done)
    assert site.engine.text("inspect", "--format", "{{.Image}}", name)
    site.engine.docker("rm", name)


def lying(release: ReleaseDirectory, reference: str) -> Image:
    image = release.image(reference, ["a", "b"])
    release.file(image.layers[1].digest).write_bytes(packed(plain_layer("evil"), "zstd"))
    return image


def test_a_lying_layer_is_refused_and_nothing_is_named(site: Site) -> None:
    before = site.everything()
    release = site.release()
    lying(release, f"{site.name}/app:1")
    with pytest.raises(TamperedError):
        site.apply(None, release.target())
    assert site.everything() == before


def test_a_config_that_does_not_name_the_signed_layers_is_refused_by_the_engine(site: Site) -> None:
    before = site.everything()
    release = site.release()
    image = release.image(f"{site.name}/app:1", ["a", "b"])
    other = release.image(f"{site.name}/app:2", ["a", "c"])
    release.images[:] = [replace(image, config=other.config)]
    with pytest.raises(StepError):
        site.apply(None, release.target())
    assert site.everything() == before


def test_a_release_that_is_retained_no_longer_takes_its_images_along(site: Site) -> None:
    before = site.everything()
    first, second = site.release(), site.release()
    shared = first.image(f"{site.name}/shared:1", ["base"])
    gone = first.image(f"{site.name}/app:1", ["base", "a"])
    second.images.append(shared)
    two = second.image(f"{site.name}/app:2", ["base", "b"])
    second.path.mkdir(parents=True, exist_ok=True)
    site.apply(None, first.target())
    site.apply(first.target(), second.target(2))
    sweep(site.context, [first.target().release.manifest], [second.target(2).release.manifest])
    assert not site.id(gone.reference)
    assert site.id(shared.reference)
    assert site.id(two.reference)
    site.apply(second.target(2), None)
    assert site.id(two.reference), "before COMMIT everything may be wanted back"
    sweep(site.context, [second.target(2).release.manifest], [])
    assert site.everything() == before


def test_what_is_given_up_or_undone_is_on_the_disk_before_that_is_noted(site: Site) -> None:
    release = site.release()
    release.image(f"{site.name}/app:1", ["a"])
    done = site.apply(None, release.target())
    site.undo(done)
    assert site.system.effects[-1] == "sync_fs"
    site.apply(None, release.target())
    site.system.effects.clear()
    sweep(site.context, [release.target().release.manifest], [])
    assert site.system.effects == ["docker.remove", "docker.remove", "sync_fs"]


def test_sweeping_leaves_other_products_alone_and_clears_a_staged_name(site: Site) -> None:
    mine, other = site.release(), site.release()
    image = mine.image(f"{site.name}/app:1", ["a"])
    site.apply(None, mine.target())
    foreign = f"waybill.local/{site.name}x/0123456789ab:kept"
    for name in (foreign, site.kept(image).replace(":kept", ":staged")):
        site.engine.docker("tag", image.reference, name)
    other.path.mkdir(parents=True)
    sweep(site.context, [], [mine.target().release.manifest])
    assert site.id(foreign)
    assert site.id(site.kept(image))
    assert not any(":staged" in line for line in site.everything())


def test_an_image_without_any_name_survives_undo(site: Site) -> None:
    release = site.release()
    image = release.image(f"{site.name}/app:1", ["a"])
    site.apply(None, release.target())
    site.engine.docker("tag", image.reference, f"{site.name}/moving:1")
    for name in (image.reference, site.kept(image)):
        site.engine.docker("rmi", name)
    other = site.release()
    foreign = other.image(f"{site.name}/moving:1", ["b"])
    site.apply(None, other.target())
    assert site.id(foreign.reference) == site.wanted(foreign)
    site.undo(site.apply(None, release.target()))
    assert site.id(site.wanted(image)) == site.wanted(image)


def test_the_plan_names_each_image_its_size_and_the_names_that_move(site: Site) -> None:
    first, second = site.release(), site.release()
    first.image(f"{site.name}/app:latest", [bytes(2_000_000)], "tar")
    one = first.images[0]
    lines = METHOD.plan(site.context, None, first.target())
    engine = f"engine: {site.engine.host}"
    assert lines == [f"load image {one.reference}, 2.0 MB", engine]
    site.apply(None, first.target())
    two = second.image(f"{site.name}/app:latest", ["b"])
    ids = [site.wanted(image)[7:19] for image in (one, two)]
    lines = METHOD.plan(site.context, first.target(), second.target(2))
    assert lines[-2:] == [f"move tag {one.reference} from {ids[0]} to {ids[1]}", engine]


def test_an_image_that_is_gone_and_a_name_that_was_moved_are_drift(site: Site) -> None:
    release = site.release()
    image = release.image(f"{site.name}/app:1", ["a"])
    other = release.image(f"{site.name}/other:1", ["b"])
    site.apply(None, release.target())
    assert METHOD.drift(site.context, release.target()) == []
    site.engine.docker("tag", other.reference, image.reference)
    [moved] = METHOD.drift(site.context, release.target())
    assert moved.where == image.reference
    assert moved.what == f"points to {site.wanted(other)[7:19]}, not to {site.wanted(image)[7:19]}"
    site.engine.docker("rmi", site.kept(image))
    [gone] = METHOD.drift(site.context, release.target())
    assert gone.what == "is missing from the engine"


def test_a_fit_host_has_no_problems(site: Site) -> None:
    release = site.release()
    release.image(f"{site.name}/app:1", ["a"])
    assert METHOD.check(site.context, None, release.target()) == []


def test_too_small_a_disk_is_found_before_anything_is_sent(site: Site) -> None:
    release = site.release()
    image = release.image(f"{site.name}/app:1", ["a"])
    big = replace(image.layers[0], expanded=10**15, size=10**15)
    release.images[:] = [replace(image, layers=(big,))]
    [problem] = METHOD.check(site.context, None, release.target())
    assert problem.where == str(site.engine.data_root)
    assert "free; loading the images needs" in problem.what


def test_a_bundle_without_this_platform_is_a_problem(site: Site) -> None:
    release = site.release()
    release.image(f"{site.name}/app:1", ["a"], platform="linux/riscv64")
    [problem] = METHOD.check(site.context, None, release.target())
    assert "not in the bundle for linux/" in problem.what


def test_images_of_a_work_directory_are_kept_by_the_engine_alone(site: Site) -> None:
    area = site.release()
    image = area.image(f"{site.name}/app:1", ["a", "b"])
    target = area.target(directory="/nowhere")
    site.apply(None, replace(target, release=replace(target.release, blobs=str(area.path))))
    later = replace(target, release=replace(target.release, blobs=""))
    assert METHOD.check(site.context, None, later) == []
    assert METHOD.operations(site.context, None, later) == []
    site.engine.docker("rmi", "--force", site.wanted(image))
    (problem,) = METHOD.check(site.context, None, later)
    assert problem.where == image.reference
    assert problem.what == "is missing from the engine, and the release does not contain its layers"
    assert problem.hint == "install the release from its bundle"
