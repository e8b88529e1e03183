"""Engines that are killed, down, mute, elsewhere, or lost their power in the middle of a load."""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.core.errors import WaybillError
from installer.deploy.operation import StepError
from installer.host.system import System
from installer.images import docker_engine, docker_socket
from installer.images.method import METHOD
from installer.images.prune import sweep
from installer.images.repair import repair_images
from installer.shared.child import engine_address as engines
from tests.rig.engine import Engine
from tests.rig.hang import ends
from tests.rig.httpservers import Page, breaking, serving
from tests.rig.imagerelease import plain_layer
from tests.rig.imagesite import Site, site_of


@pytest.fixture
def own(docker20: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An engine of one test only, to be killed."""
    del docker20  # only there to skip where there is none
    engine = Engine.launch("20")
    try:
        yield site_of(engine, tmp_path, monkeypatch)
    finally:
        engine.stop()


def test_an_engine_killed_while_it_loads_gives_a_clear_error_and_the_next_run_is_clean(own: Site) -> None:
    release = own.release()
    image = release.image(f"{own.name}/app:1", [plain_layer("big", 40_000_000)], "tar")
    killed = threading.Event()

    def kill_in_the_middle(count: int) -> None:
        own.meter.count += count
        if own.meter.count > 5_000_000 and not killed.is_set():
            killed.set()
            own.engine.kill()

    own.meter.advance = kill_in_the_middle  # type: ignore[method-assign]
    with (
        ends(),
        pytest.raises(StepError, match=r"closed the connection|not running|did not answer") as refusal,
    ):
        own.apply(None, release.target())
    assert "start it" in refusal.value.hint
    own.engine.start()
    own.apply(None, release.target())
    assert own.id(image.reference) == own.wanted(image)
    assert not any(":staged" in line for line in own.everything())


@pytest.mark.parametrize("image_survives", [True, False])
def test_layers_that_a_power_cut_left_empty_are_noticed_and_loaded_again(
    own: Site, image_survives: bool
) -> None:
    release = own.release()
    image = release.image(f"{own.name}/app:1", ["a", "b"])
    done = own.apply(None, release.target())
    own.engine.stop_daemon()
    data = own.engine.data_root
    for file in (data / "overlay2").glob("*/diff/*"):
        file.write_bytes(b"")
    (data / "image/overlay2/repositories.json").unlink()
    if not image_survives:
        (data / f"image/overlay2/imagedb/content/sha256/{image.config[7:]}").unlink()
    own.engine.start()
    assert not own.id(image.reference)
    own.undo([done[0]])
    own.apply(None, release.target())
    assert own.id(image.reference) == own.wanted(image)
    engine = docker_engine.connect(own.system)
    assert {layer.diff_id for layer in image.layers} <= engine.contents(image.reference)
    engine.close()
    assert bool(own.meter.notes) != image_survives


@pytest.mark.parametrize("named", [True, False], ids=["named", "without its names"])
def test_an_image_that_the_engine_lists_and_cannot_inspect_is_undone_or_loaded_again(
    own: Site, named: bool
) -> None:
    """A power cut in a load may leave an image whose layer no longer says which layers lie below it."""
    before = own.everything()
    release = own.release()
    image = release.image(f"{own.name}/app:1", ["a", "b"])
    done = own.apply(None, release.target())
    loaded = own.everything()

    def damage() -> None:
        own.engine.stop_daemon()
        data = own.engine.data_root
        for file in (data / "overlay2").glob("*/lower"):
            file.write_bytes(b"")
        if not named:
            (data / "image/overlay2/repositories.json").unlink()
        own.engine.start()
        with pytest.raises(RuntimeError, match="invalid argument"):
            own.engine.text("image", "inspect", image.config)

    damage()
    own.undo(done)
    assert own.everything() == before
    own.apply(None, release.target())
    damage()
    assert METHOD.drift(own.context, release.target())
    own.apply(None, release.target())
    assert own.everything() == loaded
    assert own.id(image.reference) == own.wanted(image)
    damage()
    target = release.target().release
    assert repair_images(own.context, target.manifest, target.directory) == [image.reference]
    assert own.everything() == loaded


def test_an_image_that_a_power_cut_left_without_names_is_given_up_all_the_same(own: Site) -> None:
    before = own.everything()
    gone, stays = own.release(), own.release()
    gone.image(f"{own.name}/app:1", ["a", "b"])
    kept = stays.image(f"{own.name}/app:2", ["a", "c"])
    own.apply(None, gone.target())
    own.engine.stop_daemon()
    (own.engine.data_root / "image/overlay2/repositories.json").unlink()
    own.engine.start()
    assert any("<none>:<none>" in line for line in own.everything())
    own.apply(None, stays.target())
    sweep(own.context, [gone.target().release.manifest], [stays.target().release.manifest])
    assert own.id(kept.reference) == own.wanted(kept)
    assert not any("<none>:<none>" in line for line in own.everything())
    sweep(own.context, [stays.target().release.manifest], [])
    assert own.everything() == before


def test_somebody_elses_image_that_cannot_be_inspected_is_in_nobodys_way(own: Site) -> None:
    theirs, mine = own.release(), own.release()
    broken = theirs.image(f"{own.name}/theirs:1", ["base", "a"])
    image = mine.image(f"{own.name}/app:1", ["other", "b"])
    own.apply(None, theirs.target())
    own.engine.stop_daemon()
    for file in (own.engine.data_root / "overlay2").glob("*/lower"):
        file.write_bytes(b"")
    own.engine.start()
    with pytest.raises(RuntimeError, match="invalid argument"):
        own.engine.text("image", "inspect", broken.config)
    assert METHOD.check(own.context, None, mine.target()) == []
    own.apply(None, mine.target())
    assert own.id(image.reference) == own.wanted(image)


def test_an_engine_that_is_down_is_a_problem_with_a_hint_and_the_plan_still_speaks(own: Site) -> None:
    release = own.release()
    release.image(f"{own.name}/app:1", ["a"])
    own.engine.stop_daemon()
    [problem] = METHOD.check(own.context, None, release.target())
    assert "engine" in problem.what
    assert "systemctl start docker" in problem.hint
    [line] = METHOD.plan(own.context, None, release.target())
    assert line.startswith(f"load image {own.name}/app:1 (")


def test_a_host_without_any_engine_is_told_which_ones_would_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DEFAULT_ENGINE", "PODMAN_ENGINE"):
        monkeypatch.setattr(engines, name, f"unix://{tmp_path}/{name}")
    monkeypatch.setattr(docker_socket, "DEFAULT_ENGINE", engines.DEFAULT_ENGINE)
    monkeypatch.setattr(engines, "PROGRAMS", (str(tmp_path),))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    with pytest.raises(WaybillError, match="this host has no container engine") as refusal:
        docker_engine.connect(System("/"))
    assert "`systemctl enable --now docker`" in refusal.value.hint
    assert "`systemctl enable --now podman.socket`" in refusal.value.hint


def test_an_engine_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    with pytest.raises(WaybillError, match="not an engine of this host"):
        docker_engine.connect(System("/"))


def test_an_engine_that_never_answers_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "mute.sock"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen(8)
        with ends(), pytest.raises(WaybillError, match="does not answer"):
            docker_engine.connect(System("/"), f"unix://{path}", answer=1)


def test_an_engine_that_breaks_off_is_told_in_words_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    with breaking(path), pytest.raises(WaybillError) as caught:
        docker_engine.connect(System("/"), f"unix://{path}")
    assert re.search("does not answer: (Connection reset by peer|it broke off)", caught.value.what)


def test_a_server_that_is_no_engine_is_named(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    page = Page(200, {"Content-Length": "0"})
    with serving(page, unix=path), pytest.raises(WaybillError, match="another program does, without"):
        docker_engine.connect(System("/"), f"unix://{path}")


def test_a_missing_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(WaybillError, match="no socket"):
        docker_engine.connect(System("/"), f"unix://{tmp_path}/none.sock")


@pytest.fixture
def narrow(docker20: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An engine on a disk of 100 MB."""
    del docker20  # only there to skip where there is none
    home = Path(tempfile.mkdtemp(prefix="waybill-narrow-"))  # a socket's path has to be short
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(home)], check=True)
    engine = None
    try:
        engine = Engine.launch("20", home=home)
        yield site_of(engine, tmp_path, monkeypatch)
    finally:
        if engine is not None:
            engine.stop()
        subprocess.run(["umount", "--lazy", str(home)], check=True)
        home.rmdir()


