"""Where paths lead: through links, mounts and what is not there yet; Waybill's own places under any name."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.host.resolved import Resolver
from installer.host.system import System
from tests.rig.needs import lacks, needs

OWN = "which is reserved for Waybill"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("etc/waybill/trust", "var/lib/waybill/lan-chat/releases/1", "srv", "usr/local/bin", "mnt"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def why(root: Path, path: str) -> str:
    return Resolver(System(root)).forbidden(path, "lan-chat")


def test_links_lead_and_what_is_not_there_is_taken_as_written(root: Path) -> None:
    (root / "srv/a").symlink_to("/etc")
    (root / "srv/file").touch()
    found = Resolver(System(root))
    assert found.place("/srv/a/x") == "/etc/x"
    assert found.place("/srv/a/new/deep/x") == "/etc/new/deep/x"
    assert found.place("/srv/a") == "/srv/a"
    assert found.place("/x") == "/x"
    assert found.place("/srv/file/x/y") == "/srv/file/x/y"
    assert found.forbidden("/srv/file/x/y", "lan-chat") == ""
    assert Resolver(System(root / "nowhere")).directory("/") == "/"


def test_links_that_directories_replace_lead_nowhere(root: Path) -> None:
    for name in ("a", "b"):
        (root / "srv" / name).symlink_to("/etc/waybill")
    found = Resolver(System(root), ["/srv/a", "/srv/c"])
    assert found.place("/srv/a/x/y") == "/srv/a/x/y"
    assert found.forbidden("/srv/a/x", "lan-chat") == ""
    assert found.place("/srv/b/x") == "/etc/waybill/x"


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("/etc/waybill", f"leads to /etc/waybill/x, {OWN}"),
        ("/proc", "leads to /proc/x, which is on a file system of the kernel"),
        ("/var/lib", ""),
    ],
)
def test_a_link_is_seen_through(root: Path, target: str, what: str) -> None:
    (root / "srv/a").symlink_to(target)
    assert why(root, "/srv/a/x") == what


def test_what_is_ours_is_ours_where_its_parent_leads(root: Path) -> None:
    (root / "usr/local/bin").rmdir()
    (root / "usr/local/bin").symlink_to("/srv/bin")
    (root / "srv/bin").mkdir()
    assert why(root, "/srv/bin/waybill-install") == f"leads to /srv/bin/waybill-install, {OWN}"
    assert why(root, "/srv/bin/other") == ""
    subprocess.run(["rm", "-r", root / "var/lib"], check=True)
    (root / "var/lib").symlink_to("/srv/lib")
    # Not there yet: nothing but its name tells.
    assert why(root, "/srv/lib/waybill/x") == f"leads to /srv/lib/waybill/x, {OWN}"
    assert why(root, "/srv/lib/other/x") == ""


@pytest.fixture
def bound(root: Path) -> Iterator[Path]:
    """Directories of Waybill under other names."""
    needs("root")
    done = []
    try:
        for source, target in (
            ("etc/waybill", "mnt/config"),
            ("etc/waybill/trust", "mnt/trust"),
            ("var/lib/waybill/lan-chat/releases", "mnt/releases"),
        ):
            (root / target).mkdir()
            if subprocess.run(["mount", "--bind", root / source, root / target], check=False).returncode:
                lacks("mount", "the right to mount")
            done.append(root / target)
        yield root
    finally:
        for target in done:
            subprocess.run(["umount", "--lazy", target], check=True)


@pytest.mark.parametrize(
    "path", ["config/x", "config/trust/x", "config/new/deep/x", "trust/x", "releases/1/x"]
)
def test_a_mount_hides_nothing(bound: Path, path: str) -> None:
    assert why(bound, f"/mnt/{path}") == f"leads to /mnt/{path}, {OWN}"
    assert why(bound, "/mnt/fine/x") == ""


def test_what_this_user_may_not_list_is_passed_over(root: Path) -> None:
    class Refused(System):
        def names(self, path: str) -> list[str]:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    assert Resolver(Refused(root)).forbidden("/srv/x", "lan-chat") == ""
