"""Check the content of small inputs, such as changelog, values and templates, and find secrets in all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bundler.config.checks import (
    changelog,
    config_files,
    destinations,
    documents,
    images,
    quadlets,
    scripts,
    templates,
    units,
)
from bundler.config.checks.files import check_files
from bundler.config.checks.site import cluster
from bundler.config.checks.site import values as site
from bundler.config.compose import environment
from bundler.config.entries import Entries
from bundler.config.model import InputFile
from bundler.config.used_images import release as uses
from bundler.config.used_images.use import ImageUse
from installer.core.errors import Problem
from installer.core.format.entries.health_check import texts
from installer.core.format.entries.quadlet_files import KIND as QUADLET
from installer.core.format.entries.quadlet_files import QuadletFile
from installer.core.format.health_target import is_template
from installer.core.limits import LIMITS
from installer.core.risk import setting_lines
from installer.core.semver import Version
from installer.shared.configuration.peers import BUILT_IN as PEERS
from installer.shared.configuration.release_layers import KINDS
from installer.shared.values import BUILT_IN, BuiltIns, Layer, examine, load_schema

_FROM_TREES = 25
"""Images of manifests in trees that are named."""


@dataclass(slots=True)
class ContentReport:
    """The result of the checks.

    Attributes:
        problems: Why the release cannot be bundled.
        warnings: What may be wrong.
        release_notes: The section of the changelog.
        step_templates: What the templates of steps for clusters are rendered to.
        uses: The images that steps use.
    """

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    release_notes: str = ""
    step_templates: uses.StepTemplates = field(default_factory=uses.StepTemplates)
    uses: tuple[ImageUse, ...] = ()


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
    _projects(entries, report)
    _images(entries, report, images_known=images_known)
    _scripts(entries, report)
    _config_files(entries, report)
    report.problems += destinations.check(entries.places)
    _documents(entries, report)
    report.warnings += units.check([(item, _read(item.source)) for item in entries.of_kind(*units.KINDS)])
    report.problems += quadlets.check(_quadlets(entries))
    report.warnings += quadlets.warnings(_quadlets(entries))
    settings = [(item, _read(item.source)) for item in entries.of_kind(*setting_lines.KINDS)]
    report.problems += units.check_settings(settings)
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
        product = str(entries.value.get("product", ""))
        report.release_notes, problems = changelog.section(data, item.given, version, product)
        report.problems += problems


def _documents(entries: Entries, report: ContentReport) -> None:
    product = str(entries.value.get("product", ""))
    # A changelog tells of the past, and may quote anything.
    given = (entries.value.get("docs") or {}).get("changelog", "CHANGELOG.md")
    for item in entries.of_kind("doc"):
        if item.given != given:
            report.warnings += documents.check(_read(item.source), item.given, product)


def _templates(entries: Entries, report: ContentReport) -> None:
    """Check the values that hosts will merge, and what the templates make of them."""
    schema = _layer(entries.of_kind("schema"))
    defaults = _layer(item for item in entries.of_kind("values") if item.member == entries.values)
    rows = [(row, _layer_of(row)) for row in entries.site_values]
    if found := site.excess(rows, entries.document.name):
        report.problems += found
        rows = []
    parsed = (load_schema(schema)[0] if schema else None) or None
    check = partial(_combination, entries, schema, parsed, report.step_templates)
    wrong = check(site.Combination((defaults,) if defaults else ()), ())
    sound = []
    for row, layer in rows:
        problems = check(site.Combination((defaults, layer) if defaults else (layer,), (row,)), wrong)
        sound += [] if problems else [(row, layer)]
        report.problems += problems
    # What is wrong with a layer is wrong in each of its pairs, which add what two layers do to each other.
    together, left_out = site.pairs(defaults, [] if wrong else sound)
    report.problems += [*wrong, *(problem for each in together for problem in check(each, wrong))]
    if left_out:
        what = f"{left_out} pairs of an environment and a cluster were not checked together, only one by one"
        hint = "check the important ones with `install config validate BUNDLE` on their hosts"
        report.warnings.append(Problem(entries.document.name, what, hint, "values-pairs"))


def _combination(
    entries: Entries,
    schema: Layer | None,
    parsed: dict[str, Any] | None,
    of_steps: uses.StepTemplates,
    combination: site.Combination,
    known: Sequence[Problem],
) -> list[Problem]:
    """Return what is wrong with the values that some hosts merge, and with what the templates make of them.

    Args:
        entries: The entries of bundle.yaml.
        schema: The values schema; None where there is none.
        parsed: The same, parsed.
        of_steps: Gets what the templates of steps for clusters are rendered to.
        combination: The values.
        known: What is wrong with the defaults alone, which is not said again.
    """
    product, of = str(entries.value.get("product", "product")), combination.words
    built_ins = BuiltIns(entries.version, product, combination.environment)
    values, found = examine(combination.layers, schema, built_ins, complete=False)
    found = [_new_value(problem, combination.layers, schema) for problem in found]
    names = templates.KnownValues(values, parsed, of)
    if entries.cluster and not found:
        found = list(cluster.check(entries, entries.cluster, names))
        values[BUILT_IN] |= {PEERS: cluster.example(entries.cluster, names)}
    problems = [problem for problem in found if problem not in known]
    # With broken values every template would seem to use unknown ones.
    if of and (problems or known or _declared_but_absent(entries)):
        files = [f"{row.item.given}:" for row in combination.rows]
        # What is wrong in a file by itself needs no more words.
        return [
            problem
            if len(files) == 1 and f"{problem.where}:".startswith(files[0])
            else replace(problem, what=f"{problem.what} (with the values for {of})")
            for problem in problems
        ]
    incomplete = bool(problems) or _declared_but_absent(entries)
    problems = [*problems, *_rendered(entries, None if incomplete else names)]
    if not problems and not incomplete:
        of_steps.add(entries, names)
    return problems


def _new_value(problem: Problem, layers: Sequence[Layer], schema: Layer | None) -> Problem:
    """Return the problem of a default that the schema does not know with what the author mostly has to do."""
    defaults = next((layer.name for layer in layers if layer.kind == "defaults"), "")
    is_new = problem.what.startswith("unknown key ") and problem.where.startswith(f"{defaults}:")
    if schema is None or not defaults or not is_new:
        return problem
    return replace(problem, hint=f"if it is a new value, describe it in {schema.name}; {problem.hint}")


def _rendered(entries: Entries, known: templates.KnownValues | None) -> list[Problem]:
    inspectors = environment.inspectors(_environments(entries))
    rows: list[tuple[str, templates.Template]] = [
        ("", templates.Template(item.given, partial(_read, item.source), (), inspectors.get(item.given)))
        for item in entries.of_kind("template")
    ]
    # Without sound values every use would look unknown; the syntax can be checked all the same.
    if known is not None:
        rows += [
            (entries.probe_places[number], templates.Template("health", text.encode, (probe.kind, name)))
            for number, probe in enumerate(entries.health)
            for name, text in texts(probe)
            if is_template(text)
        ]
    checked = templates.check_all([row for _, row in rows], known)
    return [
        Problem(place, f"the probe {problem.what}", problem.hint) if place else problem
        for (place, _), found in zip(rows, checked, strict=False)
        for problem in found
    ]


def _declared_but_absent(entries: Entries) -> bool:
    declared = entries.value.get("values") or {}
    return ("defaults" in declared and not entries.values) or (
        "schema" in declared and not entries.values_schema
    )


def _layer(items: Iterable[InputFile]) -> Layer | None:
    item = next(iter(items), None)
    return Layer(item.given, _read(item.source), kind="defaults") if item else None


def _layer_of(row: site.SiteValues) -> Layer:
    return Layer(row.item.given, _read(row.item.source), kind=KINDS[row.of])


def _projects(entries: Entries, report: ContentReport) -> None:
    for project in entries.projects:
        report.problems += project.problems
        report.warnings += project.warnings
    for each in _environments(entries):
        # What a template sets is checked once it is rendered.
        report.problems += [] if each.template else environment.check(each)


def _quadlets(entries: Entries) -> list[tuple[InputFile, QuadletFile]]:
    return quadlets.read([(item, _read(item.source)) for item in entries.of_kind(QUADLET)])


def used_images(entries: Entries) -> tuple[list[ImageUse], list[Problem]]:
    """Return the images that the steps of a release use, and what could not be searched."""
    report = ContentReport()
    # What steps make of their templates is known once these are rendered.
    _templates(entries, report)
    found, problems, notes = uses.in_steps(entries, report.step_templates)
    unread = [each for project in entries.projects for each in project.unsearched]
    return [*found, *uses.in_trees(entries)], list(dict.fromkeys([*unread, *problems, *notes]))


def _images(entries: Entries, report: ContentReport, *, images_known: bool) -> None:
    used, problems, notes = uses.in_steps(entries, report.step_templates)
    report.uses = tuple(used)
    report.problems += problems
    report.warnings += notes
    listed = sum(entry is not None for entry in entries.value.get("images") or [])
    # A list with refused entries says nothing about what is missing from it.
    if images_known and listed == len(entries.images):
        report.problems += images.missing(used, entries.images)
        in_trees = list(uses.in_trees(entries))
        for each in images.missing(in_trees, entries.images)[:_FROM_TREES]:
            report.warnings.append(replace(each, code=uses.CODE))
        report.warnings += [] if problems or notes else uses.doubts(entries, [*used, *in_trees])


def _environments(entries: Entries) -> list[environment.Environment]:
    return environment.environments(
        entries.deploy, entries.items, entries.projects, lambda item: _read(item.source)
    )


def _scripts(entries: Entries, report: ContentReport) -> None:
    for item in entries.of_kind(scripts.KIND):
        report.problems += scripts.check(_read(item.source, 256), item.given)


def _config_files(entries: Entries, report: ContentReport) -> None:
    carried = {item.source.name: partial(_read, item.source) for item in entries.of_kind(units.KIND)}
    templates = entries.of_kind("template")
    report.problems += config_files.check(templates, entries.reaction_places, carried)
