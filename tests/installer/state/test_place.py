"""The state on a larger disk: as a link or a mount that works, or refused by every command by its name."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from installer.commands.metrics import of_product
from installer.commands.status import product_status
from installer.host.context import Context
from tests.rig.bench import Bench, newer, release
from tests.rig.chatd import ONE, TWO, numbered
from tests.rig.releases import STATE, install, recovered, remove, roll_back, root

pytestmark = pytest.mark.host(ONE, TWO, directories=("mnt/big",))


def moved(place: Path, path: str, *, relative: bool = False) -> Path:
    """Moves a directory of the host to its larger disk, and makes a link to it; returns the link."""
    link = place / path
    to = place / "mnt/big" / link.name
    shutil.move(link, to)
    link.symlink_to(os.path.relpath(to, link.parent) if relative else f"/mnt/big/{link.name}")
    return link


@pytest.mark.parametrize("path", [STATE, "var/lib/waybill", "var/lib"])
def test_a_link_that_root_made_is_followed_by_every_command(host: Context, path: str) -> None:
    moved(root(host), path, relative=True)
    assert product_status(host).drift == ()
    assert recovered(host) == []
    assert install(host, numbered(3)).changed
    assert roll_back(host).changed
    status = product_status(host)
    assert status.current is not None
    assert status.current.version == "2.0.0"
    assert (status.drift, status.leftover) == ((), ())
    assert [each.name for each in of_product(host)].count("state_readable") == 1
    found = remove(host).removal
    assert found is not None
    assert found.exit_code == 0


@pytest.fixture
def ours(bench: Bench) -> Bench:
    """A host with one release, and a larger disk."""
    (bench.host / "mnt/big").mkdir(parents=True)
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    return bench


COMMANDS: list[tuple[str, ...]] = [
    ("status",), ("plan", "NEWER"), ("apply", "NEWER", "--yes"), ("recover",), ("rollback", "--yes"),
    ("remove", "lan-chat", "--yes"),
]  # fmt: skip
EVERY = pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])


def said(ours: Bench, words: tuple[str, ...]) -> tuple[int, str, str]:
    code, document, _ = ours.run(*(newer(ours) if word == "NEWER" else word for word in words))
    if not document["problems"]:
        return code, "", ""
    return code, document.where, f"{document.what}; {document.hint}"


@pytest.mark.parametrize("path", [STATE, "var/lib/waybill"])
def test_the_commands_know_what_is_installed_behind_a_link(ours: Bench, path: str) -> None:
    moved(ours.host, path)
    code, document, _ = ours.run("status")
    assert (code, [each["installed"]["version"] for each in document["products"]]) == (0, ["1.4.0"])
    assert ours.run("apply", newer(ours), "--yes")[0] == 0
    assert ours.run("rollback", "--yes")[0] == 0
    assert ours.run("remove", "lan-chat", "--yes")[0] == 0
    assert (ours.host / path).is_symlink()


def foreign(link: Path) -> None:
    os.lchown(link, 65534, 65534)


def below_the_directory_of_a_user(link: Path) -> None:
    os.chown(link.parents[3] / "mnt/big", 65534, 65534)


def writable_for_all(link: Path) -> None:
    (link.parents[3] / "mnt/big").chmod(0o777)


def not_mounted(link: Path) -> None:
    (link.parents[3] / "mnt/big").rename(link.parents[3] / "mnt/away")


def a_file(link: Path) -> None:
    not_mounted(link)
    (link.parents[3] / "mnt/big").mkdir()
    (link.parents[3] / "mnt/big" / link.name).write_text("")


@pytest.mark.needs("root")
@EVERY
@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (foreign, "belongs to user 65534, not to root; only links that root made are followed: `chown -h"),
        (below_the_directory_of_a_user, "/mnt/big belongs to user 65534, who could change the files in it"),
        (writable_for_all, "/mnt/big is writable by other users (mode 0777); run `chmod go-w /mnt/big`"),
        (not_mounted, "is a link to /mnt/big/lan-chat, which is not a directory; mount the disk"),
        (a_file, "is a link to /mnt/big/lan-chat, which is not a directory; mount the disk"),
    ],
)
def test_a_link_that_is_not_safe_or_leads_nowhere_is_refused_by_every_command(
    ours: Bench, words: tuple[str, ...], spoil: Callable[[Path], None], what: str
) -> None:
    spoil(moved(ours.host, STATE))
    before = sorted(str(path) for path in (ours.host / "mnt").rglob("*"))
    code, where, text = said(ours, words)
    assert (code, where) == (15, f"/{STATE}")
    assert what in text
    assert sorted(str(path) for path in (ours.host / "mnt").rglob("*")) == before


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path, bool], None]]:
    """Mounts a file system of its own, or a directory of the same one, over a directory, with its content."""
    mounted: list[Path] = []

    def over(path: Path, bound: bool) -> None:
        saved = tmp_path / "saved"
        shutil.copytree(path, saved, symlinks=True)
        words = ["--bind", str(saved)] if bound else ["-t", "tmpfs", "-o", "mode=755", "none"]
        subprocess.run(["mount", *words, path], check=True)
        mounted.append(path)
        if not bound:
            shutil.copytree(saved, path, symlinks=True, dirs_exist_ok=True)

    yield over
    for path in mounted:
        subprocess.run(["umount", path], check=True)


@pytest.mark.needs("root")
@EVERY
@pytest.mark.parametrize("bound", [False, True], ids=["a file system of its own", "a bind mount"])
def test_a_part_of_the_state_on_another_mount_is_refused_by_every_command(
    ours: Bench, words: tuple[str, ...], mount: Callable[[Path, bool], None], *, bound: bool
) -> None:
    mount(ours.host / STATE / "releases", bound)
    code, where, text = said(ours, words)
    assert (code, where) == (15, f"/{STATE}/releases")
    assert "is on another file system than /var/lib/waybill/lan-chat" in text
    assert "move the whole directory to the larger disk" in text


@pytest.mark.needs("root")
@pytest.mark.parametrize("path", [STATE, "var/lib/waybill"])
def test_the_whole_state_may_be_a_mount(ours: Bench, mount: Callable[[Path, bool], None], path: str) -> None:
    mount(ours.host / path, bound=False)
    assert ours.run("apply", newer(ours), "--yes")[0] == 0
    assert ours.run("rollback", "--yes")[0] == 0
    assert ours.run("status")[1]["products"][0]["drift"] == []
