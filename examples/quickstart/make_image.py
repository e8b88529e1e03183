"""Makes an OCI image layout FROM scratch that holds one static binary; no container engine is needed.

usage: make_image.py REFERENCE ARCH BINARY LAYOUT
       make_image.py lan-chat/server:1.4.0 amd64 path/to/nats-server build/image

The same binary gives the same bytes, on every machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

Descriptor = dict[str, object]
OCI = "application/vnd.oci.image"


def layer_of(binary: Path) -> bytes:
    """Return an uncompressed tar with `binary` as /nats-server and an empty /tmp."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        directory = tarfile.TarInfo("tmp")
        directory.type, directory.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(directory)
        entry = tarfile.TarInfo("nats-server")
        entry.size, entry.mode = binary.stat().st_size, 0o755
        with binary.open("rb") as source:
            tar.addfile(entry, source)
    return data.getvalue()


def put(layout: Path, kind: str, data: bytes) -> Descriptor:
    """Store a blob and return its descriptor."""
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}


def put_json(layout: Path, kind: str, value: object) -> Descriptor:
    """Store a JSON document and return its descriptor."""
    return put(layout, kind, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def make(reference: str, arch: str, binary: Path, layout: Path) -> None:
    """Write the layout: one image, one layer."""
    (layout / "blobs" / "sha256").mkdir(parents=True)
    layer = put(layout, f"{OCI}.layer.v1.tar", layer_of(binary))
    config = {
        "architecture": arch,
        "os": "linux",
        "config": {
            "Entrypoint": ["/nats-server"],
            "Cmd": ["-c", "/etc/lan-chat/nats.conf"],
            "Labels": {
                "org.opencontainers.image.licenses": "Apache-2.0",
                "org.opencontainers.image.version": reference.rpartition(":")[2],
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": put_json(layout, f"{OCI}.config.v1+json", config),
        "layers": [layer],
    }
    described = put_json(layout, f"{OCI}.manifest.v1+json", manifest)
    described["platform"] = {"architecture": arch, "os": "linux"}
    described["annotations"] = {"org.opencontainers.image.ref.name": reference}
    index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [described]}
    (layout / "index.json").write_text(json.dumps(index), encoding="utf-8")
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    make(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
