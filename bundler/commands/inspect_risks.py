"""The views of `bundle inspect` for whoever lets a release pass: what it does as root, opens and changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from installer.core.errors import TamperedError
from installer.core.format.archive import Bundle
from installer.core.format.destinations import sensitive_destinations, sensitive_lines
from installer.core.format.entries.config_file import command_text
from installer.core.format.entries.health_check import in_words
from installer.core.format.manifest import Deployment, FileEntry, HealthCheck, Manifest
from installer.core.format.methods import SPECS, installed_by_method
from installer.core.risk.risk import KINDS
from installer.shared.humanize import size_text
from installer.shared.review.review import Review, program_lines, review, risk_lines
from installer.shared.terminal.narrow import fitted

View = tuple[Callable[[], str], Callable[[], dict[str, Any]]]
"""Makes the text for people, and the document for `--json`."""
MOST = 50
"""Findings of one kind that are shown without `--all`; `--json` has all."""


def review_bundle(bundle: Bundle) -> Review:
    """Examine the release in a bundle.

    Raises:
        TamperedError: A file that is examined is not the one on the list.
    """
    return review(bundle.manifest, lambda entry: bundle.read_file(entry.path))


def counted(bundle: Bundle) -> tuple[list[str], dict[str, int]]:
    """Return how many findings of each kind there are: for people, and as JSON.

    Of a bundle whose files are not those on its list, only that: its overview helps to find the fault.
    """
    try:
        found = review_bundle(bundle).risks
    except TamperedError as error:
        return [f"NOT EXAMINED: {error.where}: {error.what}"], {}
    counts = Counter(each.kind for each in found)
    words = ", ".join(f"{count} × {KINDS[kind]}" for kind, count in counts.items())
    lines = [f"{words}: see `bundle inspect BUNDLE risks`"] if words else []
    return lines, {str(kind): count for kind, count in counts.items()}


def risks(bundle: Bundle, *, everything: bool = False) -> View:
    """Show what the release does as root, what it gets of the host, and what everybody may change."""
    found, places = review_bundle(bundle), sensitive_destinations(bundle.manifest)

    def text() -> str:
        lines = []
        if places:
            shown = sensitive_lines(places, everything=everything)
            lines += ["SENSITIVE: what decides over the host itself:", *_indented(shown)]
        lines += risk_lines(found.risks, 0 if everything else MOST)
        return "\n".join(lines) or "none: nothing runs as root, nothing of the host is opened"

    def document() -> dict[str, Any]:
        return {**found.as_json(), "sensitive": [each.as_json() for each in places]}

    return text, document


def scripts(bundle: Bundle) -> View:
    """Show every script and command that runs on the host, with its whole text."""
    found = review_bundle(bundle)
    return (
        lambda: "\n".join(program_lines(found.programs)) or "none",
        lambda: {"programs": [each.as_json() for each in found.programs]},
    )


def deploy(bundle: Bundle) -> View:
    """Show each step, in order, where its files go, and what else comes to the host."""
    manifest = bundle.manifest
    entries = {entry.path: entry for entry in manifest.files}
    steps = [_step(number, step, entries) for number, step in enumerate(manifest.deploy, 1)]

    def text() -> str:
        places = [_of_host(manifest.product, step) for step in manifest.deploy]
        rows = zip(steps, places, strict=True)
        lines = [line for step, notes in rows for line in _step_lines(step, notes)] or [
            "no steps: files only"
        ]
        lines += (
            ["configuration:", *_indented(reactions)] if (reactions := list(_reactions(manifest))) else []
        )
        lines += ["health checks:", *_indented(map(_probe, manifest.health))] if manifest.health else []
        return "\n".join([*lines, *_indented_tables(manifest)])

    def document() -> dict[str, Any]:
        return {
            "deploy": steps,
            "configuration": [
                {
                    "path": each.path,
                    "install": each.install,
                    "validate": list(each.validate) or None,
                    "on_change": asdict(each.on_change) if each.on_change else None,
                    "timeout": each.timeout or None,
                }
                for each in manifest.files
                if each.validate or each.on_change
            ],
            "health": [asdict(check) for check in manifest.health],
            "links": [asdict(link) for link in manifest.links],
            "directories": [asdict(each) | {"mode": f"{each.mode:04o}"} for each in manifest.directories],
        }

    return text, document


def _step(number: int, step: Deployment, entries: Mapping[str, FileEntry]) -> dict[str, Any]:
    spec = SPECS.get(step.method)
    named = list(spec.files(step.options)) if spec else []
    files = [
        {"path": path, "option": option.key, "install": _place(entries[path]) if path in entries else ""}
        for option, path in named
    ]
    keys = {option.key for option, _ in named}
    others = {key: value for key, value in step.options.items() if key not in keys}
    return {
        "number": number,
        "method": step.method,
        "optional": step.optional,
        "files": files,
        "options": others,
    }


def _reactions(manifest: Manifest) -> Iterator[str]:
    """Yield who checks configuration files, and what their changes do."""
    for each in manifest.files:
        if each.validate:
            yield (
                f"{each.install} is checked before it changes; runs as root{_limit(each)}: "
                f"{command_text(each.validate)}"
            )
        if each.on_change:
            as_root = f"; as root{_limit(each)}" if each.on_change.command else ""
            yield f"{each.install} has changed: {each.on_change.text()}{as_root}"


def _limit(entry: FileEntry) -> str:
    return f", for at most {entry.timeout} s" if entry.timeout else ""


def _place(entry: FileEntry) -> str:
    return entry.install or installed_by_method(entry)


def _of_host(product: str, step: Deployment) -> dict[str, str]:
    """Return what hosts make of a template of a step, and where the site has its own file, by its name."""
    spec = SPECS.get(step.method)
    if spec is None:
        return {}
    made = {
        path: f"hosts render it to {place} in the directory of the release"
        for path, place in spec.rendered(step.options)
    }
    of_site = {
        name: f"of the site, if it has one: /etc/waybill/{product}/{name}"
        for name, _ in spec.of_site(step.options)
    }
    return made | of_site


def _step_lines(step: Mapping[str, Any], notes: Mapping[str, str]) -> Iterator[str]:
    yield f"{step['number']}. {step['method']}{' (optional)' if step['optional'] else ''}"
    for each in step["files"]:
        note = notes.get(each["path"], "stays in the directory of the release")
        to = f" -> {each['install']}" if each["install"] else f"  ({note})"
        yield f"     {each['option']}: {each['path']}{to}"
    for key, value in step["options"].items():
        note = f"  ({notes[value]})" if isinstance(value, str) and value in notes else ""
        yield f"     {key}: {', '.join(value) if isinstance(value, list) else value}{note}"


def _probe(check: HealthCheck) -> str:
    when = f" after {check.when}" if check.when else ""
    if check.command:
        return f"runs as root{when}: {' '.join(check.command)}"
    return f"{check.kind}{when}: {in_words(check).removeprefix(check.kind).strip()}"


def _bits(entry: FileEntry) -> str:
    return f"{entry.mode:04o}{f' {entry.capabilities}' if entry.capabilities else ''}"


def _indented_tables(manifest: Manifest) -> Iterator[str]:
    rows = [
        (_place(each), _bits(each), each.owner or "root", size_text(each.size), each.path)
        for each in manifest.files
        if _place(each)
    ]
    rows += [
        (each.install, f"{each.mode:04o}", each.owner or "root", "directory", each.path)
        for each in manifest.directories
        if each.install
    ]
    rows += [
        (each.install, "link", "root", f"-> {each.target}", each.path)
        for each in manifest.links
        if each.install
    ]
    if rows:
        yield "on the host:"
        shown = fitted([("PATH", "MODE", "OWNER", "SIZE", "FROM"), *sorted(rows)], indent=2)
        yield from _indented(shown.splitlines())


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
