"""What the commands that change a root print."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.cli.options import console
from installer.shared.command.run_record import root_row

if TYPE_CHECKING:
    from bundler.trust.root_files import Edited


def print_edited(path: Path, edited: Edited, what: str, part: str = "") -> None:
    """Print what was changed and what it leads to; of the root itself only the part that was changed.

    Args:
        path: The root.
        edited: What was done to it.
        what: The change, in words.
        part: The first line of that part, as `bundle trust show` has it; empty for none.
    """
    from installer.core.trust.root import display_fingerprint
    from installer.core.trust.root_view import view

    file = edited.file
    shown = view(file.root, file.data, datetime.now(UTC))
    lines = [what]
    if part and part in (whole := shown.lines()):
        own = whole[whole.index(part) :]
        lines += own[: own.index("")] if "" in own else own
    if edited.archived is not None:
        previous = file.root.version - 1
        lines.append(f"version {previous} may be in use on hosts: saved as {edited.archived.name}")
    elif edited.dropped:
        lines.append(f"removed signatures of the previous content: {', '.join(edited.dropped)}")
    lines += [each.as_text() for each in file.standings(datetime.now(UTC))]
    archived = str(edited.archived) if edited.archived else ""
    for warning in edited.warnings:
        console.warn(warning)
    # The whole root is one command away; here it would hide what has just changed.
    lines.append(f"version {file.root.version}, fingerprint {display_fingerprint(shown.fingerprint)}")
    lines.append(f"see all of it with `bundle trust show {shlex.quote(str(path))}`")
    console.result(
        "\n".join(lines),
        lambda: {
            "changed": True,
            "from": root_row(file.previous.version) if file.previous else None,
            "to": root_row(file.root.version, file.fingerprint),
            "trust": shown.as_json(),
            "archived": archived or None,
            "dropped": list(edited.dropped),
        },
    )
