"""Every command of both programs ends with one valid document, whichever error ends it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer.main

from bundler.cli.main import app as bundle
from bundler.cli.options import console as bundle_console
from installer.cli.app import app as install
from installer.cli.options import console as install_console
from installer.core import errors
from installer.shared.command.command_line import run_app
from installer.shared.command.run_record import RunRecord
from tests.rig import answers
from tests.rig.answers import Document

PROGRAMS = {"install": (install, install_console), "bundle": (bundle, bundle_console)}
HOSTILE = "\x9b31m\u202egnp.exe\x1b[2J\u2066"
"""Steers a terminal, and reverses what follows."""


def error_classes(of: type[errors.WaybillError] = errors.WaybillError) -> Iterator[type[errors.WaybillError]]:
    for each in of.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
        yield from error_classes(each)


def leaves(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in getattr(group, "commands", {}).items():
        if hasattr(inner, "commands"):
            yield from leaves(inner, (*words, name))
        elif any("--json" in each.opts for each in inner.params):
            yield (*words, name), inner


def needed(command: Any) -> list[str]:
    """What has to be typed besides the words of a command."""
    found = []
    for each in command.params:
        if each.required:
            found += ["x"] if each.param_type_name == "argument" else [each.opts[0], "x"]
    return found


Ended = Callable[..., tuple[int, Document]]


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ended(program: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ended:
    """Runs a command whose body is replaced; gives exit code and document."""
    app, console = PROGRAMS[program]
    tree = typer.main.get_command(app)
    monkeypatch.setattr("typer.main.get_command", lambda _: tree)

    def run(*words: str, body: Callable[[], None] | None = None) -> tuple[int, Document]:
        leaf: Any = tree
        for word in words:
            leaf = getattr(leaf, "commands", {}).get(word, leaf)
        with monkeypatch.context() as patched:
            if body is not None:
                patched.setattr(leaf, "callback", lambda **_: body())
            code = run_app(console, app, [*words, "--json"])
        out = capsys.readouterr().out
        assert not answers.UNSAFE.search(out)
        found = Document.read(out)
        assert found["exit"] == code
        return code, found

    return run


def raiser(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_every_error_of_every_command_is_the_document_of_the_command(program: str, ended: Ended) -> None:
    app, _ = PROGRAMS[program]
    kinds = sorted(error_classes(), key=lambda each: each.code)
    assert {each.exit_code for each in kinds} >= {1, 2, *range(10, 20), 20, 21, 30, 130}
    for words, command in leaves(typer.main.get_command(app)):
        fields = ended(*words, "--no-such-option")[1].keys()
        for kind in kinds:
            problem = errors.Problem(HOSTILE, HOSTILE, HOSTILE)
            error = kind(HOSTILE, where=HOSTILE, hint="do it", problems=[problem])
            code, found = ended(*words, *needed(command), body=raiser(error))
            assert (code, found["code"]) == (kind.exit_code, kind.code), found.what
            assert found["schema"] == RunRecord(program, command=" ".join(words)).schema
            assert (found.what, found.hint, found.others[0]["where"]) == (HOSTILE, "do it", HOSTILE)
            # A script reads the same fields of every document.
            assert found.keys() == fields


@pytest.mark.parametrize(
    ("raised", "code", "name"),
    [
        (ValueError("a fault"), 1, "internal"),
        (OSError(28, "No space left on device", "/var"), 15, "host-not-ready"),
        (KeyboardInterrupt("SIGTERM"), 130, "interrupted"),
    ],
    ids=["fault", "disk", "signal"],
)
def test_what_is_no_error_of_ours_has_a_document_too(
    program: str, ended: Ended, raised: BaseException, code: int, name: str
) -> None:
    app, _ = PROGRAMS[program]
    for words, command in leaves(typer.main.get_command(app)):
        found = ended(*words, *needed(command), body=raiser(raised))[1]
        assert (found["exit"], found["code"]) == (code, name)


def test_wrong_usage_has_the_document_of_the_word_it_names(program: str, ended: Ended) -> None:
    app, _ = PROGRAMS[program]
    for words, _command in leaves(typer.main.get_command(app)):
        code, found = ended(*words, "--no-such-option")
        assert (code, found["code"]) == (2, "usage")
        assert found["schema"] == RunRecord(program, command=" ".join(words)).schema
        assert "--no-such-option" in found.what
    assert ended("--no-such-option")[1]["schema"] == RunRecord(program).schema
    assert ended("trust", "no-such-word")[1]["schema"] == RunRecord(program, command="trust").schema
    assert ended("--log-format", "xml", "trust", "show")[1]["code"] == "usage"


def test_the_lines_of_a_log_belong_to_the_run(
    program: str, ended: Ended, capsys: pytest.CaptureFixture[str]
) -> None:
    app, console = PROGRAMS[program]
    words = ("trust", "show") if program == "install" else ("trust", "show", "x")

    def body() -> None:
        console.tell(product="lan-chat")
        console.note(HOSTILE)
        console.warn("strange")
        raise errors.NotApprovedError("missing")

    tree = typer.main.get_command(app)
    tree.commands["trust"].commands["show"].callback = lambda **_: body()  # type: ignore[attr-defined]
    try:
        code = run_app(console, app, [*words, "--json", "--log-format", "json"])
    finally:
        console.log_format = "text"
    said = capsys.readouterr()
    document, lines = Document.read(said.out), [json.loads(line) for line in said.err.splitlines()]
    assert code == 14
    assert [(each["event"], each["level"]) for each in lines] == [
        ("message", "info"),
        ("warning", "warning"),
        ("error", "error"),
        ("ended", "error"),
    ]
    assert {(each["run"], each["product"], each["host"]) for each in lines} == {
        (document["run"], "lan-chat", document["host"])
    }
    assert [each["what"] for each in document["warnings"]] == ["strange"]
    assert not answers.UNSAFE.search(said.err)
