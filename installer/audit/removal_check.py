"""Looks at the host after a removal: what is gone, what stays on purpose, and what is left.

Nothing that the removal reports about itself counts: every item of its inventory is looked for again.
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
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.method_registry import methods
from installer.host.context import Context
from installer.planning.removal.data import asked_again
from installer.planning.removal.inventory import recorded_inventory
from installer.shared.terminal.listing import Row, listed

PREDICATE = "urn:waybill:removal:v1"
_PLURALS = {"directory": "directories", "copy": "copies"}
_RECOVER = "run `install recover`"


@dataclass(frozen=True, slots=True)
class RemovalCheck:
    """The result of looking at the host after a removal.

    Attributes:
        product: The product that was removed.
        transaction: The removal's.
        rows: What became of each thing.
    """

    product: str
    transaction: str
    rows: tuple[Residue, ...]

    def of(self, how: str) -> list[Residue]:
        """Return the rows with one result: `gone`, `stays` or `left`."""
        return [row for row in self.rows if row.how == how]

    @property
    def exit_code(self) -> int:
        """0 if nothing is left."""
        return LeftBehindError.exit_code if self.of("left") else 0

    @property
    def counts(self) -> dict[str, int]:
        """How many things are gone, by kind."""
        return dict(Counter(row.kind for row in self.of("gone")))

    def as_json(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        listed = {how: [row.as_json() for row in self.of(how)] for how in ("gone", "stays", "left")}
        return {"counts": self.counts, **listed}

    def text(self, *, everything: bool = False) -> str:
        """Return the result for people; of a long list only the first entries, unless `everything` is set."""
        lines = [f"{self.product} was removed; checked against its manifest and its record:"]
        counted = [
            f"{number} {_PLURALS.get(kind, kind + 's') if number > 1 else kind}"
            for kind, number in self.counts.items()
        ]
        lines.append(f"  removed {', '.join(counted) or 'nothing'}")
        rows = [Row(row.name, f"{row.name}: {row.what}") for row in self.of("gone") if row.what]
        lines += [f"  note    {line}" for line in listed(rows, everything=everything)]
        for how, head in (("stays", "  stays  "), ("left", "  LEFT   ")):
            between = ": " if how == "stays" else " "
            rows = [Row(row.name, f"{row.name}{between}{row.what}") for row in self.of(how)]
            lines += [f"{head}{line}" for line in listed(rows, everything=everything)]
        if not self.of("left"):
            lines.append("  problems  none")
        return "\n".join(lines)

    def summary(self) -> dict[str, Any]:
        """Return what the audit log records of the result."""
        stays, left = ([f"{row.name}: {row.what}" for row in self.of(how)] for how in ("stays", "left"))
        data = {kind for method in methods() for kind in method.data_kinds}
        purged = [row.name for row in self.of("gone") if row.kind in data]
        return {"gone": self.counts, "stays": stays, "left": left, **({"purged": purged} if purged else {})}

    def require_clean(self) -> None:
        """Raise an error if something is left.

        Raises:
            LeftBehindError: With a problem for each thing that is left.
        """
        if left := self.of("left"):
            raise LeftBehindError(self, [Problem(row.name, row.what, row.hint) for row in left])


class LeftBehindError(NotUndoneError):
    """The product was removed, but something of it is still there."""

    def __init__(self, check: RemovalCheck, problems: Sequence[Problem]) -> None:
        count = f"{len(problems)} problems are" if len(problems) > 1 else "1 problem is"
        super().__init__(
            f"{check.product} was removed, but {count} left",
            hint=f"fix what is listed below, then check again: `install remove {check.product}`",
            problems=problems,
        )


def check_removal(
    context: Context, number: str, items: Sequence[InventoryItem], *, purge: bool = False
) -> RemovalCheck:
    """Look for everything that a removal was to remove.

    Args:
        context: The host; the product's lock is held.
        number: The removal's transaction.
        items: Its inventory.
        purge: Whether data that it left were to be deleted now.
    """
    # Methods may look into the record of the removal's transaction.
    context = replace(context, transaction=number)
    today = asked_again(context, items, purge=purge)
    return RemovalCheck(context.layout.product, number, tuple(_rows(context, today)))


def ended_removal(context: Context, number: str) -> RemovalCheck | None:
    """Check a removal that has committed and ended; None where `number` is not one."""
    items = recorded_inventory(context, number)
    return check_removal(context, number, items) if items is not None else None


def _rows(context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
    for method in methods():
        if own := [item for item in items if item.kind in method.item_kinds]:
            yield from method.residue(context, own)
    yield from _state(context, [item.name for item in items if item.kind == "release"])
    yield from _staying(context, {item.name: item.why for item in items if item.kind == "copy"})


def _state(context: Context, releases: Sequence[str]) -> Iterator[Residue]:
    """Look for releases, and for anything else that Waybill itself should have cleared."""
    system, layout = context.system, context.layout
    if system.observe(layout.current, digest=False).kind != "absent":
        yield Residue("left", "state", layout.current, "is still there", _RECOVER)
    for release in releases:
        if system.observe(release, digest=False).kind == "absent":
            yield Residue("gone", "release", release)
        else:
            yield Residue("left", "release", release, _why_left(context, release), _RECOVER)
    # The last is the image store of versions before 1.0.
    for directory in (layout.releases, layout.rendered, layout.staging, f"{layout.base}/images"):
        for name in system.names(directory):
            if f"{directory}/{name}" not in releases:
                yield Residue("left", "state", f"{directory}/{name}", "is still there", _RECOVER)
    for name in system.names(layout.transactions):
        if name.endswith((".log", ".backup")) and name.partition(".")[0].isdecimal():
            path = f"{layout.transactions}/{name}"
            yield Residue("left", "state", path, "belongs to an open transaction", _RECOVER)


def _why_left(context: Context, directory: str) -> str:
    # The two reasons that an operator can do something about.
    if mounted := context.system.mounts(directory):
        return f"is still there: something is mounted at {mounted[0]}"
    if users := context.system.users(directory):
        return f"is still there: process {users[0]} runs a program from it"
    return "is still there"


def _staying(context: Context, copies: dict[str, str]) -> Iterator[Residue]:
    """Name what a removal leaves on purpose: edited files, history, values, secrets and evidence."""
    system, layout = context.system, context.layout
    for path in system.tree(layout.preserved):
        if system.observe(path, digest=False).kind != "dir":
            yield Residue(
                "stays", "copy", path, copies.get(path, "a copy of a file that Waybill did not install")
            )
    what = "the history, the journals and the highest sequence number: they prevent an unnoticed downgrade"
    yield Residue("stays", "state", layout.base, what)
    known = {
        layout.site_values: "the values of this site",
        layout.environments: "values of this site",
        layout.clusters: "values of this site",
        layout.secrets: "secrets of this site",
    }
    names = system.names(layout.config) if system.is_dir(layout.config) else []
    there = [f"{layout.config}/{name}" for name in names]
    # What the site added to a Compose project is among these, under a name that the release chose.
    for path in (*known, *sorted(set(there) - known.keys())):
        if path in there:
            kind = "directory" if system.is_dir(path) else "file"
            yield Residue("stays", kind, path, known.get(path, "configuration of this site"))
    yield Residue("stays", "state", layout.state, "the audit log and the evidence of this host")


def statement(context: Context, check: RemovalCheck, identity: str, version: str) -> bytes:
    """Return the evidence of a removal: an in-toto Statement about the release that was removed.

    Args:
        context: The host.
        check: The result.
        identity: Of the release that ran.
        version: Of the release that ran.
    """
    predicate = {
        "remover": {"id": "urn:waybill:install", "version": {"waybill": __version__}},
        "time": format_time(datetime.fromtimestamp(int(context.system.now()), UTC)),
        "product": check.product,
        "version": version,
        "transaction": check.transaction,
        **check.as_json(),
    }
    return jsonio.dumps_lines(make_statement(PREDICATE, predicate, identity))
