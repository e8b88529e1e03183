"""The document about secrets that `secrets_allow` lets through: what a reviewer has to know of a bundle.

It is a document like any other: it is in the signed list, `bundle inspect` shows it, and every version of the
installer reads it. A bundle without exceptions does not have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bundler.config.secrets.allowances import Allowed
from installer.core.format.archive import Bundle

NAME = "docs/SECRETS-ALLOWED.md"
_MOST = 1000
_HEAD = """\
# Findings that were let through

These files look as if they contain a secret. `secrets_allow` in bundle.yaml lists them as exceptions, each
with a reason. Whoever approves this release approves the exceptions, too.

"""
_LINE = re.compile(r"- `(?P<path>[^`]+)`: (?P<what>[^\n]+)\. Reason: (?P<reason>[^\n]+)")


def make(allowed: Sequence[Allowed]) -> bytes:
    """Return the document.

    Args:
        allowed: What was let through; at most 1,000 findings are listed one by one.
    """
    rows = sorted(set(allowed))
    lines = [f"- `{row.path.replace('`', '?')}`: {row.what}. Reason: {row.reason}" for row in rows[:_MOST]]
    if len(rows) > _MOST:
        lines.append(
            f"- and {len(rows) - _MOST:,} more findings in files of the same entries of secrets_allow"
        )
    return (_HEAD + "\n".join(lines) + "\n").encode()


def read(bundle: Bundle) -> Iterator[Allowed]:
    """Yield what the document of a bundle lists, if it has one; it is checked against the signed list.

    Raises:
        TamperedError: It is not the one on the list, or is too large to be shown.
    """
    if not any(entry.path == NAME for entry in bundle.manifest.of_kind("doc")):
        return
    text = bundle.read_file(NAME).decode("utf-8", "replace")
    for match in _LINE.finditer(text):
        yield Allowed(match["path"], match["what"], match["reason"])
