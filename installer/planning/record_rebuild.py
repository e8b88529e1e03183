"""Rebuilds the damaged record of the running release when the same release is installed again.

The manifest comes from the bundle, which was verified just now. A file on the host counts as ours if it is
what this release installs, what was rendered for it, or what a journal says that Waybill created. Everything
else is left alone, and the plan reports it as not ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from installer.core.errors import NotUndoneError, TamperedError
from installer.deploy.file_checks import matches
from installer.host.context import Context
from installer.host.directories import parent
from installer.host.system import Seen
from installer.planning.cluster.discovery import Sight
from installer.planning.desired_state import desired
from installer.planning.drift import condition, entry_of
from installer.secrets.site import SiteSecrets
from installer.shared.values import Layer
from installer.staging.staged import Staged
from installer.state.release import DamagedReleaseError, Installed, Release, open_release, read_record
from installer.state.state import Entry, State
from installer.transaction import journal as journals

NOTE = "the record of the installed release is damaged: Waybill rebuilds it from this bundle"


def rebuilt_release(
    context: Context,
    state: State,
    staged: Staged,
    secrets: SiteSecrets,
    site: tuple[Layer, ...],
    environment: str,
    sight: Sight | None = None,
) -> Release | None:
    """Return the running release if its record is damaged and `staged` is the same release.

    Args:
        context: The host.
        state: The state of the product.
        staged: The verified bundle.
        secrets: Resolves the references among the values.
        site: Values files of the command line.
        environment: What templates see as `waybill.environment`.
        sight: Looks for the peers of the cluster, once for this and for the plan.

    Returns:
        The release; None where it is not damaged, or `staged` is another release.
    """
    current = state.current
    # Another release cannot tell what the damaged one installed.
    if current is None or (current.identity, current.manifest) != (staged.identity, staged.manifest_sha256):
        return None
    system, layout = context.system, context.layout
    try:
        open_release(system, layout, current)
    except DamagedReleaseError as error:
        # What this user may not read is not damaged.
        if isinstance(error.__cause__, PermissionError):
            return None
    else:
        return None
    directory = layout.release(current.name)
    try:
        installed, health = read_record(system, layout, current)
    except DamagedReleaseError:
        wanted = desired(
            context, staged, secrets,
            directory=directory, record=layout.record(current.record), site=site, environment=environment,
            sight=sight,
        )  # fmt: skip
        installed, health = tuple(_ours(context, state, current, wanted.items)), wanted.health
    return Release(staged.manifest, staged.identity, directory, directory, installed, health)


def _ours(context: Context, state: State, current: Entry, items: list[Installed]) -> Iterator[Installed]:
    """Yield what is on the host and known to be ours, directories first."""
    system, layout = context.system, context.layout
    above = {each for item in items for each in _above(item.path)}
    listed = {item.path for item in items}
    known = _directories(context, state)
    for path, item in sorted(known.items()):
        if path in above and path not in listed and system.is_dir(path):
            yield item
    record, digests = layout.record(current.record), set[str]()
    for name in system.names(record):
        if name.isdecimal():
            digests.add(system.observe(f"{record}/{name}").sha256)
    for item in items:
        try:
            seen = system.observe(item.path)
        except OSError:
            continue  # the plan names it: a link on the way that does not count, or a disk that fails
        if matches(seen, entry_of(item)):
            # Who created a directory may not be known: then it is the operator's, and a removal leaves it.
            was = known[item.path].was if item.path in known else condition(seen)
            yield replace(item, was=was) if item.kind == "dir" else item
        elif seen.kind == item.kind == "file" and item.source.startswith(f"{record}/"):
            then = replace(item, sha256=seen.sha256, size=seen.size)
            # Rendered by us at that time, with values that may have changed since.
            if seen.sha256 in digests and matches(seen, entry_of(then)):
                yield then


_DIRECTORY_FIELDS = ("path", "kind", "mode", "uid", "gid")


def _above(path: str) -> Iterator[str]:
    while (path := parent(path)) != "/":
        yield path


def _directories(context: Context, state: State) -> dict[str, Installed]:
    """Return directories that Waybill created or changed, by intact records and journals."""
    system, layout = context.system, context.layout
    found: dict[str, Installed] = {}
    for name in system.names(layout.transactions):
        path = f"{layout.transactions}/{name}"
        if not name.endswith(".done"):
            continue
        with suppress(OSError, NotUndoneError, KeyError, TypeError):
            records = journals.read(system.read(path, journals.LIMIT), path).records
            ops = [record.fields for record in records if record.type == "INTENT"]
            for op in ops if any(record.type == "COMMIT" for record in records) else ():
                rows = zip(
                    op["op"]["args"].get("entries", ()), op["preimage"].get("before", ()), strict=False
                )
                for entry, before in rows:
                    if entry["kind"] == "dir" and before["kind"] in ("absent", "dir"):
                        item = Installed(
                            **{key: entry[key] for key in ("path", "kind", "mode", "uid", "gid")}
                        )
                        # The first time counts: what was there then was not ours.
                        was = condition(Seen(**before)) if before["kind"] == "dir" else ""
                        found.setdefault(item.path, replace(item, was=was))
    for kept in state.retained:
        with suppress(DamagedReleaseError, TamperedError):
            items, _ = read_record(system, layout, kept)
            found |= {item.path: item for item in items if item.kind == "dir"}
    return found
