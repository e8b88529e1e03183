"""A signal while an engine loads an image: what the engine does on its own is over before the undo begins."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from installer.images import operations
from installer.images.load_stream import ImageLoad, stream
from installer.images.method import HANDLERS, METHOD
from installer.shared.terminal import interrupts
from installer.shared.terminal.interrupts import Interrupted
from tests.rig.imagerelease import plain_layer
from tests.rig.imagesite import Site, site_of
from tests.rig.podman import PodmanEngine


@pytest.fixture
def podman_site(
    podman_engine: PodmanEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    yield site_of(podman_engine, tmp_path, monkeypatch)
    podman_engine.podman("rmi", "--all", "--force")


def interrupted_load(
    site: Site, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, pid: int, *, last: bool
) -> list[str]:
    """Load an image, interrupt that while the engine is stopped, and undo it.

    Args:
        site: The engine and the product.
        monkeypatch: Watches the stream.
        number: The signal.
        pid: The process of the engine.
        last: Stop the engine once it can have all of the stream, else in the middle.

    Returns:
        The images that the engine had when the signal was heard.
    """

    def interrupt() -> None:
        time.sleep(1)  # until the main thread waits for the engine
        os.kill(os.getpid(), number)
        time.sleep(0.3)
        os.kill(pid, signal.SIGCONT)

    def watched(load: ImageLoad, advance: Callable[[int], None]) -> Iterator[bytes]:
        for place, piece in enumerate(stream(load, advance)):
            if place == 4 and not last:
                stop()
            yield piece
        if last:
            stop()

    def stop() -> None:
        os.kill(pid, signal.SIGSTOP)
        threading.Thread(target=interrupt).start()

    def printed(_count: int) -> None:
        with interrupts.waiting():  # as whatever writes to a terminal, which may be stopped
            pass

    monkeypatch.setattr(operations, "stream", watched)
    monkeypatch.setattr(site.meter, "advance", printed)
    release = site.release()
    release.image(f"{site.name}/app:1", [plain_layer("big", 20_000_000)], "tar")
    op = METHOD.operations(site.context, None, release.target())[0]
    preimage = HANDLERS[op.kind].observe(site.context, op.args)
    with interrupts.handled(), pytest.raises(Interrupted, match=number.name), interrupts.deferred():
        HANDLERS[op.kind].do(site.context, op.args, preimage)
    there = [line for line in site.everything() if ":staged" in line]
    HANDLERS[op.kind].undo(site.context, op.args, preimage)
    return there


@pytest.mark.parametrize("number", interrupts.STOPPING)
def test_an_engine_that_has_all_of_an_image_is_waited_for_and_the_image_removed(
    site: Site, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = site.everything()
    assert len(interrupted_load(site, monkeypatch, number, site.engine.pid, last=True)) == 1
    assert site.everything() == before
    # Only the classic store reports what it has unpacked, and so gives an occasion to say it.
    classic = "containerd" not in site.engine.text("info", "--format", "{{.DriverStatus}}")
    told = f"{number.name}: waiting until the engine has loaded the image: that cannot be interrupted"
    assert site.meter.notes == ([told] if classic else [])


def test_an_engine_that_has_not_got_all_of_an_image_loads_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.everything()
    assert interrupted_load(site, monkeypatch, signal.SIGINT, site.engine.pid, last=False) == []
    assert site.everything() == before


def test_podman_that_has_all_of_an_image_is_waited_for(
    podman_site: Site, monkeypatch: pytest.MonkeyPatch, podman_engine: PodmanEngine
) -> None:
    before = podman_site.everything()
    assert len(interrupted_load(podman_site, monkeypatch, signal.SIGINT, podman_engine.pid, last=True)) == 1
    assert podman_site.everything() == before
