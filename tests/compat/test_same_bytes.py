"""From the same inputs the baseline's `bundle` and the current one make the same bytes."""

from __future__ import annotations

import hashlib
import json
import random
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.rig import compatrelease, imagebuild
from tests.rig.compatrelease import SECOND, put
from tests.rig.desk import Desk, lay_out
from tests.rig.ed25519key import write_ed25519_key
from tests.rig.executables import Executables
from tests.rig.gitcheckout import commit_all
from tests.rig.imagebuild import Built, layer

FORMS = (*imagebuild.TYPES, "old", "new")
"""How images are stored: in layouts of three forms, and in archives as Docker 20.10 and 28 save them."""
MORE = """\
compression: {compression}
sequence: 77
upgrade_from: 1.0.0
images: [{{oci: tar}}, {{oci: gzip}}, {{oci: zstd}}, {{archive: old.tar}}, {{archive: new.tar}}]
deploy:
  - {{method: script, apply: deploy/apply.sh, undo: deploy/undo.sh, timeout: 2m, optional: true}}
  - {{method: script, apply: deploy/migrate.sh, snapshot: deploy/save.sh, restore: deploy/restore.sh}}
health:
  - {{http: "http://127.0.0.1:{{{{port}}}}/", within: 10s, stable: 3s, when: script}}
  - {{command: [/opt/lan-chat/bin/chatd, check], within: 30s}}
"""
Input = Callable[[Desk, Path], str]


def everything(compression: str) -> Input:
    """Lay out a product that uses what bundle.yaml offers without an engine, and images in every form."""

    def make(_desk: Desk, directory: Path) -> str:
        compatrelease.lay_out(directory, SECOND)
        put(directory, {"web/big": "x" * 3_000_000, "web/a@b+c%d=e,f~g-h": ""})
        put(directory, {f"web/{'long' * 20}/{'name' * 10}.txt": "long\n"})
        put(directory, {"web/run": "#!/bin/sh\n"}, 0o755)
        with (directory / "bundle.yaml").open("a") as file:
            file.write(MORE.format(compression=compression))
        images = {form: pair(form) for form in FORMS}
        for form in imagebuild.TYPES:
            imagebuild.write(directory / form, imagebuild.layout(images[form]))
        (directory / "old.tar").write_bytes(imagebuild.tar(imagebuild.saved_old(images["old"])))
        (directory / "new.tar").write_bytes(imagebuild.tar(imagebuild.saved_new(images["new"])))
        return SECOND

    return make


def pair(form: str) -> list[Built]:
    """Return two images that share a layer; what is their own can be compressed, so that the level shows."""
    stored = form if form in imagebuild.TYPES else "tar"
    words = [word.encode() for word in compatrelease.DESCRIPTION.split()]
    images = []
    for name, size in (("server", 3000), ("worker", 30_000)):
        text = b" ".join(random.Random(f"{form} {name}").choices(words, k=size))
        own = imagebuild.tar({name: text})
        images.append(Built(f"lan-chat/{name}-{form}:1.1.0", [layer("base"), own], form=stored))
    return images


def plain(_desk: Desk, directory: Path) -> str:
    compatrelease.lay_out(directory, SECOND)
    return SECOND


def quickstart(_desk: Desk, directory: Path) -> str:
    lay_out("1.5.0", directory)
    return "1.5.0"


def template(name: str) -> Input:
    """Lay down a template with the baseline's `bundle init`; a layout replaces the image of the engine."""

    def make(desk: Desk, directory: Path) -> str:
        desk.bundle("init", directory, "--template", name)
        description = directory / "bundle.yaml"
        product = re.search("^product: (.+)$", description.read_text(), re.MULTILINE)
        assert product
        image = Built(f"{product[1]}:0.1.0", [layer("base")])
        imagebuild.write(directory / "layout", imagebuild.layout([image]))
        text = description.read_text()
        text, count = re.subn(r"^  - .*:\{version\}$", "  - oci: layout", text, flags=re.MULTILINE)
        assert count == (name == "compose")
        description.write_text(text)
        return "v0.1.0"

    return make


INPUTS: dict[str, Input] = {
    "files only": plain,
    "everything, layers stored as zstd": everything("zstd"),
    "everything, layers stored as gzip": everything("gzip"),
    "everything, layers stored as they are": everything("none"),
    "template systemd": template("systemd"),
    "template compose": template("compose"),
    "quickstart": quickstart,
}


