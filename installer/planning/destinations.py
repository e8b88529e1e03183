"""Decides which places on a host a release may have: Waybill's own and other products' are not for it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from installer.core.errors import Problem
from installer.core.format.destinations import SensitivePlace, holds_waybill, sensitive_places, unit_of
from installer.deploy.file_checks import matches
from installer.host.context import Context
from installer.host.directories import parent
from installer.host.file_systems import FileSystems
from installer.host.resolved import Resolver
from installer.host.safe_path import ForeignLinkError
from installer.host.system import Seen
from installer.planning.drift import entry_of
from installer.planning.owners import Owner, ask_for_another_name, other_products
from installer.state.release import Installed

_BUNDLE = "ask the team that built the bundle to use another destination in bundle.yaml"


class Admission:
    """Answers for one plan; the other products' records are read once.

    Args:
        context: The product that is planned for.
        replaced: Links of the running release that directories of the new one replace.
    """

    def __init__(self, context: Context, replaced: Collection[str] = ()) -> None:
        self._system = context.system
        self._product = context.layout.product
        self._resolver = Resolver(context.system, replaced)
        with context.system.hold_directories():
            self.others = other_products(context, self._resolver)
        self.file_systems = FileSystems(context.system)
        self._taken: dict[str, str] = {}
        self._loose: dict[str, list[Installed]] = {}

    def ask(self, item: Installed, before: Installed | None) -> tuple[list[Problem], list[str]]:
        """Return why a release may not have a destination, and what the operator should know of it.

        Args:
            item: What the release wants there.
            before: What the record of the running release says; None where it does not list the path.

        Raises:
            OSError: A directory on the way cannot be examined, or a link in it does not count.
        """
        path = item.path
        if why := self._resolver.forbidden(path, self._product):
            return [Problem(path, why, _BUNDLE)], []
        place = self._resolver.place(path)
        if why := self.file_systems.fault(place, item.kind):
            return [Problem(path, why, "ask for a destination on another file system")], []
        poor = self.file_systems.poor(parent(place))
        if poor and item.capabilities:
            what = f"gets {item.capabilities}, but {poor} keeps no capabilities"
            return [Problem(path, what, "ask for a destination on another file system")], []
        if poor:
            self._loose.setdefault(poor, []).append(item)
        # These file systems tell names apart by more than upper and lower case.
        key = place.casefold() if poor else place
        if (first := self._taken.setdefault(key, path)) != path:
            what = f"leads to the same place as {first}, {place}"
            return [Problem(path, what, "remove the link on this host that leads there")], []
        owner = self.others.places.get(place)
        if owner and not self._shared(item, owner):
            return self._foreign(item, before, place, owner)
        if unit := self.others.unit_owner(place):
            what = f"the unit {unit[0]} belongs to {unit[1]}, which is installed on this host"
            return [Problem(path, what, ask_for_another_name(unit[1]))], []
        return [], []

    def loose_notes(self) -> Iterator[str]:
        """Yield what becomes of modes and owners on file systems that do not keep them."""
        for type_, items in self._loose.items():
            files = [item for item in items if item.kind == "file"]
            if files:
                where = f"{files[0].path}{f' and {len(files) - 1} more' if len(files) > 1 else ''}"
                yield f"{where}: {type_} keeps no modes and owners; they are those of its mount"
            for item in files:
                # What only root may read can be read by everybody there, unless the mount says otherwise.
                if not item.mode & 0o004:
                    what = f"should have mode {item.mode:04o}: check that the mount's options protect it"
                    yield f"{item.path} {what} (umask=077)"

    def _shared(self, item: Installed, owner: Owner) -> bool:
        """Return whether both products only use a directory that one of them created to hold its files."""
        if not item.kind == owner.item.kind == "dir" or owner.item.origin:
            return False
        return matches(
            self._system.observe(item.path), entry_of(item, self.file_systems.poor(parent(item.path)))
        )

    def _foreign(
        self, item: Installed, before: Installed | None, place: str, owner: Owner
    ) -> tuple[list[Problem], list[str]]:
        where = f" as {owner.item.path}" if owner.item.path != item.path else ""
        what = f"belongs to {owner.product}{where}, which is installed on this host"
        # Earlier versions let two products have one file: while it stays as it is, neither is harmed.
        if before and matches(
            self._system.observe(item.path), entry_of(item, self.file_systems.poor(parent(item.path)))
        ):
            return [], [f"{item.path} also {what}; a removal of one product leaves it to the other"]
        if unit := unit_of(place):
            what = f"the unit {unit} {what}"
        return [Problem(item.path, what, ask_for_another_name(owner.product))], []

    def forbidden(self, path: str) -> str:
        """Return why no release may have a place; empty where it may.

        Raises:
            OSError: A directory on the way cannot be examined, or a link in it does not count.
        """
        return self._resolver.forbidden(path, self._product)

    def owner(self, path: str) -> str:
        """Return the other product whose record lists a place; empty for none.

        Raises:
            OSError: A directory on the way cannot be examined, or a link in it does not count.
        """
        found = self.others.places.get(self._resolver.place(path))
        return found.product if found else ""

    def made_by_other(self, directory: str) -> Installed | None:
        """Return a directory that Waybill created to hold files of another product; None where it did not."""
        if not self.others.places:
            return None
        found = self.others.places.get(self._resolver.directory(directory))
        ours = found and found.item.kind == "dir" and not found.item.origin and not found.item.was
        return replace(found.item, path=directory) if found and ours else None

    def may_change(self, item: Installed, seen: Seen) -> Problem | None:
        """Return why nobody's release changes the mode or owner of a directory; None where it may."""
        place = self._resolver.place(item.path)
        if not any(holds_waybill(each) for each in (item.path, place)):
            return None
        what = (
            f"holds files of Waybill, so no release changes its mode or owner ({seen.bits:04o} now, "
            f"{item.mode:04o} in the release)"
        )
        return Problem(item.path, what, _BUNDLE)

    def unknown(self, wanted: Iterable[Installed], old: Iterable[Installed]) -> list[Problem]:
        """Return the products whose records cannot be read, if a release wants what it did not have before.

        What they own is not known then, so nothing new may be placed.
        """
        if not self.others.unknown:
            return []
        there = {item.path for item in old}
        if all(item.path in there for item in wanted):
            return []
        return self.others.unknown

    def unreachable(self, path: str, error: OSError) -> Problem:
        """Return the problem of a place that cannot be examined."""
        if isinstance(error, ForeignLinkError):
            link = shlex.quote(error.link)
            hint = f"check where it leads; then remove it, or give it to root: `chown -h root:root {link}`"
            return Problem(path, error.strerror or "", hint)
        hint = "check that path and the file system that it is on"
        if isinstance(error, PermissionError) and not self._system.privileged:
            hint = "run as root"
        where = error.filename if isinstance(error.filename, str) and error.filename != path else ""
        return Problem(path, f"cannot be examined: {where and f'{where}: '}{error.strerror}", hint)

    def sensitive(self, wanted: Iterable[Installed]) -> tuple[SensitivePlace, ...]:
        """Return the destinations by which a release decides over the host, wherever links lead."""
        places = {item: self._place_or_text(item.path) for item in wanted}
        return tuple(
            sensitive_places(
                {item.path: place for item, place in places.items() if item.kind != "dir"},
                {item.path: (place, item.mode) for item, place in places.items() if item.kind == "dir"},
            )
        )

    def _place_or_text(self, path: str) -> str:
        try:
            return self._resolver.place(path)
        except OSError:
            return path
