"""A path without links is opened by one call of the kernel; any other one component by component."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from installer.host import safe_path
from installer.host.safe_path import ForeignLinkError, open_parent
from installer.host.syscalls import open_below

DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PATHS = {
    "a path without links": "/a/b/c/d/file",
    "its directory": "/a/b/c/d",
    "a name that is not there": "/a/b/c/none",
    "a directory that is not there": "/a/b/none/c/file",
    "a file in the place of a directory": "/a/b/c/d/file/x/y",
    "a relative link on the way": "/a/relative/d/file",
    "an absolute link on the way": "/a/b/absolute/c/d/file",
    "a link that leads above the root": "/a/b/above/a/b/c",
    "a loop of links": "/a/b/loop/c/d",
    "a link of a service account": "/a/b/foreign/c/d/file",
    "a link as the last component": "/a/b/c/last",
    "a step upwards": "/a/b/../b/c/d",
    "more steps upwards than there are": "/a/../../../a/b/c/d/file",
    "a byte of zero on the way": "/a/b/c\0/d/file",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a/b/c/d").mkdir(parents=True)
    (tmp_path / "a/b/c/d/file").write_bytes(b"x")
    links = {
        "a/relative": "b/c", "a/b/absolute": "/a/b", "a/b/above": "../../../..", "a/b/loop": "loop",
        "a/b/c/last": "d", "a/b/foreign": "/a/b",
    }  # fmt: skip
    for link, target in links.items():
        (tmp_path / link).symlink_to(target)
    if os.geteuid() == 0:
        os.lchown(tmp_path / "a/b/foreign", 1000, 1000)
    return tmp_path


def reached(root: Path, path: str, *, follow: bool) -> object:
    """Return the directory, the name and the components; or the error."""
    try:
        with open_parent(str(root), path, follow=follow) as at:
            return os.fstat(at.fd).st_ino, at.name, at.parts
    except OSError as error:
        return type(error), error.errno, error.filename, str(error)
    except ValueError as error:
        return type(error), str(error)


@pytest.mark.parametrize("follow", [False, True], ids=["last link kept", "last link followed"])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_one_call_reaches_what_the_walk_reaches(
    path: str, follow: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = reached(root, path, follow=follow)
    # An older kernel does not have the call; a sandbox refuses it.
    monkeypatch.setattr(safe_path, "open_below", lambda *_: None)
    assert at_once == reached(root, path, follow=follow)


@pytest.mark.needs("root")
def test_a_link_of_a_service_account_is_refused_by_its_name(root: Path) -> None:
    with (
        pytest.raises(ForeignLinkError) as caught,
        open_parent(str(root), PATHS["a link of a service account"]),
    ):
        pass
    assert (caught.value.link, caught.value.errno) == ("/a/b/foreign", errno.EPERM)


@pytest.mark.parametrize(
    "path", ["a/relative/d", "a/b/absolute", "a/b/../b", "../x", "/a/b", "a/none/c", "a/b\0/c"]
)
def test_the_call_follows_no_link_and_leads_nowhere_else(path: str, root: Path) -> None:
    top = os.open(root, DIRECTORY)
    try:
        found = open_below(top, path, DIRECTORY)
        if path == "a/b/../b":  # it stays below; the walk does not ask for it
            assert found is not None
            assert os.fstat(found).st_ino == (root / "a/b").stat().st_ino
            os.close(found)
        else:
            assert found is None
    finally:
        os.close(top)


def test_no_descriptor_is_left(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in PATHS.values():
        reached(root, path, follow=True)
    assert len(os.listdir("/proc/self/fd")) == before
