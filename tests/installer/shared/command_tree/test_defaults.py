"""Defaults of options from a file: what they set, what --help shows, and what is refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bundler.cli import defaults as desk_defaults
from bundler.cli.main import app as desk
from installer.cli import defaults as host_defaults
from installer.cli.app import app
from installer.cli.options import console
from installer.core.errors import UsageError
from installer.shared.command.command_line import run_app
from installer.shared.command_tree.defaults import Rules, apply_defaults
from installer.shared.command_tree.tree import commands
from installer.shared.terminal.invocation import command_of
from tests.rig.bench import Bench, release
from tests.rig.hang import ends
from tests.rig.terminal import command, environment

RULES = Rules("d.yaml", host_defaults.ALLOWED)


def value(text: str, command: str, option: str) -> object:
    program = command_of(app)
    apply_defaults(program, text.encode(), RULES)
    for word in command.split():
        program = program.commands[word]
    return next(each.default for each in program.params if option in each.opts)


def test_a_line_is_about_every_command_that_has_the_option() -> None:
    text = "wait: 60\nwork-dir: /srv/w\n"
    for words in ("apply", "rollback", "remove", "recover"):
        assert value(text, words, "--wait") == 60
    assert value(text, "plan", "--work-dir") == "/srv/w"


@pytest.mark.parametrize("text", ["wait: 60\napply: {wait: 5}\n", "apply: {wait: 5}\nwait: 60\n"])
def test_a_line_below_a_command_comes_before_one_about_all(text: str) -> None:
    assert (value(text, "apply", "--wait"), value(text, "recover", "--wait")) == (5, 60)


def test_an_empty_file_sets_nothing() -> None:
    assert value("# nothing yet\n", "apply", "--wait") == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wiat: 60\n", "d.yaml:1: wiat is not an option or command here\n  hint: did you mean wait?"),
        ("wait: 3\napply:\n  tmieout: 3\n", "d.yaml:3: tmieout is not an option"),
        ("wait: soon\n", "d.yaml:1: is not valid: 'soon' is not a valid"),
        ("wait: soon\n", "hint: give a whole number from 0 to 86400, such as `wait: 60`"),
        ("wait: -1\n", "d.yaml:1: is not valid: -1 is not in the range"),
        ("work-dir: [a]\n", "hint: give one word in place of DIR"),
        ("quiet: sometimes\n", "hint: give true or false"),
        ("quiet: 1\n", "d.yaml:1: 1 is no value of --quiet"),
        ("log-format: xml\n", "hint: give text or json"),
        ("wait: [1, 2]\n", "d.yaml:1: is not valid: one word or number is needed here"),
        ("quiet: sometimes\n", "d.yaml:1: 'sometimes' is no value of --quiet"),
        ("log-format: xml\n", "d.yaml:1: 'xml' is no value of --log-format"),
        ("apply: 5\n", "d.yaml:1: apply is a command: its options are needed here"),
        ("- wait\n", "d.yaml: the file of defaults cannot be read"),
        ("wait: 1\nwait: 2\n", "d.yaml:2: "),
        ("status:\n  wait: 5\n", "d.yaml:2: wait is not an option or command here"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply_defaults(command_of(app), text.encode(), RULES)
    assert said in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        apply_defaults(command_of(app), b"wiat: 1\nroot: /x\ntimeout: many\n", RULES)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    "option",
    ["yes", "root", "env", "only", "skip", "on-drift", "values", "data-restored", "retry-failed", "approvals",
     "dry-run", "verify-only", "fingerprint", "trust-root", "exit-code", "check", "seal", "product", "keep",
     "export", "anchor", "since"],
)  # fmt: skip
def test_what_a_person_decides_has_no_default(option: str) -> None:
    assert option not in host_defaults.ALLOWED
    with pytest.raises(UsageError, match=f"--{option} cannot have a default"):
        apply_defaults(command_of(app), f'"{option}": x\n'.encode(), RULES)


@pytest.mark.parametrize("option", ["role", "env", "change-id", "rollback-to", "target", "note", "sidecar"])
def test_what_an_approval_says_has_no_default(option: str) -> None:
    rules = Rules("d.yaml", desk_defaults.ALLOWED)
    with pytest.raises(UsageError, match=f"--{option} cannot have a default"):
        apply_defaults(command_of(desk), f'"{option}": x\n'.encode(), rules)


@pytest.mark.parametrize(
    ("program", "allowed"), [(app, host_defaults.ALLOWED), (desk, desk_defaults.ALLOWED)]
)
def test_every_option_of_the_list_exists(program: Any, allowed: tuple[str, ...]) -> None:
    found = {name for each in commands(program) for option in each.options for name in option.names}
    assert {f"--{name}" for name in allowed} <= found


def test_a_file_with_a_mistake_sets_nothing() -> None:
    program = command_of(app)
    with pytest.raises(UsageError):
        apply_defaults(program, b"wait: 60\ntimeout: many\n", RULES)
    assert {each.name: each.default for each in program.commands["apply"].params}["wait"] == 0


def test_the_help_shows_the_defaults_of_the_host(bench: Bench) -> None:
    (bench.host / "etc/waybill/defaults.yaml").write_text("wait: 60\napply: {timeout: 1800}\n")
    code, said = bench.text("apply", "--help")
    assert code == 0
    # Without the line breaks of the help: the path of this test's host is a long one.
    shown = f"Defaults of {defaults_of(bench)}: --wait 60, --timeout 1800"
    assert shown.replace(" ", "") in "".join(said.split())
    assert "[default: 60;" in said
    code, said = bench.text("apply", str(bench.bundle(release())), "--yes", "--quiet")
    assert (code, said) == (0, "")


def test_the_file_of_a_host_sets_options_of_the_program_itself(bench: Bench) -> None:
    (bench.host / "etc/waybill/defaults.yaml").write_text("quiet: true\nlog-format: json\n")
    assert bench.text("apply", str(bench.bundle(release())), "--yes") == (0, "")
    assert bench.text("status", "--log-format", "text", "--check") == (0, "")


def test_a_later_command_of_the_same_process_has_nothing_of_earlier_defaults(bench: Bench) -> None:
    defaults_of(bench).write_text("log-format: json\n")
    assert '"event"' in bench.text("status")[1]
    defaults_of(bench).unlink()
    assert '"event"' not in bench.text("status")[1]


def defaults_of(bench: Bench) -> Path:
    return bench.host / "etc/waybill/defaults.yaml"


def test_a_file_that_others_can_change_is_not_used(bench: Bench) -> None:
    file = defaults_of(bench)
    file.write_text("wait: 60\n")
    file.chmod(0o666)
    code, document, _ = bench.run("status")
    assert (code, document["code"]) == (10, "untrusted")
    assert "the defaults of this host could have been changed" in document.what
    assert "chmod go-w" in document.hint


def test_a_wrong_file_of_a_host_stops_a_command(bench: Bench) -> None:
    defaults_of(bench).write_text("wiat: 60\n")
    code, document, _ = bench.run("status")
    assert code == 2
    assert document["problems"][1]["where"] == f"{defaults_of(bench)}:1"


def wrong(file: Path) -> None:
    file.write_text("wait: 60\nwiat: 60\n")


def changeable(file: Path) -> None:
    file.write_text("wait: 60\n")
    file.chmod(0o666)


def directory(file: Path) -> None:
    file.mkdir()


def pipe(file: Path) -> None:
    os.mkfifo(file)


def dangling(file: Path) -> None:
    file.symlink_to("nowhere")


@pytest.mark.parametrize("spoil", [wrong, changeable, directory, pipe, dangling])
def test_recover_works_in_spite_of_a_bad_file_and_says_so(
    bench: Bench, spoil: Callable[[Path], None]
) -> None:
    spoil(defaults_of(bench))
    with ends():
        code, document, _ = bench.run("recover")
    assert code == 0
    assert document["warnings"][0]["what"].endswith("; no default of this host is used")
    assert str(defaults_of(bench)) in document["warnings"][0]["where"]
    with ends():
        assert bench.run("status")[0] != 0


def test_support_is_written_in_spite_of_a_bad_file(bench: Bench) -> None:
    wrong(defaults_of(bench))
    assert bench.run("support", str(bench.stick / "support.tar"))[0] == 0


@pytest.mark.parametrize("words", [("man",), ("completion", "bash"), ("licenses", "--help")])
def test_what_is_about_the_program_takes_no_defaults(
    words: tuple[str, ...],
) -> None:
    def refuse(program: Any, words: Sequence[str]) -> dict[str, Any]:
        raise UsageError("the file is wrong")

    assert run_app(console, app, words, defaults=refuse) == 0
    assert run_app(console, app, ["status"], defaults=refuse) == 2


@pytest.mark.needs("root")
@pytest.mark.parametrize(("place", "mode"), [("etc/waybill/defaults.yaml", 0o600), ("etc/waybill", 0o700)])
def test_a_user_who_may_not_read_the_file_goes_on_without_it(bench: Bench, place: str, mode: int) -> None:
    defaults_of(bench).write_text("wait: 60\n")
    (bench.host / place).chmod(mode)
    for above in (bench.host, *bench.host.parents):
        above.chmod(above.stat().st_mode | 0o011)
    words = ["audit", "--root", str(bench.host)]
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command("install", *words)],
        cwd="/", env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "warning: " in done.stderr
    assert "the defaults of this host cannot be read: Permission denied; no default of this host is used" in (
        done.stderr
    )
    assert "defaults.yaml" not in done.stderr.partition("error: ")[2]


def test_a_link_of_the_file_leads_within_the_root_directory(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text("wait: 60\n")
    defaults_of(bench).symlink_to(outside)
    code, document, _ = bench.run("status")
    assert (code, document["code"]) == (15, "host-not-ready")
    inside = bench.host / str(outside)[1:]
    inside.parent.mkdir(parents=True)
    inside.write_text("log-format: json\n")
    code, said = bench.text("status")
    assert code == 0
    assert '"event":' in said or '"event": ' in said


def test_a_link_on_the_way_to_the_file_does_not_lead_out_of_the_root_directory(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/defaults.yaml").write_text("wiat: 60\n")
    (bench.host / "etc/waybill").rename(bench.host / "etc/true")
    (bench.host / "etc/waybill").symlink_to(tmp_path / "outside")
    assert "wiat" not in bench.text("status")[1]


@pytest.mark.parametrize("spoil", [directory, pipe, dangling])
def test_a_file_of_a_person_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    spoil(tmp_path / "waybill.yaml")
    with ends(), pytest.raises(UsageError) as caught:
        desk_defaults.take_defaults(command_of(desk), ())
    assert caught.value.where == str(tmp_path / "waybill.yaml")


def test_the_file_of_a_person_sets_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert desk_defaults.take_defaults(command_of(desk), ()) == {}
    file = tmp_path / ".config/waybill.yaml"
    file.parent.mkdir()
    file.write_text("key: /keys/release.key\npassword-from: /keys/password\nquiet: true\n")
    file.chmod(0o600)
    program = command_of(desk)
    assert desk_defaults.take_defaults(program, ()) == {"quiet": True}
    sign = program.commands["sign"]
    assert {each.name: each.default for each in sign.params}["key"] == "/keys/release.key"
    assert "Defaults of" in sign.epilog
    file.chmod(0o622)
    with pytest.raises(UsageError, match="can be written by other users"):
        desk_defaults.take_defaults(command_of(desk), ())
    if os.geteuid() == 0:
        file.chmod(0o600)
        os.chown(file, 1234, 1234)
        with pytest.raises(UsageError, match="belongs to user 1234"):
            desk_defaults.take_defaults(command_of(desk), ())


def test_a_command_line_comes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    program = command_of(desk)
    apply_defaults(program, b"provenance-key: file.key\n", Rules("d.yaml", desk_defaults.ALLOWED))
    create = program.commands["create"]

    def parsed(*words: str) -> object:
        return create.make_context("create", ["1.0.0", *words]).params["provenance_key"]

    monkeypatch.delenv("WAYBILL_PROVENANCE_KEY", raising=False)
    assert parsed() == "file.key"
    monkeypatch.setenv("WAYBILL_PROVENANCE_KEY", "variable.key")
    assert parsed() == "variable.key"
    assert parsed("--provenance-key", "typed.key") == "typed.key"
