"""One file for several platforms: its table, and files for fewer platforms that are taken out of it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pytest

from bundler.freeze import self_extract
from bundler.freeze.platforms import ALL, PLATFORMS, chosen
from installer.core.errors import UnfitInputError, UsageError
from installer.shared.standalone.one_file import HEAD_LIMIT, differing, is_same_program, script_digest, split
from tests.bundler.freeze.packed import run, unpacked

NAMES = [*PLATFORMS]
PROGRAM = "#!/bin/sh\necho {} $*\n"


@pytest.fixture
def apps(tmp_path: Path) -> dict[str, Path]:
    """The frozen directory of each platform: the program and a library are its own."""
    made = {}
    for name in NAMES:
        app = made[name] = tmp_path / name.replace("/", "-")
        (app / "lib").mkdir(parents=True)
        (app / "tool").write_text(PROGRAM.format(name))
        (app / "lib" / f"{name.rpartition('/')[2]}.so").write_bytes(b"\x7fELF" + name.encode() * 50)
        (app / "lib/shared").write_text("the same everywhere")
    return made


@pytest.fixture
def whole(apps: dict[str, Path]) -> bytes:
    return self_extract.pack(apps, "tool", "1")


def only(apps: Mapping[str, Path], *names: str) -> bytes:
    return self_extract.pack({name: apps[name] for name in names}, "tool", "1")


def selected(content: bytes, *names: str) -> bytes:
    return b"".join(self_extract.selected(io.BytesIO(content), names))


class TestTable:
    def test_a_table_is_read_as_it_was_written(self, whole: bytes) -> None:
        found = split(whole[:HEAD_LIMIT])
        assert found
        script, table = found
        assert table.platforms == NAMES
        assert table.head(script) == whole[: table.start]
        assert differing(io.BytesIO(whole[table.start :]), table, b"") == []

    def test_no_changed_byte_of_the_script_goes_unseen(self, whole: bytes) -> None:
        good = split(whole)
        assert good
        for place in range(0, good[1].start, 41):
            bad = bytearray(whole[:HEAD_LIMIT])
            bad[place] ^= 1
            found = split(bytes(bad))
            assert not found or script_digest(found[0]) != script_digest(good[0]), place

    def test_a_changed_byte_of_a_part_is_that_of_its_platform(self, whole: bytes) -> None:
        found = split(whole[:HEAD_LIMIT])
        assert found
        table = found[1]
        for name, offset in table.offsets().items():
            bad = bytearray(whole)
            bad[offset] ^= 1
            assert differing(io.BytesIO(bad[table.start :]), table, b"") == [name]
        bad = bytearray(whole)
        bad[table.start] ^= 1
        assert differing(io.BytesIO(bad[table.start :]), table, b"") == NAMES

    def test_a_byte_more_or_less_belongs_to_no_payload(self, whole: bytes) -> None:
        found = split(whole[:HEAD_LIMIT])
        assert found
        rest = whole[found[1].start :]
        assert differing(io.BytesIO(rest + b"\0"), found[1], b"") == NAMES
        assert differing(io.BytesIO(rest[:-1]), found[1], b"") == NAMES[-1:]

    @pytest.mark.parametrize("content", [b"", b"#!/bin/sh\necho hello\n", b"\x7fELF" + bytes(200)])
    def test_another_file_has_none(self, content: bytes) -> None:
        assert split(content) is None
        with pytest.raises(UnfitInputError, match="is no executable of Waybill, or is damaged"):
            self_extract.table(io.BytesIO(content))


class TestSelection:
    @pytest.mark.parametrize(
        "names", [("linux/amd64",), ("linux/arm64-musl",), ("linux/amd64", "linux/arm64"), tuple(NAMES)]
    )
    def test_a_part_of_it_is_what_is_packed_for_these_alone(
        self, apps: dict[str, Path], whole: bytes, names: tuple[str, ...]
    ) -> None:
        assert selected(whole, *names) == only(apps, *names)

    def test_the_payload_of_a_platform_does_not_depend_on_the_others(
        self, apps: dict[str, Path], whole: bytes, trusted: Path, tmp_path: Path
    ) -> None:
        """A host may get a file for all, then one for itself: it unpacks once."""
        for name, content in (("one", only(apps, "linux/amd64")), ("all", whole)):
            program = tmp_path / name
            program.write_bytes(content)
            program.chmod(0o755)
            assert run(program, trusted / "c", name).stdout == f"linux/amd64 {name}\n"
            (home,) = unpacked(trusted / "c")
            with program.open("rb") as file:
                assert is_same_program(file, home)

    def test_a_file_that_is_cut_short_is_refused(self, whole: bytes) -> None:
        with pytest.raises(UnfitInputError, match="is shorter than it must be"):
            selected(whole[:-1], *NAMES)


class TestPack:
    def test_a_file_that_should_be_the_same_everywhere_is_named(self, apps: dict[str, Path]) -> None:
        (apps["linux/arm64"] / "lib/shared").write_text("not the same")
        with pytest.raises(UnfitInputError, match="is another file for linux/arm64") as caught:
            self_extract.pack(apps, "tool", "1")
        assert caught.value.where == "lib/shared"

    def test_the_order_of_the_platforms_is_fixed(self, apps: dict[str, Path], whole: bytes) -> None:
        assert self_extract.pack(dict(reversed(apps.items())), "tool", "1") == whole


class TestChoice:
    def test_names_are_put_in_order_once_each(self) -> None:
        assert chosen("linux/arm64,linux/amd64 linux/arm64") == ["linux/amd64", "linux/arm64"]
        assert (chosen(ALL), chosen("")) == (NAMES, [])

    @pytest.mark.parametrize("words", ["linux/arm", "amd64", "all linux/amd64", "linux/amd64-glibc"])
    def test_a_platform_that_there_is_not_is_refused_with_those_that_there_are(self, words: str) -> None:
        with pytest.raises(UsageError, match="is no platform of the executables") as caught:
            chosen(words)
        assert caught.value.hint == f"choose from {', '.join(NAMES)}, or all"
