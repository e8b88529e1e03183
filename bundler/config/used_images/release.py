"""The images that a release uses, as its steps and its files say it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bundler.config.checks import quadlets
from bundler.config.checks.images import is_listed, normalise
from bundler.config.checks.templates import KnownValues
from bundler.config.entries import Entries
from bundler.config.model import InputFile
from bundler.config.used_images import charts, manifests
from bundler.config.used_images.use import ImageUse
from bundler.image_sources.base import ImageEntry
from installer.core.errors import Problem
from installer.core.format.entries.chart_files import KIND as CHART
from installer.core.format.entries.chart_files import METADATA, chart_of
from installer.core.format.entries.kube_manifests import KIND as MANIFESTS
from installer.core.format.entries.quadlet_files import KIND as QUADLET
from installer.core.format.manifest import Deployment
from installer.core.format.methods import SPECS
from installer.core.limits import LIMITS
from installer.shared.child.bounded_child import ExceededError, run_bounded
from installer.shared.rendering.release import BOUNDS
from installer.shared.rendering.template import RenderError, render
from installer.shared.review.kube_documents import faults

CODE = "images-used"
"""The code of warnings about images that are used."""
_MOST = 25
"""Manifests of trees of which images are named, and images that are listed and not used."""


@dataclass(slots=True)
class StepTemplates:
    """What the templates of steps for clusters make, by the template and then by what they make."""

    made: dict[str, dict[bytes, str]] = field(default_factory=dict)

    def add(self, entries: Entries, known: KnownValues) -> None:
        """Render the templates with one combination of values; one that needs the site's is left out."""
        for item in _step_templates(entries):
            job = partial(_text, item, known)
            try:
                text = next(run_bounded([job], BOUNDS))
            except ExceededError:
                continue  # said where all templates are checked
            if text:
                self.made.setdefault(item.member, {}).setdefault(text, known.words)


def _text(item: InputFile, known: KnownValues) -> bytes:
    try:
        return render(_read(item), item.given, known.values)
    except RenderError:
        return b""


def in_steps(entries: Entries, values: StepTemplates) -> tuple[list[ImageUse], list[Problem], list[Problem]]:
    """Return the images that steps use, why that cannot be told, and what was not searched.

    Args:
        entries: The entries of bundle.yaml.
        values: What the templates of steps for clusters are rendered to.
    """
    files = quadlets.read([(item, _read(item)) for item in entries.of_kind(QUADLET)])
    uses = [use for project in entries.projects for use in project.uses] + quadlets.uses(files)
    of_objects, problems = _manifests(entries, values)
    uses += of_objects
    listed, program = list(_charts(entries, values)), charts.helm()
    if listed and program is None:
        hint = "install Helm 3 or 4 on this machine; the plan on the host compares them all the same"
        names = ", ".join(chart.given for chart in listed)
        what = "its images were not searched: there is no Helm here"
        return uses, problems, [Problem(names, what, hint, CODE)]
    for chart in listed if program else ():
        found, wrong = charts.find(chart, program or "")
        uses += found
        problems += wrong
    return uses, problems, []


def in_trees(entries: Entries) -> Iterator[ImageUse]:
    """Yield the images of manifests in trees, which something else may use."""
    for tree in entries.trees:
        for file in tree.files:
            if file.path.endswith((".yaml", ".yml")) and file.size <= LIMITS.document_bytes:
                data = _bytes_of(tree.source / file.path)
                if manifests.is_manifest(data):
                    yield from manifests.find(data, f"{tree.given}/{file.path}")[0]


def unused(uses: Iterable[ImageUse], listed: Sequence[ImageEntry]) -> list[ImageEntry]:
    """Return the images that are listed by their names and that nothing uses."""
    used = {normalise(use.reference) or "" for use in uses}
    # An archive may have any number of images: of its names nothing is said.
    named = [(entry, entry.name or (entry.reference if entry.path is None else "")) for entry in listed]
    return [
        entry
        for entry, name in named
        if name and not any(is_listed(full, {normalise(name) or name: name}) for full in used)
    ]


def doubts(entries: Entries, uses: Sequence[ImageUse]) -> list[Problem]:
    """Return warnings: listed images that nothing uses. A script may use any: then nothing is said."""
    specs = [SPECS[step.method] for step in entries.deploy if step.method in SPECS]
    if not uses or any(spec.brings_more for spec in specs):
        return []
    return [
        Problem(
            entries.where(entry),
            f"{entry.name or entry.reference} is used by no step",
            "remove it, unless something else on the hosts uses it",
            CODE,
        )
        for entry in unused(uses, entries.images)[:_MOST]
    ]


def _charts(entries: Entries, values: StepTemplates) -> Iterator[charts.Chart]:
    sources = {item.member: item for item in entries.of_kind(CHART)}
    product = str(entries.value.get("product", ""))
    for step in entries.deploy:
        for member in _chart_paths(step):
            whole = sources.get(member) or sources.get(f"{member}/{METADATA}")
            if whole is None:
                continue  # what is missing was reported
            is_archive = member in sources
            source = whole.source if is_archive else whole.source.parent
            given = whole.given if is_archive else whole.given.rpartition("/")[0]
            made: dict[bytes, str] = {}
            for template in _templates(step):
                made |= values.made.get(template, {})
            release = str(step.options.get("release") or product)
            yield charts.Chart(given, source, release, str(step.options.get("namespace") or product), made)


def _manifests(entries: Entries, values: StepTemplates) -> tuple[list[ImageUse], list[Problem]]:
    """Return the images of manifests that are applied as they are, and what is wrong with them."""
    items = {item.member: item for item in entries.items}
    uses, problems = dict[ImageUse, None](), dict[Problem, None]()
    for step in entries.deploy:
        if not any(option.kind == MANIFESTS for option in SPECS[step.method].options):
            continue
        named = [
            (option, items[path]) for option, path in SPECS[step.method].files(step.options) if path in items
        ]
        files = [(item.given, _read(item)) for option, item in named if option.kind == MANIFESTS]
        made = [
            (f"{item.given} (rendered{f' with {words}' if words else ''})", text)
            for option, item in named
            if option.rendered_as
            for text, words in values.made.get(item.member, {}).items()
        ]
        # Each of what a template makes is applied together with the files, and never with another one.
        for rows in [[*files, each] for each in made] or [files]:
            problems |= {Problem(each.file, each.what, each.hint): None for each in faults(rows)}
        for name, data in [*files, *made]:
            found, wrong = manifests.find(data, name)
            uses |= dict.fromkeys(found)
            problems |= dict.fromkeys(wrong)
    return list(uses), list(problems)


def _chart_paths(step: Deployment) -> Iterator[str]:
    for option in SPECS[step.method].options if step.method in SPECS else ():
        if option.kind == CHART and step.options.get(option.key):
            yield chart_of(step.options[option.key])


def _templates(step: Deployment) -> list[str]:
    return [path for option, path in SPECS[step.method].files(step.options) if option.rendered_as]


def _step_templates(entries: Entries) -> list[InputFile]:
    steps = [step for step in entries.deploy if SPECS[step.method].pulls_images]
    wanted = {path for step in steps for path in _templates(step)}
    return [item for item in entries.of_kind("template") if item.member in wanted]


def _read(item: InputFile) -> bytes:
    return _bytes_of(item.source)


def _bytes_of(source: Path) -> bytes:
    try:
        with source.open("rb") as file:
            return file.read(LIMITS.document_bytes + 1)
    except OSError:
        return b""  # reported where the inputs are checked
