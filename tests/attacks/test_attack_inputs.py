"""Hostile inputs of `bundle create`: bundle.yaml, images, templates, trees: refused, no bundle written."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from installer.core.oci import documents
from tests.attacks.box import Box, run
from tests.rig.imagebuild import Built, digest, dumps, layer, layout, saved_new, saved_old, tar, write
from tests.rig.products import BUNDLE, make_product, put

ONE = Built("lan-chat/services:1.4.0", [layer("base"), layer("app")])
LAUGHS = "a0: &a0 x\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))


class Desk(Box):
    """The connected side: a product, and the rest of the machine around it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.product = make_product(self.home / "product")

    def seen(self) -> dict[str, str]:
        """Like `Box.seen`; the empty directory for bundles may be made."""
        return {name: what for name, what in super().seen().items() if name != "product/dist"}

    def yaml(self, text: str) -> None:
        """Adds to bundle.yaml."""
        put(self.product, "bundle.yaml", BUNDLE + text)

    def template(self, text: str) -> None:
        """Adds a template."""
        put(self.product, "config/a.j2", text)
        self.yaml("config:\n  - {template: config/a.j2, install: /etc/lan-chat/a}\n")

    def archive(self, data: bytes) -> None:
        """Adds an archive of images."""
        put(self.product, "images.tar", data)
        self.yaml("images:\n  - archive: images.tar\n")

    def layout(self, files: dict[str, bytes]) -> None:
        """Adds an OCI layout."""
        write(self.product / "layout", files)
        self.yaml("images:\n  - oci: layout\n")


def yaml(text: str) -> Callable[[Desk], None]:
    return lambda desk: desk.yaml(text)


def whole(text: str) -> Callable[[Desk], None]:
    return lambda desk: put(desk.product, "bundle.yaml", text)


def template(text: str) -> Callable[[Desk], None]:
    return lambda desk: desk.template(text)


def tree(make: Callable[[Path], object]) -> Callable[[Desk], None]:
    """A tree with something in it that is no file."""

    def arrange(desk: Desk) -> None:
        put(desk.product, "web/index.html", "x")
        make(desk.product / "web")
        desk.yaml("trees:\n  - {path: web, install: /opt/lan-chat/web}\n")

    return arrange


def archive(data: Callable[[], bytes]) -> Callable[[Desk], None]:
    return lambda desk: desk.archive(data())


def lying_tar(name: str, **fields: object) -> Callable[[], bytes]:
    """The archive of an image with a further member."""

    def make() -> bytes:
        buffer = io.BytesIO(tar(saved_old([ONE])))
        with tarfile.open(fileobj=buffer, mode="a", format=tarfile.GNU_FORMAT) as made:
            entry = tarfile.TarInfo(name)
            for key, value in fields.items():
                setattr(entry, key, value)
            made.addfile(entry)
        return buffer.getvalue()

    return make


def disagreeing() -> bytes:
    """An archive whose `manifest.json` gives the tag to another image than `index.json`."""
    other = Built(ONE.tag, [layer("base"), layer("evil")])
    files = {**saved_new([ONE]), **other.files}
    return tar(files | {"manifest.json": dict(saved_new([other]))["manifest.json"]})


def manifest(**fields: object) -> Callable[[Desk], None]:
    """A layout whose manifest has other fields, its digest right."""

    def arrange(desk: Desk) -> None:
        files = layout([ONE])
        data = dumps(json.loads(ONE.manifest) | fields)
        index = files["index.json"].replace(digest(ONE.manifest).encode(), digest(data).encode())
        index = index.replace(f'"size":{len(ONE.manifest)}'.encode(), f'"size":{len(data)}'.encode())
        desk.layout(files | {"index.json": index, f"blobs/sha256/{digest(data)[7:]}": data})

    return arrange


def document(name: str, data: bytes) -> Callable[[Desk], None]:
    return lambda desk: desk.layout(layout([ONE]) | {name: data})


def nested_indexes(desk: Desk) -> None:
    files = layout([ONE])
    below = files["index.json"]
    for _ in range(documents.MAX_DEPTH + 1):
        files[f"blobs/sha256/{digest(below)[7:]}"] = below
        entry = {"mediaType": documents.INDEX, "digest": digest(below), "size": len(below)}
        below = dumps({"schemaVersion": 2, "mediaType": documents.INDEX, "manifests": [entry]})
    desk.layout(files | {"index.json": below})


def site_values(text: str) -> Callable[[Desk], None]:
    def arrange(desk: Desk) -> None:
        put(desk.product, "config/values.yaml", text)
        put(desk.product, "config/a.j2", "x")
        desk.yaml(
            "config:\n  - {template: config/a.j2, install: /etc/lan-chat/a}\n"
            "values: {defaults: config/values.yaml}\n"
        )

    return arrange


