"""Bundles that use something newer: the baseline refuses them, today's executables say what to do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from installer.core.format import manifest_json
from installer.core.jsonio import dumps_lines
from tests.rig import bundlebuild as build
from tests.rig.compatrelease import FIRST, lay_out, put
from tests.rig.desk import Desk
from tests.rig.executables import Executables
from tests.rig.hostdir import PRODUCT, HostDir

METHODS = ("--yes", "--only", "files")
NAMES = ("web/fonts/Große Schrift.ttf", "web/help/помощь.html", "web/" + "面" * 85)


@pytest.fixture(scope="module")
def named(desk: Desk, new: Executables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with true names that only today's `bundle` can carry."""
    directory = lay_out(tmp_path_factory.mktemp("named") / "product", FIRST)
    put(directory, dict.fromkeys(NAMES, "x\n"))
    path = directory.parent / "named.tar"
    Desk(desk.home, new, desk.env).bundle("create", FIRST, "-C", directory, "-o", path, "--key", desk.key)
    return path


def test_the_baseline_names_the_field_that_it_does_not_know(
    named: Path,
    trusting,
    hosts: Path,  # type: ignore[no-untyped-def]
) -> None:
    host = trusting("old-names")
    before = host.outside()
    for words in (("verify", named), ("plan", named), (named, *METHODS)):
        rc, out, err = host.run(*words)
        assert rc == 11, out + err
        assert "is not a field of this version of the format" in out + err
    assert host.outside() == before


def test_a_host_with_such_names_is_left_alone_by_the_baseline(
    named: Path,
    trusting,
    old: Executables,
    new: Executables,
    hosts: Path,  # type: ignore[no-untyped-def]
) -> None:
    host = trusting("new-names").copy(hosts / "host", new.install)
    host.check(named, *METHODS)
    there = host.outside()
    assert any("Große Schrift.ttf" in name for name in there)
    earlier = HostDir(host.root, old.install)
    for words in (("status",), ("rollback", "--yes"), ("remove", PRODUCT, "--yes")):
        rc, out, err = earlier.run(*words)
        assert "Traceback" not in out + err
        assert rc in (0, 11, 13, 15), f"{words}: {rc} {out}{err}"
        if words != ("status",):
            assert rc != 0, f"{words}: {out}{err}"
        assert host.outside() == there
    assert host.status()["drift"] == []
    host.check("remove", PRODUCT, "--yes")
    assert not any("Große Schrift.ttf" in name for name in host.outside())


@dataclass(frozen=True)
class Newer:
    """A signed bundle of a later version, and who has signed it."""

    path: Path
    public: Path
    root: Path
    fingerprint: str


@pytest.fixture(scope="module")
def newer(desk: Desk, new: Executables, tmp_path_factory: pytest.TempPathFactory) -> Newer:
    home = tmp_path_factory.mktemp("newer")
    document = json.loads(manifest_json.dump(build.plan().manifest))
    later = document | {"requires": ["nomad/1"], "nomads": [{"x": 1.5}]}
    path, public = home / "newer.tar", home / "newer.pub"
    path.write_bytes(build.signed(build.plan().resealed(document=dumps_lines(later))).tar())
    public.write_text(build.key()[1])
    today = Desk(home, new, desk.env)
    today.bundle("trust", "init", "root.json", "--release-key", public)
    return Newer(path, public, today.root, today.fingerprint)


def test_a_word_that_is_not_known_needs_a_newer_version(
    newer: Newer, desk: Desk, new: Executables, hosts: Path
) -> None:
    host = HostDir(hosts / "host", new.install)
    (host.root / "etc").mkdir(parents=True)
    host.check("trust", "init", newer.root, "--fingerprint", newer.fingerprint)
    before = host.outside()
    for words in (("verify", newer.path), ("plan", newer.path), (newer.path, *METHODS)):
        rc, out, err = host.run(*words)
        assert rc == 19, out + err
        assert "nomad/1" in out + err
        assert "newer version of Waybill" in out + err
    assert host.outside() == before
    today = Desk(newer.path.parent, new, desk.env)
    for words in (
        ("verify", newer.path, "--key", newer.public),
        ("verify", newer.path, "--root", newer.root),
        ("inspect", newer.path),
        ("diff", newer.path, newer.path),
        ("sign", newer.path, "--key", desk.key),
    ):
        rc, out, err = today.run(*words)
        assert rc == 19, f"{words}: {out}{err}"
    assert today.run("verify", newer.path, "--key", desk.home / "release.pub").rc == 10


@pytest.mark.parametrize("locale", ["C", "POSIX", "de_DE.ISO-8859-1"])
def test_names_are_the_same_bytes_in_every_locale(
    named: Path,
    trusting,
    new: Executables,
    hosts: Path,
    locale: str,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[no-untyped-def]
) -> None:
    monkeypatch.delenv("PYTHONUTF8", raising=False)
    monkeypatch.setenv("LC_ALL", locale)
    host = trusting(f"locale-{locale}").copy(hosts / "host", new.install)
    host.check(named, *METHODS)
    assert "opt/lan-chat/web/fonts/Große Schrift.ttf" in {name.lstrip("/") for name in host.outside()}
    assert host.status()["drift"] == []
