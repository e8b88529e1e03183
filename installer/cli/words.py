"""The words after `install`: which of them is the command, and which the bundle.

`install BUNDLE` needs no verb. A word that can only be a misspelt command must not be taken for a bundle: the
refusal of a bundle would be recorded, and the answer would be about media.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from installer.core.errors import UsageError
from installer.core.schema_errors import did_you_mean

COMMANDS = (
    "apply", "verify", "plan", "config", "secrets", "status", "history", "rollback", "recover", "remove",
    "trust", "audit", "metrics", "support", "setup", "completion", "man", "licenses", "selftest",
)  # fmt: skip
"""In the order of the help."""
GROUPS = ("config", "secrets", "trust")
"""Commands with commands of their own."""
TAKE_VALUE = frozenset({
    "--anchor", "--approvals", "--bundle", "--env", "--export", "--fingerprint", "--keep", "--on-drift",
    "--only", "--product", "--release", "--root", "--seal", "--set", "--since", "--skip", "--timeout",
    "--trust-root", "--update", "--values", "--wait", "--work-dir",
})  # fmt: skip
"""Options whose value is the next word. A test compares them with the commands."""
_PROGRAM = ("-h", "--help", "--version")
"""Options of the program, which end it: what follows them does not matter."""


def with_command(words: Sequence[str]) -> list[str]:
    """Return the words with the command first.

    Options before a command follow it, and before a bundle comes `apply`. A bundle that is named like a
    command is written `./status`.

    Args:
        words: What was typed after the program.

    Raises:
        UsageError: A word is neither a command nor a bundle.
    """
    words = list(words)
    options = _leading_options(words)
    if not words or (options and options[0] in _PROGRAM):
        return words
    rest = words[len(options) :]
    # Only options: they are those of the common case, which then misses its bundle.
    if not rest or rest[0] == "--":
        return ["apply", *words]
    if rest[0] not in COMMANDS:
        _require_bundle(rest[0], rest[1:])
        return ["apply", *words]
    depth = 2 if rest[0] in GROUPS and len(rest) > 1 and not rest[1].startswith("-") else 1
    return [*rest[:depth], *options, *rest[depth:]]


def _leading_options(words: Sequence[str]) -> list[str]:
    """Return the options before the first word that is none, each with its value."""
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] not in ("-", "--"):
        at += 2 if words[at] in TAKE_VALUE else 1
    return list(words[:at])


def _require_bundle(word: str, following: Sequence[str]) -> None:
    # A path or a file name, standard input, or anything that is there: that is meant as a bundle.
    if word == "-" or "/" in word or "." in word or os.path.lexists(word):
        return
    if word == "help":
        of = f"{following[0]} " if following and following[0] in COMMANDS else ""
        meant = f"`install {of}--help`"
    else:
        close = did_you_mean(word, [name for name in COMMANDS if name != "selftest"])
        meant = f"`install {close}`" if close else ""
    raise UsageError(
        f"{word!r:.80} is neither a command nor a file",
        hint=f"did you mean {meant}?"
        if meant
        else "give the path of a bundle: `install ./BUNDLE`; for the list of commands, run `install --help`",
    )
