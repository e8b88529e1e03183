"""The images of charts, rendered by Helm with every combination of values that hosts may have.

A chart is rendered as for a first installation and as for an upgrade, with its hooks, its tests and its
definitions. What it makes only for some cluster, as its API says, is not seen: no cluster is asked.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bundler.config.used_images import manifests
from bundler.config.used_images.use import ImageUse
from installer.core.errors import Problem
from installer.core.limits import LIMITS
from installer.shared.child.process import Completed, run
from installer.shared.secrecy.known import Secrets

_SECONDS = 60.0
_SOURCE = "# Source: "
_LONGEST = 500
"""Characters of what Helm says that are shown."""
# Neither plugins nor repositories of whoever builds belong to the release.
_ENVIRONMENT: Mapping[str, str | None] = {"HOME": "/nonexistent", "HELM_PLUGINS": "/nonexistent"}
_STAGES: tuple[tuple[str, ...], ...] = ((), ("--is-upgrade",))


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of a release.

    Attributes:
        given: Its path, as messages name it.
        source: Its directory or archive on this machine.
        release: The name of its release.
        namespace: Its namespace.
        values: What its values are rendered to, each with the words for the hosts that have them.
    """

    given: str
    source: Path
    release: str
    namespace: str
    values: Mapping[bytes, str] = field(default_factory=dict)


def helm() -> str | None:
    """Return the path of Helm on this machine; None where there is none."""
    return shutil.which("helm")


def find(chart: Chart, program: str) -> tuple[list[ImageUse], list[Problem]]:
    """Return the images that a chart uses, each place once, and why it cannot be rendered.

    Args:
        chart: The chart.
        program: Helm.
    """
    found: dict[ImageUse, None] = {}
    problems: list[Problem] = []
    for values, words in (chart.values or {b"": ""}).items():
        for stage in _STAGES:
            ended = _rendered(chart, program, values, stage)
            if not ended.ok or ended.shortened:
                what = "makes more than 1 MiB" if ended.ok else _reason(ended)
                rendered = f"cannot be rendered{f' with {words}' if words else ''}: {_inside(what, chart)}"
                hint = f"run `helm template {chart.given}` to see all of it"
                return list(found), [*problems, Problem(chart.given, rendered, hint)]
            # The same template mostly makes the same of all values: each place counts once.
            uses, wrong = manifests.find(ended.stdout, f"{chart.given} (rendered)")
            found |= dict.fromkeys(_placed(chart, uses, ended.stdout.decode("utf-8", "replace")))
            problems += wrong
    return list(found), list(dict.fromkeys(problems))


def _reason(ended: Completed) -> str:
    """Return what Helm says is wrong; its last line only names an option of its own."""
    said = ended.stderr.decode("utf-8", "replace").splitlines()
    error = next((line.partition(": ")[2] for line in said if line.startswith("Error: ")), "")
    return error[:_LONGEST] or ended.reason(Secrets())


def _rendered(chart: Chart, program: str, values: bytes, stage: Sequence[str]) -> Completed:
    words = [program, "template", chart.release, str(chart.source), "--namespace", chart.namespace]
    words += ["--include-crds", *stage, *(("--values", "-") if values else ())]
    return run(words, timeout=_SECONDS, env=_ENVIRONMENT, stdin=values)


def _inside(text: str, chart: Chart) -> str:
    return text.replace(f"{chart.source}/", "").replace(str(chart.source), chart.given)


def _placed(chart: Chart, uses: Sequence[ImageUse], text: str) -> Iterator[ImageUse]:
    """Yield the images with the templates that they are made by, in place of the lines of what was made."""
    lines = text.splitlines()
    for use in uses:
        number = int(use.where.rpartition(":")[2])
        above = (line for line in reversed(lines[:number]) if line.startswith(_SOURCE))
        # What begins it is the name of the chart, whatever its directory is called.
        inside = next(above, "").removeprefix(_SOURCE).partition("/")[2]
        yield replace(use, where=_place(chart, inside), policy="") if inside else use


def _place(chart: Chart, inside: str) -> str:
    """Return the place of a template, with its line where only one line can be meant."""
    path = f"{chart.given}/{inside}"
    file = chart.source / inside
    if not file.is_file() or file.stat().st_size > LIMITS.document_bytes:
        return path
    lines = file.read_text("utf-8", "replace").splitlines()
    numbers = [number for number, line in enumerate(lines, 1) if "image:" in line]
    return f"{path}:{numbers[0]}" if len(numbers) == 1 else path