def test_a_full_disk_of_the_engine_is_foreseen_is_named_and_leaves_nothing(narrow: Site) -> None:
    small, big = narrow.release(), narrow.release()
    kept = small.image(f"{narrow.name}/app:1", ["a"])
    big.image(f"{narrow.name}/app:1", ["a", plain_layer("big", 80_000_000)], "tar")
    narrow.apply(None, small.target())
    before = narrow.everything()
    [problem] = METHOD.check(narrow.context, small.target(), big.target(2))
    assert "loading the images needs" in problem.what
    with pytest.raises(StepError, match="no space left on device"):
        narrow.apply(small.target(), big.target(2))
    assert narrow.everything() == before
    assert narrow.id(kept.reference) == narrow.wanted(kept)


@pytest.mark.parametrize("names_survive", [True, False])
def test_images_that_a_power_cut_broke_are_found_and_loaded_again_from_the_kept_release(
    own: Site, names_survive: bool
) -> None:
    release = own.release()
    image = release.image(f"{own.name}/app:1", ["base", "a"])
    other = release.image(f"{own.name}/worker:1", ["base", "b"])
    own.apply(None, release.target())
    if names_survive:
        own.engine.docker("tag", other.reference, f"{own.name}/mine:1")
    before = own.everything()
    manifest, directory = release.target().release.manifest, release.target().release.directory
    assert repair_images(own.context, manifest, directory) == []
    own.engine.stop_daemon()
    data = own.engine.data_root
    for file in (data / "overlay2").glob("*/diff/*"):
        file.write_bytes(b"")
    if not names_survive:
        (data / "image/overlay2/repositories.json").unlink()
    own.engine.start()
    assert repair_images(own.context, manifest, directory) == [image.reference, other.reference]
    assert any(
        "is damaged in the engine: removing it and loading it again" in note for note in own.meter.notes
    )
    assert own.everything() == before
    engine = docker_engine.connect(own.system)
    for each in (image, other):
        assert {layer.diff_id for layer in each.layers} <= engine.contents(each.reference)
    engine.close()
    assert repair_images(own.context, manifest, directory) == []
