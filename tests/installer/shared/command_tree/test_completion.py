"""Completion scripts, as the shells run them, and manual pages, as man(7) reads them."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

from bundler.cli.main import app as bundle
from installer.cli.app import app as install
from installer.core.errors import UsageError
from installer.shared.command_tree.completion import SHELLS
from installer.shared.command_tree.printed import completion, manual
from installer.shared.command_tree.tree import commands

NAMES = ("waybill-install", "./install")
LINES = {
    "": {"apply", "status", "trust", "completion"},
    "sta": {"status"},
    "status --": {"--product", "--check", "--json", "--root", "--help"},
    "trust ": {"init", "ensure", "update", "show"},
    "trust en": {"ensure"},
    "trust ensure --f": {"--fingerprint"},
    "b.tar --y": {"--yes"},
    "apply b.tar --ti": {"--timeout"},
    "status x": set(),
}


def test_bash_completes_commands_and_options() -> None:
    asked = []
    for line in LINES:
        words = ["waybill-install", *line.split(" ")]
        shown = " ".join(f"'{word}'" for word in words)
        asked.append(
            f"COMP_WORDS=({shown}); COMP_CWORD={len(words) - 1}; _waybill_waybill_install; "
            'echo "${COMPREPLY[*]}"'
        )
    script = completion("bash", NAMES, install) + "\n" + "\n".join(asked)
    ended = subprocess.run(["bash", "-u"], input=script, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    for (line, wanted), found in zip(LINES.items(), ended.stdout.splitlines(), strict=True):
        assert wanted <= set(found.split()), line
        assert wanted or not found.strip(), line


@pytest.mark.parametrize(("app", "names"), [(install, NAMES), (bundle, ("bundle",))])
@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_option_is_in_every_script(app: Any, names: tuple[str, ...], shell: str) -> None:
    script = completion(shell, names, app)
    for command in commands(app):
        for word in (*command.words, *(name for option in command.options for name in option.names)):
            assert word.lstrip("-") in script


def test_a_shell_that_is_not_known_is_wrong_usage() -> None:
    with pytest.raises(UsageError) as caught:
        completion("bsh", NAMES, install)
    assert caught.value.hint == "did you mean bash?"


@pytest.mark.parametrize(("app", "name"), [(install, "waybill-install"), (bundle, "bundle")])
def test_the_manual_has_every_command_and_only_known_requests(app: Any, name: str) -> None:
    lines = manual(name, "1.0", app).splitlines()
    requests = {line.split(" ")[0] for line in lines if line.startswith((".", "'"))}
    assert requests <= {".TH", ".nh", ".SH", ".SS", ".B", ".I", ".br", ".PP", ".TP"}
    text = "\n".join(lines).replace("\\-", "-").replace("\\&", "")
    assert not re.search(r"\\(?!e|f[BIR])", text)  # nothing of a help text is an escape
    for command in commands(app):
        if command.words and not command.below:
            assert f".SS {name} {' '.join(command.words)}" in text
        assert all(option.help for option in command.options), command.words
    if name == "waybill-install":
        assert "Example: waybill-install audit --since 7d" in text
        assert not re.search(r"Example: install ", text)


def test_no_summary_of_the_help_is_cut() -> None:
    from typer.main import get_command

    for app in (install, bundle):
        command: Any = get_command(app)
        for group in (command, command.commands["trust"]):
            context = command.make_context("x", [], resilient_parsing=True, terminal_width=80)
            text = group.make_context("y", [], parent=context, resilient_parsing=True).get_help()
            assert "..." not in text.replace("[ARGS]...", "")
            assert "…" not in text


def test_the_help_of_install_begins_with_the_usual_form() -> None:
    from typer.main import get_command

    command: Any = get_command(install)
    text = command.make_context("./install", [], resilient_parsing=True, terminal_width=80).get_help()
    assert text.startswith("Usage: ./install BUNDLE [OPTIONS]\n       ./install COMMAND [ARGS]...\n")
    assert text.index("Options of ./install BUNDLE:") < text.index("--yes") < text.index("Commands:")
    assert "--install-completion" not in text
