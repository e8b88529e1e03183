"""The method `quadlet`: installs files of Podman's generator, and starts the services that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from installer.core.errors import Problem
from installer.core.format.entries.quadlet_files import KIND
from installer.core.format.methods import directory_of
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.method import Method, Target
from installer.deploy.operation import Op, StepError
from installer.deploy.quadlet import generator, pods
from installer.deploy.quadlet.services import Service, actions, services_of
from installer.deploy.systemctl import last_words, restart_counts, runs, show_all
from installer.deploy.systemd import drift
from installer.deploy.systemd.residue import residue
from installer.host.context import Context
from installer.shared.child.engine_address import PODMAN_ENGINE, engine_address, is_podman

_ITEM = "Podman service"
_VOLUME = "Podman volume"


class Quadlet(Method):
    """The method `quadlet`."""

    name = "quadlet"
    item_kinds: ClassVar = (_ITEM, _VOLUME)

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Check that systemd and Podman's generator are here, and that it makes services of the files."""
        if not context.live:
            what = "needs a running system, but --root is a directory"
            return [Problem(self.name, what, "omit --root, or omit quadlet from --only")]
        if not runs(context):
            what = "systemd does not run on this host"
            return [Problem(self.name, what, "omit this step with --skip quadlet")]
        if new is None:
            return []
        found = generator.find(context)
        if isinstance(found, Problem):
            return [found]
        if new.release.manifest.images and not is_podman(engine_address()):
            what = "is the engine that the images go to, but quadlet runs containers of Podman"
            return [Problem(engine_address(), what, f"set DOCKER_HOST={PODMAN_ENGINE}")]
        if absent := self.absent_files(new):
            return absent
        before, after = services_of(context, old), services_of(context, new)
        changed = [each for name, each in after.items() if before.get(name) != each]
        problems = [*generator.refused(context, found, new, changed)]
        try:
            return [*problems, *_taken(context, [each for each in changed if each.name not in before])]
        except StepError as error:
            return [*problems, Problem(self.name, error.what, error.hint)]

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return which services stop, start and restart, and what stays."""
        if not context.live or not runs(context):
            return []
        before, after = services_of(context, old), services_of(context, new)
        todo = actions(before, after)
        lines = [f"stop {name}" for name in todo.stop]
        lines += [_started(after[name], before) for name in (*todo.start, *todo.restart)]
        for each in (*before.values(), *after.values()):
            if each.name in todo.stop and each.volumes and not each.is_made_once:
                lines.append(
                    f"leave the volumes of {each.file.name}, with their data: {', '.join(each.volumes)}"
                )
            elif each.name in todo.stop and each.is_made_once:
                lines.append(f"leave the {each.file.kind} of {each.file.name}, with its data")
            elif each.is_made_once and before.get(each.name, each) != each:
                lines.append(f"{each.file.name} changed: Podman leaves the {each.file.kind} as it is")
        return [line for line in lines if line]

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return the operations of systemd that enclose the change of files."""
        before, after = services_of(context, old), services_of(context, new)
        todo = actions(before, after)
        every = list(dict.fromkeys([*before, *after]))
        stop = [*todo.stop, *todo.replaced]
        label = f"stop {', '.join(stop)}" if stop else ""
        # Nothing is enabled: the generator makes the links of [Install] at every boot. Without a new release
        # systemd is still told, or the services would stay listed without their files.
        # Undone, what is new stops while its files are there.
        new_ones = [*todo.fresh, *todo.replaced]
        args = {"enable": [], "restart": todo.restart, "new": new_ones, "start": todo.start}
        return [
            Op("systemd.before", {"units": every, "stop": stop}, "switch", label),
            Op("systemd.up", args, "activate", f"start {', '.join(after)}" if after else "load units"),
        ]

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return which services do not run as they should, and which containers of pods do not."""
        found = services_of(context, target).values()
        problems = drift.units(context, [each.unit for each in found])
        return [*problems, *pods.drift(context, [each.name for each in found if each.file.kind == "kube"])]

    def restarts(self, context: Context, target: Target) -> Mapping[str, int]:
        """Return how often systemd has restarted each service, and Podman each container of a pod."""
        watched = [each for each in services_of(context, target).values() if not each.is_made_once]
        counts = restart_counts(context, [each.name for each in watched])
        return counts | pods.restarts(context, [each.name for each in watched if each.file.kind == "kube"])

    def failure_logs(self, context: Context, target: Target) -> list[Problem]:
        """Return how the services and containers that do not run ended, and their last lines."""
        every = services_of(context, target)
        sick = drift.units(context, [each.unit for each in every.values()])
        counts = restart_counts(context, [name for name, each in every.items() if not each.is_made_once])
        again = [name.removeprefix("unit ") for name, count in counts.items() if count]
        kubes = [name for name, each in every.items() if each.file.kind == "kube"]
        words = last_words(context, dict.fromkeys([*(problem.where for problem in sick), *again]))
        return [*words, *pods.last_words(context, kubes)]

    def inventory(self, context: Context, target: Target, *, running: bool) -> list[InventoryItem]:
        """Return the services of the running release, and the volumes that stay."""
        if not running:
            return []
        found = services_of(context, target).values()
        volumes = dict.fromkeys(name for each in found for name in each.volumes)
        return [
            *(InventoryItem(_ITEM, each.name) for each in found),
            *(InventoryItem(_VOLUME, name) for name in volumes),
        ]

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Ask systemd for the services, and Podman for the volumes."""
        for item in items:
            if item.kind == _VOLUME:
                yield _left_volume(context, item.name)
                continue
            rows = [replace(row, kind=_ITEM) for row in residue(context, item.name)]
            yield from rows
            if all(row.name != item.name for row in rows):
                yield Residue("gone", _ITEM, item.name)


def _started(service: Service, before: Mapping[str, Service]) -> str:
    source = f"{service.name}, which Podman makes of {service.file.name}"
    if service.name not in before:
        return f"{'run' if service.unit.ends else 'start'} {source}"
    return "" if service.is_made_once else f"restart {source}"


def _taken(context: Context, fresh: Sequence[Service]) -> Iterator[Problem]:
    """Yield the new services whose names other units of the host have.

    Raises:
        StepError: systemd does not answer.
    """
    found = show_all(context, [each.name for each in fresh], "LoadState", "FragmentPath", "SourcePath")
    for each in fresh:
        state = found[each.name]
        ours = f"{directory_of(KIND)}/{each.file.name}"
        if state["LoadState"] == "loaded" and state["SourcePath"] != ours:
            what = f"makes {each.name}, but this host has a unit of that name: {state['FragmentPath']}"
            yield Problem(each.path, what, "remove it first, or ask the publisher for another name")


def _left_volume(context: Context, name: str) -> Residue:
    if context.system.run(["podman", "volume", "exists", name], timeout=30.0).ok:
        return Residue("stays", _VOLUME, name, f"its data stay; `podman volume rm {name}` removes them")
    return Residue("gone", _VOLUME, name)


METHOD = Quadlet()
