"""Check the content of small inputs, such as changelog, values and templates, and find secrets in all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bundler.config.checks import (
    changelog,
    compose,
    destinations,
    documents,
    images,
    scripts,
    templates,
    units,
)
from bundler.config.checks.files import check_files
from bundler.config.entries import Entries
from bundler.config.model import InputFile
from installer.core.errors import Problem
from installer.core.format.health_target import is_template
from installer.core.limits import LIMITS
from installer.core.semver import Version
from installer.shared.values import BuiltIns, Layer, examine, load_schema


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
    _documents(entries, report)
    report.warnings += units.check([(item, _read(item.source)) for item in entries.of_kind(units.KIND)])
    problems, warnings = check_files(entries)
    report.problems += problems
    report.warnings += warnings
    if entries.deploy and not entries.health:
        what = "no health probes: a release that does not work will not be rolled back automatically"
        report.warnings.append(Problem(entries.document.name, what, "add health:", "no-health-probes"))
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


def _documents(entries: Entries, report: ContentReport) -> None:
    product = str(entries.value.get("product", ""))
    # A changelog tells of the past, and may quote anything.
    given = (entries.value.get("docs") or {}).get("changelog", "CHANGELOG.md")
    for item in entries.of_kind("doc"):
        if item.given != given:
            report.warnings += documents.check(_read(item.source), item.given, product)


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
