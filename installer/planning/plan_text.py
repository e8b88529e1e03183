"""Shows a plan to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from installer.core.format.destinations import sensitive_lines
from installer.planning import irreversible
from installer.planning.plan import Plan
from installer.shared.humanize import size_text
from installer.shared.review.review import program_lines, risk_lines

MOST = 20
"""How many files are listed by name; of more, only unusual ones are."""
PROGRAM_LINES = 20
"""How many lines of a script are shown; `bundle inspect BUNDLE scripts` shows all."""
_WORDS = {
    "add": "added",
    "replace": "replaced",
    "restore": "restored",
    "remove": "removed",
    "make": "{directories} created",
    "set": "modes or owners set",
}
_SIGNS = {"add": "+", "replace": "~", "restore": "!", "remove": "-", "make": "+", "set": "~"}


def plan_text(plan: Plan) -> str:
    """Return a plan as text, without a newline at the end.

    Args:
        plan: The plan.
    """
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    # First: the plan is that of a host which a command has half changed, and which the next one changes back.
    unfinished = [note for note in plan.notes if note.startswith("UNFINISHED")]
    notes = [note for note in plan.notes if note not in unfinished]
    yield from unfinished
    if plan.nothing:
        version = plan.new.version if plan.new else ""
        yield f"{plan.product} {version} is already installed and unchanged: nothing to do"
        yield from (f"note: {note}" for note in notes)
        return
    yield _headline(plan)
    source, builder = plan.origin
    if source.commit:
        yield f"source: {source.text()}"
    if builder:
        yield f"built by {builder}"
    if plan.sensitive:
        yield "SENSITIVE: what this release puts there decides over this host itself:"
        yield from (f"  {line}" for line in sensitive_lines(plan.sensitive))
    yield from _review(plan)
    yield from _files(plan)
    if plan.changes.drifted:
        yield "changed on this host, or not installed by Waybill:"
        yield from (f"  {each.text()}" for each in plan.changes.drifted)
    for each in plan.methods:
        yield f"{each.name}:"
        yield from (f"  {line}" for line in each.lines)
    yield from irreversible.final_lines(plan)
    if plan.new and (gone := plan.state.goes(plan.new)):
        names = ", ".join(entry.version for entry in gone)
        yield f"releases pruned after the commit: {names} (--keep {plan.state.keep})"
    for diff in plan.diffs:
        yield ""
        yield from diff.text.splitlines() if diff.text else [f"{diff.path}: {diff.note}"]
    if plan.diffs:
        yield ""
    for need in plan.needs:
        yield f"space at {need.path}: {size_text(need.bytes)} needed, {size_text(need.free)} free"
    yield from (f"note: {note}" for note in notes)


def _review(plan: Plan) -> Iterator[str]:
    """Show what the release does as root, with its text, and what it opens."""
    yield from risk_lines(plan.review.risks, MOST)
    if plan.review.programs:
        yield "what runs on this host:"
        before = plan.old.version if plan.old else ""
        shown = program_lines(plan.review.programs, PROGRAM_LINES, plan.known, before)
        yield from (f"  {line}" for line in shown)


def _headline(plan: Plan) -> str:
    old, new = plan.old, plan.new
    if new is None:
        return f"{plan.product}: {old.version if old else ''} will be removed"
    if old is None:
        return f"{plan.product}: {new.version} will be installed"
    if old.identity == new.identity:
        return f"{plan.product}: {new.version} will be applied again"
    return f"{plan.product}: {old.version} → {new.version}" + (
        " (rollback)" if plan.verb == "rollback" else ""
    )


def _files(plan: Plan) -> Iterator[str]:
    changes = plan.changes.changes
    if not changes:
        yield "files: no change"
        return
    counts = Counter[str](change.verb for change in changes)
    written = sum(change.size for change in changes)
    size = size_text(written)
    counted = [f"{counts[verb]} {words}" for verb, words in _WORDS.items() if counts[verb]]
    one = counts["make"] == 1
    text = ", ".join(counted).format(directories="directory" if one else "directories")
    # What is only removed has no size to write.
    yield f"files: {text}, {size}" if written else f"files: {text}"
    files = [change for change in changes if change.verb != "make"]
    # Of many files only those that an operator would ask about.
    shown = (
        files if len(files) <= MOST else [c for c in files if c.kept or c.verb in ("restore", "set")][:MOST]
    )
    for change in shown:
        kept = f"  (a copy of your version is kept: {change.kept})" if change.kept else ""
        then = f"  mode and owner {change.before} → {change.after}" if change.verb == "set" else ""
        yield f"  {_SIGNS[change.verb]} {change.path}{then}{kept}"
    if len(shown) < len(files):
        yield f"  … and {len(files) - len(shown)} more"
