"""`bundle installer`: which platforms the file is for, and what a frozen `bundle` carries."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bundler.commands.installer import create_installer
from bundler.freeze import build, platforms, self_extract
from bundler.freeze.platforms import PLATFORMS
from installer.core.errors import UsageError
from installer.shared.humanize import size_text
from installer.shared.progress import Progress

CARRIED = ("linux/amd64", "linux/amd64-musl")


def install(tmp_path: Path, *names: str) -> bytes:
    apps = {}
    for name in names:
        app = apps[name] = tmp_path / "apps" / name.replace("/", "-")
        app.mkdir(parents=True, exist_ok=True)
        (app / "install").write_text(f"#!/bin/sh\necho {name}\n")
    return self_extract.pack(apps, "install", "1")


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process is a frozen `bundle` on x86-64; the directory has what it carries."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "bundle"))
    monkeypatch.setattr(platforms, "native", lambda: PLATFORMS["linux/amd64"])
    place = tmp_path / "bundle" / build.EMBEDDED
    place.parent.mkdir(parents=True)
    place.write_bytes(install(tmp_path, *CARRIED))
    return place


def test_an_executable_that_carries_no_installer_says_so(frozen: Path, tmp_path: Path) -> None:
    frozen.unlink()
    with pytest.raises(UsageError, match="does not contain `install`"):
        create_installer(tmp_path / "out", (), Progress())


def test_the_file_is_for_this_machine_if_nothing_is_asked_for(frozen: Path, tmp_path: Path) -> None:
    out = tmp_path / "stick" / "install"
    written = create_installer(out, (), Progress())
    assert written.platforms == ("linux/amd64",)
    assert out.read_bytes() == install(tmp_path, "linux/amd64")
    assert out.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in out.parent.iterdir()] == ["install"]


@pytest.mark.parametrize("asked", [("linux/amd64-musl",), ("linux/amd64-musl", "linux/amd64")])
def test_the_file_is_for_what_is_asked_for_and_its_size_is_said(
    frozen: Path, tmp_path: Path, asked: tuple[str, ...]
) -> None:
    out = tmp_path / "install"
    written = create_installer(out, asked, Progress())
    assert out.read_bytes() == install(tmp_path, *(name for name in CARRIED if name in asked))
    assert written.size == out.stat().st_size
    size = size_text(out.stat().st_size)
    assert written.as_text().startswith(f"wrote {out}, {size}, for {', '.join(written.platforms)}\nsha256 ")
    assert written.as_json()["platforms"] == [name for name in CARRIED if name in asked]


@pytest.mark.parametrize(
    ("asked", "missing"),
    [(["linux/arm64"], "linux/arm64"), (["all"], "linux/arm64, linux/arm64-musl")],
)
def test_a_platform_that_is_not_carried_is_refused_with_those_that_are(
    frozen: Path, tmp_path: Path, asked: list[str], missing: str
) -> None:
    with pytest.raises(UsageError) as caught:
        create_installer(tmp_path / "install", asked, Progress())
    carried = ", ".join(CARRIED)
    wanted = " ".join([*CARRIED, *missing.split(", ")])
    said = f"this executable does not contain `install` for {missing}, only for {carried}"
    assert caught.value.what == said
    assert caught.value.hint == f'build it with `make installer PLATFORMS="{wanted}"` in a checkout'
    assert caught.value.exit_code == 2
    assert not (tmp_path / "install").exists()


def test_a_machine_that_it_is_not_for_gets_all_that_is_carried(
    frozen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "native", lambda: PLATFORMS["linux/arm64"])
    assert create_installer(tmp_path / "install", (), Progress()).platforms == CARRIED
