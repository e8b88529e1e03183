"""A small manifest and one that has everything, both good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from installer.core.digest import sha256_hex
from installer.core.format.manifest import (
    Deployment,
    DirectoryEntry,
    FileEntry,
    HealthCheck,
    Image,
    Layer,
    LinkEntry,
    Source,
    blob_path,
)
from tests.rig import bundlebuild as build
from tests.rig.imagebuild import digest

BASE = build.plan().manifest


def blob(data: bytes, **fields: Any) -> FileEntry:
    return build.entry_for(blob_path("sha256:" + sha256_hex(data)), data, kind="image", **fields)


CONFIG, MANIFEST, LAYER, PLAIN = (
    blob(b"config"),
    blob(b"manifest"),
    blob(b"layer", expanded=99),
    blob(b"plain"),
)
IMAGE = Image(
    "chat/services:1.4.0",
    "linux/amd64",
    digest(b"config"),
    digest(b"manifest"),
    (
        Layer(digest(b"layer"), 5, "application/vnd.oci.image.layer.v1.tar+zstd", digest(b"x"), 99),
        Layer(digest(b"plain"), 5, "application/vnd.oci.image.layer.v1.tar", digest(b"plain"), 5),
    ),
)
STEPS = (
    build.entry_for("deploy/apply.sh", b"#!/bin/sh\n", kind="script", mode=0o755),
    build.entry_for("deploy/compose.yaml", b"services: {}\n", kind="compose"),
    build.entry_for("deploy/undo.sh", b"#!/bin/sh\n", kind="script", mode=0o755),
    build.entry_for("deploy/x.service", b"[Service]\n", kind="unit"),
)
FULL = replace(
    BASE,
    files=(*BASE.files[:2], *STEPS, *BASE.files[2:], CONFIG, LAYER, PLAIN, MANIFEST),
    images=(IMAGE,),
    links=(LinkEntry("trees/web/start.html", "index.html", "/srv/web/start.html"),),
    directories=(DirectoryEntry("trees/web/cache", 0o775, "/srv/web/cache"),),
    deploy=(
        Deployment("systemd", {"units": ["deploy/x.service"]}),
        Deployment("compose", {"file": "deploy/compose.yaml", "project": "chat"}, True),
        Deployment("script", {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh", "timeout": 60}),
        Deployment("images", {}),
    ),
    health=(
        HealthCheck("http", "http://127.0.0.1:8080/healthz", stable=10, status=204, when="systemd"),
        HealthCheck("command", "", ("chatctl", "ping"), within=5),
    ),
    rollback="docs/CHANGELOG.md",
    source=Source("a" * 40, "v1.4.0", True),
)
