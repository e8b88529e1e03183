"""Check the content of small inputs, such as changelog, values and templates, and find secrets in all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bundler.config.checks import changelog, compose, destinations, images, scripts, secrets, templates
from bundler.config.entries import Entries
from bundler.config.model import InputFile
from installer.core.errors import Problem
from installer.core.format.health_target import is_template
from installer.core.format.methods import FILE_KINDS
from installer.core.limits import LIMITS
from installer.core.semver import Version
from installer.shared.values import BuiltIns, Layer, examine, load_schema

_CONFIGURATION = ("template", "values", *FILE_KINDS, "deploy")


@dataclass(slots=True)
class ContentReport:
    """The result of the checks."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    release_notes: str = ""


def check_content(entries: Entries, version: Version | None, *, images_known: bool) -> ContentReport:
    """Check the content of the inputs that could be read.

    Args:
        entries: The entries of bundle.yaml.
        version: The version; None if it is not valid.
        images_known: Whether all of `images` is valid; if not, no image is reported as missing.
    """
    report = ContentReport()
    # Without a valid version no section can be looked up.
    if version is not None:
        _changelog(entries, version, report)
    _templates(entries, report)
    _compose(entries, report, images_known=images_known)
    _scripts(entries, report)
    report.problems += destinations.check(entries.places)
    _secrets(entries, report)
    if entries.deploy and not entries.health:
        what = "no health probes: a release that does not work will not be rolled back automatically"
        report.warnings.append(Problem(entries.document.name, what, "add health:"))
    return report


def _read(source: Path, limit: int = LIMITS.document_bytes) -> bytes:
    try:
        with source.open("rb") as file:
            return file.read(limit + 1)
    except OSError:
        return b""


def _changelog(entries: Entries, version: Version, report: ContentReport) -> None:
    given = (entries.value.get("docs") or {}).get("changelog", "CHANGELOG.md")
    item = next((item for item in entries.of_kind("doc") if item.given == given), None)
    if item:
        data = _read(item.source, changelog.MAX_BYTES)
        report.release_notes, problems = changelog.section(data, item.given, version)
        report.problems += problems


def _templates(entries: Entries, report: ContentReport) -> None:
    schema = _layer(entries.of_kind("schema"))
    defaults = _layer(entries.of_kind("values"))
    product = str(entries.value.get("product", "product"))
    values, problems = examine(
        [defaults] if defaults else [], schema, BuiltIns(entries.version, product), complete=False
    )
    report.problems += problems
    parsed = load_schema(schema)[0] if schema else None
    known = templates.KnownValues(values, parsed if parsed else None)
    # With broken values every template would seem to use unknown ones.
    incomplete = bool(problems) or _declared_but_absent(entries)
    rows: list[tuple[str, templates.Template]] = [
        ("", templates.Template(item.given, partial(_read, item.source)))
        for item in entries.of_kind("template")
    ]
    # Without sound values every use would look unknown; the syntax can be checked all the same.
    if not incomplete:
        rows += [
            (entries.probe_places[number], templates.Template("health", text.encode, probe.kind))
            for number, probe in enumerate(entries.health)
            for text in (probe.target, *probe.command)
            if is_template(text)
        ]
    checked = templates.check_all([row for _, row in rows], None if incomplete else known)
    for (place, _), found in zip(rows, checked, strict=False):
        report.problems += [
            Problem(place, f"the probe {problem.what}", problem.hint) if place else problem
            for problem in found
        ]


def _declared_but_absent(entries: Entries) -> bool:
    declared = entries.value.get("values") or {}
    return ("defaults" in declared and not entries.values) or (
        "schema" in declared and not entries.values_schema
    )


def _layer(items: Iterable[InputFile]) -> Layer | None:
    item = next(iter(items), None)
    return Layer(item.given, _read(item.source)) if item else None


def _compose(entries: Entries, report: ContentReport, *, images_known: bool) -> None:
    variables = {"WAYBILL_VERSION": entries.version, "WAYBILL_PRODUCT": str(entries.value.get("product", ""))}
    uses: list[tuple[str, compose.ImageUse]] = []
    for item in entries.of_kind(compose.KIND):
        result = compose.read(_read(item.source), item.given, variables)
        report.problems += result.problems
        uses += [(item.given, use) for use in result.uses]
    listed = sum(entry is not None for entry in entries.value.get("images") or [])
    # A list with refused entries says nothing about what is missing from it.
    if images_known and listed == len(entries.images):
        report.problems += images.missing(uses, entries.images)


def _scripts(entries: Entries, report: ContentReport) -> None:
    for item in entries.of_kind(scripts.KIND):
        report.problems += scripts.check(_read(item.source, 256), item.given)


def _secrets(entries: Entries, report: ContentReport) -> None:
    allowed = [
        secrets.Allowance(entry["path"], entries.document.where(("secrets_allow", number)))
        for number, entry in enumerate(entries.value.get("secrets_allow") or [])
        if entry is not None
    ]
    scanner = secrets.Scanner(allowed)
    for item in entries.items:
        is_config = item.kind in _CONFIGURATION
        report.problems += scanner.file(item.source, item.given, is_config=is_config)
    for tree in entries.trees:
        for file in tree.files:
            # Larger files are not text that somebody wrote; reading them all would take as long as packing.
            if file.size <= secrets.MAX_BYTES:
                shown = f"{tree.given}/{file.path}"
                is_config = file.path.rpartition("/")[2].startswith(".env") or file.path.endswith(".env")
                source = f"{tree.source}/{file.path}"
                report.problems += scanner.file(source, shown, is_config=is_config, most=file.size)
    # An allowance may be for a file that could not be read.
    complete = not entries.problems
    report.problems += scanner.unused() if complete else []
