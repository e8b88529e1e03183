"""What others test their readers with, Go's data and Python's: no escape, no hang, no crash of any of ours.

Go's data are fetched by the rig (`provision.py go-corpus`), never committed.
"""

from __future__ import annotations

import base64
import bz2
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from bundler.image_sources.archive import ArchiveSource
from bundler.image_sources.base import ExpectedLayer
from bundler.image_sources.layers import LayerTransform
from bundler.image_sources.tarscan import scan
from installer.core.errors import UnfitInputError, WaybillError
from installer.core.format import manifest_json
from installer.core.format.checksums import parse_sums
from installer.core.limits import MIB
from installer.core.oci import documents
from installer.core.oci.layer_tar import TarWalk
from installer.core.trust import approval, cosign
from installer.core.trust.root_json import parse_root
from installer.core.trust.signatures import TrustedKey
from installer.shared import strict_yaml
from installer.transaction.journal import read as read_journal
from tests.attacks.corpora import corpus, refused
from tests.rig import bundlebuild as build
from tests.rig.hang import ends
from tests.rig.needs import needs

MOST = 8 * MIB


@cache
def go() -> dict[str, bytes]:
    """Gives Go's test data by name, unpacked where Go stores them packed; no more than 8 MiB of each."""
    top = Path(needs("go-corpus"))
    found = {}
    for path in sorted(top.rglob("testdata/**/*")):
        if path.is_file():
            name, data = path.relative_to(top).as_posix(), path.read_bytes()
            if name.endswith(".base64"):
                name, data = name.removesuffix(".base64"), base64.b64decode(data)
            if name.startswith("archive/tar") and name.endswith(".bz2"):
                name, data = name.removesuffix(".bz2"), bz2.BZ2Decompressor().decompress(data, MOST)
            found[name] = data
    return found


def tars() -> Iterator[tuple[str, bytes]]:
    """Gives archives of both."""
    yield from ((name, data) for name, data in go().items() if name.endswith(".tar"))
    yield from ((path.name, path.read_bytes()) for path in corpus())


def test_the_public_corpora_have_all_their_archives() -> None:
    assert len([name for name in go() if name.endswith(".tar")]) > 40
    assert len(go()) > 600


def test_no_file_of_the_public_corpora_is_a_bundle() -> None:
    for data in go().values():
        refused(data)


def test_no_archive_of_them_passes_where_payload_is_due() -> None:
    plan = build.plan()
    head = plan.tar()[: plan.offset("docs/CHANGELOG.md")]
    for _, data in tars():
        refused(head + data)


def test_no_archive_of_them_passes_where_approvals_are_due() -> None:
    plan = build.plan()
    payload = b"".join(part.tar() for part in plan.parts)
    for _, data in tars():
        if any(data[:512]):
            refused(payload + data)


def test_each_archive_is_refused_as_one_of_images_and_nothing_climbs(tmp_path: Path) -> None:
    """Members are as Python's tarfile finds them, or it is refused; an image is in none of them."""
    read = 0
    for name, data in tars():
        path = tmp_path / "images.tar"
        path.write_bytes(data)
        with ends(), pytest.raises(UnfitInputError) as caught:
            ArchiveSource(path, ("linux/amd64",)).resolve()
        assert caught.value.exit_code == 30, name
        try:
            with ends():
                found = {member.name: body.read() for member, body in scan(io.BytesIO(data), name)}
        except UnfitInputError:
            continue
        assert not [each for each in found if each.startswith("/") or ".." in each.split("/")], name
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            listed = [member for member in tar.getmembers() if not member.isdir()]
        raw = [member.name.encode("utf-8", "surrogateescape") for member in listed]
        keys = [documents.archive_key(each.decode("utf-8", "backslashreplace")) for each in raw]
        assert list(dict.fromkeys(keys)) == list(found), name
        read += 1
    assert read > 3
    assert [each.name for each in tmp_path.iterdir()] == ["images.tar"]


def test_each_archive_is_stored_as_it_is_or_refused_as_a_layer() -> None:
    kept = 0
    for name, data in go().items():
        out = bytearray()
        try:
            with ends():
                layer = LayerTransform("none", max_expanded=MOST).run(
                    io.BytesIO(data), out.extend, ExpectedLayer(name)
                )
        except UnfitInputError:
            continue
        assert (bytes(out), layer.size) == (data, len(data)), name
        assert layer.expanded <= MOST
        kept += 1
    assert kept > 30


def test_each_archive_that_a_reader_of_tar_can_read_passes_as_a_layer() -> None:
    """No layer that an engine can read is refused: Python's reader, which forgives more than Go's, agrees."""
    read = 0
    for name, data in go().items():
        try:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
                members = len(list(archive))
        except (tarfile.TarError, EOFError, ValueError, OverflowError):
            continue
        # Go's archive/tar refuses an extended header above 1 MiB (golang.org/cl/433095), and so does Waybill.
        if name.endswith("pax-bad-hdr-large.tar") or not members:
            continue
        walk = TarWalk()
        walk.feed(data)
        walk.finish()
        read += 1
    assert read > 20


PARSERS: dict[str, Callable[[bytes], object]] = {
    "list": parse_sums,
    "manifest": manifest_json.parse,
    "root": parse_root,
    "approval": lambda data: approval.parse(data, "approvals/x"),
    "image document": lambda data: documents.parse_document(data, "index.json"),
    "image configuration": lambda data: documents.parse_config(data, "config"),
    "docker manifest": lambda data: documents.parse_docker_manifest(data, "manifest.json"),
    "public key": lambda data: cosign.load_public_key(data.decode("latin-1")),
    "trusted key": lambda data: TrustedKey.from_public(data.decode("latin-1"), "Ana"),
    "journal": lambda data: read_journal(data, "000001.log"),
}


@pytest.mark.parametrize("parser", PARSERS)
def test_any_parser_takes_any_of_them(parser: str) -> None:
    """Most refuse all; a journal that was never written to is an empty one, a plain key is a key."""
    for data in go().values():
        with ends():
            try:
                PARSERS[parser](data)
            except WaybillError:
                continue
            assert parser in ("journal", "public key", "trusted key")


def test_each_file_is_read_as_yaml_or_has_a_problem() -> None:
    for name, data in go().items():
        with ends():
            document = strict_yaml.load(data, name)
        assert document.problems or document.value is None or isinstance(document.value, str | dict | list), (
            name
        )


def test_the_commands_say_it_in_words(tmp_path: Path) -> None:
    """A few of them as a person would meet them: at the prompt of `bundle` and of `install`."""
    chosen = [
        data for name, data in tars() if name.endswith(("gnu.tar", "pax.tar", "neg-size.tar", "hardlink.tar"))
    ]
    script = "from {0}.cli.main import main; main()"
    host = tmp_path / "host"
    host.mkdir()
    for number, data in enumerate(chosen):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(data)
        for words in (
            [script.format("bundler"), "inspect", str(path)],
            [script.format("installer"), "verify", str(path), "--root", str(host)],
        ):
            done = subprocess.run(
                [sys.executable, "-c", *words],
                capture_output=True,
                text=True,
                check=False,
                cwd=Path(__file__).parents[2],
            )
            assert done.returncode in (10, 11), done.stderr
            assert done.stderr.startswith("error: "), done.stderr
            assert "Traceback" not in done.stderr
    assert list(host.iterdir()) == []
