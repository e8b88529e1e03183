"""The fields that the document of each command of `install` has, besides those of every document.

A document of a run that failed has all of them, too; what is not known is null. `schemas/v1/cli` says what
they are. A new command has a line here and a schema there; a test compares them.
"""

from __future__ import annotations

_CHANGE = ("plan", "health", "pending", "removal")
_TRUST = ("trust",)
_VALUES = ("release", "installed", "layers")

SHAPES: dict[str, tuple[str, ...]] = {
    "": (),
    "version": ("name", "version", "python", "openssl"),
    "apply": _CHANGE,
    "rollback": _CHANGE,
    "remove": _CHANGE,
    "verify": (
        "expires", "source", "files", "payload_bytes", "signatures", "approvals", "sensitive", "notes",
        "policy", "downgrade_checked",
    ),
    "plan": (
        "verb", "source", "builder", "nothing_to_do", "sensitive", "files", "edited", "config",
        "values", "layers", "cluster", "point_of_no_return", "irreversible", "purged", "pruned", "checks",
        "on_change", "spared", "methods", "skipped", "skipped_checks", "space", "notes", "risks", "programs",
    ),
    "config": (),
    "config show": (*_VALUES, "values"),
    "config validate": (*_VALUES, "count"),
    "config diff": ("rollback", "changes"),
    "status": ("products",),
    "history": ("events", "refusals", "hidden"),
    "audit": ("intact", "count", "head", "partial_bytes", "anchors", "records", "sealed", "exported"),
    "metrics": ("files",),
    "support": ("path", "members", "unread"),
    "recover": ("recovered",),
    "setup": ("path", "link", "sha256", "environment", "unit"),
    "completion": ("text",),
    "man": ("text",),
    "licenses": ("sbom",),
    "secrets": (),
    "secrets check": ("secrets",),
    "trust": (),
    "trust init": _TRUST,
    "trust ensure": (*_TRUST, "not_admitted"),
    "trust update": (*_TRUST, "not_admitted", "revoked_here"),
    "trust show": _TRUST,
}  # fmt: skip
