"""What scripts read of `install`: real runs, each to its exit code; the rig checks all documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.cli.options import console
from installer.core.digest import sha256_hex
from installer.core.format.manifest import Deployment, HealthCheck
from installer.core.format.manifest_rules import section_rank
from installer.host.system import System
from installer.shared.child.process import Completed
from tests.rig import bundlebuild as build
from tests.rig.answers import Document
from tests.rig.bench import Bench, newer, release
from tests.rig.trustworld import APPROVALS, FILES, World

SAYS = "".join(f"echo line {number}\n" for number in range(60))
ONLY = ("--yes", "--only", "files,script")
HOSTILE = "a\x9b\u202eb"


def scripted(
    apply: str, undo: str = "", version: str = "1.5.0", health: tuple[HealthCheck, ...] = ()
) -> World:
    """A release whose scripts say and do what a test wants."""
    files = {
        **FILES,
        "deploy/apply.sh": f"#!/bin/sh\n{apply}\n".encode(),
        "deploy/undo.sh": f"#!/bin/sh\n{undo}\n".encode(),
    }
    ordered = {path: files[path] for path in sorted(files, key=lambda path: (section_rank(path), path))}
    script = {"mode": 0o755, "kind": "script"}
    plan = build.plan(
        ordered, room=512, rollback="docs/ROLLBACK.md", version=version, sequence=100_050_000_999,
        entries={"docs/a": {"install": "/opt/a"}, "deploy/apply.sh": script, "deploy/undo.sh": script},
        deploy=(Deployment("script", {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh"}),), health=health,
    )  # fmt: skip
    back = tuple(replace(each, fields={"rollback_to": "1.4.0"}) for each in APPROVALS)
    return World(plan=plan, approvals=back)


@pytest.fixture
def ours(bench: Bench) -> Bench:
    """A host that runs 1.4.0."""
    assert bench.run(str(bench.bundle(release(), "first.tar")), "--yes")[0] == 0
    return bench


def brief(document: Document, name: str) -> str | None:
    return document[name]["version"] if document[name] else None


def test_a_first_install_an_upgrade_and_what_there_is_nothing_to_do_for(bench: Bench) -> None:
    path = str(bench.bundle(release(), "first.tar"))
    code, done, _ = bench.run(path, "--yes")
    assert (code, done["schema"], done["changed"]) == (0, "waybill/cli/apply/v1", True)
    assert (brief(done, "from"), brief(done, "to"), done["transaction"]) == (None, "1.4.0", "000001")
    assert (done["product"], done["root"]) == ("lan-chat", str(bench.host))
    record = bench.host / done["evidence"]["path"][1:]
    assert sha256_hex(record.read_bytes()) == done["evidence"]["sha256"]
    assert {each["result"] for each in done["steps"]} == {"done"}
    assert done["plan"]["files"]
    code, again, _ = bench.run(path, "--yes")
    # Nothing was begun: no transaction, and no record that does not exist.
    assert (code, again["changed"], again["transaction"], again["plan"]) == (0, False, None, None)
    assert (brief(again, "from"), brief(again, "to"), again["evidence"]) == ("1.4.0", "1.4.0", None)
    code, up, _ = bench.run(newer(bench), "--yes")
    assert (code, brief(up, "from"), brief(up, "to"), up["transaction"]) == (0, "1.4.0", "1.5.0", "000002")


def test_every_other_command_answers_in_its_own_document(ours: Bench) -> None:
    (ours.host / "prom").mkdir()
    (ours.host / "etc/waybill/metrics-directory").write_text("/prom\n")
    path = newer(ours)
    assert ours.run(path, "--yes")[0] == 0
    for schema, words in {
        "verify": ("verify", path),
        "plan": ("plan", path),
        "config-show": ("config", "show"),
        "config-validate": ("config", "validate", path),
        "config-diff": ("config", "diff", path),
        "status": ("status",),
        "history": ("history",),
        "audit": ("audit", "--export", str(ours.stick / "log")),
        "metrics": ("metrics",),
        "support": ("support", str(ours.stick / "s.tar")),
        "recover": ("recover",),
        "trust-show": ("trust", "show"),
        "rollback": ("rollback", "--yes"),
        "remove": ("remove", "lan-chat", "--yes"),
    }.items():
        code, found, _ = ours.run(*words)
        assert (code, found["code"], found["schema"]) == (0, None, f"waybill/cli/{schema}/v1"), found
    assert ours.run("verify", path)[1]["schema"] == "waybill/cli/verify/v1"
    assert ours.run(path, "--verify-only")[1]["schema"] == "waybill/cli/verify/v1"
    assert ours.run(path, "--dry-run")[1]["schema"] == "waybill/cli/plan/v1"


def test_times_are_of_one_form_and_status_names_releases_as_every_document(ours: Bench) -> None:
    assert ours.run(newer(ours), "--yes")[0] == 0
    (product,) = ours.run("status")[1]["products"]
    assert (product["installed"]["version"], [each["version"] for each in product["retained"]]) == (
        "1.5.0", ["1.5.0", "1.4.0"],
    )  # fmt: skip
    # The schema says that these are times; here it is the same one.
    events = ours.run("history")[1]["events"]
    assert product["installed"]["since"] == events[-1]["ended"]


class TestFailure:
    """An install that failed says what, where and why."""

    def failed(self, ours: Bench, world: World) -> tuple[Document, dict[str, Any]]:
        code, found, _ = ours.run(str(ours.bundle(world, "bad.tar")), *ONLY)
        assert (code, found["code"], found["changed"]) == (20, "rolled-back", False)
        assert (found["product"], brief(found, "from"), brief(found, "to")) == ("lan-chat", "1.4.0", "1.5.0")
        assert found["transaction"] == "000002"
        assert found["evidence"]["path"].endswith(".json")
        (step,) = [each for each in found["steps"] if each["result"] == "failed"]
        assert (step["cause"], step["action"]) == (found["cause"], step["action"])
        return found, step

    def test_a_failed_script_is_reported_with_its_last_lines(self, ours: Bench) -> None:
        found, step = self.failed(ours, scripted(f"{SAYS}echo broken >&2\nexit 3"))
        assert (found["cause"], step["kind"], step["phase"]) == ("script", "script.apply", "activate")
        assert step["name"] == "run deploy/apply.sh"
        assert step["output"] == [*(f"line {number}" for number in range(11, 60)), "broken"]
        assert "exit status 3: broken" in step["reason"]
        assert [each["action"] for each in found["steps"]].count("undo") > 0

    def test_a_failed_health_check_is_reported(self, ours: Bench) -> None:
        check = HealthCheck("command", "", ("/bin/false",), within=1, when="script")
        found, step = self.failed(ours, scripted("true", health=(check,)))
        assert (found["cause"], step["kind"], step["action"]) == ("health", "health", "health")
        assert any("did not pass within" in line for line in step["output"])

    def test_a_time_limit_that_passed_is_reported(self, ours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        run = System.run

        def late(self: System, argv: Any, **options: Any) -> Completed:
            done = run(self, argv, **options)
            return replace(done, timed_out=True) if argv[0].endswith("apply.sh") else done

        monkeypatch.setattr(System, "run", late)
        assert self.failed(ours, scripted("true"))[0]["cause"] == "timeout"

    @pytest.mark.parametrize(
        ("raised", "cause"),
        [
            (OSError(28, "No space left on device", "/var"), "io"),
            (KeyboardInterrupt("SIGTERM"), "interrupted"),
        ],
        ids=["disk", "signal"],
    )
    def test_a_failing_disk_and_a_signal_are_reported(
        self, ours: Bench, monkeypatch: pytest.MonkeyPatch, raised: BaseException, cause: str
    ) -> None:
        run, left = System.run, [raised]

        def once(self: System, argv: Any, **options: Any) -> Completed:
            if left:
                raise left.pop()
            return run(self, argv, **options)

        monkeypatch.setattr(System, "run", once)
        code, found, _ = ours.run(str(ours.bundle(scripted("true"), "bad.tar")), *ONLY)
        assert (code, found["cause"], found["transaction"]) == (20, cause, "000002")

    def test_a_failure_that_cannot_be_undone_is_reported(
        self, ours: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("installer.transaction.execute.UNDO_PAUSE", 0.0)
        path = str(ours.bundle(scripted("exit 3", "exit 4"), "bad.tar"))
        code, found, _ = ours.run(path, *ONLY)
        assert (code, found["code"], found["cause"], found["changed"]) == (21, "not-undone", "script", True)
        failed = [each["action"] for each in found["steps"] if each["result"] == "failed"]
        assert failed == ["do", "undo"]
        # Commands that only look say that they changed nothing, on a host that is in between, too.
        assert ours.run("status")[1]["changed"] is False


def edited(bench: Bench) -> None:
    (bench.host / "opt/a").write_text("edited")


def without_trust(bench: Bench) -> None:
    (bench.host / "etc/waybill/trust/root.json").unlink()


def flipped(bench: Bench) -> None:
    data = bytearray((bench.stick / "newer.tar").read_bytes())
    data[data.index(b"alpha")] ^= 1
    (bench.stick / "newer.tar").write_bytes(data)


def other_environment(bench: Bench) -> None:
    world = replace(release("1.5.0", 100_050_000_999), approvals=())
    (bench.stick / "newer.tar").write_bytes(world.tar())


def an_older_one(bench: Bench) -> None:
    (bench.stick / "newer.tar").write_bytes(release("1.3.0", 100_030_000_999).tar())


REFUSALS: list[tuple[Callable[[Bench], None], int, str]] = [
    (without_trust, 10, "untrusted"),
    (flipped, 11, "tampered"),
    (an_older_one, 13, "downgrade"),
    (other_environment, 14, "not-approved"),
    (edited, 15, "host-not-ready"),
]


@pytest.mark.parametrize(("arrange", "code", "name"), REFUSALS, ids=[name for _, _, name in REFUSALS])
@pytest.mark.parametrize("verb", ["apply", "plan"])
def test_a_refusal_says_what_it_is_about_as_far_as_that_is_signed(
    ours: Bench, arrange: Callable[[Bench], None], code: int, name: str, verb: str
) -> None:
    path = newer(ours)
    arrange(ours)
    words = ("plan", path) if verb == "plan" else (path, "--yes")
    found = ours.run(*words)[1]
    assert (found["exit"], found["code"], found["changed"]) == (code, name, False)
    assert found["transaction"] is None
    signed = name != "untrusted"
    assert found["product"] == ("lan-chat" if signed else None)
    assert (found["to"] is not None) == signed
    if verb == "apply" and name not in ("untrusted", "host-not-ready"):
        assert json.loads((ours.host / found["evidence"]["path"][1:]).read_bytes())


@pytest.fixture
def log(ours: Bench) -> Iterator[Callable[[World], list[dict[str, Any]]]]:
    """Installs a release with a structured log; gives its lines."""

    def run(world: World) -> list[dict[str, Any]]:
        path = str(ours.bundle(world, "logged.tar"))
        _, document, said = ours.run(path, *ONLY, "--log-format", "json")
        lines: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
        assert {each["run"] for each in lines} == {document["run"]}
        assert {each["host"] for each in lines} == {document["host"]}
        assert {each["product"] for each in lines if each["event"] in ("step", "output")} == {"lan-chat"}
        return lines

    yield run
    console.log_format = "text"


def test_a_log_has_what_scripts_say_and_the_level_that_it_deserves(
    log: Callable[[World], list[dict[str, Any]]],
) -> None:
    lines = log(scripted("echo hello; printf 'bad \\302\\233 text\\n' >&2; exit 3"))
    said = [each["message"] for each in lines if each["event"] == "output"]
    assert said[:2] == ["hello", "bad \x9b text"]
    assert {each["source"] for each in lines if each["event"] == "output"} == {
        "deploy/apply.sh", "deploy/undo.sh",
    } - ({"deploy/undo.sh"} if len(said) == 2 else set())  # fmt: skip
    levels = {(each.get("step"), each["level"]) for each in lines if each["event"] == "step"}
    assert ("do failed", "error") in levels
    assert ("rolled back", "error") in levels
    assert ("do done", "info") in levels
    assert ("undo", "warning") in levels
    assert [each["event"] for each in lines[-2:]] == ["error", "ended"]
    assert (lines[-1]["level"], lines[-1]["exit"]) == ("error", 20)


def test_a_log_of_a_success_has_no_error(log: Callable[[World], list[dict[str, Any]]]) -> None:
    lines = log(scripted("echo hello"))
    assert {each["level"] for each in lines} == {"info"}
    assert ("plan", "lan-chat") in {(each["event"], each["product"]) for each in lines}
    assert lines[-1]["event"] == "ended"


def test_nothing_that_a_bundle_says_steers_the_terminal_of_a_document(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    from installer.cli.app import app
    from installer.shared.command.command_line import run_app
    from tests.rig.answers import UNSAFE

    path = bench.stick / f"{HOSTILE}.tar"
    path.write_bytes(release().tar()[:5000])
    assert run_app(console, app, ["apply", str(path), "--root", str(bench.host), "--json"]) != 0
    said = capsys.readouterr()
    assert not UNSAFE.search(said.out + said.err)
    assert Document.read(said.out).where.startswith(str(path))
    assert Path(path).exists()
