"""`bundle inspect`: show the content of a bundle from its head, whatever its size.

Nothing here tells whether the bundle is genuine. The report says so; `bundle verify` checks it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bundler.archive import allowed_document
from bundler.archive.reading import unverified_bundle
from bundler.commands import inspect_risks
from bundler.config.secrets.allowances import Allowed
from installer.core import jsonio
from installer.core.errors import TamperedError, UsageError
from installer.core.format import manifest_json
from installer.core.format.approval_names import NAME
from installer.core.format.archive import Bundle
from installer.core.format.destinations import sensitive_destinations, sensitive_lines
from installer.core.format.entries.health_check import in_words
from installer.core.format.manifest import (
    LAYERS_OF,
    MANIFEST,
    ClusterNeeds,
    Deployment,
    FileEntry,
    Kind,
    Manifest,
)
from installer.core.format.manifest_rules import used_features
from installer.core.limits import LIMITS
from installer.core.schema_errors import spelling_hint
from installer.core.timestamps import format_time
from installer.core.trust.approval import ApprovalFile, group_files, parse
from installer.core.trust.provenance import Provenance
from installer.shared.command.run_record import release_row
from installer.shared.humanize import size_text as size
from installer.shared.terminal.narrow import fitted
from installer.shared.terminal.text import safe

VIEWS = ("deploy", "scripts", "risks", "files", "images", "config", "approvals", "sbom", "docs")

_ALLOWED = 10
_NAMED = 10
"""Names of environments or clusters in one line."""
MAX_SHOWN = LIMITS.document_bytes
"""Bytes of all documents together that are shown: nobody has signed for their number."""


@dataclass(frozen=True, slots=True)
class Report:
    """A view of a bundle; only the form that is printed is made.

    Attributes:
        make_text: Makes the text for people.
        make_document: Makes the document for `--json`.
    """

    make_text: Callable[[], str]
    make_document: Callable[[], Any]

    @property
    def text(self) -> str:
        """The text for people."""
        return self.make_text()

    @property
    def document(self) -> Any:
        """The document for `--json`."""
        return self.make_document()


def inspect_bundle(path: Path, view: str = "", *, everything: bool = False) -> Report:
    """Show a bundle without verifying who made it.

    Args:
        path: The bundle.
        view: One of VIEWS; empty for the overview.
        everything: Whether all findings are shown, however many there are.

    Raises:
        TamperedError: It is not a bundle, or its list and manifest do not agree.
        UsageError: There is no such file or view.
    """
    views: dict[str, Callable[[Bundle], Report]] = {
        "": _overview,
        "deploy": lambda bundle: Report(*inspect_risks.deploy(bundle)),
        "scripts": lambda bundle: Report(*inspect_risks.scripts(bundle)),
        "risks": lambda bundle: Report(*inspect_risks.risks(bundle, everything=everything)),
        "files": _files,
        "images": _images,
        "config": lambda bundle: _documents(bundle, "template", "values", "schema"),
        "approvals": _approvals,
        "sbom": lambda bundle: _documents(bundle, "sbom"),
        "docs": lambda bundle: _documents(bundle, "doc"),
    }
    if view not in views:
        hint = spelling_hint(view, VIEWS, f"use one of {', '.join(VIEWS)}")
        raise UsageError(f"unknown view {view!r}", hint=hint)
    with unverified_bundle(path) as bundle:
        report, manifest = views[view](bundle), bundle.manifest
        release = release_row(manifest.version, manifest.sequence, bundle.identity)
        about = {"product": manifest.product, "to": release, "view": view or "overview"}
        # Made while the bundle is open; and no view without it, or somebody takes it for checked.
        return _with_caveat(report, path, about)


def _with_caveat(report: Report, path: Path, about: dict[str, Any]) -> Report:
    caveat = (
        "NOT VERIFIED: nobody has checked who made this bundle; run "
        f"`bundle verify {shlex.quote(str(path))} --root root.json`"
    )
    return Report(
        lambda: f"{report.text}\n\n{caveat}", lambda: {**about, **report.document, "verified": False}
    )


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _overview(bundle: Bundle) -> Report:
    manifest = bundle.manifest
    layers = {layer.digest for image in manifest.images for layer in image.layers}
    in_layers = f"{len(layers)} layer{'' if len(layers) == 1 else 's'}"
    signatures = list(bundle.head.signatures)
    approvals = [name for name in bundle.read_tail() if NAME.fullmatch(name)]
    sensitive, words = sensitive_destinations(manifest), used_features(manifest)
    allowed, unread = _allowed(bundle)
    found, counts = inspect_risks.counted(bundle)
    # Provenance may not be signed by anybody that hosts trust: it is shown as a claim of its file.
    claims = [claim for each in group_files(bundle.read_tail())[0] if (claim := _provenance(each))]
    rows = [
        ("product", manifest.product),
        ("version", f"{manifest.version} (sequence {manifest.sequence})"),
        ("identity", bundle.identity),
        ("created", _time(manifest.created)),
        ("expires", _time(manifest.expires)),
        ("platforms", ", ".join(manifest.platforms)),
        ("source", manifest.source.text()),
        *(("built by", f"{claim.builder}, according to {file}") for file, claim in claims),
        ("payload", f"{len(manifest.files)} files, {size(bundle.payload_bytes)}"),
        *(("values", line) for line in _values_lines(manifest)),
        *(("requires", f"{word}: hosts with an earlier installer refuse the bundle") for word in words),
        ("images", f"{len(manifest.images)} ({in_layers})" if manifest.images else "none"),
        ("deploy", ", ".join(map(_deployment, manifest.deploy)) or "files only"),
        ("health", _probes(manifest)),
        *((("cluster", _cluster(manifest.cluster)),) if manifest.cluster else ()),
        *(("SENSITIVE", line) for line in sensitive_lines(sensitive)),
        *(("ALLOWED", line) for line in (unread, *_allowed_lines(allowed or ())) if line),
        *(("RISKS", line) for line in found),
        ("rollback", manifest.rollback or "no plan"),
        ("signatures", ", ".join(signatures) or "none: run `bundle sign BUNDLE --key NAME.key`"),
        ("approvals", ", ".join(approvals) or "none"),
        ("checked", "list and manifest match; signatures and payload were not checked"),
    ]
    more = {
        "requires": list(words),
        "payload_bytes": bundle.payload_bytes,
        "file_count": len(manifest.files),
        "sensitive": [each.as_json() for each in sensitive],
        "secrets_allowed": None if allowed is None else [each._asdict() for each in allowed],
        "risk_counts": counts,
        "signatures": signatures,
        "approvals": [{"file": name, "signatures": None, "says": None} for name in approvals],
        "provenance": [{"file": file, **claim.as_json()} for file, claim in claims],
    }

    def document() -> Any:
        # A hundred thousand files would only be dumped to be thrown away.
        without_files = manifest_json.dump(replace(manifest, files=()))
        found = jsonio.loads_strict(without_files, MANIFEST, LIMITS.manifest_bytes)
        found.pop("files")
        return {"manifest": found, **more}

    # Escaped: an unverified bundle may hold control characters for the terminal.
    return Report(lambda: "\n".join(f"{name:<11} {safe(value)}" for name, value in rows), document)


def _values_lines(manifest: Manifest) -> Iterator[str]:
    """Yield for which environments and clusters a release has values; nothing where for none."""
    for of in LAYERS_OF:
        if names := [row.name for row in manifest.values_layers if row.layer == of]:
            more = f", … {len(names) - _NAMED} more: see `inspect config`" if len(names) > _NAMED else ""
            yield f"for the {of}s {', '.join(names[:_NAMED])}{more}"


def _allowed(bundle: Bundle) -> tuple[list[Allowed] | None, str]:
    """Return the findings that were let through; None, and why, where their document is not as listed."""
    try:
        return list(allowed_document.read(bundle)), ""
    except TamperedError as error:
        # The overview of a damaged bundle helps to find the fault; what it cannot tell, it says.
        return None, f"NOT SHOWN: {error.where}: {error.what}"


def _allowed_lines(allowed: Sequence[Allowed]) -> Iterator[str]:
    yield from (f"{each.path}: {each.what}; reason: {each.reason}" for each in allowed[:_ALLOWED])
    if len(allowed) > _ALLOWED:
        yield f"{len(allowed) - _ALLOWED} more: see `inspect docs`"


def _provenance(file: ApprovalFile) -> tuple[str, Provenance] | None:
    """Return name and content of a statement if it is provenance; its signature was not checked."""
    try:
        statement = parse(file.data, file.name)
    except TamperedError:
        return None
    return (file.name, statement) if isinstance(statement, Provenance) else None


def _probes(manifest: Manifest) -> str:
    """Return each probe once, with the steps that it is limited to."""
    probes: dict[str, list[str]] = {}
    for item in manifest.health:
        words = in_words(item)
        # The same probe often guards several steps.
        probes.setdefault(words, []).append(item.when)
    shown = [f"{words} ({', '.join(when)})" if all(when) else words for words, when in probes.items()]
    return "; ".join(shown) or "none"


def _cluster(needs: ClusterNeeds) -> str:
    quorum = f", quorum {needs.quorum}" if needs.quorum else ""
    return f"peers of {needs.peers}, {needs.check}{quorum}"


def _deployment(step: Deployment) -> str:
    notes = ["optional"] if step.optional else []
    if why := step.options.get("roll_forward_only"):
        notes.append(f"cannot be undone: {why}")
    return f"{step.method} ({'; '.join(notes)})" if notes else step.method


def _files(bundle: Bundle) -> Report:
    manifest = bundle.manifest

    def text() -> str:
        rows = [("MODE", "SIZE", "PATH", "ON THE HOST")]
        rows += [(f"{e.mode:04o}", size(e.size), e.path, e.install or "-") for e in manifest.files]
        # Links have neither mode nor size of their own.
        rows += [
            ("link", "-", f"{link.path} -> {link.target}", link.install or "-") for link in manifest.links
        ]
        return fitted(rows, right=(1,))

    def document() -> Any:
        return {
            "files": [_file_row(entry) for entry in manifest.files],
            "links": [asdict(link) for link in manifest.links],
            "directories": [asdict(entry) | {"mode": f"{entry.mode:04o}"} for entry in manifest.directories],
        }

    return Report(text, document)


def _file_row(entry: FileEntry) -> dict[str, Any]:
    row = asdict(entry) | {"mode": f"{entry.mode:04o}"}
    # Of 250,000 files these are said of a few.
    for key in ("validate", "on_change", "timeout", "capabilities"):
        if not getattr(entry, key):
            del row[key]
    return row


def _images(bundle: Bundle) -> Report:
    rows = [("REFERENCE", "PLATFORM", "LAYERS", "SIZE", "UNPACKED", "IMAGE ID")]
    seen: set[str] = set()
    shared = 0
    for image in bundle.manifest.images:
        stored = sum(layer.size for layer in image.layers)
        unpacked = sum(layer.expanded for layer in image.layers)
        # The saving is what these layers would take if each image carried its own.
        shared += sum(layer.size for layer in image.layers if layer.digest in seen)
        seen |= {layer.digest for layer in image.layers}
        layers = str(len(image.layers))
        rows.append(
            (image.reference, image.platform, layers, size(stored), size(unpacked), image.config[:19])
        )
    text = fitted(rows, right=(2, 3, 4)) if len(rows) > 1 else "no images"
    if shared:
        text += f"\nshared layers are stored once: {size(shared)} saved"
    for whole in bundle.manifest.whole_images:
        ends = [
            each.tag.rpartition(".")[2] or ("listed in its index" if each.is_listed else "refers to it")
            for each in whole.attached
        ]
        more = f", with what belongs to it: {', '.join(ends)}" if ends else ""
        text += f"\n{whole.reference} is as its maker pushed it, {whole.digest}{more}"
    manifest = bundle.manifest
    return Report(
        lambda: text,
        lambda: {
            "images": [asdict(image) for image in manifest.images],
            "whole_images": [asdict(whole) for whole in manifest.whole_images],
        },
    )


def document_text(bundle: Bundle, entry: FileEntry) -> str | None:
    """Return a document, checked against the list; None if it is not text, or too large to show.

    Raises:
        TamperedError: Its digest is not the one on the list.
    """
    # A document that large is not for reading on a terminal.
    if entry.size > LIMITS.document_bytes:
        return None
    try:
        text = bundle.read_file(entry.path).decode("utf-8")
    except UnicodeDecodeError:
        return None
    # Binary data can be valid UTF-8 by accident.
    return None if "\0" in text else text


def _documents(bundle: Bundle, *kinds: Kind) -> Report:
    """Show whole documents, each checked against the list, up to `MAX_SHOWN` bytes together."""
    shown, document, left = [], [], MAX_SHOWN
    layers: dict[str, list[str]] = {}
    for row in bundle.manifest.values_layers:
        layers.setdefault(row.path, []).append(f"{row.layer} {row.name}")
    for entry in bundle.manifest.of_kind(*kinds):
        fits = entry.size <= left
        left -= entry.size if fits else 0
        text = document_text(bundle, entry) if fits else None
        place = f" -> {entry.install}" if entry.install else ""
        place += f" for {', '.join(layers[entry.path])}" if entry.path in layers else ""
        body = "(not text, or too large to show)" if text is None else text.rstrip()
        shown.append(f"=== {entry.path}{place} ({size(entry.size)})\n{body}")
        document.append({"path": entry.path, "install": entry.install, "size": entry.size, "text": text})
    return Report(lambda: "\n\n".join(shown) or "none", lambda: {"documents": document})


def _approvals(bundle: Bundle) -> Report:
    """Show the content of approvals; their signatures were not checked."""
    approvals, strays = group_files(bundle.read_tail())
    shown, document = [], []
    for each in approvals:
        forms = [signature.form for signature in each.signatures]
        try:
            rows = list(asdict(parse(each.data, each.name)).items())
        except TamperedError as error:
            # A broken approval is shown, not refused: this command is for finding out what is wrong.
            rows = [("unreadable", str(error))]
        lines = [f"  {name:<12} {safe(_value_text(value))}" for name, value in rows if value]
        shown.append("\n".join([f"=== {each.name}, signatures: {', '.join(forms) or 'none'}", *lines]))
        content = {
            name: format_time(value) if isinstance(value, datetime) else _value_text(value)
            for name, value in rows
        }
        document.append({"file": each.name, "signatures": forms, "says": content})
    shown += [f"=== {safe(name)}, which is not an approval" for name in strays]
    # It does not count on hosts; the person may believe that it does.
    if bundle.partial_append:
        shown.append("incomplete approval at the end: run `bundle approve BUNDLE --repair`")
    text = "\n".join(shown)
    rest = {"strays": strays, "partial_append": bundle.partial_append}
    return Report(lambda: text if shown else "none", lambda: {"approvals": document, **rest})


def _value_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S UTC")
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