ATTACKS: dict[str, tuple[Callable[[Desk], None], str]] = {
    # places
    "an absolute input": (yaml("trees:\n  - {path: /etc, install: /opt/x}\n"), r"bundle\.yaml:\d+: .*path"),
    "an input with NUL": (yaml('trees:\n  - {path: "a\\0b", install: /opt/x}\n'), r"bundle\.yaml:\d+"),
    "a destination that climbs": (
        yaml("trees:\n  - {path: docs, install: /opt/../etc}\n"),
        r"bundle\.yaml:\d+: .*install",
    ),
    "a destination in Waybill's own place": (
        yaml("trees:\n  - {path: docs, install: /var/lib/waybill/lan-chat}\n"),
        r"bundle\.yaml:\d+: ",
    ),
    "a mode with setuid": (
        yaml('config:\n  - {template: CHANGELOG.md, install: /etc/x, mode: "4755"}\n'),
        r"bundle\.yaml:\d+: .*mode",
    ),
    "an owner that is two lines": (
        yaml('config:\n  - {template: CHANGELOG.md, install: /etc/x, owner: "root\\n[Service]"}\n'),
        r"bundle\.yaml:\d+: .*owner",
    ),
    "two inputs for one place": (
        yaml("trees:\n  - {path: docs, install: /opt/lan-chat/bin/chatd}\n"),
        r"bundle\.yaml:\d+: ",
    ),
    # the document
    "a billion laughs": (whole(LAUGHS), r"bundle\.yaml:\d+: .*(anchor|alias)"),
    "a document nested without end": (whole("a: " + "[" * 5000), r"bundle\.yaml:1: .*nested"),
    "a document of a hundred thousand values": (
        whole("a: [" + "x," * 120_000 + "]"),
        r"bundle\.yaml:1: .*100000 values",
    ),
    "a document beyond a megabyte": (whole("a: " + "x" * 2**20), r"bundle\.yaml: is larger than 1024 KiB"),
    "a tag that makes objects": (
        whole("a: !!python/object/apply:os.system [id]\n"),
        r"bundle\.yaml:1: .*tag",
    ),
    "a key twice": (yaml("product: evil\n"), r"bundle\.yaml:\d+: .*'product' twice, first in line 2"),
    "a merge key": (yaml("health:\n  - {<<: {tcp: x}}\n"), r"bundle\.yaml:\d+: .*merge key"),
    "a version that loses its zero": (
        yaml("upgrade_from: 1.10\n"),
        r"bundle\.yaml:\d+: 1\.10 would be read as a number",
    ),
    "a word that means no": (
        yaml("rollback: {plan: no}\n"),
        r"bundle\.yaml:\d+: no is ambiguous: it can mean false",
    ),
    "a second document": (yaml("---\nproduct: evil\n"), r"bundle\.yaml:\d+: contains a second YAML document"),
    "an escape sequence": (whole(BUNDLE.replace("lan-chat", '"\\e]0;evil"', 1)), r"bundle\.yaml:2: "),
    "bytes that are no text": (
        lambda desk: put(desk.product, "bundle.yaml", b"\xff\xff\0"),
        r"bundle\.yaml:1: is not UTF-8",
    ),
    # trees
    "a link that leads out": (tree(lambda top: (top / "x").symlink_to("../../outside/precious")), r"web/x"),
    "an absolute link": (tree(lambda top: (top / "x").symlink_to("/etc/passwd")), r"web/x"),
    "a pipe": (tree(lambda top: os.mkfifo(top / "x")), r"web/x"),
    "a name with an escape sequence": (tree(lambda top: (top / "\x1b[2J").write_text("x")), r"web"),
    "a name that is no text": (
        tree(lambda top: Path(os.fsdecode(bytes(top) + b"/\xff")).write_text("x")),
        r"web",
    ),
    "names that differ in letter case": (
        tree(lambda top: [(top / name).write_text("x") for name in ("a", "A")]),
        r"(?i)web/a",
    ),
    # templates and values
    "a template that looks at classes": (template("{{ ''.__class__ }}"), r"config/a\.j2:1"),
    "a template that reads a file": (
        template("{% include '/etc/passwd' %}"),
        r"config/a\.j2:1: .*another template",
    ),
    "a template that imports": (template("{% import 'os' as os %}"), r"config/a\.j2:1: .*another template"),
    "a template that is nested without end": (
        template("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}"),
        r"config/a\.j2: is nested too deeply",
    ),
    "a template whose text multiplies": (
        template(
            "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
            "{{ ns.x }}"
        ),
        r"config/a\.j2:1: .*too large",
    ),
    "a template with a chain without end": (
        template("{{ 1" + "|string" * 5000 + " }}"),
        r"config/a\.j2: is nested too deeply",
    ),
    "a template of too many tags": (template("{{ 1 }}" * 20_001), r"config/a\.j2: has more than 20000 tags"),
    "a template of bytes that are no text": (
        lambda desk: (desk.template(""), put(desk.product, "config/a.j2", b"\xff"))[0],
        r"config/a\.j2:1: is not UTF-8",
    ),
    "values of a billion laughs": (site_values(LAUGHS), r"config/values\.yaml:\d+: .*(anchor|alias)"),
    "values under Waybill's own name": (
        site_values("waybill: {version: 9.9.9}\n"),
        r"config/values\.yaml:1: sets waybill",
    ),
    # archives of images
    "an archive with a member that climbs": (
        archive(lying_tar("../../outside/evil")),
        r"images\.tar: has a member with an invalid name",
    ),
    "an archive with an absolute link": (
        archive(lying_tar("x", type=tarfile.SYMTYPE, linkname="/../etc/passwd")),
        r"images\.tar: x: is a link to",
    ),
    "an archive with a link that leads out": (
        archive(lying_tar("x", type=tarfile.SYMTYPE, linkname="../../etc/passwd")),
        r"images\.tar: x: is a link to",
    ),
    "an archive with a hard link that leads out": (
        archive(lying_tar("x", type=tarfile.LNKTYPE, linkname="../../etc/passwd")),
        r"images\.tar: x",
    ),
    "an archive with a device": (
        archive(lying_tar("x", type=tarfile.CHRTYPE)),
        r"images\.tar: x: is of the type",
    ),
    "an archive with a fifo": (
        archive(lying_tar("x", type=tarfile.FIFOTYPE)),
        r"images\.tar: x: is of the type",
    ),
    "an archive with a member twice": (
        archive(lying_tar("manifest.json")),
        r"images\.tar: manifest\.json: occurs twice",
    ),
    "an archive with an escape sequence": (
        archive(lying_tar("\x1b[2J", type=tarfile.CHRTYPE)),
        r"images\.tar: .*is of the type",
    ),
    "an archive cut short": (archive(lambda: tar(saved_old([ONE]))[:3000]), r"images\.tar"),
    "an archive that is a zip bomb of nothing": (
        archive(lambda: gzip.compress(bytes(64 << 20))),
        r"images\.tar",
    ),
    "an archive whose two lists disagree": (
        archive(disagreeing),
        r"differently from index\.json",
    ),
    # documents of images
    "both manifests and layers": (manifest(manifests=[]), r"layout.*blobs/.*both `manifests` and"),
    "layers to be fetched": (
        manifest(
            layers=[
                {"mediaType": documents.LAYER_TAR, "size": 1, "digest": digest(b"x"), "urls": ["http://x/"]}
            ]
        ),
        r"layout.*urls",
    ),
    "a digest that climbs": (
        manifest(config={"mediaType": documents.CONFIG, "size": 1, "digest": "sha256:../../etc/passwd"}),
        r"layout.*digest",
    ),
    "a size below zero": (
        manifest(config={"mediaType": documents.CONFIG, "size": -1, "digest": digest(b"x")}),
        r"layout.*size",
    ),
    "a media type of something else": (
        manifest(mediaType="text/html"),
        r"layout.*(calls itself|media type)",
    ),
    "an index in an index without end": (nested_indexes, r"layout: .*(deep|index)"),
    "an index that is no JSON": (document("index.json", b"{" * 99), r"layout.*index\.json"),
    "an index nested without end": (
        document("index.json", b"[" * 99999),
        r"layout.*index\.json: is nested more than \d+ levels deep",
    ),
    "an index of a larger size than may be": (
        document("index.json", b" " * (documents.MAX_DOCUMENT + 1)),
        r"layout.*index\.json",
    ),
    "a layout of another version": (
        document("oci-layout", b'{"imageLayoutVersion":"9"}'),
        r"layout.*oci-layout",
    ),
    "a blob that is not what its name says": (
        lambda desk: desk.layout(
            layout([ONE]) | {f"blobs/sha256/{digest(ONE.blobs[0])[7:]}": layer("other")}
        ),
        r"layout",
    ),
}


@pytest.mark.parametrize("fault", ATTACKS)
def test_a_hostile_input_is_refused_and_no_bundle_is_written(tmp_path: Path, fault: str) -> None:
    desk = Desk(tmp_path)
    arrange, words = ATTACKS[fault]
    arrange(desk)
    desk.watch()
    said = run("bundle", ["create", "1.4.0", "-C", str(desk.product), "--json"], desk.home)
    desk.refused(said, 30, words)


def test_what_is_not_hostile_is_made(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.archive(tar(saved_old([ONE])))
    said = run("bundle", ["create", "1.4.0", "-C", str(desk.product), "--json"], desk.home)
    assert said.code == 0, said.err
    assert (desk.product / "dist/lan-chat-1.4.0.tar").is_file()
