"""Secrets are found wherever they stand: at the edges of windows, in large files, in archives of archives."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.config.secrets import archives
from bundler.config.secrets.archives import ContentSearch, Report
from bundler.config.secrets.scanner import search_data
from bundler.config.secrets.search import LEAD, OVERLAP, WINDOW
from installer.shared.secrecy.rules import Rule
from installer.shared.secrecy.tokens import token_rules
from tests.rig.hang import ends
from tests.rig.imagebuild import tar
from tests.rig.tokens import token

RULES = {rule.name: rule for rule in token_rules().rules}
TOKEN = token(RULES["github-pat"])
WHAT = "a credential (rule github-pat)"


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def streamed(members: dict[str, bytes]) -> bytes:
    """Make a zip whose sizes stand behind its members, as Java's tools write it."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        for name, data in members.items():
            archive.writestr(name, data)
    return pipe.data


def found(data: bytes, name: str = "a.bin", piece: int = WINDOW) -> tuple[list[str], dict[str, str]]:
    report = Report()
    search = ContentSearch(name, report)
    for start in range(0, len(data), piece):
        search.feed(data[start : start + piece])
    search.finish()
    return [f"{each.path}:{each.line}: {each.what}" for each in report.found], report.unsearched


@pytest.mark.parametrize("rule", token_rules().rules, ids=lambda rule: rule.name)
def test_a_token_of_each_rule_is_found(rule: Rule) -> None:
    (finding,) = search_data(b"first line\n" + token(rule), "a.txt").found
    assert finding.line == 2


EDGES = [0, 1, LEAD, WINDOW - 20, WINDOW, WINDOW + OVERLAP - 20, WINDOW + OVERLAP, 2 * WINDOW, 3 * WINDOW + 7]