@pytest.fixture(scope="module")
def both(desk: Desk, new: Executables) -> list[Desk]:
    """The same desk with the baseline's `bundle` and with the current one, and an Ed25519 key.

    Such a key signs the same bytes the same way each time; ECDSA does not.
    """
    write_ed25519_key(desk.home / "ed.key")
    return [desk, Desk(desk.home, new, desk.env)]


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def members(bundle: Path) -> dict[str, bytes]:
    """Return the members of a bundle in their order."""
    with tarfile.open(bundle) as archive:
        return {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", INPUTS)
def test_a_signed_bundle_is_the_same_file(name: str, both: list[Desk], tmp_path: Path) -> None:
    directory = tmp_path / "product"
    version = INPUTS[name](both[0], directory)
    made = [tmp_path / "old.tar", tmp_path / "new.tar"]
    for desk, target in zip(both, made, strict=True):
        desk.bundle("create", version, "-C", directory, "-o", target, "--key", "ed.key")
    assert len(members(made[0])) > 5
    assert digest(made[0]) == digest(made[1]), "the first difference: " + difference(*made)


def difference(one: Path, other: Path) -> str:
    """Name the first member that differs, for the message of a failed test."""
    ours, theirs = members(one), members(other)
    if list(ours) != list(theirs):
        return f"the members {sorted(ours.keys() ^ theirs.keys())}, or their order"
    return next((name for name in ours if ours[name] != theirs[name]), "tar headers or padding")


def test_a_signature_added_later_is_the_same(both: list[Desk], tmp_path: Path) -> None:
    directory = compatrelease.lay_out(tmp_path / "product", SECOND, "undo", images=True)
    made = [tmp_path / "old.tar", tmp_path / "new.tar"]
    for desk, target in zip(both, made, strict=True):
        desk.bundle("create", SECOND, "-C", directory, "-o", target)
    assert digest(made[0]) == digest(made[1])
    for desk, target in zip(both, made, strict=True):
        desk.bundle("sign", target, "--key", "ed.key")
    assert digest(made[0]) == digest(made[1])
    for desk, target in zip(both, made, strict=True):
        desk.bundle("sign", target, "--key", desk.key)
    assert len({*members(made[0])} - {"SHA256SUMS"}) == len(members(made[0])) - 1
    assert without_times(made[0]) == without_times(made[1])


def without_times(bundle: Path) -> dict[str, Any]:
    """Return the members: statements without their times, and nothing of what is signed anew each time."""
    found: dict[str, Any] = {}
    for name, data in members(bundle).items():
        if name.startswith("approvals/") and name.endswith(".json") and not name.endswith("sigstore.json"):
            found[name] = timeless(json.loads(data))
        else:
            found[name] = data if "SHA256SUMS." not in name and not name.startswith("approvals/") else ""
    return found


def timeless(value: Any) -> Any:
    """Return JSON with every RFC 3339 time replaced."""
    text = re.sub(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"', '"TIME"', json.dumps(value, sort_keys=True))
    return json.loads(text)


def test_approvals_are_added_behind_the_same_payload(both: list[Desk], tmp_path: Path) -> None:
    directory = compatrelease.lay_out(tmp_path / "product", SECOND)
    unapproved = tmp_path / "unapproved.tar"
    both[0].bundle("create", SECOND, "-C", directory, "-o", unapproved, "--key", "ed.key")
    payload = unapproved.read_bytes().rstrip(b"\0")
    made = [tmp_path / "old.tar", tmp_path / "new.tar"]
    for desk, target in zip(both, made, strict=True):
        target.write_bytes(unapproved.read_bytes())
        options = ("--env", "production", "--key", "ed.key", "--expires", "2100-01-01T00:00:00Z")
        released = ("--release-key", "ed.pub")
        desk.approve(target, "--role", "security", *options, "--note", "scanned", trusted=released)
        words = ("--role", "ops", "--change-id", "CHG-1", "--rollback-to", "none", "--target", "host")
        desk.approve(target, *words, *options, trusted=released)
        assert target.read_bytes().startswith(payload)
    assert sum(name.startswith("approvals/") for name in members(made[0])) >= 4
    assert list(members(made[0])) == list(members(made[1]))
    assert without_times(made[0]) == without_times(made[1])
    assert made[0].stat().st_size == made[1].stat().st_size


def test_provenance_says_the_same(both: list[Desk], tmp_path: Path) -> None:
    directory = compatrelease.lay_out(tmp_path / "product", SECOND, "undo", images=True)
    commit_all(directory, "v1.1.0", "https://git.example.org/lan-chat.git")
    said = []
    for number, desk in enumerate(both):
        signed, unsigned = tmp_path / f"{number}.tar", tmp_path / f"{number}-unsigned.tar"
        options = ("-C", directory, "--builder", "https://ci.example.org", "--key", "ed.key")
        desk.bundle("create", SECOND, *options, "-o", signed, "--provenance-key", "ed.key")
        desk.bundle("create", SECOND, *options, "-o", unsigned)
        beside = json.loads((tmp_path / f"{number}-unsigned.tar.provenance.json").read_bytes())
        assert beside["predicate"]["buildDefinition"]["resolvedDependencies"]
        said.append((timeless(beside), without_times(signed)))
    assert said[0] == said[1]


def test_a_root_of_trust_is_the_same(both: list[Desk], tmp_path: Path) -> None:
    made = []
    for number, desk in enumerate(both):
        root, until = tmp_path / f"{number}" / "root.json", ("--expires", "2100-01-01T00:00:00Z")
        root.parent.mkdir()
        desk.bundle("trust", "init", root, "--release-key", "release.pub", *until, "--root-key", "ed.pub")
        desk.bundle("trust", "add-key", root, "ed.pub", "--role", "security", "--owner", "Bo")
        policy = ("--require", "security=1", "--max-age", "14d", "--change-id", "--product", "lan-chat")
        desk.bundle("trust", "set-policy", root, "test", *policy)
        desk.bundle("trust", "set-product", root, "lan-chat", "--floor", "1.0.0")
        desk.bundle("trust", "sign", root, "--key", "ed.key")
        made.append({path.name: path.read_bytes() for path in root.parent.iterdir()})
    assert len(made[0]) > 1
    assert {name: blank_times(data) for name, data in made[0].items()} == {
        name: blank_times(data) for name, data in made[1].items()
    }


def blank_times(data: bytes) -> bytes:
    return re.sub(rb'"20[0-9-]{8}T[0-9:]{8}Z"', b'"TIME"', data)
