"""Which files of a release a service mounts, and when their digest changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from installer.core.format.manifest import FileEntry
from installer.deploy.compose.model import Model
from installer.deploy.compose.mounted import contents, differing
from installer.host.context import Context
from installer.state.release import Installed, Release
from tests.rig.releases import ReleaseSpec

A, B = "a" * 64, "b" * 64
PAGE = Installed("/opt/web/index.html", "file", A, 4, 0o644, origin="trees/web/index.html")
CONFIG = Installed("/etc/web.conf", "file", A, 4, 0o640, origin="config/web.conf")
LINK = Installed("/etc/web", "link", target="../opt/web", origin="trees/link")
MEMBER = FileEntry("trees/web/logo.svg", 4, A, 0o644, "tree")


def release(context: Context, *items: Installed, member: FileEntry = MEMBER, number: int = 1) -> Release:
    manifest = replace(ReleaseSpec(f"{number}.0.0", number, {}).manifest(), files=(member,))
    directory = context.layout.release(f"{number}-abc")
    return Release(manifest, "", directory, directory, items or (PAGE, CONFIG, LINK))


def web(source: str, **project: Any) -> Model:
    """Return a project whose one service mounts a path."""
    volumes = [{"type": "bind", "source": source, "target": "/x"}] if source else []
    return Model({"services": {"web": {"image": "web:1", "volumes": volumes}}, **project})


def digest(context: Context, model: Model, *items: Installed, **how: Any) -> str:
    return contents(context, release(context, *items, **how), model).get("web", "")


@pytest.mark.parametrize(
    ("source", "sees_page", "sees_config"),
    [
        ("/opt/web/index.html", True, False),
        ("/opt/web", True, False),
        ("/opt", True, False),
        ("/opt/we", False, False),
        ("/etc/web", True, False),
        ("/etc/web/index.html", True, False),
        ("/etc/web.conf", False, True),
        ("/", True, True),
        ("/var/lib/other", False, False),
    ],
)
def test_a_change_counts_where_the_file_is_mounted_itself_or_by_a_directory_or_a_link(
    host: Context, source: str, *, sees_page: bool, sees_config: bool
) -> None:
    model = web(f"{host.system.root}{source}".rstrip("/"))
    before = digest(host, model)
    assert (digest(host, model, replace(PAGE, sha256=B), CONFIG, LINK) != before) is sees_page
    assert (digest(host, model, PAGE, replace(CONFIG, sha256=B), LINK) != before) is sees_config
    assert bool(before) is (sees_page or sees_config)


@pytest.mark.parametrize(
    "change", [{"mode": 0o600}, {"uid": 7}, {"gid": 7}, {"sha256": B}, {"capabilities": "cap_net_raw=ep"}]
)
def test_mode_owner_and_capabilities_count_like_the_content(host: Context, change: dict[str, Any]) -> None:
    model = web("/opt/web")
    assert digest(host, model, replace(PAGE, **change)) != digest(host, model, PAGE)


def test_a_file_that_comes_or_goes_counts_and_where_it_is_copied_from_does_not(host: Context) -> None:
    model, more = web("/opt/web"), replace(PAGE, path="/opt/web/new.html")
    before = digest(host, model, PAGE)
    assert digest(host, model, PAGE, more) != before
    assert digest(host, model, replace(PAGE, source="/elsewhere", size=5)) == before


def test_a_file_that_the_operator_keeps_does_not_count(host: Context) -> None:
    model, kept = web("/etc"), replace(CONFIG, policy="kept")
    assert digest(host, model, kept) == digest(host, model, replace(kept, sha256=B))


@pytest.mark.parametrize("below", ["{current}/trees", "{directory}/trees/web/logo.svg"])
def test_files_in_the_directory_of_a_release_are_compared_by_their_names_in_it(
    host: Context, below: str
) -> None:
    def of(number: int, member: FileEntry) -> str:
        directory = host.layout.release(f"{number}-abc")
        source = below.format(current=host.layout.current, directory=directory)
        return digest(host, web(f"{host.system.root}{source}"), member=member, number=number)

    assert of(1, MEMBER) == of(2, MEMBER) != ""
    assert of(1, MEMBER) != of(2, replace(MEMBER, sha256=B))


def test_configs_secrets_and_volumes_with_a_device_are_mounts(host: Context) -> None:
    keys = {"image": "web:1", "configs": [{"source": "c"}], "secrets": [{"source": "s"}]}
    keys["volumes"] = [{"type": "volume", "source": "v"}, {"type": "volume", "source": "data"}]
    files = {"configs": {"c": {"file": "/etc/web.conf"}}, "secrets": {"s": {"file": "/run/s"}}}
    volumes = {"v": {"driver_opts": {"type": "none", "o": "bind", "device": "/opt/web"}}, "data": {}}
    model = Model({"services": {"web": keys}, **files, "volumes": volumes})
    assert model.services["web"].sources == ("/etc/web.conf", "/opt/web", "/run/s")
    old, new = release(host), release(host, replace(PAGE, sha256=B), CONFIG, LINK)
    assert differing(host, old, new, model.services["web"]) == ["/opt/web/index.html"]


def test_a_service_without_files_of_the_release_has_no_digest(host: Context) -> None:
    assert contents(host, release(host), web("")) == {}
    assert contents(host, release(host), web("/etc/localtime")) == {}


def test_a_loop_of_links_ends(host: Context) -> None:
    one = Installed("/etc/one", "link", target="two", origin="x")
    two = Installed("/etc/two", "link", target="one", origin="y")
    assert digest(host, web("/etc/one/file"), one, two) == ""
