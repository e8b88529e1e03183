"""What all tests of quadlet have on their host: an image in Podman, and nothing of the test before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.host import Host
from tests.rig.needs import needs


@pytest.fixture(scope="module", autouse=True)
def image(machine: Host) -> None:
    """An image in Podman; tests of `images` load it as a release does."""
    with Path(needs("busybox")).open("rb") as program:
        assert machine.run("mkdir -p /root/i/bin && cat > /root/i/bin/busybox", stdin=program).rc == 0
    machine.check("chmod 755 /root/i/bin/busybox && tar -C /root/i -c . | podman import - shop.lan/app:1")


@pytest.fixture(autouse=True)
def nothing_left(machine: Host) -> Iterator[None]:
    """No pod, container or volume of one test is found by the next."""
    yield
    machine.check("podman pod rm -af -t 0 && podman rm -af -t 0 && podman volume prune -f")
