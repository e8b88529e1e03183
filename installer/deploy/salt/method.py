"""The method `salt`: applies states of the bundle with the Salt of this host, without a master."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from installer.core.errors import HostNotReadyError, Problem, WaybillError
from installer.core.format.entries.salt_states import KIND, root_of, state_of
from installer.core.format.entries.version_range import is_in_range
from installer.deploy import release_files
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.method import LastPlan, Method, Target, full_path
from installer.deploy.operation import Json, Op, StepError
from installer.deploy.salt import client
from installer.deploy.salt.operations import name_of
from installer.deploy.salt.results import StateResult
from installer.deploy.site.rendered_values import has_values, recorded_values, value_problems
from installer.deploy.site.step_memory import memory_problems
from installer.host.context import Context
from installer.shared import strict_yaml

TIMEOUT = 600
"""Seconds that the states of a step may take, where it does not say it."""
_SHOWN = 40
"""States that a plan names."""
_STATES = "Salt states"


class Salt(Method):
    """The method `salt`."""

    name = "salt"
    item_kinds: ClassVar = (_STATES,)

    def rendered(
        self, context: Context, target: Target, template: str, data: bytes
    ) -> tuple[bytes, list[Problem]]:
        """Return the rendered pillar, and what is wrong with it."""
        problems = value_problems(data, template)
        if not problems and client.FACTS in (strict_yaml.load(data, template).value or {}):
            what = f"has the key {client.FACTS}, which Waybill sets"
            problems = [Problem(f"{template} (rendered)", what, "use another key")]
        return data, problems

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Check Salt, and that the states can be rendered here."""
        # Undoing, and removing the product, apply the old states. The new ones were just verified; installing
        # the same release again is what repairs the old ones.
        again = old and new and old.release.identity == new.release.identity
        problems = release_files.changed(context, old.release, KIND) if old and not again else []
        if new is None and not (old and old.options.get("undo")):
            return []  # nothing runs
        version = client.version(context)
        if isinstance(version, Problem):
            return [*problems, version]
        problems += memory_problems("Salt has to write secrets")
        if new is None:
            return problems
        if wanted := _unmet(version, new):
            what = f"is version {version}, but the release needs {wanted}"
            problems.append(Problem(client.PROGRAM, what, "install such a version, or use --skip salt"))
        problems += self.absent_files(new)
        if problems or not has_values(new, self.name):
            return problems  # the plan says why there is no pillar
        try:
            unknown = [each for each in _outlook(context, old, new) if not each.was_tried]
        except StepError as error:
            return [Problem(error.where, error.what, error.hint), *error.problems]
        except WaybillError as error:
            return [Problem(error.where, error.what, error.hint)]
        hint = "install what it needs, or ask the publisher"
        return [
            Problem(each.sls or name_of(arguments(context, new, old)), f"{each.label}: {said}", hint)
            for each in unknown
            if each.result is False and (said := each.said(context.secrets))
        ]

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return which states change something, and what cannot be undone."""
        if new is None:
            if old is None:
                return []
            step = arguments(context, old, None)
            undo = step["undo"]
            stays = f"{name_of(step)} has no state to undo it: what it changed stays"
            return [f"apply the state {undo}" if undo else stays]
        if not has_values(new, self.name):
            return []
        try:
            results = _outlook(context, old, new)
        except (WaybillError, OSError):
            return []  # `check` says why, and nothing is carried out
        if not _needed(old, new, results):
            return []
        return [*_lines(context, arguments(context, new, old), old, results)]

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return the operations: each state is applied while the files of its release are there.

        Raises:
            HostNotReadyError: The states cannot be rendered any more.
        """
        before = arguments(context, old, None) if old else None
        if new is None:
            if not before or not before["undo"]:
                return []
            args = {"old": before, "tag": _tag(before)}
            return [Op("salt.remove", args, "switch", f"apply the state {before['undo']}")]
        try:
            needed = has_values(new, self.name) and _needed(old, new, _outlook(context, old, new))
        except StepError as error:
            raise HostNotReadyError(
                error.what, where=error.where, hint=error.hint, problems=error.problems
            ) from error
        if not needed:
            return []
        step = arguments(context, new, old)
        args = {"new": step, "tag": _tag(step)}
        run = Op("salt.apply", args, "activate", f"apply {name_of(step)}")
        if before is not None:
            # Undone after the files are back, and so the last: the old states need the old files.
            return [Op("salt.before", {"old": before, "tag": args["tag"]}, "switch"), run]
        return [run] if step["undo"] else [Op("salt.forward", args, "activate", run.label)]

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return which files of states are not those that were installed: undoing and removing need them.

        Whether the host still is as the states say, only Salt knows: the plan of the same release tells it.
        """
        return release_files.changed(context, target.release, KIND)

    def inventory(self, context: Context, target: Target, *, running: bool) -> list[InventoryItem]:
        """Return what is known of what the states of the running release did: the state that undoes them."""
        if not running:
            return []
        undo = target.options.get("undo")
        why = f"the state {undo} was applied; Waybill cannot check its result"
        # A removal must not look complete where nothing undoes what states did.
        stays = "what these states changed stays: the release has no state to undo it"
        file = target.release.then(target.options["state"][0])
        return [InventoryItem(_STATES, file, mark=undo or "", why=why if undo else stays)]

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Name the states: their files went with the release, and what they did is theirs alone."""
        for item in items:
            if context.system.observe(item.name, digest=False).kind == "absent":
                yield Residue("gone" if item.mark else "stays", _STATES, item.name, item.why)
            else:
                yield Residue("left", _STATES, item.name, "is still there", "run `install recover`")


