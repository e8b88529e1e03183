"""What has to be true of a host after recovery, whatever went wrong before."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from installer.audit import log as audit_log
from installer.commands import history
from installer.commands.common.recovery import exclusive
from installer.commands.status import product_status
from installer.core.digest import sha256_hex
from installer.host.context import Context
from installer.host.layout import Layout
from installer.state.retained import read_manifest
from installer.state.state import State, snapshot_records
from installer.transaction import finalize
from tests.faults.stories import METRICS, attempting, on, outside
from tests.rig.faulty import snapshot


@dataclass(frozen=True)
class Ends:
    """How a story may end.

    Attributes:
        old: The host outside of Waybill's own directory before it.
        new: The same after it.
        old_version: What runs before it; empty for nothing.
        new_version: What runs after it.
        highest: The highest sequence before it.
    """

    old: dict[str, Any]
    new: dict[str, Any]
    old_version: str
    new_version: str
    highest: int


def violations(
    root: Path,
    ends: Ends,
    told: str = "",
    boot: str = "2",
    host: Callable[[Path, str], Context] = on,
) -> list[str]:
    """Recovers a host and says in words what is wrong with it then.

    Args:
        root: The host.
        ends: How the story may end.
        told: What the operator was told before: `done`, `pending` and `rolled back` have to be true.
        boot: The kernel's boot in which it is recovered.
        host: Gives its context.
    """
    try:
        return list(_look(root, ends, told, host(root, boot)))
    except Exception:
        return ["recovery failed: " + traceback.format_exc(limit=-6)]


def _look(root: Path, ends: Ends, told: str, within: Context) -> list[str]:
    found = list[str]()
    with attempting(within, "recover"), exclusive(within) as (state, _):
        pass
    version = state.current.version if state.current else ""
    now = outside(root)
    if version not in (ends.old_version, ends.new_version):
        found.append(f"the state says {version!r}")
    wanted = ends.new if version == ends.new_version else ends.old
    if now != wanted:
        found.append(f"the state says {version!r}, the files differ: {_difference(now, wanted)}")
    if told in ("done", "pending") and version != ends.new_version:
        found.append(f"was told {told}, but {version!r} runs")
    if (told == "rolled back" or told.startswith("refused")) and version != ends.old_version:
        found.append(f"was told {told}, but {version!r} runs")
    if state.highest < ends.highest or (version == ends.old_version and state.highest != ends.highest):
        found.append(f"the highest sequence went from {ends.highest} to {state.highest}")
    found += consistent(root, state)
    if drift := product_status(within).drift:
        found.append(f"drift: {drift}")
    history.events(within)
    before = snapshot(root)
    with exclusive(within) as (again, recovered):
        if (again, recovered) != (state, []):
            found.append("recovering again finds something to do")
    if snapshot(root) != before:
        found.append(f"recovering again changes {_difference(snapshot(root), before)}")
    return found


def consistent(root: Path, state: State, *, copies: bool = False) -> list[str]:
    """Says in words where what Waybill keeps on a host contradicts itself, or tells what is not so.

    Args:
        root: The host, recovered.
        state: What it says.
        copies: Whether there may be copies of what somebody edited.
    """
    return _own(root, state, copies=copies) + _told(root, state)


def _own(root: Path, state: State, *, copies: bool) -> list[str]:
    base = root / "var/lib/waybill/lan-chat"
    system, found = on(root).system, []
    names = {entry.name for entry in state.retained}
    link = base / "current"
    at = str(link.readlink()) if link.is_symlink() else ""
    if at != (f"releases/{state.current.name}" if state.current else ""):
        found.append(f"the link says {at!r}")
    there = [path.name for path in (base / "rendered").glob("*")]
    records = {entry.record for entry in state.retained}
    records |= snapshot_records(Layout("lan-chat"), state.retained, there)
    for what, wanted in (("releases", names), ("rendered", records)):
        if {path.name for path in (base / what).glob("*")} != wanted:
            found.append(f"{what}: {[path.name for path in (base / what).glob('*')]}")
    for entry in state.retained:
        directory = f"/var/lib/waybill/lan-chat/releases/{entry.name}"
        manifest, identity = read_manifest(system, directory)
        bad = [
            file.path
            for file in manifest.files
            if sha256_hex((root / directory[1:] / file.path).read_bytes()) != file.sha256
        ]
        if bad or identity != entry.identity:
            found.append(f"the kept release {entry.name} differs from the verified content: {bad}")
    left = [path for path in (base / "txn").glob("*") if path.suffix != ".done"]
    left += list((base / "staging").glob("*"))
    left += [path for path in (base / "kept").glob("*") if not copies]
    left += [
        path
        for path in root.rglob("*")
        # What a kill leaves of evidence has no name that counts; nine more records on, it is removed.
        if ".waybill-" in path.name or (path.name.endswith(".new") and path.parent.name != "evidence.d")
    ]
    if left:
        found.append(f"left behind: {[str(path.relative_to(root)) for path in left]}")
    return found


def _told(root: Path, state: State) -> list[str]:
    """Looks whether the audit log, the evidence and the metrics tell what has happened, and once."""
    system, found = on(root).system, list[str]()
    data, head = audit_log.read(system)
    chain = audit_log.check(data, head)
    # What is torn behind the last record stays, and is named by the next one.
    if chain.problem or (head or audit_log.check(b"", None).head) != chain.head:
        found.append(f"the audit log: {chain.problem}, its head is {head}, not {chain.head}")
    open_, last = "", ""
    ended = list[tuple[int, str]]()
    for record in chain.records:
        number = str(record.fields.get("transaction", ""))
        if record.event == "begun":
            found += [f"transaction {open_} began and never ended"] if open_ else []
            open_ = number
        if record.event == "ended":
            found += [f"transaction {number} ended without a beginning, or twice"] if open_ != number else []
            open_, result = "", record.fields["result"]
            if result != "never began":
                ended.append((int(number), result))
            if result in ("done", "incomplete"):
                last = "" if record.fields["verb"] == "remove" else record.fields["version"]
    version = state.current.version if state.current else ""
    found += [f"transaction {open_} began and never ended"] if open_ else []
    found += [f"the audit log says that {last!r} runs, it is {version!r}"] if last != version else []
    lines = [(int(line["transaction"]), line["outcome"]) for line in finalize.history(on(root))]
    if not set(lines) <= set(ended):
        found.append(f"the history says {lines}, the audit log {ended}")
    for entry in state.retained:
        if kept := entry.evidence.file:
            path = root / kept.path[1:]
            if not path.is_file() or sha256_hex(path.read_bytes()) != kept.sha256:
                found.append(f"the evidence of {entry.version} is not what was recorded")
    for path in (root / "var/lib/waybill/evidence.d").glob("*.json"):
        json.loads(path.read_bytes())
    watched, said = root / METRICS, f'version="{version}"'
    if version and watched.is_dir() and said not in (watched / "waybill-lan-chat.prom").read_text():
        found.append("the metrics do not say what runs")
    return found


def _difference(now: dict[str, Any], wanted: dict[str, Any]) -> str:
    keys = sorted(key for key in now.keys() | wanted.keys() if now.get(key) != wanted.get(key))
    return "; ".join(
        f"{key}: {str(now.get(key))[:90]} instead of {str(wanted.get(key))[:90]}" for key in keys[:4]
    )
