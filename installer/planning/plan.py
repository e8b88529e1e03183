"""The plan of a transaction as data: what would change, why it could not, and what has to be done."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from installer.core.errors import HostNotReadyError, Problem
from installer.core.format.destinations import SensitivePlace
from installer.core.format.manifest import Source
from installer.deploy.configuration.planned import NO_EFFECTS, Effects
from installer.deploy.health.needs import SkippedProbe
from installer.deploy.method_registry import is_point_of_no_return
from installer.deploy.operation import Op
from installer.host.disk_space import Need
from installer.planning.changes import Changes
from installer.planning.cluster.check import ClusterReport
from installer.planning.drift import NOTHING_SAID, Policy
from installer.shared.review.review import NO_REVIEW, Review
from installer.shared.secrecy.redaction import Diff
from installer.shared.values import Layer
from installer.state.recorded_values import ValueChange
from installer.state.release import Release
from installer.state.site_layers import LayerUse
from installer.state.state import Entry, State


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator chose.

    Attributes:
        only: Methods that `--only` names.
        skip: Methods that `--skip` names.
        drift: What becomes of files that somebody edited, or that are not ours.
        values: Layers of the command line, from the weakest.
        keep: How many releases are retained from now on; 0: as many as until now.
        data_restored: Whether to roll back past a step that cannot be undone.
        retry_failed: Whether to apply a release that failed on this host before.
        allow_quorum_loss: Whether the cluster of the host may lose its quorum.
        purge: Whether a removal deletes the data of the product, too.
    """

    only: frozenset[str] = frozenset()
    skip: frozenset[str] = frozenset()
    drift: Policy = NOTHING_SAID
    values: tuple[Layer, ...] = ()
    keep: int = 0
    data_restored: bool = False
    retry_failed: bool = False
    allow_quorum_loss: bool = False
    purge: bool = False


DEFAULT_OPTIONS = Options()


class PlanNotReadyError(HostNotReadyError):
    """Something prevents a plan; `resumable`: the same command can succeed once the host is repaired."""

    resumable = False


@dataclass(frozen=True, slots=True)
class MethodPlan:
    """What one method will do.

    Attributes:
        name: The method.
        lines: For people.
    """

    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a transaction would do.

    Attributes:
        verb: `apply`, `rollback` or `remove`.
        product: Its product.
        old: The running release.
        new: The release that would run; None for `remove`.
        nothing: Whether there is nothing to do.
        changes: What happens to files.
        diffs: How rendered configuration changes.
        methods: What the other methods do.
        skipped: Methods that are not used, each with a sentence that says why.
        needs: What is needed on each file system.
        problems: Why it cannot be done; empty where it can.
        notes: What the operator should know.
        rendered: Bytes of rendered configuration, by the name under which they are kept.
        operations: What would be done.
        state: The state now.
        number: The id of the transaction.
        release: The new release.
        sound: Whether the release itself is in order: what prevents it, if anything, is the host's.
        sensitive: Destinations by which the release decides over the host itself.
        value_changes: Which values a rollback changes, defaults included; never the values themselves.
        review: What the release does as root, and what it opens.
        known: Files of the release that the running one has, byte for byte.
        layers: Where the values of templates come from, from the weakest; empty where none are used.
        effects: What is checked before configuration files change, and what happens then.
        cluster: The cluster of the host, and which of its peers answer; None where nothing is expected of it.
        purged: Names of the data that a removal deletes.
        skipped_checks: Health checks of the new release that are not asked on this host.
    """

    verb: str
    product: str
    old: Entry | None
    new: Entry | None
    nothing: bool
    changes: Changes
    diffs: tuple[Diff, ...]
    methods: tuple[MethodPlan, ...]
    skipped: dict[str, str]
    needs: tuple[Need, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    rendered: dict[str, bytes] = field(repr=False)
    operations: tuple[Op, ...] = field(repr=False)
    state: State = field(repr=False)
    number: str
    release: Release | None = field(repr=False)
    sound: bool = True
    sensitive: tuple[SensitivePlace, ...] = ()
    value_changes: tuple[ValueChange, ...] = ()
    review: Review = NO_REVIEW
    known: frozenset[str] = field(default=frozenset(), repr=False)
    layers: tuple[LayerUse, ...] = ()
    effects: Effects = NO_EFFECTS
    cluster: ClusterReport | None = None
    purged: tuple[str, ...] = ()
    skipped_checks: tuple[SkippedProbe, ...] = ()

    @property
    def final_steps(self) -> list[str]:
        """The steps that cannot be rolled back past, in words; empty where all can be undone."""
        return [op.label for op in self.operations if is_point_of_no_return(op)]

    @property
    def origin(self) -> tuple[Source, str]:
        """What the new release was made from, and who built it where provenance that counts says so."""
        source = self.release.manifest.source if self.release else Source()
        return source, self.new.evidence.builder if self.new else ""

    def require_ready(self) -> None:
        """Raise everything that prevents the plan, at once.

        Raises:
            PlanNotReadyError: There is something.
        """
        if self.problems:
            count = len(self.problems)
            what = f"{self.product} {self.new.version}" if self.new else self.product
            error = PlanNotReadyError(
                f"the host is not ready for {what}: {count} problem{'s' if count > 1 else ''}",
                # Some of them name an option, such as --retry-failed: without it the next run ends like this.
                hint="nothing was changed; fix the problems listed below and run the command again, with the "
                "options that they name, if any",
                problems=self.problems,
            )
            error.resumable = self.sound
            raise error

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "verb": self.verb,
            "source": asdict(self.origin[0]),
            "builder": self.origin[1] or None,
            "nothing_to_do": self.nothing,
            "sensitive": [each.as_json() for each in self.sensitive],
            **self.review.as_json(),
            "files": [asdict(change) for change in self.changes.changes],
            "edited": [asdict(each) for each in self.changes.drifted],
            "values": [asdict(each) for each in self.value_changes],
            "layers": [asdict(each) for each in self.layers],
            "cluster": self.cluster.as_json() if self.cluster else None,
            "config": [asdict(each) for each in self.diffs],
            "point_of_no_return": self.final_steps,
            "irreversible": list(self.new.irreversible) if self.new else [],
            "purged": list(self.purged),
            "pruned": [entry.brief() for entry in self.state.goes(self.new)],
            **self.effects.as_json(),
            "methods": [{"name": each.name, "does": list(each.lines)} for each in self.methods],
            "skipped": dict(self.skipped),
            "skipped_checks": [each.as_json() for each in self.skipped_checks],
            "space": [asdict(need) for need in self.needs],
            "notes": list(self.notes),
        }
