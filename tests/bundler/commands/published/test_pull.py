"""`bundle pull`: what is not the bundle that was published leaves no file."""

from __future__ import annotations

import itertools
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundler.commands.published.publish import publish_bundle
from bundler.commands.published.pull import Pulled, pull_bundle
from installer.core.errors import MediaError, TamperedError, UnfitInputError, UsageError
from installer.shared.progress import Progress
from tests.rig import bundlebuild as build
from tests.rig.filestore import FileStore
from tests.rig.registrygate import Gate, answers, breaks_off

pytestmark = pytest.mark.needs("registry")
SERIAL = itertools.count()
FILES = {**build.FILES, "bin/linux-amd64/large": bytes(range(256)) * 20_000}


@pytest.fixture
def source(gate: Gate, tmp_path: Path) -> str:
    """The address of a bundle that is published."""
    path = tmp_path / "a.tar"
    path.write_bytes(build.signed(build.plan(dict(sorted(FILES.items(), key=order)))).tar())
    address = f"oci://{gate.name}/pulled{next(SERIAL)}/chat:1.4.0"
    publish_bundle(path, address, Progress())
    gate.seen.clear()
    return address


def order(row: tuple[str, bytes]) -> tuple[int, str]:
    return ("docs", "config", "bin", "trees").index(row[0].partition("/")[0]), row[0]


def pull(source: str, tmp_path: Path) -> Pulled:
    return pull_bundle(source, tmp_path / "back.tar", Progress())


def nothing_left(tmp_path: Path) -> bool:
    return {each.name for each in tmp_path.iterdir()} <= {"a.tar"}


def test_a_bundle_that_is_here_already_is_not_fetched(source: str, gate: Gate, tmp_path: Path) -> None:
    assert pull(source, tmp_path).changed
    gate.seen.clear()
    assert not pull(source, tmp_path).changed
    assert len(gate.seen) == 2


def test_a_file_of_other_content_is_not_replaced(source: str, tmp_path: Path) -> None:
    (tmp_path / "back.tar").write_bytes(b"mine")
    with pytest.raises(UnfitInputError, match="exists with other content"):
        pull(source, tmp_path)
    assert (tmp_path / "back.tar").read_bytes() == b"mine"


def test_a_directory_is_not_a_file_to_write_and_nothing_is_fetched(
    source: str, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(UsageError, match="is a directory, not a file to write") as caught:
        pull_bundle(source, tmp_path / "here", Progress())
    assert caught.value.hint == f"name the file in it: -o {tmp_path}/here/chat-1.4.0.tar"
    (tmp_path / "here/chat-1.4.0.tar").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UsageError, match="is a directory, not a file to write") as caught:
        pull_bundle(source, None, Progress())
    assert caught.value.hint == "give another name: -o FILE"
    assert gate.seen == []


def test_the_name_in_the_address_is_that_of_the_file(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pull_bundle(source, None, Progress()).path == Path("chat-1.4.0.tar")


def test_a_download_goes_on_where_the_connection_broke(source: str, gate: Gate, tmp_path: Path) -> None:
    cut = []

    def spoil(request: Any) -> bool:
        if "/blobs/" not in request.path or request.headers.get("Range") or cut:
            return False
        if int(_size(gate, request.path)) < 1_000_000:
            return False
        cut.append(1)
        request.send_response(200)
        request.send_header("Content-Length", _size(gate, request.path))
        request.end_headers()
        request.wfile.write(_blob(gate, request.path)[:70_000])
        return breaks_off(request)

    gate.spoil = spoil
    pulled = pull(source, tmp_path)
    assert cut
    assert pulled.path.read_bytes() == (tmp_path / "a.tar").read_bytes()


def _blob(gate: Gate, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{gate.behind}{path}", timeout=30) as reply:
        return bytes(reply.read())


def _size(gate: Gate, path: str) -> str:
    request = urllib.request.Request(f"http://{gate.behind}{path}", method="HEAD")
    with urllib.request.urlopen(request, timeout=30) as reply:
        return str(reply.headers["Content-Length"])


def test_a_registry_that_sends_another_blob_is_a_lie_and_leaves_nothing(
    source: str, gate: Gate, tmp_path: Path
) -> None:
    def spoil(request: Any) -> bool:
        if request.command != "GET" or "/blobs/" not in request.path:
            return False
        size = int(_size(gate, request.path))
        return size > 1_000_000 and answers(request, 200, {}, bytes(size))

    gate.spoil = spoil
    with pytest.raises(MediaError, match="something else than what was stored there"):
        pull(source, tmp_path)
    assert nothing_left(tmp_path)


def test_somebody_elses_image_is_no_bundle(gate: Gate, source: str, tmp_path: Path) -> None:
    document = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}
    document["config"] = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "x", "size": 1}
    gate.spoil = lambda request: (
        "/manifests/" in request.path and answers(request, 200, {}, json.dumps(document).encode())
    )
    with pytest.raises(TamperedError, match="is not a bundle"):
        pull(source, tmp_path)
    assert nothing_left(tmp_path)


def changed(change: Callable[[dict[str, Any]], object], gate: Gate, source: str) -> None:
    """Let the registry answer with a manifest that was changed."""
    path = source.removeprefix(f"oci://{gate.name}").replace(":1.4.0", "/manifests/1.4.0")
    request = urllib.request.Request(f"http://{gate.behind}/v2{path}")
    request.add_header("Accept", "application/vnd.oci.image.manifest.v1+json")
    with urllib.request.urlopen(request, timeout=30) as reply:
        document = json.loads(reply.read())
    change(document)
    data = json.dumps(document).encode()
    gate.spoil = lambda asked: "/manifests/" in asked.path and answers(asked, 200, {}, data)


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["layers"].pop(),
        lambda found: found["layers"].reverse(),
        lambda found: found["layers"][0].update(size=1 << 50),
        lambda found: found["layers"][1].update(size=-1),
        lambda found: found["layers"][1].update(digest="sha256:../../x"),
        lambda found: found.update(layers=[]),
        lambda found: found.update(layers="x"),
        lambda found: found.update(config=None),
        lambda found: found["config"].update(size=1 << 40),
        lambda found: found.update(layers=found["layers"] * 9000),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    change: Callable[[dict[str, Any]], object], gate: Gate, source: str, tmp_path: Path
) -> None:
    changed(change, gate, source)
    with pytest.raises((TamperedError, MediaError)):
        pull(source, tmp_path)
    assert nothing_left(tmp_path)


def test_blobs_in_another_order_are_not_what_was_published(gate: Gate, source: str, tmp_path: Path) -> None:
    def swap(found: dict[str, Any]) -> None:
        rows = found["layers"]
        rows[1], rows[-1] = rows[-1], rows[1]

    changed(swap, gate, source)
    with pytest.raises(TamperedError, match="is not what was published there"):
        pull(source, tmp_path)
    assert nothing_left(tmp_path)


def test_a_file_of_somebody_else_on_a_web_server_leaves_nothing(tmp_path: Path) -> None:
    with FileStore({"/a.tar": b"<html>not found</html>" * 100}).serve() as store:
        with pytest.raises(TamperedError):
            pull(f"http://{store.name}/a.tar", tmp_path)
        with pytest.raises(MediaError, match="does not know that"):
            pull(f"http://{store.name}/b.tar", tmp_path)
    assert nothing_left(tmp_path)
