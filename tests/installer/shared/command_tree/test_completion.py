"""Completion scripts, as the shells run them, and manual pages, as man(7) reads them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bundler.cli.main import app as bundle
from installer.cli.app import app as install
from installer.core.errors import UsageError
from installer.shared.command_tree.completion import SHELLS
from installer.shared.command_tree.printed import completion, manual
from installer.shared.command_tree.tree import commands
from tests.rig import terminal
from tests.rig.answers import Document

NAMES = ("waybill-install", "./install")
LINES = {
    "": {"apply", "status", "trust", "completion"},
    "sta": {"status"},
    "status --": {"--product", "--check", "--json", "--root", "--help"},
    "recover --": {"--all", "--quiet", "--log-format"},
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


def printed(*words: str) -> str:
    """What a command prints for somebody to redirect into a file, as a process of its own."""
    done = subprocess.run(
        terminal.command(*words),
        env=terminal.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("program", "app", "names"), [("install", install, NAMES), ("bundle", bundle, ("bundle",))]
)
@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script_of_each_shell(
    program: str, app: Any, names: tuple[str, ...], shell: str
) -> None:
    assert printed(program, "completion", shell) == completion(shell, names, app) + "\n"


@pytest.mark.parametrize("program", ["install", "bundle"])
@pytest.mark.parametrize(
    "shell", ["bash", *(pytest.param(each, marks=pytest.mark.needs(each)) for each in ("zsh", "fish"))]
)
def test_each_shell_parses_its_script(program: str, shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(printed(program, "completion", shell))
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.needs("fish")
@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("waybill-install sta", {"status"}),
        ("waybill-install status --ch", {"--check"}),
        ("waybill-install recover --a", {"--all"}),
        ("waybill-install trust en", {"ensure"}),
        ("waybill-install trust ensure --fing", {"--fingerprint"}),
        ("bundle crea", {"create"}),
    ],
)
def test_fish_completes_commands_and_options(typed: str, wanted: set[str], tmp_path: Path) -> None:
    script = tmp_path / "script.fish"
    script.write_text(printed("bundle" if typed.startswith("bundle") else "install", "completion", "fish"))
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {script}; complete -C '{typed}'"],
        env=terminal.environment(HOME=str(tmp_path)), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    assert wanted <= {line.partition("\t")[0] for line in done.stdout.splitlines()}


@pytest.mark.needs("zsh")
def test_zsh_takes_the_script_for_both_names_of_the_program(tmp_path: Path) -> None:
    script = tmp_path / "script.zsh"
    script.write_text(printed("install", "completion", "zsh"))
    done = subprocess.run(
        ["zsh", "-f", "-c", f"source {script}; print -l ${{_comps[waybill-install]}} ${{_comps[./install]}}"],
        env=terminal.environment(HOME=str(tmp_path)), cwd=tmp_path,
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.count("_bash_complete") == 2


@pytest.mark.parametrize(("program", "app"), [("install", install), ("bundle", bundle)])
@pytest.mark.parametrize("words", [("completion", "bash"), ("man",)])
def test_a_script_or_a_page_is_a_document_too(program: str, app: Any, words: tuple[str, ...]) -> None:
    found = Document.read(printed(program, *words, "--json"))
    prefix = "" if program == "install" else "bundle-"
    assert (found["schema"], found["exit"]) == (f"waybill/cli/{prefix}{words[0]}/v1", 0)
    text = found["text"].replace("\\-", "-")  # as a manual page writes it
    assert [each.words for each in commands(app) if each.words and each.words[0] not in text] == []


READERS = [
    pytest.param(["groff", "-man", "-ww", "-Tutf8"], marks=pytest.mark.needs("groff"), id="groff"),
    pytest.param(["mandoc", "-T", "utf8", "-W", "warning"], marks=pytest.mark.needs("mandoc"), id="mandoc"),
]


@pytest.mark.parametrize(("program", "name"), [("install", "waybill-install"), ("bundle", "bundle")])
@pytest.mark.parametrize("reader", READERS)
def test_the_manual_is_read_without_a_warning(
    program: str, name: str, reader: list[str], tmp_path: Path
) -> None:
    page = tmp_path / f"{name}.1"
    page.write_text(printed(program, "man"))
    done = subprocess.run([*reader, page], capture_output=True, text=True, check=False, timeout=60)
    # The page has no date, so that it is the same for every build of a version.
    warnings = [line for line in done.stderr.splitlines() if "missing date" not in line]
    assert [line for line in warnings if "see above the output" not in line] == []
    shown = re.sub(".\b|\x1b\\[[0-9;]*m", "", done.stdout)
    assert f"{name.upper()}(1)" in shown
    assert "EXIT STATUS" in shown


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
    assert not re.search(r"\\(?!e|f[BIR]|\[u[0-9A-F]{4}\])", text)  # nothing of a help text is an escape
    for command in commands(app):
        if command.words and not command.below:
            assert f".SS {name} {' '.join(command.words)}" in text
        assert all(option.help for option in command.options), command.words
    if name == "waybill-install":
        assert "Example: waybill-install audit --since 7d" in text
        assert not re.search(r"Example: install ", text)


def test_no_summary_of_the_help_is_cut() -> None:
    from typer.main import get_command

    def groups(command: Any) -> list[Any]:
        below = getattr(command, "commands", {}).values()
        return [command, *(each for one in below for each in groups(one))] if below else []

    shown = set()
    for app in (install, bundle):
        command: Any = get_command(app)
        for group in groups(command):
            context = command.make_context("x", [], resilient_parsing=True, terminal_width=80)
            text = group.make_context("y", [], parent=context, resilient_parsing=True).get_help()
            assert "..." not in text.replace("[ARGS]...", ""), group.name
            assert "…" not in text, group.name
            # Every command of it has a summary, and it is a sentence to its end.
            rows = re.split(r"\n  (?=[a-z-]+ )", text.partition("\nCommands:")[2].split("\n\n")[0])[1:]
            summaries = {row.split()[0]: " ".join(row.split()[1:]) for row in rows}
            listed = {name for name, each in group.commands.items() if not each.hidden}
            assert summaries.keys() == listed, group.name
            assert all(each.endswith(".") for each in summaries.values()), summaries
            shown.add(group.name)
    assert shown >= {"config", "secrets", "trust"}


def test_the_help_of_install_begins_with_the_usual_form() -> None:
    from typer.main import get_command

    command: Any = get_command(install)
    text = command.make_context("./install", [], resilient_parsing=True, terminal_width=80).get_help()
    assert text.startswith("Usage: ./install BUNDLE [OPTIONS]\n       ./install COMMAND [ARGS]...\n")
    assert text.index("Options of ./install BUNDLE:") < text.index("--yes") < text.index("Commands:")
    assert "--install-completion" not in text
