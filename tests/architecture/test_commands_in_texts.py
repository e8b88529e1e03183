"""A command of ours in a text for people stands in backticks: what is not recognised is not renamed.

On a host, `install status` as it stands would start the `install` of coreutils. See `change_commands` in
`installer/core/remedies.py`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.cli.main import app as bundle
from installer.cli.app import app as install
from installer.core.remedies import change_commands
from installer.shared.command_tree.tree import commands

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"install": install, "bundle": bundle}
# The name of the command in the provenance: no text, and part of the format.
NO_TEXT = {"bundle create"}
# A word of English before it: "the bundle diff", "to install plan B".
NOUN_OR_VERB = r"(?<!\bthe )(?<!\bThe )(?<!\bto )(?<!\ba )"


def bare(program: str) -> re.Pattern[str]:
    """Return a pattern for a command of a program, once what stands in backticks is gone."""
    words = sorted({each.words[0] for each in commands(PROGRAMS[program]) if each.words})
    after = rf"(?:(?:{'|'.join(words)})\b(?!\.)|BUNDLE\b|VERSION\b|PRODUCT\b|FILE\b|--[a-z])"
    # Not in a path or a name: `./install`, `dist/install`, `waybill-install`, `--bundle`, `bundle.json`.
    return re.compile(rf"{NOUN_OR_VERB}(?<![\w./-]){program} {after}|(?:[rR]un:?|again:|next:) {program} \S")


# What people type besides our own: only in backticks one sees where it ends, and it is changed for --root.
OF_THE_SYSTEM = re.compile(
    r"(?<![\w./-])(?:chmod (?:[0-7]{3,4}|[ugoa]*[+=-])|chown (?:-h )?[\w{]+(?::[\w{}]+)? |mkdir -|mount -o"
    r"|rm -[rf]|systemctl (?:start|stop|enable|restart|daemon-reload)|journalctl -|ulimit -|sysctl -|date -u"
    r"|docker (?:rmi|compose -p|volume rm|run ))"
)
BARE = [*(bare(program) for program in PROGRAMS), OF_THE_SYSTEM]


def commands_outside_of_code(text: str) -> list[str]:
    """Return the commands in a text that are neither in backticks nor the example of a help."""
    if text in NO_TEXT:
        return []
    text = re.sub(r"`[^`]*`", "``", text)
    text = re.sub(r"^Example: (?:install|bundle) [^\n]*?(?=    \(|$)", "", text, flags=re.MULTILINE)
    return [found[0] for pattern in BARE for found in pattern.finditer(text)]


def texts(source: str, *, with_docstrings: bool) -> Iterator[tuple[int, str]]:
    """Yield every text of a module with its line; what is filled in stands between braces."""
    nodes = list(ast.walk(ast.parse(source)))
    passed_over = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    if not with_docstrings:
        passed_over |= {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            parts = [each.value if isinstance(each, ast.Constant) else "{}" for each in node.values]
            yield node.lineno, "".join(str(part) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed_over:
            yield node.lineno, node.value


def test_every_command_in_a_text_stands_in_backticks() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {command}"
        for package in ("installer", "bundler")
        for path in sorted((ROOT / package).rglob("*.py"))
        # The help of a command is the docstring of its function.
        for line, text in texts(path.read_text(), with_docstrings="cli" in path.parts)
        for command in commands_outside_of_code(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "run: install recover",
        "run install recover",
        "install recover",
        "retained 1.4.0 (install rollback VERSION)",
        "run: install {}",
        "start a new log: install audit --seal REASON",
        "next: bundle create v0.1.0",
        "bundle trust add-key {} KEY.pub",
        "the same as install BUNDLE",
        "run chmod 0600 {}",
        "chmod go-w {}, or choose another directory",
        "give it to root: chown -h root:root {}",
        "start it: systemctl start docker",
        "Example: install rollback    (to the previous release), or: install rollback 1.4.0",
    ],
)
def test_a_command_outside_of_backticks_is_found(text: str) -> None:
    assert commands_outside_of_code(text)


@pytest.mark.parametrize(
    "text",
    [
        "run `install recover`",
        "Example: install audit --since 7d",
        "Example: install rollback 1.4.0    (`install rollback` goes to the previous release)",
        "another install is running",
        "the bundle plan.yaml",
        "run ./install setup, or waybill-install status",
        "--installer dist/install -o sheet.html",
        "install the bundle again",
        "run `chmod go-w {}`",
        "chmod(2) of an entry",
    ],
)
def test_what_is_no_command_of_ours_is_let_be(text: str) -> None:
    assert commands_outside_of_code(text) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_is_recognised_in_backticks(program: str) -> None:
    for command in commands(PROGRAMS[program]):
        words = " ".join(command.words) or "--help"
        assert change_commands(f"run `{program} {words}`.", program, lambda words: f"x{words}!") == (
            f"run `x {words}!`."
        )
