"""Documents of images are read strictly and written in one form; references as Docker has them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installer.core.digest import oci_digest
from installer.core.errors import TamperedError
from installer.core.format.manifest import Image, Layer
from installer.core.oci import documents, layout
from installer.core.oci.reference import familiar, qualified, reference_fault, split_host, split_reference

HEX = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
DESCRIPTOR = {"digest": HEX, "size": 3, "mediaType": documents.LAYER_GZIP}
MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": documents.MANIFEST,
    "config": {"digest": OTHER, "size": 5, "mediaType": documents.CONFIG},
    "layers": [DESCRIPTOR],
}
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "manifests": [
        {**DESCRIPTOR, "mediaType": documents.MANIFEST, "platform": {"os": "linux", "architecture": "amd64"}}
    ],
}
CONFIG: dict[str, Any] = {
    "os": "linux",
    "architecture": "arm",
    "variant": "v7",
    "rootfs": {"type": "layers", "diff_ids": [HEX]},
}


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_a_manifest_names_configuration_and_layers() -> None:
    found = documents.parse_manifest(dumps(MANIFEST), "m", documents.MANIFEST)
    assert (found.config.digest, [each.digest for each in found.layers]) == (OTHER, [HEX])


def test_an_index_names_manifests_and_their_platforms() -> None:
    assert [each.platform for each in documents.parse_index(dumps(INDEX), "i").manifests] == ["linux/amd64"]


def test_an_unknown_platform_is_none() -> None:
    entry = {**INDEX["manifests"][0], "platform": {"os": "unknown", "architecture": "unknown"}}
    assert documents.parse_index(dumps({**INDEX, "manifests": [entry]}), "i").manifests[0].platform == ""


def test_a_configuration_names_platform_and_layers() -> None:
    assert documents.parse_config(dumps(CONFIG), "c") == documents.ImageConfig("linux/arm/v7", (HEX,))


def changed(document: dict[str, Any], **fields: Any) -> bytes:
    return dumps({key: value for key, value in {**document, **fields}.items() if value is not ...})


def layer(**fields: Any) -> bytes:
    return changed(MANIFEST, layers=[{**DESCRIPTOR, **fields}])


BAD: dict[str, tuple[bytes, str, str]] = {
    "both manifests and layers": (changed(MANIFEST, manifests=[]), "", "has both"),
    "another media type than its descriptor's": (dumps(MANIFEST), documents.DOCKER_MANIFEST, "is listed as"),
    "a manifest called an index": (changed(MANIFEST, mediaType=...), documents.INDEX, "not a media type"),
    "an index called a manifest": (dumps(INDEX), documents.MANIFEST, "not a media type of an image"),
    "an unknown media type": (changed(MANIFEST, mediaType="text/html"), "", "not a media type of an image"),
    "schema version 1": (changed(MANIFEST, schemaVersion=1), "", "schema version 2"),
    "a list": (b"[]", "", "not an object"),
    "no configuration": (changed(MANIFEST, config=...), "", "not an object"),
    "no layers": (changed(MANIFEST, layers=...), "", "not a list"),
    "too many layers": (changed(MANIFEST, layers=[DESCRIPTOR] * 513), "", "not a list of at most"),
    "too many manifests": (changed(INDEX, manifests=INDEX["manifests"] * 1025), "", "not a list of at most"),
    "an artifact": (
        changed(MANIFEST, config={**DESCRIPTOR, "mediaType": "application/vnd.cncf.helm.config.v1+json"}),
        "",
        "not the manifest of a container image",
    ),
    "a digest that is a path": (layer(digest="sha256:../../etc/passwd"), "", "not `sha256:`"),
    "a digest in upper case": (layer(digest=HEX.upper()), "", "not `sha256:`"),
    "a digest of another kind": (layer(digest="md5:" + "a" * 32), "", "not `sha256:`"),
    "a negative size": (layer(size=-1), "", "no size"),
    "a size that is true": (layer(size=True), "", "no size"),
    "a size beyond 2^53": (layer(size=2**53 + 1), "", r"2\^53"),
    "a size that is a fraction": (layer(size=1.5), "", "not an integer"),
    "urls": (layer(urls=["http://example.org/x"]), "", "downloaded from"),
    "a layer that is not for carrying": (
        layer(mediaType="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        "",
        "not a supported layer",
    ),
    "annotations that are numbers": (layer(annotations={"a": 1}), "", "annotations"),
    "a platform that is an escape sequence": (
        changed(INDEX, manifests=[{**DESCRIPTOR, "platform": {"os": "\x1b[2J", "architecture": "x"}}]),
        "",
        "platform that is not valid",
    ),
    "a key twice": (dumps(MANIFEST)[:-1] + b',"config":{}}', "", "twice"),
    "more than a document may have": (dumps(MANIFEST) + b" " * documents.MAX_DOCUMENT, "", "more than"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_a_manifest_or_index_that_is_not_strict_is_refused(fault: str) -> None:
    data, media_type, words = BAD[fault]
    with pytest.raises(TamperedError, match=words) as raised:
        documents.parse_document(data, "the document", media_type)
    assert raised.value.where.startswith("the document")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"os": ...}, "no platform"),
        ({"rootfs": ...}, "not an object"),
        ({"rootfs": {"type": "foreign"}}, "of type"),
        ({"rootfs": {"type": "layers", "diff_ids": ["x"]}}, "not `sha256:`"),
        ({"rootfs": {"type": "layers", "diff_ids": [HEX] * 513}}, "at most"),
    ],
)
def test_a_configuration_that_is_not_strict_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(TamperedError, match=words):
        documents.parse_config(changed(CONFIG, **fields), "c")


def test_a_manifest_is_no_index_and_an_index_no_manifest() -> None:
    with pytest.raises(TamperedError, match="is an index"):
        documents.parse_manifest(dumps(INDEX), "x")
    with pytest.raises(TamperedError, match="not an index"):
        documents.parse_index(dumps(MANIFEST), "x")


def test_a_document_is_the_one_that_was_asked_for() -> None:
    documents.check_blob(b"{}", documents.Descriptor(oci_digest(b"{}"), 2, documents.CONFIG), "c")
    with pytest.raises(TamperedError, match="bytes, not 3"):
        documents.check_blob(b"{}", documents.Descriptor(oci_digest(b"{}"), 3, documents.CONFIG), "c")
    with pytest.raises(TamperedError, match="has the digest"):
        documents.check_blob(b"[]", documents.Descriptor(oci_digest(b"{}"), 2, documents.CONFIG), "c")


STORED = Layer(HEX, 3, "application/vnd.docker.image.rootfs.diff.tar.gzip", OTHER, 9)


def image(reference: str, platform: str = "linux/amd64", made: bytes = b"") -> Image:
    return Image(reference, platform, OTHER, oci_digest(made), (STORED,))


def test_a_manifest_that_we_make_is_one_that_we_read() -> None:
    made = documents.make_manifest(OTHER, 5, [STORED])
    found = documents.parse_manifest(made, "m", documents.MANIFEST)
    assert found.layers == (documents.Descriptor(HEX, 3, documents.LAYER_GZIP),)
    assert made == documents.make_manifest(OTHER, 5, [STORED])


def test_an_index_that_we_make_names_images_for_containerd_and_for_people() -> None:
    made = documents.make_manifest(OTHER, 5, [STORED])
    data = layout.make_index([image("redis:7", "linux/arm64/v8", made)], {oci_digest(made): made})
    entry = documents.parse_index(data, "i").manifests[0]
    assert (entry.platform, entry.size, entry.media_type) == ("linux/arm64/v8", len(made), documents.MANIFEST)
    assert entry.annotations == {
        documents.CONTAINERD_NAME: "docker.io/library/redis:7",
        documents.REF_NAME: "redis:7",
    }


def test_docker_reads_the_layout_by_its_own_manifest() -> None:
    data = layout.make_docker_manifest([image("a:1"), image("b:1"), image("a:1", "linux/arm64", b"x")])
    blob = "blobs/sha256/"
    assert documents.parse_docker_manifest(data, "manifest.json") == (
        documents.DockerEntry(blob + "b" * 64, ("a:1", "b:1"), (blob + "a" * 64,)),
        documents.DockerEntry(blob + "b" * 64, (), (blob + "a" * 64,)),
    )


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("sha256:" + "a" * 64, "sha256:" + "a" * 64),
        ("/etc/passwd", "etc/passwd"),
        (".//a/./b/../c", "a/c"),
        ("Schicht 1 (ä\\ö).tar", "Schicht 1 (ä\\ö).tar"),
    ],
)
def test_members_are_keys_of_any_characters(name: str, key: str) -> None:
    entry = {"Config": name, "RepoTags": None, "Layers": [name]}
    assert documents.parse_docker_manifest(dumps([entry]), "m") == (documents.DockerEntry(key, (), (key,)),)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"Config": "../x.json", "Layers": []}, "which is outside the archive"),
        ({"Config": "x.json", "Layers": ["a/../../b"]}, "which is outside the archive"),
        ({"Config": "x.json", "Layers": ["a\0b"]}, "not a valid member name"),
        ({"Config": "x.json", "Layers": ["a" * 4097]}, "not a valid member name"),
        ({"Config": "", "Layers": []}, "not a valid member name"),
        ({"Config": "x.json", "Layers": [7]}, "lists the member"),
        ({"Config": "x.json", "Layers": "layer.tar"}, "no lists"),
        ({"Layers": []}, "lists the member"),
        ({"Config": "x.json", "RepoTags": ["nginx"], "Layers": []}, "has the tag"),
        ({"Config": "x.json", "RepoTags": ["a:\x1b[2J"], "Layers": []}, "has the tag"),
        ("x", "not an object"),
    ],
)
def test_a_manifest_of_docker_that_is_not_strict_is_refused(entry: Any, words: str) -> None:
    with pytest.raises(TamperedError, match=words):
        documents.parse_docker_manifest(dumps([entry]), "manifest.json")


@pytest.mark.parametrize(
    ("given", "short", "full"),
    [
        ("redis", "redis:latest", "docker.io/library/redis:latest"),
        ("redis:7", "redis:7", "docker.io/library/redis:7"),
        ("docker.io/library/redis:7", "redis:7", "docker.io/library/redis:7"),
        ("index.docker.io/redis:7", "redis:7", "docker.io/library/redis:7"),
        ("lan-chat/services:1.4.0", "lan-chat/services:1.4.0", "docker.io/lan-chat/services:1.4.0"),
        ("registry.lan:5000/a/b/c:1", "registry.lan:5000/a/b/c:1", "registry.lan:5000/a/b/c:1"),
        ("localhost/a:1", "localhost/a:1", "localhost/a:1"),
        ("[::1]:5000/a:1", "[::1]:5000/a:1", "[::1]:5000/a:1"),
        (f"a@{HEX}", f"a@{HEX}", f"docker.io/library/a@{HEX}"),
        (f"a:1@{HEX}", f"a:1@{HEX}", f"docker.io/library/a:1@{HEX}"),
    ],
)
def test_references_have_a_short_and_a_full_form(given: str, short: str, full: str) -> None:
    assert reference_fault(given) is None
    assert (familiar(given), qualified(given)) == (short, full)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Redis",
        "a b",
        "a:",
        "a:-x",
        "/a",
        "a//b",
        "a@sha256:12",
        "a:1\n",
        "a:" + "t" * 129,
        "x" * 600,
        "../a",
    ],
)
def test_what_is_no_reference_is_said_so(given: str) -> None:
    assert reference_fault(given)


def test_references_are_split_where_docker_does() -> None:
    assert split_reference("registry:5000/a") == ("registry:5000/a", "", "")
    assert split_reference(f"registry:5000/a:1@{HEX}") == ("registry:5000/a", "1", HEX)
    assert split_host("a/b") == ("docker.io", "a/b")
    assert split_host("a.b/c") == ("a.b", "c")


@pytest.mark.parametrize(
    ("wanted", "platform", "fits"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm/v7", "linux/arm/v6", False),
        ("linux/arm", "linux/arm64", False),
        ("linux/arm64/v8", "linux/arm64", False),
    ],
)
def test_a_platform_without_a_variant_takes_any(wanted: str, platform: str, fits: bool) -> None:
    assert documents.platform_matches(wanted, platform) is fits
