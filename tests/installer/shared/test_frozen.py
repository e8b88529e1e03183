"""What the executables do at their start: hold their directory, prune old ones, restore variables."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from installer.core.digest import sha256_hex
from installer.core.errors import HostNotReadyError
from installer.shared import frozen
from installer.shared.child.environment import child_environment
from installer.shared.standalone import self_report


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for name in ("install-new", "install-old", "install-older", "bundle-old", "installer-old"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / ".complete").touch()
        os.utime(tmp_path / name / ".complete", (1, 1))
    return tmp_path


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


class TestPrune:
    def test_other_versions_of_the_same_program_go(self, cache: Path) -> None:
        removed = frozen.prune(cache / "install-new")
        assert [path.name for path in removed] == ["install-old", "install-older"]
        assert names(cache) == ["bundle-old", "install-new", "installer-old"]

    def test_what_still_runs_stays(self, cache: Path) -> None:
        with (cache / "install-old" / ".complete").open() as held:
            fcntl.flock(held, fcntl.LOCK_SH)
            frozen.prune(cache / "install-new")
            assert names(cache) == ["bundle-old", "install-new", "install-old", "installer-old"]
        frozen.prune(cache / "install-new")
        assert "install-old" not in names(cache)

    def test_what_was_started_this_week_stays(self, cache: Path) -> None:
        """Its next start may stand between the look at the marker and the lock on it just now."""
        (cache / "install-old" / ".complete").touch()
        frozen.prune(cache / "install-new")
        assert names(cache) == ["bundle-old", "install-new", "install-old", "installer-old"]

    def test_an_unfinished_directory_goes(self, cache: Path) -> None:
        (cache / "install-old" / ".complete").unlink()
        frozen.prune(cache / "install-new")
        assert "install-old" not in names(cache)

    def test_what_a_killed_first_start_left_goes_after_an_hour(self, cache: Path) -> None:
        for name in (".install-Ab12cd", ".install-busy12"):
            (cache / name / "lib").mkdir(parents=True)
        os.utime(cache / ".install-Ab12cd", (1, 1))
        frozen.prune(cache / "install-new")
        assert [name for name in names(cache) if name.startswith(".")] == [".install-busy12"]

    def test_a_link_is_left_alone_and_so_is_its_target(self, cache: Path, tmp_path: Path) -> None:
        (tmp_path / "precious").mkdir()
        (cache / "install-link").symlink_to(tmp_path / "precious")
        frozen.prune(cache / "install-new")
        assert (cache / "install-link" / ".").is_dir()


class TestHold:
    @pytest.fixture(autouse=True)
    def _released(self) -> object:
        yield
        while frozen._held:
            os.close(frozen._held.pop())

    def test_a_running_program_is_not_pruned_by_a_newer_one(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(frozen.sys, "prefix", str(cache / "install-old"))
        frozen.hold()
        frozen.prune(cache / "install-new")
        assert (cache / "install-old" / ".complete").exists()

    def test_a_start_counts_as_use(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frozen.sys, "prefix", str(cache / "install-old"))
        frozen.hold()
        os.close(frozen._held.pop())
        frozen.prune(cache / "install-new")
        assert (cache / "install-old" / ".complete").exists()

    def test_only_a_first_start_prunes(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frozen.sys, "prefix", str(cache / "install-new"))
        frozen.hold()
        assert "install-old" in names(cache)
        monkeypatch.setenv("WAYBILL_FRESH", "1")
        frozen.hold()
        assert "install-old" not in names(cache)
        assert "WAYBILL_FRESH" not in os.environ


class TestFromSource:
    def test_a_start_from_source_is_no_executable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WAYBILL_EXE", "/planted")
        assert frozen.executable() is None

    def test_the_modules_of_a_start_from_source_are_those_of_the_installer(self) -> None:
        modules = frozen.modules()
        assert "installer.core.errors" in modules
        assert all(name.partition(".")[0] == "installer" for name in modules)


class TestChildEnvironment:
    def test_the_environment_of_a_child_is_that_of_the_user(self) -> None:
        given = {"PATH": "/bin", "WAYBILL_CACHE": "/c", "LANG": "C"}
        assert child_environment(given) == given

    def test_what_the_start_added_is_gone_and_what_it_hid_is_back(self) -> None:
        given = {
            "WAYBILL_EXE": "/stick/install",
            "WAYBILL_FRESH": "1",
            "WAYBILL_ORIGINAL_LD_LIBRARY_PATH": "/theirs",
            "WAYBILL_ORIGINAL_LD_PRELOAD": "",
            "A": "b",
        }
        assert child_environment(given) == {"A": "b", "LD_LIBRARY_PATH": "/theirs", "LD_PRELOAD": ""}

    def test_the_environment_of_a_child_is_a_copy(self) -> None:
        child_environment()["WAYBILL_TEST"] = "1"
        assert "WAYBILL_TEST" not in os.environ


class TestDamage:
    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        made = tmp_path / "install-digest"
        (made / "lib").mkdir(parents=True)
        (made / "install").write_bytes(b"program")
        (made / "lib/data").write_bytes(b"data")
        sums = "".join(
            f"{sha256_hex((made / name).read_bytes())}  {name}\n" for name in ("install", "lib/data")
        )
        (made / frozen.LIST).write_text(sums)
        (made / frozen.MARKER).touch()
        return made

    def test_nothing_is_found_in_a_whole_directory(self, home: Path) -> None:
        assert frozen.damaged(home) == []
        assert (home / frozen.MARKER).exists()

    @pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b"dbtb"), Path.unlink])
    def test_damage_that_left_every_time_as_it_was_is_found_and_unpacked_again(
        self, home: Path, harm: Callable[[Path], object]
    ) -> None:
        harm(home / "lib/data")
        assert frozen.damaged(home) == ["lib/data"]
        # The shell script unpacks a directory without it.
        assert not (home / frozen.MARKER).exists()

    def test_selftest_says_so(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        monkeypatch.setattr(sys, "prefix", str(home))
        (home / "install").write_bytes(b"")
        with pytest.raises(HostNotReadyError, match="the first of 1 is install") as caught:
            self_report.selftest("install", "1")
        assert caught.value.where == str(home)
