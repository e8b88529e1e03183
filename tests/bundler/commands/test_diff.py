"""`bundle diff`: everything that a release changes, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.commands.diff import Difference, diff_bundles
from installer.core.errors import UsageError
from installer.core.format.entries.config_file import OnChange
from installer.core.format.manifest import (
    ClusterNeeds,
    Deployment,
    DirectoryEntry,
    HealthCheck,
    Image,
    LinkEntry,
    Manifest,
    Source,
    ValuesLayer,
    WholeImage,
)
from installer.core.format.manifest_rules import section_rank
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import FILES, Plan
from tests.rig.manifests import CONFIG, IMAGE, LAYER, MANIFEST, PLAIN


@pytest.fixture
def compare(tmp_path: Path) -> Any:
    def run(old: Plan, new: Plan) -> Difference:
        (tmp_path / "old.tar").write_bytes(old.tar())
        (tmp_path / "new.tar").write_bytes(new.tar())
        return diff_bundles(tmp_path / "old.tar", tmp_path / "new.tar")

    return run


LINK = LinkEntry("trees/web/l", "empty")


def changes(found: Difference) -> list[tuple[str, str]]:
    return [(change.path, change.change) for change in found.files]


def with_images(*images: Image) -> Plan:
    base = build.plan()
    blobs = (CONFIG, LAYER, PLAIN, MANIFEST)
    return base.resealed(replace(base.manifest, files=(*base.manifest.files, *blobs), images=images))


def test_the_same_release_has_no_difference(compare: Any) -> None:
    found = compare(build.plan(), build.plan(version="1.4.1"))
    assert (found.files, found.images, found.texts) == ((), (), ())
    assert "no differences: the two list the same files" in found.as_text()


def test_what_is_expected_of_a_cluster_is_a_difference(compare: Any) -> None:
    found = compare(build.plan(), build.plan(version="1.4.1", cluster=ClusterNeeds("cluster.peers")))
    assert '+  "peers": "cluster.peers",' in "\n".join(found.texts)


def test_diff_says_what_was_not_checked(compare: Any) -> None:
    plan = build.plan()
    found = compare(plan, plan.changed("bin/linux-amd64/chatd", data=b"?" * 768))
    # The lists are the same; the payload is not, and nobody has looked at it.
    text = found.as_text()
    assert "same identity: they list the same files" in text
    assert text.count("NOT VERIFIED: the lists were compared; the payload was not read") == 1
    assert "`bundle verify BUNDLE --root root.json` for both" in text
    document = found.as_json()
    assert (document["same_identity"], document["payload_read"], document["verified"]) == (True, False, False)


def test_a_change_of_values_for_an_environment_is_shown_with_its_lines(compare: Any) -> None:
    def with_values(name: str, data: bytes) -> Plan:
        path = "config/production.yaml"
        row = ValuesLayer("environment", name, path)
        return build.plan({path: data}, entries={path: {"kind": "values"}}, values_layers=(row,))

    found = compare(with_values("production", b"a: 1\n"), with_values("test", b"a: 2\n"))
    assert changes(found) == [("config/production.yaml", "changed")]
    text = found.as_text()
    assert "-a: 1\n+a: 2" in text
    assert '-   "name": "production"' in text
    assert '+   "name": "test"' in text


def test_what_only_one_of_the_two_does_as_root_is_named(compare: Any) -> None:
    def with_unit(text: bytes) -> Plan:
        entries = {"deploy/x.service": {"kind": "unit"}}
        step = (Deployment("systemd", {"units": ["deploy/x.service"]}),)
        return build.plan({"deploy/x.service": text}, entries=entries, deploy=step)

    old = with_unit(b"[Service]\nUser=chat\nExecStart=/x\n")
    new = with_unit(b"[Service]\nExecStart=/x\n")
    root = "deploy/x.service: the service runs as root: no User= is set in this file"
    assert compare(old, new).risks == (f"+ {root}",)
    assert compare(new, old).risks == (f"- {root}",)
    assert f"RISKS\n+ {root}" in compare(old, new).as_text()
    # A unit that was exchanged after the list was made is not compared in silence.
    (changed,) = compare(old, old.changed("deploy/x.service", data=b"x" * 35)).risks
    assert changed.startswith("+ NOT EXAMINED: ")


def test_added_removed_changed_and_moved_files_are_told_apart(compare: Any) -> None:
    new = {path: data for path, data in FILES.items() if path != "config/chatd.yaml.j2"}
    new["bin/linux-amd64/chatd"] = b"v2"
    new["trees/web/new"] = b"new"
    entries = {"trees/web/empty": {"install": "/srv/empty"}}
    found = compare(build.plan(), build.plan(new, entries=entries))
    assert changes(found) == [
        ("bin/linux-amd64/chatd", "changed"),
        ("config/chatd.yaml.j2", "removed"),
        ("trees/web/empty", "moved"),
        ("trees/web/new", "added"),
    ]
    assert (found.files[0].before, found.files[0].after) == (768, 2)


CHATD = "bin/linux-amd64/chatd"


def attributes_of(found: Difference) -> list[tuple[str, str, str]]:
    return [(one.name, one.before, one.after) for change in found.files for one in change.attributes]


@pytest.mark.parametrize(
    ("fields", "change", "attributes", "words"),
    [
        ({"mode": 0o700}, "attributes", [("mode", "0755", "0700")], "mode 0755 -> 0700"),
        ({"owner": "chat:chat"}, "attributes", [("owner", "", "chat:chat")], "owner root:root -> chat:chat"),
        (
            {"capabilities": "cap_net_bind_service=ep"},
            "attributes",
            [("capabilities", "", "cap_net_bind_service=ep")],
            "capabilities none -> cap_net_bind_service=ep",
        ),
        ({"install": "/opt/b"}, "moved", [("install", "/opt/a", "/opt/b")], "install /opt/a -> /opt/b"),
        ({"install": ""}, "moved", [("install", "/opt/a", "")], "install /opt/a -> none"),
        (
            {"platform": "linux/amd64"},
            "attributes",
            [("platform", "", "linux/amd64")],
            "platform all -> linux/amd64",
        ),
    ],
)
def test_what_is_said_of_a_file_and_differs_is_shown_and_only_a_new_place_is_a_move(
    compare: Any, fields: dict[str, Any], change: str, attributes: list[tuple[str, str, str]], words: str
) -> None:
    plain = {"install": "/opt/a", "mode": 0o755}
    old, new = (build.plan(entries={CHATD: {**plain, **more}}) for more in ({}, fields))
    found = compare(old, new)
    assert changes(found) == [(CHATD, change)]
    assert attributes_of(found) == attributes
    assert f"ATTRIBUTES\n{CHATD}: {words}\n" in found.as_text()
    (row,) = found.as_json()["files"]
    assert [(one["name"], one["before"], one["after"]) for one in row["attributes"]] == attributes
    assert (row["before"], row["after"]) == (768, 768)


def test_a_file_with_other_bytes_and_another_owner_shows_both(compare: Any) -> None:
    new = build.plan(FILES | {CHATD: b"v2"}, entries={CHATD: {"install": "/opt/a", "owner": "chat:chat"}})
    found = compare(build.plan(entries={CHATD: {"install": "/opt/a"}}), new)
    assert changes(found) == [(CHATD, "changed")]
    assert attributes_of(found) == [("owner", "", "chat:chat")]


def test_an_emptied_file_is_not_shown_as_one_that_is_gone(compare: Any) -> None:
    files = {"docs/a.md": b"text\n", "docs/b.md": b"text\n", "docs/d.md": b""}
    emptied = {"docs/a.md": b"", "docs/c.md": b"", "docs/d.md": b"text\n"}
    text = compare(build.plan(files), build.plan(emptied)).as_text()
    rows = {line.split()[-1]: line.split()[:-1] for line in text.splitlines() if " docs/" in line}
    assert rows == {
        "docs/a.md": ["changed", "5", "B", "0", "B"],
        "docs/b.md": ["removed", "5", "B", "-"],
        "docs/c.md": ["added", "-", "0", "B"],
        "docs/d.md": ["changed", "0", "B", "5", "B"],
    }


VALUES = {"config/a.yaml": b"{}\n"}
FIELDS: dict[str, tuple[Any, str]] = {
    "created": (build.CREATED + 1, '+ "created": "'),
    "expires": (build.CREATED + 3600 * 86400, '+ "expires": "'),
    "platforms": (("linux/amd64", "linux/arm64"), '+  "linux/arm64"'),
    "links": ((LINK,), '+   "target": "empty"'),
    "directories": ((DirectoryEntry("trees/web", 0o700),), '+   "mode": "0700"'),
    "deploy": (
        (Deployment("script", {"apply": "deploy/a.sh", "roll_forward_only": "a column goes"}),),
        '+   "method": "script"',
    ),
    "health": ((HealthCheck("tcp", "127.0.0.1:80"),), '+   "target": "127.0.0.1:80"'),
    "rollback": ("docs/CHANGELOG.md", '+ "rollback": "docs/CHANGELOG.md"'),
    "values": ("config/a.yaml", '+ "values": "config/a.yaml"'),
    "values_schema": ("config/s.json", '+ "values_schema": "config/s.json"'),
    "values_layers": ((ValuesLayer("cluster", "a", "config/c.yaml"),), '+   "layer": "cluster"'),
    "source": (Source("a" * 40), f'+  "commit": "{"a" * 40}"'),
    "upgrade_from": ("1.0.0", '+ "upgrade_from": "1.0.0"'),
    "cluster": (ClusterNeeds("cluster.peers"), '+  "peers": "cluster.peers",'),
}


@pytest.mark.parametrize("name", FIELDS)
def test_no_field_of_the_manifest_differs_in_silence(compare: Any, name: str) -> None:
    value, words = FIELDS[name]
    files = {
        "docs/CHANGELOG.md": b"# 1\n",
        "config/a.yaml": b"{}\n",
        "config/c.yaml": b"{}\n",
        "config/s.json": b"{}\n",
        "deploy/a.sh": b"#!/bin/sh\n",
        "trees/web/empty": b"",
    }
    entries = {
        "config/a.yaml": {"kind": "values"},
        "config/c.yaml": {"kind": "values"},
        "config/s.json": {"kind": "schema"},
        "deploy/a.sh": {"kind": "script", "mode": 0o755},
    }
    old, new = (build.plan(files, entries=entries, **more) for more in ({}, {name: value}))
    found = compare(old, new)
    assert words in "\n".join(found.texts)
    assert found.files == ()
    assert "no differences" not in found.as_text()
    assert "same identity" not in found.as_text()


def test_every_field_of_the_manifest_is_compared() -> None:
    # The first three are in the first line; the others have tests of their own.
    others = {"product", "version", "sequence", "files", "images", "whole_images"}
    assert FIELDS.keys() | others == set(Manifest.__dataclass_fields__)


def test_texts_are_shown_line_by_line(compare: Any) -> None:
    found = compare(build.plan(), build.plan(FILES | {"config/chatd.yaml.j2": b"listen: 1\n"}))
    assert found.texts == (
        (
            "--- old/config/chatd.yaml.j2\n+++ new/config/chatd.yaml.j2\n"
            "@@ -1 +1 @@\n-listen: {{ port }}\n+listen: 1"
        ),
    )


MANY = {f"config/{number:03}.yaml.j2": b"a: 1\n" for number in range(40)}


def test_many_files_that_differ_are_shown_by_directories_and_the_first_ones(compare: Any) -> None:
    newer = dict.fromkeys(MANY, b"a: 2\n") | {"docs/new.md": b"x"}
    entries = {path: {"kind": "template"} for path in MANY}
    order = dict(sorted(newer.items(), key=lambda item: (section_rank(item[0]), item[0])))
    found = compare(build.plan(MANY, entries=entries), build.plan(order, entries=entries, links=(LINK,)))
    text = found.as_text()
    assert "config/  40 changed" in text
    assert "docs/    1 added" in text
    assert "the first 10 of 41:" in text
    assert "… and 31 more files; --all shows all of them" in text
    assert [text.count(f"old/config/{number:03}.yaml.j2\n") for number in (0, 9, 10, 39)] == [1, 1, 0, 0]
    assert "… and 30 more texts that differ; --all shows all of them" in text
    # What hosts do differently stands in the manifest: that is never left out.
    assert '+   "target": "empty"' in text
    every = found.as_text(everything=True)
    assert "--all" not in every
    assert [every.count(f" config/{number:03}.yaml.j2\n") for number in (0, 39)] == [1, 1]
    assert [every.count(f"old/config/{number:03}.yaml.j2\n") for number in (0, 39)] == [1, 1]
    # A document has all of it anyway.
    assert (len(found.as_json()["files"]), len(found.as_json()["texts"])) == (41, 41)


def test_a_long_difference_is_shown_by_its_first_lines(compare: Any) -> None:
    path = "config/chatd.yaml.j2"
    longer = build.plan(FILES | {path: "".join(f"a{n}: 1\n" for n in range(500)).encode()})
    found = compare(build.plan(), longer)
    assert "+a150: 1\n" in found.as_text()
    assert "+a499: 1" not in found.as_text()
    assert " more lines; --all shows all of them" in found.as_text()
    assert "+a499: 1" in found.as_text(everything=True)
    assert "--all" not in found.as_text(everything=True)


def test_many_risks_are_shown_by_the_first_ones(compare: Any) -> None:
    places = {f"trees/{number:02}": b"x" for number in range(30)}
    entries = {path: {"install": f"/opt/{path[-2:]}", "mode": 0o666} for path in places}
    found = compare(build.plan({"trees/00": b"x"}), build.plan(places, entries=entries))
    assert len(found.risks) == 30
    assert "… and 20 more risks; --all shows all of them" in found.as_text()
    assert found.risks[29] not in found.as_text()
    assert found.risks[29] in found.as_text(everything=True)


def test_all_on_the_command_line_shows_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bundler.cli.main import app
    from bundler.cli.options import console
    from installer.shared.command.command_line import run_app

    entries = {path: {"kind": "template"} for path in MANY}
    for name, files in (("a", MANY), ("b", dict.fromkeys(MANY, b"a: 2\n"))):
        (tmp_path / f"{name}.tar").write_bytes(build.plan(files, entries=entries).tar())
    words = ("diff", str(tmp_path / "a.tar"), str(tmp_path / "b.tar"))
    for more, shown in (((), False), (("--all",), True)):
        assert run_app(console, app, [*words, *more]) == 0
        assert ("old/config/039.yaml.j2" in capsys.readouterr().out) is shown


def test_a_document_that_is_no_text_does_not_stop_the_rest(compare: Any) -> None:
    old, new = {"docs/a.pdf": b"\xff\0"}, {"docs/a.pdf": b"\xfe\0"}
    found = compare(build.plan(old), build.plan(new))
    assert (changes(found), found.texts) == ([("docs/a.pdf", "changed")], ())


def test_what_the_release_does_is_compared_too(compare: Any) -> None:
    new = build.plan(
        {"deploy/compose.yaml": b"services: {}\n", "trees/web/empty": b""},
        entries={"deploy/compose.yaml": {"kind": "compose"}},
        links=(LinkEntry("trees/web/l", "empty"),),
        deploy=(Deployment("compose", {"file": "deploy/compose.yaml"}),),
    )
    text = "\n".join(compare(build.plan(), new).texts)
    assert '+   "method": "compose"' in text
    assert '+   "target": "empty"' in text


def test_what_is_said_of_a_configuration_file_is_compared_too(compare: Any) -> None:
    def saying(**fields: Any) -> Plan:
        path = "config/chatd.yaml.j2"
        return build.plan({path: FILES[path]}, entries={path: {"install": "/etc/chatd", **fields}})

    new = saying(validate=("chatd", "{file}"), on_change=OnChange(reload="chatd.service"))
    text = "\n".join(compare(saying(), new).texts)
    assert '+    "{file}"' in text
    assert '+    "reload": "chatd.service"' in text


def test_an_image_of_another_tag_is_changed_and_its_layers_counted(compare: Any) -> None:
    newer = replace(IMAGE, reference="chat/services:1.5.0", config=IMAGE.manifest, layers=IMAGE.layers[:1])
    found = compare(with_images(IMAGE), with_images(newer))
    assert [(each.path, each.change) for each in found.images] == [
        ("chat/services:1.4.0 -> chat/services:1.5.0 (linux/amd64)", "changed")
    ]
    assert (found.new_layer_bytes, found.shared_layer_bytes) == (0, 5)


def test_images_that_are_stored_otherwise_or_listed_in_another_order_differ(compare: Any) -> None:
    stored = replace(IMAGE, manifest=IMAGE.config)
    found = compare(with_images(IMAGE), with_images(stored))
    assert [each.change for each in found.images] == ["changed"]
    assert f": manifest {IMAGE.manifest} -> {IMAGE.config}" in found.as_text()
    six, seven = replace(IMAGE, reference="redis:6"), replace(IMAGE, reference="redis:7")
    found = compare(with_images(six, seven), with_images(seven, six))
    assert found.images == ()
    (text,) = found.texts
    assert text.startswith("--- old/bundle.json, order of images\n")
    assert "no differences" not in found.as_text()


def test_an_image_that_is_as_its_maker_pushed_it_differs_from_its_copy(compare: Any) -> None:
    old = with_images(IMAGE)
    whole = (WholeImage(IMAGE.reference, IMAGE.manifest),)
    found = compare(old, old.resealed(replace(old.manifest, whole_images=whole)))
    assert f'+   "digest": "{IMAGE.manifest}"' in "\n".join(found.texts)


def test_two_tags_of_one_name_are_two_images(compare: Any) -> None:
    six, seven = replace(IMAGE, reference="redis:6"), replace(IMAGE, reference="redis:7")
    found = compare(with_images(six, seven), with_images(seven))
    assert [(each.path, each.change) for each in found.images] == [("redis:6 (linux/amd64)", "removed")]


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    (tmp_path / "old.tar").write_bytes(build.plan().tar())
    with pytest.raises(UsageError, match="no such bundle") as caught:
        diff_bundles(tmp_path / "old.tar", tmp_path / "new.tar")
    assert caught.value.where.endswith("new.tar")
