"""The fields that the document of each command of `bundle` has, besides those of every document.

A document of a run that failed has all of them, too; what is not known is null. `schemas/v1/cli` says what
they are. A new command has a line here and a schema there; a test compares them.
"""

from __future__ import annotations

_EDITED = ("trust", "archived", "dropped")

SHAPES: dict[str, tuple[str, ...]] = {
    "": (),
    "version": ("name", "version", "python", "openssl"),
    "init": ("written", "templates"),
    "keygen": ("private", "public", "keyid"),
    "create": (
        "path", "dry_run", "size", "files", "images", "signatures", "provenance", "builder", "source",
        "payload_bytes_at_most", "inputs", "excluded", "secrets_allowed", "requires",
    ),
    "schema": ("document",),
    "find-images": ("directory", "images", "unused", "unsearched"),
    "sign": ("identity", "added", "signatures", "path", "sha256"),
    "approve": ("identity", "approvals", "path", "sha256", "outcome", "name", "verified", "withdrawn"),
    "verify": (
        "expires", "source", "files", "payload_bytes", "signatures", "approvals", "sensitive", "notes",
        "policy",
    ),
    "inspect": (
        "view", "verified", "manifest", "payload_bytes", "file_count", "sensitive", "signatures", "approvals",
        "provenance", "files", "links", "directories", "images", "whole_images", "documents", "strays",
        "partial_append", "deploy", "configuration", "health", "risks", "programs", "risk_counts",
        "secrets_allowed", "requires",
    ),
    "diff": (
        "files", "images", "new_layer_bytes", "shared_layer_bytes", "texts", "same_identity", "risk_changes",
        "payload_read", "verified",
    ),
    "publish": ("target", "identity", "sha256", "size", "sent", "signed"),
    "pull": ("path", "identity", "sha256", "size"),
    "installer": ("path", "size", "sha256", "platforms"),
    "completion": ("text",),
    "man": ("text",),
    "licenses": ("sbom",),
    "trust": (),
    "trust init": ("path", "trust"),
    "trust show": ("trust", "signed"),
    "trust add-key": _EDITED,
    "trust set-policy": _EDITED,
    "trust set-product": _EDITED,
    "trust revoke": _EDITED,
    "trust rotate": _EDITED,
    "trust sign": ("fingerprint", "added", "complete", "signed", "path"),
    "trust sheet": ("fingerprint", "expires", "installer", "path"),
}  # fmt: skip
