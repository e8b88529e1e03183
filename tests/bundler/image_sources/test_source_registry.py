"""Images come from registries, a real one and one that lies, breaks off and leads astray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bundler.image_sources.registry import RegistrySource
from installer.core.errors import UnfitInputError
from installer.core.oci import documents
from tests.rig.imagebuild import Built, digest, dumps, layer
from tests.rig.lyingregistry import Lying, push
from tests.rig.memorysink import MemorySink
from tests.rig.registry import Registry
from tests.rig.registryimages import AMD, AMD64, ARM, BOTH, pack


def test_an_image_comes_with_its_own_bytes(lying: Lying) -> None:
    images, sink = pack(f"{lying.name}/chat:1")
    assert (images[0].reference, images[0].manifest) == (f"{lying.name}/chat:1", digest(AMD.manifest))
    assert sink.blobs[images[0].manifest] == AMD.manifest
    assert [sink.blobs[each.digest] for each in images[0].layers] == AMD.blobs


def test_payload_is_fetched_once_and_only_when_packed(lying: Lying) -> None:
    source = RegistrySource(f"{lying.name}/chat:1", AMD64)
    source.resolve()
    looked = [path.rpartition("/")[2] for path, _ in lying.seen]
    assert looked[:2] == ["1", digest(AMD.config)]
    # The rest asks what lies next to the image: three tags of cosign's and two lists of referrers.
    assert len(looked) == 7
    source.pack(MemorySink())
    assert len(lying.seen) == 9


def test_the_platforms_of_the_bundle_are_taken(lying: Lying) -> None:
    images, _ = pack(f"{lying.name}/chat:all", ("linux/amd64", "linux/arm64"))
    assert [image.manifest for image in images] == [digest(AMD.manifest), digest(ARM.manifest)]
    with pytest.raises(UnfitInputError, match="not for linux/s390x"):
        pack(f"{lying.name}/chat:all", ("linux/s390x",))


def test_an_image_is_had_by_digest_and_named_by_the_bundle(lying: Lying) -> None:
    lying.blobs[digest(BOTH)] = BOTH
    pinned = f"{lying.name}/chat@{digest(BOTH)}"
    assert pack(pinned, name="chat:9")[0][0].reference == "chat:9"
    assert pack(f"{lying.name}/chat:7@{digest(BOTH)}")[0][0].reference == f"{lying.name}/chat:7"
    with pytest.raises(UnfitInputError, match="has a digest but no tag"):
        pack(pinned)


def test_a_tag_that_moves_between_looking_and_packing_changes_nothing(lying: Lying) -> None:
    source = RegistrySource(f"{lying.name}/chat:1", AMD64)
    source.resolve()
    lying.tags["1"] = ARM.manifest
    assert source.pack(MemorySink())[0].manifest == digest(AMD.manifest)


def fixed(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Callable[[Any], Any]:
    return lambda _: (status, headers or {}, body)


TOP = digest(AMD.blobs[1])
BAD: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "no such image": ("manifests", fixed(404), "no such image"),
    "no such layer": (TOP, fixed(404), "no such image"),
    "a login wanted": ("manifests", fixed(401), "requires a login"),
    "not allowed": ("manifests", fixed(403), "denies access"),
    "too many requests": ("manifests", fixed(429), "too many requests"),
    "out of order": ("manifests", fixed(503), "status 503"),
    "a layer of wrong bytes": (TOP, fixed(200, {}, AMD.blobs[1][:-1] + b"x"), "stream is damaged|digest is"),
    "a layer with more bytes": (
        TOP,
        fixed(200, {}, AMD.blobs[1] + b"x"),
        "is larger than its stated size|digest is",
    ),
    "a layer with fewer bytes": (
        TOP,
        fixed(200, {}, AMD.blobs[1][:-1]),
        r"sent only \d+ of \d+ bytes of the layer",
    ),
    "a layer that breaks off": (
        TOP,
        fixed(200, {"Content-Length": "999999"}, AMD.blobs[1][:100]),
        r"sent only 100 of \d+ bytes of the layer",
    ),
    "a manifest of other bytes": (
        "manifests",
        fixed(200, {"Content-Type": documents.MANIFEST, "Docker-Content-Digest": digest(b"x")}, AMD.manifest),
        "the manifest has the digest",
    ),
    "a configuration of other bytes": (digest(AMD.config), fixed(200, {}, b"{}"), "bytes, not"),
    "a page instead of a manifest": (
        "manifests",
        fixed(200, {"Content-Type": "text/html"}, b"<html>"),
        "not JSON",
    ),
    "a manifest called an index": (
        "manifests",
        fixed(200, {"Content-Type": documents.INDEX}, AMD.manifest),
        "but is listed as",
    ),
    "a manifest without end": (
        "manifests",
        fixed(200, {}, b" " * (documents.MAX_DOCUMENT + 1)),
        "larger than",
    ),
    "a manifest of Docker 1.9": (
        "manifests",
        fixed(200, {}, dumps({"schemaVersion": 1})),
        "schema version 2",
    ),
    "a redirect to itself": (
        TOP,
        lambda request: (307, {"Location": request.path}, b""),
        "more than 5 times",
    ),
    "a redirect to a file": (TOP, fixed(307, {"Location": "file:///etc/passwd"}), "not safe to follow"),
    "a redirect to nowhere": (TOP, fixed(307, {"Location": "http://127.0.0.1:9/x"}), "cannot be reached"),
    "a login of an unknown kind": (
        "manifests",
        fixed(401, {"WWW-Authenticate": 'Negotiate realm="x"'}),
        "authentication method that is not supported",
    ),
    "a token from a file": (
        "manifests",
        fixed(401, {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}),
        "authentication method that is not supported",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_registry_that_lies_or_fails_is_a_clear_error(lying: Lying, fault: str) -> None:
    pattern, change, words = BAD[fault]
    lying.spoil[pattern] = change
    with pytest.raises(UnfitInputError, match=words) as raised:
        pack(f"{lying.name}/chat:1")
    assert lying.name in str(raised.value)
    assert raised.value.hint


def test_a_layer_goes_on_where_the_connection_broke(lying: Lying) -> None:
    breaks = iter([1000, 40_000])

    def short(request: Any) -> Any:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        length = next(breaks, None)
        body = AMD.blobs[1][start:]
        return (
            None
            if length is None
            else (206 if start else 200, {"Content-Length": str(len(body))}, body[:length])
        )

    lying.spoil[TOP] = short
    assert pack(f"{lying.name}/chat:1")[0][0].layers[1].digest == TOP
    ranges = [headers.get("Range") for path, headers in lying.seen if TOP in path]
    assert ranges == [None, "bytes=1000-", "bytes=41000-"]


def test_a_registry_without_ranges_is_read_from_the_start_again(lying: Lying) -> None:
    breaks = iter([1000])

    def short(_: Any) -> Any:
        length = next(breaks, len(AMD.blobs[1]))
        return 200, {"Content-Length": str(len(AMD.blobs[1]))}, AMD.blobs[1][:length]

    lying.spoil[TOP] = short
    assert pack(f"{lying.name}/chat:1")[0][0].layers[1].digest == TOP


def test_a_registry_that_is_out_of_order_for_a_moment_is_asked_again(lying: Lying) -> None:
    faults = iter([503, 502])
    lying.spoil["manifests"] = lambda _: (fault, {}, b"") if (fault := next(faults, 0)) else None
    assert pack(f"{lying.name}/chat:1")[0]


@pytest.mark.parametrize(
    "location", ["", "Chat:1", "registry.lan/chat:", "ftp://registry.lan/chat:1", "http://", "a/../b:1"]
)
def test_what_is_no_reference_is_refused(location: str) -> None:
    with pytest.raises(UnfitInputError):
        RegistrySource(location, AMD64).resolve()


def test_a_registry_that_is_not_there_is_named() -> None:
    with pytest.raises(UnfitInputError, match=r"127\.0\.0\.1:9 cannot be reached: Connection refused"):
        RegistrySource("127.0.0.1:9/chat:1", AMD64).resolve()


def test_a_real_registry_gives_what_was_pushed(registry: Registry) -> None:
    push(registry, "lan-chat/chat", AMD, ARM)
    images, sink = pack(f"{registry.name}/lan-chat/chat:all", ("linux/amd64", "linux/arm64"))
    assert [image.manifest for image in images] == [digest(AMD.manifest), digest(ARM.manifest)]
    assert sink.blobs[digest(ARM.manifest)] == ARM.manifest
    assert len(sink.read) == 4
    with pytest.raises(UnfitInputError, match="no such image"):
        pack(f"{registry.name}/lan-chat/chat:absent")


def test_a_real_registry_with_a_spoiled_blob_is_found_out(registry: Registry) -> None:
    spoiled = Built("chat:1", [layer("spoiled", 50_000)], form="gzip")
    push(registry, "lan-chat/spoiled", spoiled)
    path = registry.blob(digest(spoiled.blobs[0]))
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    with pytest.raises(UnfitInputError, match=r"stream is damaged|digest is"):
        pack(f"{registry.name}/lan-chat/spoiled:1")
