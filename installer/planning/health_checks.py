"""Which health checks of a planned release are asked, and which are skipped; a plan says both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from installer.core.errors import Problem
from installer.core.format.manifest import HealthCheck
from installer.core.format.methods import SPECS
from installer.deploy.health.needs import SkippedProbe, probe_problems, selected, skipped
from installer.deploy.operation import Op
from installer.host.context import Context
from installer.planning.method_selection import Selection, how_to_run, outside_root
from installer.state.release import Release


@dataclass(frozen=True, slots=True)
class PlannedChecks:
    """The health checks of a release, as a plan has them.

    Attributes:
        asked: Those that will be asked.
        numbers: Their places in the manifest.
        skipped: The others, their names without secrets.
        problems: What those that are asked need, and neither this host nor the release has.
    """

    asked: tuple[HealthCheck, ...]
    numbers: frozenset[int]
    skipped: tuple[SkippedProbe, ...]
    problems: tuple[Problem, ...]

    def notes(self, context: Context, operations: Iterable[Op]) -> list[str]:
        """Return what the operator should know: what acts outside of `--root`, and which checks are skipped.

        Args:
            context: The host.
            operations: Of the plan.
        """
        outside = outside_root(context, operations, probes=bool(self.asked))
        return [*outside, *(each.text() for each in self.skipped)]


def planned_checks(
    context: Context,
    checks: Sequence[HealthCheck],
    release: Release | None,
    chosen: Selection,
    skip: Collection[str],
) -> PlannedChecks:
    """Return which checks are asked on a host.

    Args:
        context: The host.
        checks: Of the release, their texts rendered.
        release: The release; None where none is to run.
        chosen: Which methods are used.
        skip: What `--skip` names.
    """
    used, live = chosen.used, context.live
    numbers = [number for number, check in enumerate(checks) if selected([check], used, live=live)]
    asked = [checks[number] for number in numbers]
    # Of several steps, one that is not optional: the others may be other ways to run the same product.
    steps = [step for step in release.manifest.deploy if step.method not in skip] if release else []
    can = [step for step in steps if step.method in SPECS and SPECS[step.method].runs_on_this_machine]
    names = [step.method for step in sorted(can, key=lambda step: step.optional)]
    left = skipped(checks, used, live=live, remedy=how_to_run(used, names[0] if names else ""))
    hidden = [replace(each, name=context.secrets.hide(each.name)) for each in left]
    problems = probe_problems(context, asked, release)
    return PlannedChecks(tuple(asked), frozenset(numbers), tuple(hidden), tuple(problems))
