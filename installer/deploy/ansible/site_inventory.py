"""Which hosts a step runs on: the inventory of the site today, and the copy that a release has of it.

A release records the inventory that it was installed with, as it records values. When it runs again later,
for a rollback, a removal or an undo, its variables and groups are those of the copy. The hosts, and how they
are reached, are those of today: a host that moved is reached where it is, and one that is gone is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from installer.core.errors import Problem, WaybillError
from installer.core.format.methods import SPECS
from installer.deploy import release_files
from installer.deploy.ansible.inventory import Inventory, host_names, read_inventory
from installer.deploy.ansible.inventory_files import INVENTORY, SITE_FILE
from installer.deploy.ansible.inventory_variables import KEY_FILE
from installer.deploy.method import Target
from installer.deploy.operation import Json, StepError
from installer.host.context import Context
from installer.host.ownership import require_protected
from installer.shared.strict_yaml import MAX_BYTES

_METHOD = "ansible"
_PRIVATE = 0o077


def has_inventory(context: Context, target: Target) -> bool:
    """Return whether a step has the inventory that it needs, or the plan has to say why not."""
    if INVENTORY not in target.options or _copy(target):
        return True
    # One that is there and was not taken has a problem already.
    return _kind(context, _site_file(context, target)) == "absent"


def with_inventory(context: Context, target: Target, step: Json) -> Json:
    """Return what operations have to know of a step, with its hosts; as it is, where it has no inventory.

    Args:
        context: The host.
        target: The step.
        step: What `step_of` returned.

    Raises:
        StepError: There is no inventory, or it is wrong.
    """
    if INVENTORY not in target.options:
        return step
    return _added(context, target, step, _hosts(context, target))


def with_old_inventory(context: Context, old: Target, step: Json, new: Json) -> Json:
    """Return the step of the release before for the hosts of the new one: those are the ones to undo.

    Raises:
        StepError: The inventory does not have what the release before addresses.
    """
    if INVENTORY not in old.options:
        return step
    hosts = _hosts(context, old)
    return _added(context, old, step, hosts.only(new[INVENTORY]["hosts"]) if INVENTORY in new else hosts)


def _added(context: Context, target: Target, step: Json, hosts: Inventory) -> Json:
    return {**step, INVENTORY: hosts.as_json(), SITE_FILE: _site_file(context, target)}


def key_problems(context: Context, step: Json) -> Iterator[Problem]:
    """Yield which keys of ssh are not there, or can be read by others: ssh would not use them."""
    if INVENTORY not in step:
        return
    if context.system.which("ssh") is None:
        yield Problem(
            "ssh", "is not installed, but the release runs on other hosts", "install OpenSSH's client"
        )
    # ssh says of both only that the host refuses the login.
    paths = {values[KEY_FILE] for values in step[INVENTORY]["hosts"].values() if KEY_FILE in values}
    for path in sorted(paths):
        seen = context.system.observe(path, digest=False)
        if seen.kind == "absent":
            yield Problem(path, "is not there, but the inventory names it", "put the private key there")
        elif seen.kind == "file" and seen.mode & _PRIVATE:
            what = f"can be read by others (mode {seen.mode:04o}): ssh does not use such a key"
            yield Problem(path, what, f"run `chmod 600 {path}`")


def names_now(context: Context, step: Json) -> frozenset[str] | None:
    """Return the names of the hosts that the site has now; None where its file cannot be read."""
    try:
        return host_names(_read(context, step[SITE_FILE]), step[SITE_FILE])
    except (OSError, WaybillError):
        return None


def _hosts(context: Context, target: Target) -> Inventory:
    path, then = _site_file(context, target), _recorded(context, target)
    # A release that is not retained yet: its copy is the file of today.
    if target.release.staged != target.release.directory:
        return then
    try:
        now = _read(context, path)
    except FileNotFoundError:
        raise _absent(path, target) from None
    except OSError as error:
        raise StepError(f"cannot be read: {error.strerror}", where=path, hint="check the file") from error
    return then.reached_as(_parsed(now, path, target))


def _parsed(data: bytes, path: str, target: Target) -> Inventory:
    found, problems = read_inventory(data, path, target.options["groups"])
    if found is None:
        first = problems[0]
        raise StepError(first.what, where=first.where, hint=first.hint, problems=problems[1:])
    return found


def _absent(path: str, target: Target) -> StepError:
    groups = ", ".join(target.options["groups"])
    what = "is not there, but the release runs on the hosts of the site that it names"
    return StepError(what, where=path, hint=f"write this inventory, with the groups {groups}")


def _read(context: Context, path: str) -> bytes:
    try:
        # Whoever can change it decides where root logs in.
        require_protected(context.system, path)
    except WaybillError as error:
        raise StepError(error.what, where=error.where, hint=error.hint, problems=error.problems) from error
    return bytes(context.system.read(path, MAX_BYTES + 1))


def _kind(context: Context, path: str) -> str:
    try:
        return context.system.observe(path, digest=False).kind
    except OSError:
        return "other"


def _site_file(context: Context, target: Target) -> str:
    return f"{context.layout.config}/{target.options[INVENTORY]}"


def _recorded(context: Context, target: Target) -> Inventory:
    path, copy = _site_file(context, target), _copy(target)
    if copy is None:
        raise _absent(path, target)
    recorded = {"sha256": copy.sha256, "paths": [copy.source, copy.path]}
    _, data = release_files.recorded_bytes(context.system, recorded, target.release.rendered)
    return _parsed(data, path, target)


def recorded_hosts(context: Context, target: Target) -> list[str] | None:
    """Return the names of the hosts that a release was installed on; None where it has no inventory.

    Raises:
        StepError: The copy of its inventory is not there.
        ChangedFileError: It was changed.
    """
    return [*_recorded(context, target).hosts] if INVENTORY in target.options else None


def _copy(target: Target) -> Any:
    places = {f"{target.release.directory}/{place}" for _, place in SPECS[_METHOD].of_site(target.options)}
    return next((each for each in target.release.installed if each.path in places), None)
