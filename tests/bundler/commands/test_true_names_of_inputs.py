"""A product whose files have names of every script: what `create` writes, and what people see of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bundler.commands.diff import diff_bundles
from bundler.commands.inspect import inspect_bundle
from installer.core.errors import NeedsNewerError
from installer.core.format.bundle_source import FileSource
from installer.core.format.manifest import MANIFEST
from installer.core.format.member_names import encoded_name
from tests.rig import bundlebuild as build
from tests.rig import independent
from tests.rig.product import EPOCH, Product

NAMES = ("Große Schrift.ttf", "help/помощь 1.html", "[id].js", "面" * 85, "-rf", "it's $(rm).txt")


@pytest.fixture
def named(product: Product, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    for name in NAMES:
        path = product.directory / "web" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (product.directory / "web/zu Hause").symlink_to("Große Schrift.ttf")
    return product.create().path


def test_create_writes_what_both_readers_read(named: Path) -> None:
    medium = FileSource(named)
    bundle = build.read(medium)
    medium.close()
    paths = {member.entry.path for member in bundle.members}
    assert {f"trees/web/{name}" for name in NAMES} <= paths
    assert independent.answer(named.read_bytes(), images=True) == (0, "verified")


def in_locale_c(*words: str | Path, cwd: Path) -> bytes:
    env = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, check=True).stdout


def test_tar_and_sha256sum_read_it_in_any_locale(named: Path, tmp_path: Path) -> None:
    listed = in_locale_c("tar", "-tf", named, cwd=tmp_path)
    assert listed.isascii()
    assert all(encoded_name(f"trees/web/{name}") in listed.decode() for name in NAMES)
    out = tmp_path / "out"
    out.mkdir()
    in_locale_c("tar", "-xf", named, cwd=out)
    assert in_locale_c("sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS", cwd=out) == b""


def test_the_same_inputs_give_the_same_bytes(named: Path, product: Product, tmp_path: Path) -> None:
    assert product.create(tmp_path / "2.tar").path.read_bytes() == named.read_bytes()


def test_people_see_true_names(named: Path, product: Product, tmp_path: Path) -> None:
    files = inspect_bundle(named, "files")
    assert all(name in files.text for name in NAMES)
    assert "%C3" not in files.text
    overview = inspect_bundle(named)
    assert "requires    names/1: hosts with an earlier installer refuse the bundle" in overview.text
    assert overview.document["requires"] == ["names/1"]
    (product.directory / "web" / NAMES[0]).write_text("changed")
    changed = product.create(tmp_path / "2.tar").path
    difference = diff_bundles(named, changed)
    assert f"trees/web/{NAMES[0]}" in difference.as_text()
    assert "%C3" not in json.dumps(difference.as_json(), ensure_ascii=False)


def test_a_bundle_of_a_newer_version_is_not_called_tampered(tmp_path: Path) -> None:
    plan = build.plan()
    data = next(part.data for part in plan.head if part.name == MANIFEST)
    later = data.replace(b'\n"schema"', b'\n"requires":[\n"x/9"\n],\n"schema"')
    path = tmp_path / "b.tar"
    path.write_bytes(plan.resealed(document=later).tar())
    with pytest.raises(NeedsNewerError, match="requires x/9"):
        inspect_bundle(path)
    with pytest.raises(NeedsNewerError):
        diff_bundles(path, path)