def arguments(context: Context, target: Target, old: Target | None) -> Json:
    """Return what operations have to know of a step."""
    manifest, named = target.release.manifest, target.options["state"]
    files = release_files.listed(manifest, KIND)
    return {
        "directory": target.release.directory,
        # Those of other steps are none of its business.
        "files": {path: files[path] for path in named},
        "root": root_of(named),
        "state": state_of(named),
        "undo": target.options.get("undo", ""),
        "pillar": recorded_values(target, METHOD.name),
        "timeout": int(target.options.get("timeout", TIMEOUT)),
        "facts": {
            "product": manifest.product,
            "version": manifest.version,
            "root": context.system.root,
            "old_release": full_path(context, old.release.directory) if old else "",
            "old_version": old.release.manifest.version if old else "",
        },
    }


def _tag(step: Json) -> str:
    return f"{step['root']}-{step['state']}".replace("/", "-")


def _unmet(version: str, new: Target) -> str:
    wanted = str(new.options.get("salt_version", ""))
    return wanted if wanted and not is_in_range(version, wanted) else ""


_last_plan = LastPlan[list[StateResult] | StepError]()


def _outlook(context: Context, old: Target | None, new: Target) -> list[StateResult]:
    """Return what the states would do, as `test=True` tells it.

    Raises:
        StepError: They cannot be rendered.
    """

    def test() -> list[StateResult] | StepError:
        step = arguments(context, new, old)
        try:
            return client.apply_state(context, step, step["state"], test=True, target=new)
        except StepError as error:
            return error

    found = _last_plan.found(new, test)
    if isinstance(found, StepError):
        raise found
    return found


def _needed(old: Target | None, new: Target, results: Sequence[StateResult]) -> bool:
    """Return whether there is anything to do."""
    same = old is not None and old.release.identity == new.release.identity and old.options == new.options
    # What a test shows may depend on files that the switch will only bring.
    return not same or any(each.result is not True or each.changes for each in results)


def _lines(context: Context, step: Json, old: Target | None, results: Sequence[StateResult]) -> Iterator[str]:
    secrets = context.secrets
    yield f"apply {name_of(step)} with Salt"
    changes = [each for each in results if each.result is None or (each.changes and each.result)]
    for each in changes[:_SHOWN]:
        yield f"change {secrets.hide(each.label)}"
        yield from (f"    {line}" for line in each.details(secrets))
    if len(changes) > _SHOWN:
        yield f"and {len(changes) - _SHOWN} more states"
    for each in results:
        if each.result is False:
            yield f"{secrets.hide(each.label)} would fail as the host is now: {each.said(secrets)}"
    if step["undo"]:
        yield f"if it fails, the state {step['undo']} is applied" + (
            ", then the states of the old release" if old else ""
        )
    elif old:
        yield f"if it fails, the states of {old.release.manifest.version} are applied again"
    else:
        yield (
            "it has no state to undo it, and there is no earlier release whose states could be applied: "
            "what it does cannot be undone"
        )


METHOD = Salt()
