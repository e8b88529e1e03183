"""`bundle trust sheet`: a page of fingerprints that travels apart from the media and is compared by hand."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from bundler.trust.root_files import RootFile, load
from installer.core.digest import file_digest
from installer.core.errors import UsageError, os_errors_as
from installer.core.timestamps import format_time
from installer.core.trust.root import display_fingerprint
from installer.core.trust.root_view import RootView, view
from installer.shared.command.run_record import root_row

_STYLE = """
@page { size: A4; margin: 18mm }
body { font: 11pt/1.45 system-ui, sans-serif; color: #000; background: #fff }
body { max-width: 46rem; margin: 2rem auto }
h1 { font-size: 17pt; margin: 0 0 .3rem } h2 { font-size: 12pt; margin: 1.4rem 0 .3rem }
pre { font: 13pt/1.5 ui-monospace, monospace; margin: 0; white-space: pre-wrap }
.small pre { font-size: 9.5pt }
.print { display: flex; gap: 2rem; align-items: flex-start } svg { width: 38mm; height: 38mm; flex: none }
.line { font-size: 8.5pt } .line pre { font-size: 8.5pt; white-space: pre }
table { border-collapse: collapse; width: 100% } th { font-weight: 600; text-align: left }
td, th { border: 1px solid #000; padding: .25rem .4rem; height: 1.3rem; font-size: 9.5pt }
ol { padding-left: 1.4rem } .warn { border: 2px solid #000; padding: .4rem .7rem; font-weight: 600 }
"""


TEXT_LINES = 60
"""Lines of the text: what fits on one page of A4 or Letter."""
HTML_KEYS = 22
"""Lines of keys and roles on the printed page, beside everything else."""
FIELDS = ("", "name", "date", "every group compared", "signature")
SIGNED_BY = ("made by", "carried by", "compared on the host by")


def _text_fields() -> list[str]:
    return [f"{who + ':':<24} {'_' * 20}  date {'_' * 10}  sign {'_' * 10}" for who in SIGNED_BY] + [""]


@dataclass(frozen=True, slots=True)
class Sheet:
    """The content of the page.

    Attributes:
        view: The root.
        installer: SHA-256 of the executable `install`, in hex; empty if none was given.
        warnings: Warnings about the root.
    """

    view: RootView
    installer: str
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "fingerprint": self.view.fingerprint,
            "to": root_row(self.view.root.version, self.view.fingerprint),
            "expires": format_time(self.view.root.expires),
            "installer": self.installer or None,
        }

    def as_text(self) -> str:
        """Return the page as text of 80 columns."""
        parts = ["WAYBILL TRUST SHEET", "Carry this separately from the media. Compare every group.", ""]
        parts += [line for each in self.warnings for line in textwrap.wrap(f"WARNING: {each}", 80)]
        for title, groups in self._groups():
            parts += [title, *(f"    {line}" for line in groups), ""]
        parts += ["as sha256sum prints it:", *self._sums(), "", *self._facts(), ""]
        parts += [*(f"{number}. {step}" for number, step in enumerate(self._steps(), 1)), ""]
        parts += _text_fields()
        return "\n".join([*parts, *self._keys(TEXT_LINES - len(parts))]) + "\n"

    def as_html(self) -> str:
        """Return the page as one document to print; the QR code holds the root's fingerprint."""
        # Only the page needs it: text is made without.
        import segno

        # Level M survives a folded or stained print; the code holds nothing but the fingerprint.
        code = segno.make(f"sha256:{self.view.fingerprint}", error="m", micro=False)
        svg = code.svg_inline(border=2, omitsize=True, title="fingerprint of the root")
        parts = [f"<p class=warn>{escape(each)}</p>" for each in self.warnings]
        for number, (title, groups) in enumerate(self._groups()):
            block = f"<pre>{escape(chr(10).join(groups))}</pre>"
            # One code only: a person who scans must not have to choose.
            picture = svg if number == 0 else ""
            parts.append(f"<h2>{escape(title)}</h2><div class=print>{block}{picture}</div>")
        facts = "<br>".join(escape(fact) for fact in self._facts())
        steps = "".join(f"<li>{escape(step)}</li>" for step in self._steps())
        who = escape("\n".join(self._keys(HTML_KEYS)))
        sums = escape("\n".join(self._sums()))
        heads = "".join(f"<th>{escape(each)}" for each in FIELDS)
        empty = f"<tr>{'<td>' * len(FIELDS)}"
        fields = "".join(empty.replace("<td>", f"<td>{escape(each)}", 1) for each in SIGNED_BY)
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Waybill trust '
            f"sheet</title><style>{_STYLE}</style><h1>Waybill trust sheet</h1><p>Carry this "
            f"separately from the media. Compare every group.</p>{''.join(parts)}<p>{facts}</p>"
            f"<div class=line>as <code>sha256sum</code> prints it:<pre>{sums}</pre></div>"
            f"<ol>{steps}</ol><table><tr>{heads}{fields}</table>"
            f"<div class=small><h2>Keys and roles</h2><pre>{who}</pre></div></html>\n"
        )

    def _sums(self) -> list[str]:
        """Return the lines that `sha256sum` prints for the two files."""
        sums = [f"{self.view.fingerprint}  root.json"]
        return [*sums, *([f"{self.installer}  install"] if self.installer else [])]

    def _keys(self, most: int) -> list[str]:
        """Return keys, roles and policies, as many lines as fit on the page."""
        lines = [line for line in self.view.lines()[5:] if line]
        if len(lines) <= most:
            return lines
        left = len(lines) - most + 1
        return [*lines[: most - 1], f"… {left} more lines: `bundle trust show root.json`"]

    def _groups(self) -> list[tuple[str, list[str]]]:
        groups = [("SHA-256 of root.json (its fingerprint)", _lines(self.view.fingerprint))]
        if self.installer:
            groups.append(("SHA-256 of the program `install`", _lines(self.installer)))
        return groups

    def _facts(self) -> list[str]:
        root = self.view.root
        return [f"root version {root.version}", f"expires {format_time(root.expires)}"]

    def _steps(self) -> list[str]:
        steps = ["sha256sum install    and compare with this sheet"] if self.installer else []
        return [*steps, "./install trust init root.json    and type the fingerprint from this sheet"]


def make_sheet(path: Path, installer: Path | None, now: datetime) -> Sheet:
    """Collect the content of the page.

    Args:
        path: The root.
        installer: The executable that travels with bundles; None to leave it out.
        now: The current time.

    Raises:
        UsageError: The executable cannot be read.
        UntrustedError: There is no root.
        TamperedError: It is not a root, or a signature next to it is of other bytes.
    """
    file = load(path)
    digest = ""
    if installer is not None:
        with os_errors_as(UsageError, "cannot be read", installer):
            digest = file_digest(installer)
    return Sheet(view(file.root, file.data, now), digest, tuple(_warnings(file, now)))


def _warnings(file: RootFile, now: datetime) -> list[str]:
    warnings = ["this root has expired"] if now > file.root.expires else []
    standings = file.standings(now)
    if standings[-1].needed and not file.complete(now):
        waiting = "; ".join(each.as_text() for each in standings if not each.complete)
        warnings.append(f"signatures are missing: {waiting}")
    return warnings


def _lines(digits: str) -> list[str]:
    # Two lines, to be compared group by group.
    half = display_fingerprint(digits)
    return [half[:39], half[40:]]
