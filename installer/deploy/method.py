"""The contract of all deployment methods.

A method compares the release that runs with the one that is to run, and returns operations. It changes
nothing itself: the transaction does and undoes the operations through their handlers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from installer.core.errors import Problem
from installer.core.format.entries.method_spec import MethodSpec
from installer.core.format.methods import SPECS
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.operation import Op
from installer.host.context import Context
from installer.state.release import Release

Found = TypeVar("Found")
DATA = "data"
"""The option of a step that says why each of its data stays, empty for what goes; set by the plan only."""
SPARED = "spared"
"""The option of a step with units that names those which are left alone if they run; set by the plan only."""


@dataclass(frozen=True, slots=True)
class Target:
    """A release together with one of its steps.

    Attributes:
        release: The release.
        options: `Deployment.options`; empty for `files`, which every release has. For `images`, `engine` and
            `registry` say whether steps take them from the container engine and from the
            registry of the site; the plan may add `SPARED` and `DATA`.
    """

    release: Release
    options: dict[str, Any]


@dataclass(slots=True)
class LastPlan(Generic[Found]):
    """What a method found out about the step that it planned last.

    It is asked three times about it, for `check`, `plan` and `operations`, and what it asks costs seconds.
    """

    _last: tuple[Target, object, Found] | None = None

    def found(self, target: Target, look: Callable[[], Found], args: object = None) -> Found:
        """Return what `look` finds out about a step, the first time by calling it.

        Args:
            target: The step.
            look: Finds it out; what it raises is not kept.
            args: What else it depends on.
        """
        if self._last is None or self._last[0] is not target or self._last[1] != args:
            self._last = (target, args, look())
        return self._last[2]


def full_path(context: Context, path: str) -> str:
    """Return a path of the host as programs and people outside of `--root` reach it."""
    return context.system.root.rstrip("/") + path


class Method(ABC):
    """One way to deploy: `check`, `plan` and `operations` are its own, everything else has a default.

    `old` is None where the step did not run before, `new` where the new release does not have it any more.
    The module of a method has `METHOD`, an object of this class, and `HANDLERS`, its handlers by the kinds of
    its operations, which start with the method's name and a dot.
    """

    name: ClassVar[str]
    item_kinds: ClassVar[tuple[str, ...]] = ()
    """Kinds of the items in its inventory, each known to one method only."""
    data_kinds: ClassVar[tuple[str, ...]] = ()
    """Those of them that are data of the site: a removal leaves them unless it is told to delete them."""

    @property
    def spec(self) -> MethodSpec:
        """What `bundle` and `install` share of it."""
        return SPECS[self.name]

    def absent_files(self, target: Target) -> list[Problem]:
        """Return a problem for each file that a step names and the bundle does not have."""
        carried = {entry.path for entry in target.release.manifest.files}
        named = [path for _, path in self.spec.files(target.options)]
        return [
            Problem(path, "is not in the bundle", "list it in bundle.yaml")
            for path in named
            if path not in carried
        ]

    @abstractmethod
    # The three that each method decides for itself.
    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Return why the step cannot run here: missing tools, wrong options, conflicts. Change nothing."""

    @abstractmethod
    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return what the step will do, a line each for people; no lines where there is nothing to do."""

    @abstractmethod
    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return what has to be done, in order; no operations where there is nothing to do.

        The host may be looked at and not changed. `Op.phase` sorts the operations of all methods: all of
        `stage`, then all of `switch`, then all of `activate`, each in the order of the manifest.
        """

    # Everything below has a default: a method overrides what it has an answer to.
    def rendered(
        self, context: Context, target: Target, template: str, data: bytes
    ) -> tuple[bytes, list[Problem]]:
        """Return what a rendered template of the step becomes on the host, and what is wrong with it.

        Default: as it was rendered.
        """
        return data, []

    def discover(self, context: Context) -> list[InventoryItem]:
        """Return what of the method's kind is on this host without Waybill. Default: nothing."""
        return []

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return where the host is not as the step left it. Default: nowhere."""
        return []

    def differs(self, context: Context, target: Target) -> bool:
        """Return whether the same release, installed again, has something to repair.

        Unlike `drift`, which every `install status` asks for, it may take as long as a plan. Default: whether
        there is drift.
        """
        return bool(self.drift(context, target))

    def restarts(self, context: Context, target: Target) -> Mapping[str, int]:
        """Return how often each service of the step has been restarted, by its name for people.

        A count that grows while the release is watched makes it unhealthy. Default: no services.
        """
        return {}

    def failure_logs(self, context: Context, target: Target) -> list[Problem]:
        """Return the last lines that the step's services logged, for a release that is not healthy.

        Asked before undoing removes the services and their logs. Default: none.
        """
        return []

    def irreversible(self, context: Context, new: Target) -> list[str]:
        """Return what the step does that a rollback does not undo, a text each. Default: nothing.

        The first word of each text tells the steps of a release apart.
        """
        return []

    def inventory(self, context: Context, target: Target, *, running: bool) -> Iterable[InventoryItem]:
        """Return what a removal is to remove, or leaves on purpose. Default: nothing.

        Args:
            context: The host.
            target: The step.
            running: True for what only the running release has; False for what each retained release has,
                the running one included.
        """
        return ()

    def data(self, context: Context, target: Target) -> Iterable[InventoryItem]:
        """Return the data that the step has on the host, of `data_kinds`. Default: none.

        `why` says why an item is never deleted: it is not certain that nobody else needs it.

        Raises:
            StepError: It cannot be looked at.
            ThirdStateError: A file that says what it is was changed.
        """
        return ()

    def why_kept(self, context: Context, item: InventoryItem) -> str:
        """Return why an item of `data` that an earlier removal left is not deleted now; empty for no reason.

        What the removal recorded does not count: what used the data may have gone since. Default: no reason.

        Raises:
            StepError: It cannot be looked at.
        """
        return ""

    def purge(self, context: Context, items: Sequence[InventoryItem]) -> None:
        """Delete data that `data` returned, once the removal is committed; twice is once. Default: nothing.

        What cannot be deleted stays, and is for `residue` to report. Only called where there are items.
        """

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Look at the host after a removal and yield what became of each item of its own kinds.

        Nothing that the removal said of itself counts. Only called where there are items. Default: nothing.
        """
        yield from ()

    def remove_residue(self, context: Context, items: Sequence[InventoryItem]) -> bool:
        """Try again to remove what an earlier removal had to leave; return whether something went.

        Where that cannot be told, it counts as gone: nothing may go unrecorded. Default: do nothing.
        """
        return False
