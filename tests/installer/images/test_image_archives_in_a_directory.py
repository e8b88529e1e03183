"""An archive of images in the directory from which k3s and RKE2 import: whole, undone, watched, removed.

k3s and RKE2 cannot be had here. What they do with such a file is done by containerd's own command line: it
imports the very file into the namespace of the kubelet.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands.status import product_status
from installer.core.errors import HostNotReadyError, RolledBackError
from installer.core.format.manifest import HealthCheck
from installer.host.context import Context
from installer.host.host import Space
from installer.host.system import System
from installer.planning.drift import Policy
from installer.planning.plan import Options
from tests.rig.containerd import Containerd
from tests.rig.faulty import FaultySystem, Killed
from tests.rig.imagebuild import Built, layer, saved_new, tar
from tests.rig.livedir import LiveDir
from tests.rig.releases import Member, ReleaseSpec, install, recovered, remove, roll_back, root

DIRECTORIES = ("/var/lib/rancher/k3s/agent/images", "/var/lib/rancher/rke2/agent/images")
SICK = (HealthCheck("command", "", ("/bin/false",), within=0),)
# What k3s imports, by the end of the name.
IMPORTED = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.lz4", ".txt")


def archive(number: int) -> bytes:
    """Make an archive of one image, as `docker save` writes it."""
    return tar(saved_new([Built(f"shop/web:{number}", [layer("base"), layer(f"web {number}", 200_000)])]))


def release(number: int, directory: str = DIRECTORIES[0]) -> ReleaseSpec:
    """Give a release with such an archive as a file."""
    member = Member(archive(number), f"{directory}/shop.tar")
    return ReleaseSpec(f"{number}.0.0", number, {"bin/linux-amd64/shop.tar": member})


def there(host: Context, directory: str = DIRECTORIES[0]) -> Path:
    """Give the archive on the host."""
    return Path(f"{root(host)}{directory}/shop.tar")


def imported(containerd: Containerd, file: Path) -> dict[str, str]:
    """Import a file as k3s does at its start; give the images, and remove them again."""
    containerd.ctr("images", "import", "--all-platforms", str(file))
    found = containerd.images()
    for name in found:
        assert containerd.ctr("images", "check", f"name=={name}").stdout.count("complete") == 1
    containerd.ctr("images", "rm", "--sync", *found)
    # The interface of the kubelet adds a name for each image.
    return {name: digest for name, digest in found.items() if not name.startswith("sha256:")}


@pytest.mark.needs("containerd")
@pytest.mark.parametrize("directory", DIRECTORIES)
def test_containerd_imports_the_very_file_of_each_release(
    host: Context, containerd: Containerd, directory: str
) -> None:
    install(host, release(1, directory))
    assert list(imported(containerd, there(host, directory))) == ["docker.io/shop/web:1"]
    install(host, release(2, directory))
    assert list(imported(containerd, there(host, directory))) == ["docker.io/shop/web:2"]
    roll_back(host)
    assert list(imported(containerd, there(host, directory))) == ["docker.io/shop/web:1"]


@pytest.mark.host(system=LiveDir)
def test_a_release_that_is_not_healthy_leaves_the_old_archive_and_a_removal_none(host: Context) -> None:
    install(host, release(1))
    with pytest.raises(RolledBackError):
        install(host, replace(release(2), health=SICK))
    assert there(host).read_bytes() == archive(1)
    remove(host)
    assert not there(host).exists()
    # The directory was made by the release: nothing of it stays.
    assert not (root(host) / "var/lib/rancher").exists()


def test_an_archive_that_is_missing_or_changed_is_drift_and_the_same_release_repairs_it(
    host: Context,
) -> None:
    install(host, release(1))
    replacing = Options(drift=Policy("replace"))
    for what, damage in (("missing", Path.unlink), ("content", lambda file: file.write_bytes(b"other"))):
        damage(there(host))
        (found,) = product_status(host).drift
        assert (found.where, what in found.what) == (f"{DIRECTORIES[0]}/shop.tar", True)
        install(host, release(1), replacing)
        assert there(host).read_bytes() == archive(1)
        assert product_status(host).drift == ()


def test_at_no_moment_of_an_upgrade_is_there_half_an_archive_that_would_be_imported(host: Context) -> None:
    install(host, release(1))
    whole, tries = {archive(1), archive(2)}, 0
    golden = FaultySystem(root(host))
    install(replace(host, system=golden), release(2))
    roll_back(host)
    for at in range(1, len(golden.trace), max(1, len(golden.trace) // 12)):
        system = FaultySystem(
            root(host), at, "kill half" if golden.trace[at - 1].startswith("write") else "kill after"
        )
        dying = replace(host, system=system)
        try:
            install(dying, release(2))
        except Killed:
            tries += 1
        seen = [path for path in there(host).parent.iterdir() if path.name.endswith(IMPORTED)]
        assert [path.read_bytes() in whole for path in seen] == [True]
        recovered(host)
        if there(host).read_bytes() == archive(2):
            roll_back(host)
    assert tries > 5


class Small(System):
    """A host on whose disk there is almost no space."""

    def space(self, path: str) -> Space:
        return replace(super().space(path), bytes=50_000)


@pytest.mark.host(system=Small)
def test_a_disk_that_has_no_room_for_the_archive_is_named_before_anything_is_written(host: Context) -> None:
    with pytest.raises(HostNotReadyError, match="free"):
        install(host, release(1))
    assert not there(host).exists()
