"""Charts in bundle.yaml: directories and archives, all their files, and what hosts could not install."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from bundler.config.folders.charts import read
from bundler.config.folders.folder_files import Folder

METADATA = "apiVersion: v2\nname: chat\nversion: 1.0.0\n"
NEEDS = METADATA + "dependencies:\n- {name: store, version: 1.x, repository: https://charts.example}\n"
FILES = {
    "Chart.yaml": METADATA,
    ".helmignore": "*.bak\n",
    "values.yaml": "",
    "templates/_helpers.tpl": "x",
    "templates/web.yaml": "x",
}


def lay(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def archived(path: Path, files: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"chat/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


def of(tmp_path: Path, given: str) -> Folder:
    return read(tmp_path, given, "bundle.yaml:7")


def said(chart: Folder) -> str:
    return "\n".join(f"{each.where}: {each.what} ({each.hint})" for each in chart.problems)


def test_a_directory_travels_with_all_its_files_metadata_first(tmp_path: Path) -> None:
    lay(tmp_path / "deploy/helm/chat", FILES)
    chart = of(tmp_path, "deploy/helm/chat/")
    assert said(chart) == ""
    assert chart.members[0] == "deploy/helm/chat/Chart.yaml"
    assert set(chart.members) == {f"deploy/helm/chat/{name}" for name in FILES}


def test_a_directory_elsewhere_keeps_its_own_name_in_the_bundle(tmp_path: Path) -> None:
    lay(tmp_path / "charts/chat", FILES)
    chart = of(tmp_path, "charts/chat")
    assert chart.files[0] == ("charts/chat/Chart.yaml", "deploy/helm/chat/Chart.yaml")


def test_an_archive_is_one_file(tmp_path: Path) -> None:
    archived(tmp_path / "chat-1.0.0.tgz", FILES)
    chart = of(tmp_path, "chat-1.0.0.tgz")
    assert (said(chart), chart.members) == ("", "deploy/helm/chat-1.0.0.tgz")


@pytest.mark.parametrize(
    "vendored", [{"charts/store/Chart.yaml": METADATA}, {"charts/store-1.2.3.tgz": "x"}], ids=["dir", "tgz"]
)
def test_a_chart_that_others_need_has_to_be_in_it(tmp_path: Path, vendored: dict[str, str]) -> None:
    lay(tmp_path / "chat", {**FILES, "Chart.yaml": NEEDS, "charts/other-1.0.0.tgz": "x"})
    archived(tmp_path / "chat.tgz", {"Chart.yaml": NEEDS})
    for given in ("chat", "chat.tgz"):
        assert f"{given} depends on the chart store" in said(of(tmp_path, given))
        assert "helm dependency build" in said(of(tmp_path, given))
    lay(tmp_path / "chat", vendored)
    assert said(of(tmp_path, "chat")) == ""


BAD = {
    "a directory that is not there": ({}, "chat"),
    "a directory without metadata": ({"values.yaml": ""}, "chat"),
    "metadata without a version": ({"Chart.yaml": "name: chat\n"}, "chat"),
    "metadata that are no YAML": ({"Chart.yaml": "a: [\n"}, "chat/Chart.yaml"),
    "a library": ({"Chart.yaml": METADATA + "type: library\n"}, "cannot be installed"),
}


@pytest.mark.parametrize(("files", "what"), BAD.values(), ids=BAD)
def test_what_is_no_chart_is_refused(tmp_path: Path, files: dict[str, str], what: str) -> None:
    lay(tmp_path / "chat", files)
    if not files:
        (tmp_path / "chat").mkdir(exist_ok=True)
        (tmp_path / "chat").rmdir()
    assert what in said(of(tmp_path, "chat"))


def test_a_link_in_a_chart_is_refused_with_its_name(tmp_path: Path) -> None:
    lay(tmp_path / "chat", FILES)
    (tmp_path / "chat/templates/other.yaml").symlink_to("web.yaml")
    assert "chat/templates/other.yaml is a link" in said(of(tmp_path, "chat"))


@pytest.mark.parametrize(
    ("name", "data"), [("chat.zip", b"x"), ("chat.tgz", b"no archive"), ("chat.tgz", b"")]
)
def test_an_archive_that_is_none_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert name in said(of(tmp_path, name))
