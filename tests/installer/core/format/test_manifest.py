"""bundle.json: what is written is read back, and whatever contradicts itself is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from installer.core.errors import TamperedError
from installer.core.format import manifest_json
from installer.core.format.manifest import (
    Deployment,
    DirectoryEntry,
    FileEntry,
    Layer,
    LinkEntry,
    Manifest,
    Source,
    blob_path,
)
from tests.rig import bundlebuild as build
from tests.rig.manifests import BASE, CONFIG, FULL, IMAGE, LAYER, MANIFEST, digest


def refusal(manifest: Manifest) -> TamperedError:
    with pytest.raises(TamperedError) as caught:
        manifest_json.parse(manifest_json.dump(manifest))
    assert caught.value.where.startswith("bundle.json")
    return caught.value


def with_files(*entries: FileEntry, **fields: Any) -> Manifest:
    return replace(BASE, files=entries, **fields)


def file(path: str, **fields: Any) -> FileEntry:
    return build.entry_for(path, b"", **fields)


class TestRoundTrip:
    @pytest.mark.parametrize("manifest", [BASE, FULL], ids=["small", "full"])
    def test_what_is_written_is_read_back(self, manifest: Manifest) -> None:
        data = manifest_json.dump(manifest)
        assert manifest_json.parse(data) == manifest
        assert manifest_json.dump(manifest_json.parse(data)) == data

    def test_each_file_stands_on_a_line_of_its_own(self) -> None:
        lines = manifest_json.dump(FULL).decode().splitlines()
        assert sum('"path":"docs/CHANGELOG.md"' in line for line in lines) == 1
        assert len(lines) > len(FULL.files)

    def test_fields_at_their_defaults_are_left_out(self) -> None:
        found = json.loads(manifest_json.dump(BASE))
        assert set(found) == {
            "schema", "product", "version", "sequence", "created", "expires", "platforms", "files",
        }  # fmt: skip
        assert set(found["files"][0]) == {"path", "size", "sha256", "mode", "kind"}

    def test_times_are_utc_whatever_the_time_zone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import time

        before = manifest_json.dump(BASE)
        monkeypatch.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        try:
            assert manifest_json.dump(BASE) == before
            assert manifest_json.parse(before) == BASE
        finally:
            monkeypatch.undo()
            time.tzset()

    @settings(max_examples=60)
    @given(
        st.builds(
            Manifest,
            product=st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True),
            version=st.from_regex(r"[1-9][0-9]?\.[0-9]\.[0-9](-rc\.[0-9])?", fullmatch=True),
            sequence=st.integers(0, 2**53),
            created=st.integers(0, 8**11 - 1),
            expires=st.integers(0, 8**11 - 1),
            platforms=st.just(("linux/amd64", "linux/arm64")),
            files=st.lists(
                st.builds(
                    FileEntry,
                    path=st.from_regex(r"docs/[a-z]{1,8}(\.[A-Z]{1,3})?", fullmatch=True),
                    size=st.integers(0, 2**53),
                    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
                    mode=st.integers(0, 0o777),
                    kind=st.sampled_from(["doc", "template", "script"]),
                    owner=st.sampled_from(["", "root:root", "chat:adm"]),
                    platform=st.sampled_from(["", "linux/arm64"]),
                    expanded=st.integers(0, 2**53),
                ),
                unique_by=lambda entry: entry.path.lower(),
                max_size=6,
            ).map(lambda found: tuple(sorted(found, key=lambda entry: entry.path))),
            deploy=st.lists(
                st.builds(
                    Deployment,
                    st.sampled_from(["files", "images"]),
                    st.just({}),
                    st.booleans(),
                ),
                max_size=3,
            ).map(tuple),
            source=st.builds(
                Source, st.sampled_from(["", "a" * 40, "0" * 64]), st.text("v1.", max_size=5), st.booleans()
            ),
        )
    )
    def test_any_manifest_survives(self, manifest: Manifest) -> None:
        assert manifest_json.parse(manifest_json.dump(manifest)) == manifest


class TestNames:
    def test_a_path_in_no_section_is_refused(self) -> None:
        for path in ("etc/passwd", "docs", "README.md", "SHA256SUMS", "bundle.json", "approvals/x.json"):
            assert (
                refusal(with_files(file(path))).what == f"{path} does not belong to any section of a bundle"
            )

    def test_a_path_outside_the_grammar_is_refused(self) -> None:
        assert "component" in refusal(with_files(file("docs/../../etc/passwd"))).what
        assert "U+200B" in refusal(with_files(file("docs/a\u200bb"))).what

    def test_files_out_of_order_are_refused(self) -> None:
        assert refusal(with_files(file("docs/b"), file("docs/a"))).what == "docs/a is in the wrong place"
        assert refusal(with_files(file("bin/a"), file("docs/a"))).what == "docs/a is in the wrong place"

    def test_images_stand_as_they_were_written(self) -> None:
        manifest_json.parse(
            manifest_json.dump(with_files(file("images/oci-layout"), file("images/index.json")))
        )

    def test_a_path_twice_is_refused(self) -> None:
        assert "is in the wrong place" in refusal(with_files(file("docs/a"), file("docs/a"))).what
        what = refusal(with_files(file("images/index.json"), file("images/index.json"))).what
        assert what == "images/index.json occurs twice, ignoring case"

    def test_case_folded_twins_are_refused(self) -> None:
        what = refusal(with_files(file("docs/README"), file("docs/readme"))).what
        assert what == "docs/readme occurs twice, ignoring case"

    def test_a_link_and_a_file_of_one_name_are_refused(self) -> None:
        links = (LinkEntry("trees/web/A", "x"),)
        assert "occurs twice" in refusal(with_files(file("trees/web/a"), links=links)).what

    def test_a_file_that_is_also_a_directory_is_refused(self) -> None:
        what = refusal(with_files(file("docs/a"), file("docs/a/b"))).what
        assert what == "docs/a is both a file and a directory"
        what = refusal(with_files(file("docs/A"), file("docs/a/b"))).what
        assert what == "docs/a is both a file and a directory"

    def test_a_file_below_a_link_is_refused(self) -> None:
        links = (LinkEntry("trees/web/a", "b"),)
        what = refusal(with_files(file("trees/web/a/x"), links=links)).what
        assert what == "trees/web/a is both a file and a directory"

    def test_a_directory_below_a_link_is_refused(self) -> None:
        found = with_files(
            links=(LinkEntry("trees/web/a", "b"),), directories=(DirectoryEntry("trees/web/a/d", 0o700),)
        )
        assert refusal(found).what == "trees/web/a is both a file and a directory"

    def test_a_directory_that_is_a_file_is_refused(self) -> None:
        found = with_files(file("trees/web/a"), directories=(DirectoryEntry("trees/web/a", 0o700),))
        assert refusal(found).what == "trees/web/a is both a file and a directory"

    def test_a_directory_twice_is_refused(self) -> None:
        both = (DirectoryEntry("trees/web/a", 0o700), DirectoryEntry("trees/web/A", 0o755))
        assert refusal(with_files(directories=both)).what == (
            "directory trees/web/a occurs twice, ignoring case"
        )

    def test_a_directory_in_no_tree_is_refused(self) -> None:
        found = with_files(directories=(DirectoryEntry("docs/x", 0o700),))
        assert refusal(found).what == "directory docs/x does not belong to any tree"


class TestLinks:
    @pytest.mark.parametrize(
        ("path", "target", "why"),
        [
            ("docs/link", "x", "link docs/link does not belong to any tree"),
            ("trees/web/l", "/etc/passwd", "is not a relative path"),
            ("trees/web/l", "../../../../etc/passwd", "points outside the bundle"),
            ("trees/web/l", "../other/x", "points outside trees/web"),
            ("trees/web/l", "", "is not a relative path"),
            ("trees/web/l", "a/../../x", "has a `..` after a name"),
            ("trees/web", "x", "points outside trees/web"),
        ],
    )
    def test_a_link_that_leaves_its_tree_is_refused(self, path: str, target: str, why: str) -> None:
        assert why in refusal(with_files(links=(LinkEntry(path, target),))).what

    def test_a_link_goes_to_the_same_place_of_its_tree_on_the_host(self) -> None:
        link = LinkEntry("trees/web/a/b/l", "../../x", "/srv/web/a/b/l")
        manifest_json.parse(manifest_json.dump(with_files(links=(link,))))
        moved = replace(link, install="/srv/l")
        assert "another path of its tree" in refusal(with_files(links=(moved,))).what


class TestDestinations:
    def clash(self, *entries: FileEntry, **fields: Any) -> str:
        return refusal(with_files(*entries, **fields)).what

    def test_two_files_to_one_place_are_refused(self) -> None:
        entries = file("docs/a", install="/opt/x"), file("docs/b", install="/opt/x")
        assert self.clash(*entries) == "two files have the destination /opt/x"

    @pytest.mark.parametrize(("one", "two"), [("", "linux/amd64"), ("linux/amd64", "")])
    def test_a_file_for_all_and_one_for_a_platform_clash(self, one: str, two: str) -> None:
        entries = file("bin/a", install="/opt/x", platform=one), file("bin/b", install="/opt/x", platform=two)
        assert self.clash(*entries) == "two files have the destination /opt/x"

    def test_files_for_different_platforms_share_a_place(self) -> None:
        both = (
            file("bin/linux-amd64/x", install="/opt/x", platform="linux/amd64"),
            file("bin/linux-arm64/x", install="/opt/x", platform="linux/arm64"),
        )
        manifest_json.parse(manifest_json.dump(with_files(*both, platforms=("linux/amd64", "linux/arm64"))))

    def test_a_place_below_a_file_is_refused(self) -> None:
        entries = file("docs/a", install="/opt/x"), file("docs/b", install="/opt/x/y/z")
        assert self.clash(*entries) == "/opt/x/y/z cannot be below /opt/x, which is a file or a link"

    def test_a_place_below_a_link_is_refused(self) -> None:
        links = (LinkEntry("trees/web/l", "d", "/srv/web/l"),)
        what = self.clash(file("docs/a", install="/srv/web/l/evil"), links=links)
        assert what == "/srv/web/l/evil cannot be below /srv/web/l, which is a file or a link"

    def test_a_place_below_a_directory_of_the_tree_is_fine(self) -> None:
        directories = (DirectoryEntry("trees/web/d", 0o700, "/srv/web/d"),)
        found = with_files(file("trees/web/d/x", install="/srv/web/d/x"), directories=directories)
        manifest_json.parse(manifest_json.dump(found))

    @pytest.mark.parametrize(
        "place", ["opt/x", "/opt/../etc/shadow", "/", "/opt/a\u200bb", "/etc/waybill/trust/root.json"]
    )
    def test_a_place_that_is_none_is_refused(self, place: str) -> None:
        assert "destination" in self.clash(file("docs/a", install=place))

    def test_a_platform_that_the_bundle_does_not_have_is_refused(self) -> None:
        assert self.clash(file("docs/a", platform="linux/s390x")) == (
            "platform linux/s390x is not listed in `platforms`"
        )


class TestClosed:
    @pytest.mark.parametrize("field", ["rollback", "values", "values_schema"])
    def test_a_named_file_that_is_not_there_is_refused(self, field: str) -> None:
        assert (
            refusal(replace(BASE, **{field: "docs/NO.md"})).what
            == "docs/NO.md is used in the manifest, but is not in the bundle"
        )

    def test_a_blob_that_is_not_named_by_its_digest_is_refused(self) -> None:
        wrong = replace(CONFIG, path=blob_path("sha256:" + "0" * 64))
        assert "does not match its digest" in refusal(with_files(wrong)).what

    @pytest.mark.parametrize("missing", [CONFIG, MANIFEST, LAYER], ids=["config", "manifest", "layer"])
    def test_a_missing_blob_is_refused_with_its_image(self, missing: FileEntry) -> None:
        found = replace(FULL, files=tuple(entry for entry in FULL.files if entry != missing))
        assert refusal(found).what == (
            f"image chat/services:1.4.0: sha256:{missing.sha256} is not in the bundle, or has another size"
        )

    def layers(self, *layers: Layer) -> Manifest:
        return replace(FULL, images=(replace(IMAGE, layers=layers),))

    def test_a_layer_of_another_size_than_its_blob_is_refused(self) -> None:
        assert "has another size" in refusal(self.layers(replace(IMAGE.layers[0], size=6))).what

    def test_a_layer_that_expands_to_two_things_is_refused(self) -> None:
        one, plain = IMAGE.layers
        for other in (replace(one, diff_id=digest(b"y")), replace(one, expanded=100)):
            assert "is listed with different expanded forms" in refusal(self.layers(one, other)).what
        assert (
            "is listed with different expanded forms" in refusal(self.layers(replace(one, expanded=100))).what
        )
        assert "is listed with two sizes" in refusal(self.layers(replace(plain, expanded=6))).what


def edited(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(manifest_json.dump(FULL))
    change(document)
    return json.dumps(document).encode()


class TestFields:
    """Every field is checked, and the fault names it."""

    @pytest.mark.parametrize(
        ("change", "where"),
        [
            (lambda m: m.update(schema="waybill/state/v1"), "bundle.json: schema"),
            (lambda m: m.pop("schema"), "bundle.json: schema"),
            (lambda m: m.pop("product"), "bundle.json: product"),
            (lambda m: m.pop("files"), "bundle.json: files"),
            (lambda m: m.pop("platforms"), "bundle.json: platforms"),
            (lambda m: m.update(platforms=[]), "bundle.json: platforms"),
            (lambda m: m.update(surprise=1), "bundle.json: surprise"),
            (lambda m: m.update(product="Lan Chat"), "bundle.json: product"),
            (lambda m: m.update(product="../x"), "bundle.json: product"),
            (lambda m: m.update(version="v1.4.0"), "bundle.json: version"),
            (lambda m: m.update(version="1.4"), "bundle.json: version"),
            (lambda m: m.update(version="01.4.0"), "bundle.json: version"),
            (lambda m: m.update(sequence=-1), "bundle.json: sequence"),
            (lambda m: m.update(sequence=True), "bundle.json: sequence"),
            (lambda m: m.update(sequence="1"), "bundle.json: sequence"),
            (lambda m: m.update(created="2026-13-01T00:00:00Z"), "bundle.json: created"),
            (lambda m: m.update(created="2026-02-30T00:00:00Z"), "bundle.json: created"),
            (lambda m: m.update(created="2026-01-01T00:00:60Z"), "bundle.json: created"),
            (lambda m: m.update(created="2026-01-01T00:00:00+01:00"), "bundle.json: created"),
            (lambda m: m.update(created="1969-12-31T23:59:59Z"), "bundle.json: created"),
            (lambda m: m.update(created="9999-01-01T00:00:00Z"), "bundle.json: created"),
            (lambda m: m.update(expires=1), "bundle.json: expires"),
            (lambda m: m.update(platforms=["linux"]), "bundle.json: platforms[0]"),
            (lambda m: m.update(platforms="linux/amd64"), "bundle.json: platforms"),
            (lambda m: m.update(files={}), "bundle.json: files"),
            (lambda m: m["files"].append([]), "bundle.json: files[13]"),
            (lambda m: m["files"][0].update(mode="4755"), "bundle.json: files[0].mode"),
            (lambda m: m["files"][0].update(mode="04755"), "bundle.json: files[0].mode"),
            (lambda m: m["files"][0].update(mode=420), "bundle.json: files[0].mode"),
            (lambda m: m["files"][0].update(kind="exe"), "bundle.json: files[0].kind"),
            (lambda m: m["files"][0].update(sha256="A" * 64), "bundle.json: files[0].sha256"),
            (lambda m: m["files"][0].update(sha256=None), "bundle.json: files[0].sha256"),
            (lambda m: m["files"][0].update(size=-1), "bundle.json: files[0].size"),
            (lambda m: m["files"][0].update(size=None), "bundle.json: files[0].size"),
            (lambda m: m["files"][0].pop("size"), "bundle.json: files[0].size"),
            (lambda m: m["files"][0].update(owner="root"), "bundle.json: files[0].owner"),
            (lambda m: m["files"][0].update(owner="0:0"), "bundle.json: files[0].owner"),
            (lambda m: m["files"][0].update(xattr="x"), "bundle.json: files[0].xattr"),
            (lambda m: m["files"][0].update(path="docs/\u001b[2J"), "bundle.json: files[0].path"),
            (lambda m: m["links"][0].update(mode="0777"), "bundle.json: links[0].mode"),
            (lambda m: m["directories"][0].update(mode="02755"), "bundle.json: directories[0].mode"),
            (lambda m: m["images"][0].update(config="sha512:0"), "bundle.json: images[0].config"),
            (lambda m: m["images"][0].update(reference="a b"), "bundle.json: images[0].reference"),
            (
                lambda m: m["images"][0]["layers"][0].pop("diff_id"),
                "bundle.json: images[0].layers[0].diff_id",
            ),
            (lambda m: m["images"][0]["layers"][0].update(urls=[]), "bundle.json: images[0].layers[0].urls"),
            (lambda m: m["deploy"][0].update(method="curl"), "bundle.json: deploy[0].method"),
            (lambda m: m["deploy"][0].update(options=[]), "bundle.json: deploy[0].options"),
            (lambda m: m["deploy"][0].update(optional=1), "bundle.json: deploy[0].optional"),
            (lambda m: m["health"][0].update(kind="icmp"), "bundle.json: health[0].kind"),
            (lambda m: m["health"][0].update(within=86401), "bundle.json: health[0].within"),
            (lambda m: m["health"][0].pop("target"), "bundle.json: health[0]"),
            (lambda m: m["health"][0].update(command=["x"]), "bundle.json: health[0]"),
            (lambda m: m["health"][1].pop("command"), "bundle.json: health[1]"),
            (lambda m: m["health"][1].update(command=["a\nb"]), "bundle.json: health[1].command[0]"),
            (lambda m: m["source"].update(commit="main"), "bundle.json: source.commit"),
            (lambda m: m["source"].update(dirty="yes"), "bundle.json: source.dirty"),
            (lambda m: m["source"].update(author="x"), "bundle.json: source.author"),
        ],
    )
    def test_a_wrong_field_is_named(self, change: Callable[[dict[str, Any]], object], where: str) -> None:
        with pytest.raises(TamperedError) as caught:
            manifest_json.parse(edited(change))
        assert caught.value.where == where
        assert "\x1b" not in caught.value.what

    @pytest.mark.parametrize("data", [b"[]", b"null", b'"x"', b"1", b"{}"])
    def test_what_is_no_manifest_is_refused(self, data: bytes) -> None:
        with pytest.raises(TamperedError):
            manifest_json.parse(data)
