"""Values that root renders come from files that nobody else can change, and that are files."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from installer.core.errors import Problem
from installer.host.layout import Layout
from installer.host.system import System
from installer.state.site_layers import SiteLayers, site_layers

CONFIG = "etc/waybill/lan-chat"
LAYERS = ("environments/production.yaml", "clusters/plant-3.yaml", "values.yaml")
NOBODY = 65534


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host with a file for each layer, as safe as they should be."""
    for name in LAYERS:
        path = tmp_path / CONFIG / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("log: info\n")
        path.chmod(0o640)
    (tmp_path / "etc/waybill/cluster").write_text("plant-3\n")
    return tmp_path


def read(host: Path) -> SiteLayers:
    return site_layers(System(host), Layout("lan-chat"), "production")


def only_problem(host: Path) -> Problem:
    (problem,) = read(host).problems
    return problem


def test_files_that_only_their_owner_can_write_are_used(host: Path) -> None:
    found = read(host)
    assert (len(found.layers), found.problems) == (3, [])


@pytest.mark.parametrize("mode", [0o660, 0o606, 0o666, 0o622])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_that_others_can_write_is_refused(host: Path, name: str, mode: int) -> None:
    path = host / CONFIG / name
    path.chmod(mode)
    problem = only_problem(host)
    assert problem.where == str(path)
    assert problem.what.endswith(": values that root renders could have been changed")
    assert problem.hint == f"run `chmod go-w {path}`, then check the values there"


def test_the_content_of_a_layer_that_others_can_write_is_not_used(host: Path) -> None:
    (host / CONFIG / "values.yaml").chmod(0o666)
    assert [each.kind for each in read(host).layers] == ["environment", "cluster"]


def test_the_command_of_the_hint_is_enough(host: Path) -> None:
    (host / CONFIG / "values.yaml").chmod(0o666)
    subprocess.run(["sh", "-c", only_problem(host).hint.split("`")[1]], check=True)
    assert read(host).problems == []


@pytest.mark.needs("root")
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_another_user_is_refused(host: Path, name: str) -> None:
    path = host / CONFIG / name
    os.chown(path, NOBODY, -1)
    problem = only_problem(host)
    assert problem.what.startswith(f"belongs to user {NOBODY}, who can change it")
    assert f"`chown root {path}`" in problem.hint


def test_all_such_files_are_told_at_once(host: Path) -> None:
    for name in LAYERS:
        (host / CONFIG / name).chmod(0o666)
    assert [each.where for each in read(host).problems] == [str(host / CONFIG / name) for name in LAYERS]


@pytest.mark.parametrize("name", [".", "environments", "clusters"])
def test_a_directory_in_which_others_can_put_a_layer_is_told_once(host: Path, name: str) -> None:
    path = host / CONFIG / name
    path.chmod(0o777)
    assert only_problem(host).where == str(path)


def test_a_directory_in_which_others_can_put_a_layer_counts_where_there_is_none(host: Path) -> None:
    (host / CONFIG / "clusters/plant-3.yaml").unlink()
    (host / CONFIG / "clusters").chmod(0o777)
    assert only_problem(host).where == str(host / CONFIG / "clusters")


def test_where_a_link_leads_counts_as_well(host: Path) -> None:
    (host / "srv").mkdir()
    (host / "srv/values.yaml").write_text("log: debug\n")
    (host / "srv/values.yaml").chmod(0o666)
    path = host / CONFIG / "values.yaml"
    path.unlink()
    path.symlink_to("/srv/values.yaml")
    assert only_problem(host).where == str(host / "srv/values.yaml")


def test_a_link_to_a_safe_file_is_followed(host: Path) -> None:
    path = host / CONFIG / "values.yaml"
    path.rename(host / "etc/shared.yaml")
    path.symlink_to("/etc/shared.yaml")
    assert (len(read(host).layers), read(host).problems) == (3, [])


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_that_is_absent_is_none(host: Path, name: str) -> None:
    (host / CONFIG / name).unlink()
    assert (len(read(host).layers), read(host).problems) == (2, [])


@pytest.mark.parametrize("name", LAYERS)
def test_a_link_that_leads_nowhere_is_not_an_absent_layer(host: Path, name: str) -> None:
    path = host / CONFIG / name
    path.unlink()
    path.symlink_to("gone.yaml")
    problem = only_problem(host)
    assert problem.where == f"/{CONFIG}/{name}"
    assert problem.what == f"is a link to gone.yaml, which does not exist below {host}"
    assert f"`rm {path}`" in problem.hint


def test_a_link_to_a_directory_that_does_not_exist_is_not_an_absent_layer(host: Path) -> None:
    path = host / CONFIG / "values.yaml"
    path.unlink()
    path.symlink_to("/mnt/values/values.yaml")
    assert "which does not exist" in only_problem(host).what


def test_a_directory_of_layers_that_is_a_broken_link_is_not_an_empty_one(host: Path) -> None:
    (host / CONFIG / "clusters").rename(host / "clusters")
    (host / CONFIG / "clusters").symlink_to("gone")
    problem = only_problem(host)
    assert (problem.where, problem.what.partition(",")[0]) == (f"/{CONFIG}/clusters", "is a link to gone")


def test_a_directory_of_layers_that_is_a_file_is_not_an_empty_one(host: Path) -> None:
    (host / CONFIG / "clusters").rename(host / "clusters")
    (host / CONFIG / "clusters").write_text("")
    assert only_problem(host).what == "is a file, not a directory"


def test_a_link_out_of_the_root_directory_is_not_followed_there(host: Path, tmp_path_factory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "values.yaml"
    outside.write_text("log: debug\n")
    path = host / CONFIG / "values.yaml"
    path.unlink()
    path.symlink_to(outside)
    assert only_problem(host).what == f"is a link to {outside}, which does not exist below {host}"


def test_links_that_lead_in_a_circle_are_told(host: Path) -> None:
    path = host / CONFIG / "values.yaml"
    path.unlink()
    path.symlink_to("values.yaml")
    assert "Too many levels of symbolic links" in only_problem(host).what


def _socket(path: Path) -> None:
    # The path of a socket may have 108 bytes only.
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)
    path.chmod(0o600)


KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe": (lambda path: os.mkfifo(path, 0o600), "is a device, socket or pipe, not a file"),
    "a socket": (_socket, "is a device, socket or pipe, not a file"),
    "a directory": (lambda path: path.mkdir(0o755), "is a directory, not a file"),
    "a link to a directory": (
        lambda path: path.symlink_to("/etc"),
        "is a link to /etc, which is a directory, not a file",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LAYERS)
def test_what_is_no_file_is_not_an_empty_layer(host: Path, name: str, kind: str) -> None:
    path = host / CONFIG / name
    path.unlink()
    make, what = KINDS[kind]
    make(path)
    problem = only_problem(host)
    assert (problem.where, problem.what) == (f"/{CONFIG}/{name}", what)
