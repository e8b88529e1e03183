"""Targets of the bundle itself: the tar reader, SHA256SUMS, bundle.json."""

from __future__ import annotations

import re

from installer.core.errors import NeedsNewerError, TamperedError, WaybillError
from installer.core.format import manifest_json
from installer.core.format.archive import Bundle
from installer.core.format.checksums import parse_sums
from installer.core.format.manifest import MANIFEST, SUMS, Deployment, HealthCheck
from installer.core.format.member_names import path_fault
from installer.core.format.tar_header import BLOCK, decode, encode
from tests.fuzz.target import Target, refusal, same
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium, Part, Plan, raw_header

SMALL = {"docs/a": b"alpha\n", "trees/t/b": b"beta" * 150}


def healed(data: bytes) -> bytes:
    """Makes the checksum of every header right: else no mutation would come further than that."""
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
    return b"".join(
        raw_header(block) if len(block) == BLOCK and block[257:262] == b"ustar" else block for block in blocks
    )


def small(**fields: object) -> Plan:
    """Gives a small good bundle, unsigned, with an approval behind it."""
    approvals = [Part("approvals/ops-00000000.json", b'{"_type":"https://in-toto.io/Statement/v1",""}')]
    signature = Part(f"{SUMS}.0a1b2c3d.sig", b"AAAA")
    return build.plan(SMALL, room=512, approvals=approvals, signatures=[signature], **fields)  # type: ignore[arg-type]


def check_tar(data: bytes) -> None:
    """A file and a pipe are read alike, and what is accepted is exactly what the format dictates."""
    tar = healed(data)
    found = [_read(BytesMedium(tar)), _read(build.stream(tar))]
    if (found[0] is None) != (found[1] is None):
        raise AssertionError("a file and a pipe are judged otherwise")
    for bundle in found:
        if bundle is not None:
            same(tar[: bundle.end], _written(bundle, tar))


def _read(medium: object) -> Bundle | None:
    with refusal(TamperedError, NeedsNewerError):
        return build.read(medium)  # type: ignore[arg-type]
    return None


def _written(bundle: Bundle, tar: bytes) -> bytes:
    """Writes an accepted bundle anew from what was understood; of the room only its place is known."""
    head = bundle.head
    out = [
        Part(SUMS, head.sums, mtime=head.mtime).tar(),
        *(Part(name, data, mtime=head.mtime).tar() for name, data in head.signatures.items()),
    ]
    room = tar[sum(map(len, out)) : head.manifest_offset]
    out += [room, Part(MANIFEST, bundle.manifest_bytes, mtime=head.mtime).tar()]
    for member in bundle.members:
        start = member.offset + BLOCK
        data = tar[start : start + member.entry.size]
        out.append(Part(member.entry.tar_name, data, member.entry.mode & 0o755, head.mtime).tar())
    return b"".join(out)


def tars() -> list[bytes]:
    """Gives bundles, whole and cut, and what is no bundle."""
    good = small().tar()
    torn = good[:-BLOCK] + b'{"_type":"https://in-toto.io/Statement/v1","'.ljust(BLOCK, b" ")
    return [good, build.plan({}, room=-1).tar(), good[: len(good) // 2], torn, b"", bytes(1024)]


def check_header(data: bytes) -> None:
    """A header block is refused or is the one form in which it would be written."""
    if len(data) >= BLOCK:
        block = raw_header(data[:BLOCK])
        with refusal(TamperedError):
            same(encode(decode(block, "b.tar@0")), block)


def check_sums(data: bytes) -> None:
    """A list is refused or is written back to the same bytes."""
    with refusal(TamperedError):
        found = parse_sums(data)
        same("".join(f"{digest}  {path}\n" for path, digest in found.items()).encode(), data or b"\n")
        if list(found) != sorted(found) or any(map(path_fault, found)):
            raise AssertionError("a list that is not sorted, or a name that means something else")


def lists() -> list[bytes]:
    """Gives lists."""
    good = build.plan().head[0].data
    digest = b"0" * 64
    return [good, good[:-1], digest + b"  ../x\n", digest + b"  b\n" + digest + b"  a\n", b""]


def check_manifest(data: bytes) -> None:
    """A manifest is refused or is read the same again once we have written it."""
    with refusal(TamperedError, NeedsNewerError):
        manifest = manifest_json.parse(data)
        same(manifest_json.parse(manifest_json.dump(manifest)), manifest)
        for entry in manifest.files:
            if path_fault(entry.path) or not re.fullmatch("[0-9a-f]{64}", entry.sha256) or entry.size < 0:
                raise AssertionError(f"a file that no bundle has: {entry}")


def manifests() -> list[bytes]:
    """Gives manifests with everything in them."""
    deployments = (Deployment("files", {}), Deployment("images", {}, optional=True))
    health = (
        HealthCheck("http", "http://127.0.0.1:8080/healthz", within=60, stable=10),
        HealthCheck(
            "http", "https://h/", statuses=("200-299",), body="ok", headers=("A: b",), ca="/c", unix="/u"
        ),
        HealthCheck("prometheus", "http://h", query="up", min="0.5", max="1", start_period=5),
    )
    full = small(deploy=deployments, health=health, upgrade_from="1.2.0", rollback="docs/a")
    return [
        manifest_json.dump(build.plan().manifest),
        manifest_json.dump(full.manifest),
        manifest_json.dump(build.plan({}).manifest),
        b'{"schema":"waybill/v1"}',
        b"[" * 40,
        b'{"a":1e999}',
    ]


WORDS = (
    b'"files":',
    b'"links":',
    b'"directories":',
    b'"images":',
    b'"deploy":',
    b'"health":',
    b'"size":',
    b'"sha256":',
    b'"path":',
    b'"mode":',
    b'"install":',
    b'"target":',
    b'"statuses":',
    b'"platforms":',
    b"9007199254740993",
    b"-1",
    b"null",
    b"\\ud800",
)
TARGETS = (
    Target(
        "tar",
        check_tar,
        tars,
        runs=1500,
        most=16384,
        words=(b"ustar\00000", b"approvals/", b"SHA256SUMS.room"),
    ),
    Target("tar-header", check_header, lambda: [small().tar()[:BLOCK], bytes(BLOCK)], most=BLOCK),
    Target("sums", check_sums, lists, words=(b"  ", b"\n", b"../", b"docs/", b"bundle.json")),
    Target("manifest", check_manifest, manifests, runs=3000, words=WORDS),
)
__all__ = ["TARGETS", "WaybillError", "healed", "small"]
