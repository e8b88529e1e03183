"""VERB `bundle inspect`: what a bundle says of itself, read from its head, whatever its size.

Nothing here tells whether the bundle is genuine; the report says so, and `bundle verify` tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from installer.core import jsonio
from installer.core.errors import TamperedError
from installer.core.format import manifest_json
from installer.core.format.archive import Bundle, open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import FileSource
from installer.core.format.manifest import MANIFEST, Deployment, FileEntry, Kind, Manifest
from installer.core.limits import LIMITS
from installer.core.trust.approval import ApprovalFile, group_files
from installer.core.trust.approval import parse as parse_statement
from installer.core.trust.provenance import Provenance
from installer.shared.console import safe, table
from installer.shared.humanize import size_text as size

VIEWS = ("files", "images", "config", "approvals", "sbom", "docs")


@dataclass(frozen=True, slots=True)
class Report:
    """What is shown: `text` for people, `document` for `--json`."""

    text: str
    document: Any


def inspect(path: Path, view: str = "") -> Report:
    """Looks at a bundle without verifying who made it.

    Args:
        path: The bundle.
        view: One of VIEWS; empty for the overview.

    Returns:
        The report.

    Raises:
        TamperedError: It is not a bundle, or its list and manifest do not agree.
        UsageError: There is no such file.
    """
    medium = FileSource(path)
    try:
        bundle = open_bundle(medium, unsafe_trust_anyone)
        views: dict[str, Callable[[Bundle], Report]] = {
            "": _overview,
            "files": _files,
            "images": _images,
            "config": lambda found: _documents(found, "template", "values", "schema"),
            "approvals": _approvals,
            "sbom": lambda found: _documents(found, "sbom"),
            "docs": lambda found: _documents(found, "doc"),
        }
        return views[view](bundle)
    finally:
        medium.close()


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _overview(bundle: Bundle) -> Report:
    manifest = bundle.manifest
    layers = {layer.digest for image in manifest.images for layer in image.layers}
    signatures = list(bundle.head.signatures)
    approvals = [name for name in bundle.read_tail() if name.endswith(".json")]
    claims = [said for each in group_files(bundle.read_tail())[0] if (said := _provenance(each))]
    rows = [
        ("product", manifest.product),
        ("version", f"{manifest.version} (sequence {manifest.sequence})"),
        ("identity", bundle.identity),
        ("created", _time(manifest.created)),
        ("expires", _time(manifest.expires)),
        ("platforms", ", ".join(manifest.platforms)),
        ("source", manifest.source.text()),
        *(("built by", f"{said.builder}, as {file} says") for file, said in claims),
        ("payload", f"{len(manifest.files)} files, {size(bundle.payload_bytes)}"),
        ("images", f"{len(manifest.images)}, of {len(layers)} layers" if manifest.images else "none"),
        (
            "deploy",
            ", ".join(map(_deployment, manifest.deploy)) or "files only",
        ),
        (
            "health",
            _probes(manifest),
        ),
        ("rollback", manifest.rollback or "no plan"),
        ("signatures", ", ".join(signatures) or "none: sign it with `bundle sign`"),
        ("approvals", ", ".join(approvals) or "none"),
        (
            "checked",
            "only that the list and the manifest agree; `bundle verify` checks signatures and payload",
        ),
    ]
    text = "\n".join(f"{name:<11} {safe(value)}" for name, value in rows)
    few = manifest_json.dump(replace(manifest, files=()))
    document = jsonio.loads_strict(few, MANIFEST, LIMITS.manifest_bytes)
    document.pop("files")
    document |= {
        "identity": bundle.identity,
        "payload_bytes": bundle.payload_bytes,
        "file_count": len(manifest.files),
        "signatures": signatures,
        "approvals": approvals,
        "provenance": [{"file": file, **said.as_json()} for file, said in claims],
        "verified": False,
    }
    return Report(text, document)


def _provenance(found: ApprovalFile) -> tuple[str, Provenance] | None:
    """Gives what a statement says of the builder, if it is provenance; nobody has checked who signed it."""
    try:
        said = parse_statement(found.data, found.name)
    except TamperedError:
        return None
    return (found.name, said) if isinstance(said, Provenance) else None


def _probes(manifest: Manifest) -> str:
    """Gives each probe once, with the methods for which it is made."""
    probes: dict[str, list[str]] = {}
    for item in manifest.health:
        words = f"{item.kind} {item.target or ' '.join(item.command)}"
        probes.setdefault(words, []).append(item.when)
    shown = [f"{words} ({', '.join(when)})" if all(when) else words for words, when in probes.items()]
    return "; ".join(shown) or "none"


def _deployment(step: Deployment) -> str:
    said = ["only if asked for"] if step.optional else []
    if why := step.options.get("roll_forward_only"):
        said.append(f"cannot be undone: {why}")
    return f"{step.method} ({'; '.join(said)})" if said else step.method


def _files(bundle: Bundle) -> Report:
    manifest = bundle.manifest
    rows = [("MODE", "SIZE", "PATH", "ON THE HOST")]
    rows += [(f"{e.mode:04o}", size(e.size), e.path, e.install or "-") for e in manifest.files]
    rows += [("link", "-", f"{link.path} -> {link.target}", link.install or "-") for link in manifest.links]
    document = {
        "files": [asdict(entry) | {"mode": f"{entry.mode:04o}"} for entry in manifest.files],
        "links": [asdict(link) for link in manifest.links],
        "directories": [asdict(entry) | {"mode": f"{entry.mode:04o}"} for entry in manifest.directories],
    }
    return Report(table(rows, right=(1,)), document)


def _images(bundle: Bundle) -> Report:
    rows = [("REFERENCE", "PLATFORM", "LAYERS", "SIZE", "UNPACKED", "IMAGE ID")]
    seen: set[str] = set()
    shared = 0
    for image in bundle.manifest.images:
        stored = sum(layer.size for layer in image.layers)
        unpacked = sum(layer.expanded for layer in image.layers)
        shared += sum(layer.size for layer in image.layers if layer.digest in seen)
        seen |= {layer.digest for layer in image.layers}
        rows.append(
            (
                image.reference,
                image.platform,
                str(len(image.layers)),
                size(stored),
                size(unpacked),
                image.config[:19],
            )
        )
    text = table(rows, right=(2, 3, 4)) if len(rows) > 1 else "no images"
    if shared:
        text += f"\nlayers that images share are stored once: {size(shared)} saved"
    return Report(text, {"images": [asdict(image) for image in bundle.manifest.images]})


def document_text(bundle: Bundle, entry: FileEntry) -> str | None:
    """Gives a document, checked against the list; None where it is not text, or too large to show.

    Raises:
        TamperedError: It is not what the list says.
    """
    if entry.size > LIMITS.document_bytes:
        return None
    try:
        text = bundle.read_file(entry.path).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _documents(bundle: Bundle, *kinds: Kind) -> Report:
    """Shows documents whole: each was checked against the list."""
    shown, document = [], []
    for entry in bundle.manifest.of_kind(*kinds):
        text = document_text(bundle, entry)
        place = f" -> {entry.install}" if entry.install else ""
        body = "(not text, or too large to show)" if text is None else text.rstrip()
        shown.append(f"=== {entry.path}{place} ({size(entry.size)})\n{body}")
        document.append({"path": entry.path, "install": entry.install, "size": entry.size, "text": text})
    return Report("\n\n".join(shown) or "none", {"documents": document})


def _approvals(bundle: Bundle) -> Report:
    """Shows what approvals say of themselves: nobody has checked who signed them."""
    files = bundle.read_tail()
    found, strays = group_files(files)
    shown, document = [], []
    for each in found:
        forms = [signature.form for signature in each.signatures]
        try:
            said = parse_statement(each.data, each.name)
            rows = list(asdict(said).items())
        except TamperedError as error:
            rows = [("unreadable", str(error))]
        lines = [f"  {name:<12} {safe(_said(value))}" for name, value in rows if value]
        shown.append("\n".join([f"=== {each.name}, signed: {', '.join(forms) or 'not at all'}", *lines]))
        says = {name: _said(value) for name, value in rows}
        document.append({"file": each.name, "signatures": forms, "says": says})
    shown += [f"=== {safe(name)}, which is no approval" for name in strays]
    shown += (
        ["an approval was cut short here: bundle approve BUNDLE --repair"] if bundle.partial_append else []
    )
    text = "\n".join([*shown, "none of these was checked: bundle verify BUNDLE --root root.json --env ENV"])
    rest = {"strays": strays, "torn": bundle.partial_append}
    return Report(text if shown else "none", {"approvals": document, **rest})


def _said(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S UTC")
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
