"""Names of inputs: every script is carried, and what cannot be carried is named, all at once."""

from __future__ import annotations

import os

from bundler.config.loader import load
from tests.rig.products import add, faults, hints, put


def test_names_that_a_bundle_cannot_carry_are_named_all_at_once(product_dir):
    names = ("cafe\u0301", "\u202egpj.exe", "line\nbreak", "no\u0378character", os.fsdecode(b"latin-\xe9"))
    for name in (*names, "Stra\u00dfe", "strasse", "a b", "a%20b"):
        put(product_dir, f"web/{name}", "x")
    (product_dir / "web/link").symlink_to("\u202egpj.exe")
    add(product_dir, "trees: [{path: web}]\n")
    found = faults(product_dir)
    assert len(found) == 8
    assert sum("a name that is not allowed in a bundle" in fault for fault in found) == 7
    for what in (
        "NFC", "U+202E", "U+000A", "U+0378, which this version", "not UTF-8", "in upper and lower case",
        "web/a%20b: has a name that is not allowed in a bundle: it would have the same encoded name in the",
        "web/link: is a link to",
    ):  # fmt: skip
        assert any(what in fault for fault in found), what
    assert all(fault.isprintable() for fault in found)
    assert "ship it inside an archive file" in hints(product_dir)
    assert "convmv" in hints(product_dir)


def test_names_of_every_script_are_carried(product_dir):
    names = (
        "with space",
        "-dash",
        "\u00fcmlaut",
        "x" * 255,
        "back\\slash",
        "\u9762" * 85,
        "[id]/{version}.js",
        "~$a",
    )
    for name in names:
        put(product_dir, f"web/{name}", "x")
    (product_dir / "web/zu Hause").symlink_to("with space")
    (product_dir / "web/leerer Ordner").mkdir()
    put(product_dir, "config/mein chatd.conf", "x")
    tree = "trees: [{path: web, install: /opt/My Product/web}]\n"
    template = "config: [{template: config/mein chatd.conf, install: /etc/My Product/chatd.conf}]\n"
    add(product_dir, tree + template)
    config = load(product_dir, "1.4.0")
    tree = config.trees[0]
    assert {file.path for file in tree.files} == set(names)
    assert [(link.path, link.target) for link in tree.links] == [("zu Hause", "with space")]
    assert "leerer Ordner" in {each.path for each in tree.directories}
    assert "config/mein chatd.conf" in {item.member for item in config.items}


def test_a_locale_that_reads_other_names_is_noticed(product_dir, monkeypatch):
    put(product_dir, "web/\u00fcmlaut", "x")
    add(product_dir, "trees: [{path: web}]\n")
    load(product_dir, "1.4.0")
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "iso8859-1")
    assert "this locale reads names as iso8859-1" in faults(product_dir)[0]
    assert "LC_ALL=C.UTF-8" in hints(product_dir)


def test_a_link_to_a_name_with_a_character_that_later_readers_may_refuse_is_named(product_dir):
    put(product_dir, "web/page", "x")
    (product_dir / "web/link").symlink_to("no\u0378character")
    add(product_dir, "trees: [{path: web}]\n")
    (fault,) = faults(product_dir)
    assert fault.startswith("web/link: is a link to 'no\\u0378character', which has the character U+0378")
    assert "rename it" in hints(product_dir)


def test_a_link_that_this_locale_reads_as_another_name_is_named(product_dir, monkeypatch):
    put(product_dir, "web/page", "x")
    (product_dir / "web/link").symlink_to("\u00fcmlaut")
    add(product_dir, "trees: [{path: web}]\n")
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "iso8859-1")
    (fault,) = faults(product_dir)
    assert fault.startswith("web/link: is a link to 'ümlaut', which is not ASCII, and this locale reads")
    assert "LC_ALL=C.UTF-8" in hints(product_dir)