@pytest.mark.parametrize("offset", EDGES)
def test_a_secret_at_the_edge_of_a_window_is_found_once_with_its_line(offset: int) -> None:
    line = b"x" * 63 + b"\n"
    before = (line * (offset // 64 + 1))[:offset]
    data = before + b"\n" + TOKEN + b"\n" + line * 40_000
    assert found(data) == ([f"a.bin:{offset // 64 + 2}: {WHAT}"], {})


@pytest.mark.parametrize("size", [len(TOKEN), WINDOW, WINDOW + OVERLAP, 5 * WINDOW])
def test_a_secret_that_ends_a_file_is_found(size: int) -> None:
    data = b"=" * (size - len(TOKEN)) + TOKEN
    assert found(data)[0] == [f"a.bin:1: {WHAT}"]


def test_a_large_file_in_utf_16_is_searched_in_all_its_windows() -> None:
    text = "line\n" * 900_000 + TOKEN.decode() + "\n"
    assert found(text.encode("utf-16"))[0] == [f"a.bin:900001: {WHAT}"]


def test_a_large_file_is_searched_in_memory_that_does_not_depend_on_it() -> None:
    def peak(windows: int) -> int:
        search = ContentSearch("a.txt", Report())
        tracemalloc.start()
        for _ in range(windows):
            search.feed(b"word " * (WINDOW // 5))
        search.finish()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(30) < peak(4) * 1.2


CONTENT = {"etc/readme.txt": b"nothing\n" * 50, "app/.env": b"A=1\nTOKEN=" + TOKEN + b"\n"}


@pytest.mark.parametrize("piece", [1, 511, WINDOW])
@pytest.mark.parametrize(
    "data",
    [
        tar(CONTENT),
        gzip.compress(tar(CONTENT)),
        zstandard.ZstdCompressor().compress(tar(CONTENT)),
        zipped(CONTENT),
        zipped(CONTENT, zipfile.ZIP_STORED),
        streamed(CONTENT),
    ],
    ids=["tar", "tar.gz", "tar.zst", "zip", "stored zip", "zip from a stream"],
)
def test_a_member_of_an_archive_is_searched(data: bytes, piece: int) -> None:
    assert found(data, "app.archive", piece) == ([f"app.archive!/app/.env:2: {WHAT}"], {})


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_what_follows_a_sparse_file_is_searched(tmp_path: Path, form: str) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        for number in range(40):
            file.seek(number * 65536)
            file.write(b"data")
    (tmp_path / "token").write_bytes(TOKEN)
    command = ["tar", "-C", str(tmp_path), "--sparse", f"--format={form}", "-cf", "-", "sparse", "token"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    assert len(data) < 500_000
    assert found(data, "a.tar") == ([f"a.tar!/token:1: {WHAT}"], {})


def test_a_long_name_of_a_member_is_shown_whole() -> None:
    name = "d/" * 120 + "token"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            member = tarfile.TarInfo(name)
            member.size = len(TOKEN)
            archive.addfile(member, io.BytesIO(TOKEN))
        assert found(buffer.getvalue(), "a.tar")[0] == [f"a.tar!/{name}:1: {WHAT}"]


def test_an_archive_in_an_archive_is_searched() -> None:
    jar = zipped({"BOOT-INF/lib/a.jar": zipped({"config.properties": TOKEN}, zipfile.ZIP_DEFLATED)})
    outer = gzip.compress(tar({"lib/app.jar": jar}))
    where = "dist.tgz!/lib/app.jar!/BOOT-INF/lib/a.jar!/config.properties:1"
    assert found(outer, "dist.tgz")[0] == [f"{where}: {WHAT}"]


def test_a_file_that_is_only_compressed_keeps_its_path() -> None:
    assert found(gzip.compress(b"a\npassword: hunter22\n"), "conf/app.yaml.gz")[0] == [
        "conf/app.yaml.gz:2: a literal password"
    ]


def test_archives_nested_too_deeply_are_reported_and_not_searched() -> None:
    data = TOKEN
    for number in range(archives.DEPTH + 1):
        data = zipped({f"{number}.zip": data})
    findings, unsearched = found(data, "a.zip")
    assert findings == []
    assert list(unsearched.values()) == ["is nested in 4 archives"]


def test_an_archive_that_expands_without_end_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "EXPANDED", 4 * WINDOW)
    report = Report(expanded=4 * WINDOW)
    search = ContentSearch("bomb.zip", report)
    with ends():
        search.feed(zipped({"zeros": b"a" * (200 * WINDOW)}))
    search.finish()
    assert report.unsearched == {"bomb.zip": "expands to more than 4,194,304 bytes"}


def test_an_archive_with_too_many_members_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MEMBERS", 3)
    report = Report(members=3)
    search = ContentSearch("a.tar", report)
    search.feed(tar({str(number): b"x" for number in range(4)} | {"z": TOKEN}))
    search.finish()
    assert (report.found, report.unsearched) == ([], {"a.tar": "has more than 3 members"})


@pytest.mark.parametrize(
    ("fault", "data", "why"),
    [
        ("cut", tar(CONTENT)[:1500], "ends within a member"),
        ("cut zip", zipped(CONTENT)[:60], "ends within a member"),
        ("cut gzip", gzip.compress(tar(CONTENT))[:-40], ""),
        ("damaged deflate", zipped(CONTENT)[:44] + b"\xff" * 600, "has a damaged member"),
        ("xz", b"\xfd7zXZ\0" + bytes(600), "is xz, which is not unpacked"),
        ("7z", b"7z\xbc\xaf\x27\x1c" + bytes(600), "is 7z, which is not unpacked"),
    ],
)
def test_an_archive_that_cannot_be_read_is_reported(fault: str, data: bytes, why: str) -> None:
    findings, unsearched = found(data)
    assert findings == [] or why == ""
    assert why == "" or unsearched["a.bin"].startswith(why)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000), st.sampled_from([b"", b"PK\3\4", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"]))
def test_no_bytes_make_the_search_fail(data: bytes, head: bytes) -> None:
    found(head + data)
    found(tar({"a": data})[:600] + data)
    found(zipped({"a": data})[: 20 + len(data)] + data)


@pytest.mark.parametrize("unit", [b"s.", b"sk", b" s.", b"=pat", b"live_", b"xoxb-1", b"facebook="])
def test_a_megabyte_of_marks_is_searched_soon(unit: bytes) -> None:
    with ends():
        found(unit * (WINDOW // len(unit)))
