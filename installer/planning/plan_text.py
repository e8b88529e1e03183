"""Shows a plan to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from installer.core.format.destinations import sensitive_lines
from installer.host.layout import Layout
from installer.planning import irreversible
from installer.planning.changes import FileChange
from installer.planning.plan import Plan
from installer.planning.views.content_diff import diff_lines
from installer.planning.views.drift_lines import drifted_rows
from installer.shared.humanize import size_text
from installer.shared.review.review import review_lines
from installer.shared.terminal.listing import SHORT, Row, limited, listed

MOST = 20
"""How many risks of each kind are listed without `--all`."""
PROGRAM_LINES = 20
"""How many lines of a script are shown without `--all`."""
_WORDS = {
    "add": "added",
    "replace": "replaced",
    "restore": "restored",
    "remove": "removed",
    "make": "{directories} created",
    "set": "modes or owners set",
}
_SIGNS = {"add": "+", "replace": "~", "restore": "!", "remove": "-", "make": "+", "set": "~"}

_LAYERS = {
    "defaults": " (the defaults of the release)",
    "release-environment": " (the release, for this environment)",
    "release-cluster": " (the release, for this cluster)",
    "environment": " (environment)",
    "cluster": " (cluster)",
    "host": " (host)",
    "values": " (--values)",
}
_VALUE_SIGNS = {"added": "+", "changed": "~", "removed": "-"}


def plan_text(plan: Plan, *, everything: bool = False) -> str:
    """Return a plan as text, without a newline at the end.

    Args:
        plan: The plan.
        everything: Whether every file and every diff is shown, however many there are.
    """
    return "\n".join(_lines(plan, everything))


def _lines(plan: Plan, everything: bool) -> Iterator[str]:
    # First: the plan is that of a host which a command has half changed, and which the next one changes back.
    unfinished = [note for note in plan.notes if note.startswith(("UNFINISHED", "IN PROGRESS"))]
    notes = [note for note in plan.notes if note not in unfinished]
    yield from unfinished
    if plan.nothing:
        version = plan.new.version if plan.new else ""
        yield f"{plan.product} {version} is already installed and unchanged: nothing to do"
        yield from _notes(notes, everything)
        return
    yield _headline(plan)
    source, builder = plan.origin
    if source.commit:
        yield f"source: {source.text()}"
    if builder:
        yield f"built by {builder}"
    if plan.sensitive:
        yield "SENSITIVE: what this release puts there decides over this host itself:"
        yield from (f"  {line}" for line in sensitive_lines(plan.sensitive, everything=everything))
    yield from _review(plan, everything)
    yield from _files(plan, everything)
    if plan.changes.drifted:
        yield "changed on this host, or not installed by Waybill:"
        rows = drifted_rows(plan.changes.drifted)
        yield from (f"  {line}" for line in listed(rows, everything=everything))
    yield from _layers(plan, everything)
    yield from _values(plan, everything)
    yield from plan.effects.lines()
    for each in plan.methods:
        yield f"{each.name}:"
        yield from (f"  {line}" for line in each.lines)
    if plan.cluster:
        yield from plan.cluster.lines(everything=everything)
    yield from irreversible.final_lines(plan)
    if plan.new and (gone := plan.state.goes(plan.new)):
        names = ", ".join(entry.version for entry in gone)
        yield f"releases pruned after the commit: {names} (--keep {plan.state.keep})"
    if shown := list(diff_lines(plan.diffs, everything=everything)):
        yield from [*shown, ""]
    for need in plan.needs:
        yield f"space at {need.path}: {size_text(need.bytes)} needed, {size_text(need.free)} free"
    yield from _notes(notes, everything)


def _notes(notes: Sequence[str], everything: bool) -> Iterator[str]:
    # What is out of the ordinary about the bundle or the host is always shown; only files can be many.
    files = [note for note in notes if note.startswith("/")]
    yield from (f"note: {note}" for note in notes if not note.startswith("/"))
    yield from (f"note: {line}" for line in limited(files, "files", everything=everything))


def _layers(plan: Plan, everything: bool) -> Iterator[str]:
    """Show where values come from, the strongest last; nothing where the release has defaults only."""
    if any(each.layer != "defaults" for each in plan.layers):
        yield "values, the last one wins:"
        files = [f"  {each.file}{_LAYERS.get(each.layer, '')}" for each in plan.layers]
        # Nobody types hundreds of settings; a script may.
        yield from limited(files, "layers", everything=everything)


def _values(plan: Plan, everything: bool) -> Iterator[str]:
    if not plan.value_changes or plan.new is None:
        return
    version, path = plan.new.version, Layout(plan.product).site_values
    # Only digests are recorded: whether a value was set by the site or is the release's own is not known.
    yield f"values: the rollback brings back those that {version} ran with, its defaults included; changed:"
    lines = [f"{_VALUE_SIGNS[each.change]} {each.key}" for each in plan.value_changes]
    yield from (f"  {line}" for line in limited(lines, "values", everything=everything))
    yield f"  to run {version} with other values: after the rollback set them in {path}"
    yield f"  and run `install apply BUNDLE` with the bundle of {version}"


def _review(plan: Plan, everything: bool) -> Iterator[str]:
    """Show what the release does as root, with its text, and what it opens."""
    before = plan.old.version if plan.old else ""
    # A host has no `bundle inspect`: whoever decides here has to be able to read all of it here.
    most, lines = (0, 0) if everything else (MOST, PROGRAM_LINES)
    yield from review_lines(plan.review, most, lines, plan.known, before)


def _headline(plan: Plan) -> str:
    old, new = plan.old, plan.new
    if new is None and plan.state.current is None:
        return f"{plan.product} is removed; its data will be deleted"
    if new is None:
        return f"{plan.product}: {old.version if old else ''} will be removed"
    if old is None:
        return f"{plan.product}: {new.version} will be installed"
    if old.identity == new.identity:
        return f"{plan.product}: {new.version} will be applied again"
    return f"{plan.product}: {old.version} → {new.version}" + (
        " (rollback)" if plan.verb == "rollback" else ""
    )


def _files(plan: Plan, everything: bool) -> Iterator[str]:
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
    if len(files) > SHORT:
        # Of many files those come first that an operator would ask about.
        files.sort(key=lambda change: not (change.kept or change.verb in ("restore", "set")))
    rows = [Row(change.path, _file_line(change), _WORDS[change.verb]) for change in files]
    yield from (f"  {line}" for line in listed(rows, everything=everything))


def _file_line(change: FileChange) -> str:
    kept = f"  (a copy of your version is kept: {change.kept})" if change.kept else ""
    then = f"  mode and owner {change.before} → {change.after}" if change.verb == "set" else ""
    return f"{_SIGNS[change.verb]} {change.path}{then}{kept}"
