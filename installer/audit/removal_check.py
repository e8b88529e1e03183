"""Looks at the host after a removal: what is gone, what stays on purpose, and whether something is left.

It believes nothing that the removal says of itself: every thing of its account is looked for anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from installer import __version__
from installer.core import jsonio
from installer.core.errors import NotUndoneError, Problem
from installer.core.intoto import make_statement
from installer.core.timestamps import format_time
from installer.deploy.inventory import InventoryItem
from installer.host.context import Context
from installer.host.directories import parent
from installer.images import leftovers
from installer.images.leftovers import Residue
from installer.planning import removal

PREDICATE = "urn:waybill:removal:v1"
MOST = 10
"""So many of what stays are listed by name for people; `--json` and the evidence have all."""
_PLURALS = {"directory": "directories", "copy": "copies"}


@dataclass(frozen=True, slots=True)
class RemovalCheck:
    """What was found after a removal.

    Attributes:
        product: Which was removed.
        transaction: The removal's.
        rows: What became of each thing.
    """

    product: str
    transaction: str
    rows: tuple[Residue, ...]

    def of(self, how: str) -> list[Residue]:
        """Gives the rows of one kind: `gone`, `stays` or `left`."""
        return [row for row in self.rows if row.how == how]

    @property
    def exit_code(self) -> int:
        """Gives 0 where nothing is left."""
        return LeftBehindError.exit_code if self.of("left") else 0

    @property
    def counts(self) -> dict[str, int]:
        """Counts what is gone, by kind."""
        return dict(Counter(row.kind for row in self.of("gone")))

    def as_json(self) -> dict[str, Any]:
        """Gives it as a JSON object."""
        listed = {how: [row.as_json() for row in self.of(how)] for how in ("gone", "stays", "left")}
        return {"counts": self.counts, **listed}

    def text(self) -> str:
        """Gives it in words for people."""
        lines = [f"{self.product} was removed; looked for again, by its manifest and its record:"]
        counted = [
            f"{number} {_PLURALS.get(kind, kind + 's') if number > 1 else kind}"
            for kind, number in self.counts.items()
        ]
        lines.append(f"  gone   {', '.join(counted) or 'nothing'}")
        stays = self.of("stays")
        lines += [f"  stays  {row.name}: {row.what}" for row in stays[:MOST]]
        if len(stays) > MOST:
            lines.append(f"  stays  … and {len(stays) - MOST} more; the evidence has all of them")
        lines += [f"  LEFT   {row.name} {row.what}" for row in self.of("left")]
        if not self.of("left"):
            lines.append("  left   nothing of it")
        return "\n".join(lines)

    def summary(self) -> dict[str, Any]:
        """Gives what the audit log has of it."""
        stays, left = ([f"{row.name}: {row.what}" for row in self.of(how)] for how in ("stays", "left"))
        return {"gone": self.counts, "stays": stays, "left": left}

    def require_clean(self) -> None:
        """Raises what is left.

        Raises:
            LeftBehindError: Something is.
        """
        if left := self.of("left"):
            raise LeftBehindError(self, [Problem(row.name, row.what, row.hint) for row in left])


class LeftBehindError(NotUndoneError):
    """The product was removed, and something of it is still there."""

    def __init__(self, proof: RemovalCheck, problems: Sequence[Problem]) -> None:
        count = f"{len(problems)} thing{'s' if len(problems) > 1 else ''}"
        super().__init__(
            f"{proof.product} was removed, but {count} of it still there, or could not be looked for",
            hint=f"put right what is named; `install remove {proof.product}` then looks again",
            problems=problems,
        )
        self._proof = proof

    def as_json(self) -> dict[str, object]:
        """Gives the error together with all that was found."""
        return {**super().as_json(), "removal": self._proof.as_json()}


def prove(context: Context, number: str, things: Sequence[InventoryItem]) -> RemovalCheck:
    """Looks for everything that a removal was to take away.

    Args:
        context: The host; the product's lock is held.
        number: The removal's transaction.
        things: Its account.
    """
    context = replace(context, transaction=number)
    return RemovalCheck(context.layout.product, number, tuple(_rows(context, things)))


def _rows(context: Context, things: Sequence[InventoryItem]) -> Iterator[Residue]:
    kinds: dict[str, list[InventoryItem]] = {}
    for thing in things:
        kinds.setdefault(thing.kind, []).append(thing)
    with context.system.hold_directories():
        for kind in ("file", "link", "directory"):
            for thing in kinds.get(kind, []):
                try:
                    yield _placed(context, thing)
                except OSError as error:
                    yield Residue("left", kind, thing.name, what=f"cannot be read: {error.strerror}")
        yield from _beside(context, things)
    yield from leftovers.units(context, kinds.get("unit", []))
    yield from leftovers.projects(context, kinds.get("project", []))
    if "image" in kinds:
        yield from leftovers.images(context, kinds["image"])
    for thing in kinds.get("script", []):
        yield Residue("stays", "script", thing.name, what=thing.why)
    yield from _state(context, kinds.get("release", []), kinds.get("copy", []))


def _placed(context: Context, thing: InventoryItem) -> Residue:
    """Looks for a file, a link or a directory outside of the state."""
    kind, name, system = thing.kind, thing.name, context.system
    seen = system.observe(name)
    if seen.kind == "absent":
        return Residue("gone", kind, name)
    if seen.kind == "dir":
        if kind != "directory":
            return Residue("stays", kind, name, what="somebody made a directory of that name")
        names = system.names(name)
        if not names:
            what = "is empty, and could not be removed"
            return Residue(
                "left",
                kind,
                name,
                what=what,
                hint=f"is it a mount point? else: rmdir {_typed(context, name)}",
            )
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return Residue("stays", kind, name, what=f"has {names[0]}{more} in it, not ours")
    if thing.why:
        return Residue("stays", kind, name, what=thing.why)
    if seen.kind == kind and thing.mark == (seen.sha256 or seen.target):
        return Residue("left", kind, name, what="is still there", hint=f"rm {_typed(context, name)}")
    return Residue("stays", kind, name, what="is not what was installed: somebody else's")


def _typed(context: Context, path: str) -> str:
    """Gives a host path as a person types it."""
    return context.system.root.rstrip("/") + path


def _beside(context: Context, things: Sequence[InventoryItem]) -> Iterator[Residue]:
    """Looks for what a transaction lays beside the files that it changes, while it changes them."""
    for directory in sorted({parent(each.name) for each in things if each.kind in ("file", "link")}):
        for name in context.system.names(directory):
            if name.startswith(".waybill-"):
                path = f"{directory}/{name}"
                yield Residue(
                    "left",
                    "file",
                    path,
                    what="is the rest of a transaction",
                    hint=f"rm {_typed(context, path)}",
                )


def _held(context: Context, path: str) -> str:
    """Says why a directory of ours was left."""
    if mounted := context.system.mounts(path):
        return f"is still there: something is mounted at {mounted[0]}"
    if users := context.system.users(path):
        return f"is still there: process {users[0]} runs from it"
    return "is still there"


def _state(
    context: Context, releases: Sequence[InventoryItem], copies: Sequence[InventoryItem]
) -> Iterator[Residue]:
    system, layout = context.system, context.layout
    if system.observe(layout.current, digest=False).kind != "absent":
        yield Residue("left", "state", layout.current, what="is still there", hint="install recover")
    for thing in releases:
        if system.observe(thing.name, digest=False).kind == "absent":
            yield Residue("gone", "release", thing.name)
        else:
            yield Residue(
                "left", "release", thing.name, what=_held(context, thing.name), hint="install recover"
            )
    known = {thing.name for thing in releases}
    for directory in (layout.releases, layout.rendered, layout.staging, f"{layout.base}/images"):
        for name in system.names(directory):
            if f"{directory}/{name}" not in known:
                yield Residue(
                    "left", "state", f"{directory}/{name}", what="is still there", hint="install recover"
                )
    for name in system.names(layout.transactions):
        if name.endswith((".log", ".backup")) and name.partition(".")[0].isdecimal():
            path = f"{layout.transactions}/{name}"
            yield Residue("left", "state", path, what="is of an open transaction", hint="install recover")
    named = {thing.name: thing.why for thing in copies}
    for path in system.tree(layout.preserved):
        if system.observe(path, digest=False).kind != "dir":
            yield Residue("stays", "copy", path, what=named.get(path, "a copy of what was not ours"))
    what = "history, journals, and how far this product ever came: no silent downgrade later"
    yield Residue("stays", "state", layout.base, what=what)
    if system.observe(layout.site_values, digest=False).kind != "absent":
        yield Residue("stays", "file", layout.site_values, what="this site's values")
    yield Residue("stays", "state", layout.state, what="the audit log and the evidence of this host")


def statement(context: Context, proof: RemovalCheck, identity: str, version: str) -> bytes:
    """Gives a proof as evidence: an in-toto Statement about the release that was taken off.

    Args:
        context: The host.
        proof: What was found.
        identity: Of the release that ran.
        version: Of it.
    """
    predicate = {
        "remover": {"id": "urn:waybill:install", "version": {"waybill": __version__}},
        "time": format_time(datetime.fromtimestamp(int(context.system.now()), UTC)),
        "product": proof.product,
        "version": version,
        "transaction": proof.transaction,
        **proof.as_json(),
    }
    return jsonio.dumps_lines(make_statement(PREDICATE, predicate, identity))


def proven(context: Context, number: str) -> RemovalCheck | None:
    """Looks again after a removal that stands and is cleared; None where `number` is no such one."""
    things = removal.accounts(context, number)
    return prove(context, number, things) if things is not None else None
