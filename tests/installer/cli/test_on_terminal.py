"""The commands on a real terminal: colours, narrow tables, and Ctrl-C where somebody is asked."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.rig.bench import Bench, release
from tests.rig.terminal import ESCAPE, INTERRUPT, Shown, command, environment, on_terminal

ALARM = "\x1b[1;31m{}\x1b[0m"


def typed(bench: Bench, *words: str, columns: int = 80, **variables: str) -> Shown:
    """Type a command of `install` on a terminal."""
    line = command("install", *words, "--root", str(bench.host))
    return on_terminal(line, columns=columns, variables=variables)


@pytest.fixture
def drifted(bench: Bench) -> Bench:
    """A release is installed, and somebody has edited a file of it."""
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    (bench.host / "opt/a").write_text("edited\n")
    return bench


@pytest.fixture
def sealed(drifted: Bench) -> Bench:
    """Its audit log was broken, and set aside: the first row of the new one is an alarm."""
    log = drifted.host / "var/lib/waybill/audit.jsonl"
    log.write_text(log.read_text().replace("apply", "fetch", 1))
    assert drifted.run("audit", "--seal", "of this test")[0] == 0
    return drifted


def test_what_must_not_be_overlooked_has_a_colour(drifted: Bench) -> None:
    shown = typed(drifted, "status")
    assert shown.code == 0
    assert ALARM.format("DRIFT") in shown.raw
    shown = typed(drifted, "status", "--product", "other")
    assert shown.code != 0
    assert ALARM.format("error:") in shown.raw


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
@pytest.mark.parametrize("words", ["status", "audit", "plan missing.tar"])
def test_who_wants_no_colour_gets_no_escape_sequence(
    sealed: Bench, words: str, name: str, value: str
) -> None:
    shown = typed(sealed, *words.split(), **{name: value})
    assert ESCAPE.findall(shown.raw) == []


def test_an_alarming_row_of_a_table_has_a_colour(sealed: Bench) -> None:
    (row,) = [line for line in typed(sealed, "audit").raw.splitlines() if "SEALED" in line]
    assert "\x1b[1;31m" in row


def test_a_pipe_gets_no_colour_even_where_some_programs_are_forced_to(sealed: Bench) -> None:
    for words in ("status", "audit"):
        done = subprocess.run(
            command("install", words, "--root", str(sealed.host)),
            env=environment(FORCE_COLOR="1", CLICOLOR_FORCE="1"), capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert ESCAPE.findall(done.stdout + done.stderr) == []


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_table_is_whole_on_a_narrow_terminal(sealed: Bench, columns: int) -> None:
    shown = typed(sealed, "audit", columns=columns)
    assert shown.code == 0
    table = shown.text.partition("intact: ")[0]
    assert max(len(line) for line in table.splitlines()) <= columns
    words = " ".join(table.split())
    for expected in ("N", "WHEN", "WHO", "PRODUCT", "WHAT", "SEALED:", "reason: of this test", "root"):
        assert expected in words


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_colours_and_narrow_tables_go_together(sealed: Bench, columns: int) -> None:
    assert "\x1b[1;31m" in typed(sealed, "audit", columns=columns).raw


def test_ctrl_c_at_a_question_says_what_happened(bench: Bench) -> None:
    line = command("install", str(bench.bundle(release())), "--root", str(bench.host))
    shown = on_terminal(line, ("[y/N] ", INTERRUPT))
    assert shown.code == 130
    # On a line of its own: the question has ended.
    said = shown.text.splitlines()[-1]
    assert said == "error: interrupted by SIGINT (Ctrl-C); no answer; nothing was changed"
    assert not (bench.host / "opt/a").exists()
    assert "nothing is installed" in typed(bench, "status").text


def test_ctrl_c_at_a_password_says_what_happened(tmp_path: Path) -> None:
    shown = on_terminal(command("bundle", "keygen", "key"), ("assword", INTERRUPT), directory=tmp_path)
    assert shown.code == 130
    assert shown.text.splitlines()[-1] == (
        "error: interrupted by SIGINT (Ctrl-C); no answer; nothing was changed"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_closed_line_of_input_at_a_question_is_no_answer(bench: Bench) -> None:
    line = command("install", str(bench.bundle(release())), "--root", str(bench.host))
    shown = on_terminal(line, ("[y/N] ", "\x04"))  # Ctrl-D
    assert shown.code == 17
    assert re.search(r"error: no answer; nothing was changed$", shown.text)


def test_quiet_shows_the_plan_before_it_asks(bench: Bench) -> None:
    words = ["apply", str(bench.bundle(release())), "--quiet", "--root", str(bench.host)]
    shown = on_terminal(command("install", *words), ("[y/N]", "n\n"))
    assert shown.code == 17
    assert shown.text.index("/opt/a") < shown.text.index("Install lan-chat 1.4.0 on ")
    assert not (bench.host / "opt/a").exists()


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_the_values_of_a_host_fit_on_a_narrow_terminal(drifted: Bench, columns: int) -> None:
    values = drifted.host / "etc/waybill/lan-chat/values.yaml"
    values.parent.mkdir(exist_ok=True)
    values.write_text(f"service: {{listen_address_of_the_product: '{'x' * 70}'}}\n")
    shown = typed(drifted, "config", "show", columns=columns)
    lines = shown.text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("KEY"))
    end = next((n for n in range(start, len(lines)) if not lines[n].strip()), len(lines))
    assert max(len(line.rstrip()) for line in lines[start:end]) <= columns, shown.text
    assert "x" * 70 in "".join(shown.text.split())


def test_a_secret_that_would_be_broken_over_two_lines_is_hidden_all_the_same(drifted: Bench) -> None:
    secret = "hunter22-" * 6
    values = drifted.host / "etc/waybill/lan-chat/values.yaml"
    values.parent.mkdir(exist_ok=True)
    values.write_text(f"db: {{password: '{secret}', url: 'postgres://of-the-site:{secret}@db'}}\n")
    shown = typed(drifted, "config", "show", columns=40)
    assert "postgres" in shown.text
    assert "hunter22" not in "".join(shown.text.split())
