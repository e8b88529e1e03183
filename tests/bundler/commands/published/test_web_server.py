"""`bundle publish` to a web server: a bundle has its name when it is complete, whatever the server does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.commands.published.publish import publish_bundle
from bundler.commands.published.pull import pull_bundle
from installer.core.errors import MediaError, TamperedError, UnfitInputError
from installer.shared.progress import Progress
from tests.rig import bundlebuild as build
from tests.rig.filestore import FileStore
from tests.rig.registrygate import answers

FILE, SUMS = "/releases/chat.tar", "/releases/chat.tar.sha256"


@pytest.fixture
def store() -> Iterator[FileStore]:
    with FileStore().serve() as serving:
        yield serving


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A bundle of 200 KB."""
    made = tmp_path / "chat.tar"
    made.write_bytes(build.signed(build.plan({"bin/linux-amd64/chatd": bytes(200_000)})).tar())
    return made


def publish(path: Path, store: FileStore) -> tuple[int, bool]:
    done = publish_bundle(path, f"http://{store.name}{FILE}", Progress())
    return done.sent, done.changed


def complete(store: FileStore, path: Path) -> bool:
    """Return whether the server has the bundle and its digest, and nothing besides."""
    return store.files.keys() == {FILE, SUMS} and store.files[FILE] == path.read_bytes()


@pytest.mark.parametrize(
    ("dav", "grows"),
    [(False, False), (True, False), (True, True)],
    ids=["a store", "WebDAV that renames", "WebDAV that shows what grows"],
)
def test_an_upload_that_is_cut_leaves_nothing_under_the_name_and_the_same_command_completes_it(
    store: FileStore, path: Path, dav: bool, grows: bool
) -> None:
    store.dav, store.grows, store.cut = dav, grows, 100_000
    with pytest.raises(MediaError, match="broke off the connection") as caught:
        publish(path, store)
    assert caught.value.where == f"http://{store.name}{FILE}"
    assert caught.value.hint.startswith("run the same command again: it sends the file from its beginning")
    assert {FILE, SUMS} & store.files.keys() == set()
    store.cut = 0
    assert publish(path, store)[1]
    assert complete(store, path)
    assert publish(path, store) == (0, False)


def test_the_beginning_of_a_bundle_that_a_cut_left_under_its_name_is_no_bundle_and_is_replaced(
    store: FileStore, path: Path, tmp_path: Path
) -> None:
    store.grows, store.cut = True, 100_000
    with pytest.raises(MediaError, match="broke off the connection"):
        publish(path, store)
    assert len(store.files[FILE]) == 100_000
    with pytest.raises(TamperedError):
        pull_bundle(f"http://{store.name}{FILE}", tmp_path / "back.tar", Progress())
    assert not (tmp_path / "back.tar").exists()
    store.cut = 0
    publish(path, store)
    assert complete(store, path)


def test_what_only_begins_like_the_bundle_is_not_replaced(store: FileStore, path: Path) -> None:
    for there in (path.read_bytes()[:100_000] + b"x", path.read_bytes() + b"x"):
        store.files = {FILE: there}
        with pytest.raises(UnfitInputError, match="exists with other content"):
            publish(path, store)
        assert store.files == {FILE: there}


def test_the_beginning_of_the_bundle_with_a_digest_is_what_somebody_published(
    store: FileStore, path: Path
) -> None:
    store.files = {FILE: path.read_bytes()[:100_000], SUMS: b"0" * 64 + b"  chat.tar\n"}
    with pytest.raises(UnfitInputError, match="exists with other content"):
        publish(path, store)
    assert len(store.files[FILE]) == 100_000


def test_somebody_else_who_publishes_meanwhile_is_not_replaced(store: FileStore, path: Path) -> None:
    def spoil(request: object) -> bool:
        if getattr(request, "command", "") == "MOVE":
            store.files[FILE] = b"somebody else's"
        return False

    store.dav, store.spoil = True, spoil
    with pytest.raises(UnfitInputError, match="exists with other content"):
        publish(path, store)
    assert store.files == {FILE: b"somebody else's"}


@pytest.mark.parametrize("status", [403, 405, 502])
def test_a_server_that_does_not_rename_gets_the_file_under_its_name(
    store: FileStore, path: Path, status: int
) -> None:
    store.dav = True
    store.spoil = lambda request: request.command == "MOVE" and answers(request, status)
    assert publish(path, store)[0] > 2 * path.stat().st_size
    assert complete(store, path)


REFUSALS = {
    401: (
        "the web server refuses the login, or wants one",
        "give a login that it knows, next to the address",
    ),
    403: ("the web server does not permit that to this login", "let this account write there"),
    404: ("the web server does not know that", "check the path in the address"),
    413: ("the web server, or a proxy in front of it, refuses", "requests of the size of a bundle there"),
    418: ("the web server answers with status 418", "read the log of the web server 127.0.0.1:"),
    507: ("the web server is full", "free space on it; then try again"),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_a_server_that_refuses_a_bundle_is_called_what_it_is(
    store: FileStore, path: Path, status: int
) -> None:
    what, hint = REFUSALS[status]
    store.spoil = lambda request: request.command == "PUT" and answers(request, status)
    with pytest.raises(MediaError, match=re.escape(f": {what}")) as caught:
        publish(path, store)
    assert hint in str(caught.value.hint)
    assert "registry" not in caught.value.what + str(caught.value.hint)


def test_a_server_that_sends_its_client_elsewhere_is_called_what_it_is(
    store: FileStore, tmp_path: Path
) -> None:
    elsewhere = {"Location": "http://127.0.0.2:1/chat.tar"}
    store.spoil = lambda request: answers(request, 302, elsewhere)
    with pytest.raises(MediaError, match="the web server sends its client to another server") as caught:
        pull_bundle(f"http://{store.name}{FILE}", tmp_path / "back.tar", Progress())
    assert str(caught.value.hint).endswith("switch off redirects to other servers")
