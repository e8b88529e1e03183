"""One transaction: how often it tries to go back, when it hears signals, what is told of its end."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.commands import history
from installer.core.errors import NotUndoneError, Problem, RolledBackError
from installer.deploy.operation import Op, StepError
from installer.host.context import Context
from installer.host.system import SyncError, System
from installer.state.state import load
from installer.transaction import execute, failures, finalize
from installer.transaction.journal import Journal
from tests.rig.chatd import ONE, THREE, TWO, deployed
from tests.rig.faulty import Refusing, snapshot
from tests.rig.releases import STATE, Notes, ReleaseSpec, context, install, records, root
from tests.rig.scripts import SCRIPT, log, scripted
from tests.rig.steps import FORWARD, install_steps, stepped

LOG = rf"/{STATE}/txn/00000[12]\.log"


class Patient(System):
    """Waits in no time, and remembers how long."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Failing(System):
    """Fails one effect on one path, each time or the first time."""

    def __init__(self, path: Path, effect: str, start: str, error: Exception, times: int = 1) -> None:
        super().__init__(path)
        self._effect, self._start, self._error, self.left = effect, start, error, times

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        if name == self._effect and str(args[0]).startswith(self._start) and self.left:
            self.left -= 1
            raise self._error
        return super().around(name, args, call)


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_way_back_that_fails_at_first_is_tried_again_after_a_pause(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    twice = b'n=$(cat "$WAYBILL_ROOT/n" || echo 0); echo $((n + 1)) > "$WAYBILL_ROOT/n"; [ "$n" -ge 2 ]\n'
    system = Patient(root(host))
    with pytest.raises(
        RolledBackError, match=r"apply failed and was rolled back \(1\.0\.0 is still installed\)"
    ):
        install_steps(context(system), scripted("2.0.0", 2, SCRIPT + b"exit 4\n", SCRIPT + twice))
    assert system.slept == [2.0, 4.0]
    assert log(host).count("undo 2.0.0 with 2.0.0") == 3
    assert records(host, 2).count("UNDONE") == records(host, 2).count("UNDOING")
    assert records(host, 2)[-2:] == ["ROLLED-BACK", "END"]


def test_what_a_handler_of_the_embedding_program_raises_after_the_commit_undoes_nothing(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Embedded(BaseException):
        pass

    def append(self: Journal, type_: str, **fields: Any) -> Any:
        real(self, type_, **fields)
        if type_ == "COMMIT":
            raise Embedded

    install(host, ONE)
    real = Journal.append
    monkeypatch.setattr(Journal, "append", append)
    with pytest.raises(Embedded):
        install(host, TWO)
    monkeypatch.undo()
    assert load(host.system, host.layout).current.version == "2.0.0"  # type: ignore[union-attr]
    assert records(host, 2)[-2:] == ["COMMIT", "END"]
    assert (root(host) / STATE / "txn/000002.done").exists()


def test_what_cannot_begin_has_changed_nothing(host: Context) -> None:
    install(host, ONE)
    before = snapshot(root(host), besides=("var",))
    failing = context(Failing(root(host), "write_new", f"/{STATE}/txn/", full()))
    with pytest.raises(
        RolledBackError,
        match=rf"could not start: {LOG}: No space left on device",
    ) as caught:
        install(failing, TWO)
    assert "nothing was changed" in caught.value.hint
    assert snapshot(root(host), besides=("var",)) == before
    assert [path.name for path in (root(host) / STATE / "txn").iterdir()] == ["000001.done"]
    assert not (root(host) / STATE / "state.json.new").exists()
    assert install(host, TWO).text()


@pytest.mark.parametrize("effect", ["write_new", "write_at"], ids=["no journal", "no first record"])
def test_what_can_neither_begin_nor_be_cleared_says_why_it_could_not_begin(
    host: Context, effect: str
) -> None:
    class Both(Failing):
        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            if not self.left and name == "unlink":
                raise OSError(errno.EIO, os.strerror(errno.EIO), args[0])
            return super().around(name, args, call)

    install(host, ONE)
    failing = context(Both(root(host), effect, f"/{STATE}/txn/", full()))
    with pytest.raises(RolledBackError, match=r"could not start: .*No space left on device"):
        install(failing, TWO)
    assert (root(host) / STATE / "state.json.new").exists()
    assert install(host, TWO).text()
    assert not (root(host) / STATE / "state.json.new").exists()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EIO, os.strerror(errno.EIO)), StepError("Input/output error")],
    ids=["disk", "engine"],
)
def test_what_cannot_be_cleared_after_the_commit_is_said_and_done_later(
    host: Context, error: OSError | StepError
) -> None:
    install(host, ONE)
    failing = Failing(root(host), "rename", f"/{STATE}/txn/", error)
    done = install(context(failing), TWO)
    assert deployed(host) == "two"
    assert "run `install recover` to complete it (the next command also does this)" in done.text()
    assert "Input/output error" in done.text()
    state = load(host.system, host.layout)
    assert state.current is not None
    assert state.current.version == "2.0.0"
    install(host, THREE)
    assert [event.version for event in history.events(host)] == ["1.0.0", "2.0.0", "3.0.0"]


def test_a_sync_that_fails_after_the_commit_is_written_down(host: Context) -> None:
    lost = SyncError(errno.EIO, os.strerror(errno.EIO))
    install(context(Failing(root(host), "rename", f"/{STATE}/txn/", lost)), ONE)
    assert Journal.open(host.system, f"/{STATE}/txn/000001.log").has("DISTRUST")


def test_what_could_not_be_undone_keeps_what_is_known_of_the_cause(host: Context) -> None:
    within = replace(host, transaction="000007")
    problem = Problem("container chat-1", "does not answer")
    found = failures.not_undone_error(within, StepError("said no", problems=[problem]), "unhealthy")
    assert found.what == "the release failed (unhealthy) and could not be fully undone: said no"
    assert (found.where, found.problems) == (within.layout.journal("000007"), (problem,))
    assert failures.not_undone_error(within, full(), "unhealthy").problems == ()
    assert failures.not_undone_error(within, found, "again") is found


def test_what_is_undone_is_not_undone_again(host: Context) -> None:
    (root(host) / "txn").mkdir()
    journal = Journal.create(host.system, "/txn/000001.log", 0)
    ops = [Op("files.place", {"number": number}) for number in (1, 2, 3)]
    journal.append("BEGIN")
    for op in ops:
        journal.append("INTENT", op=op.as_json(), preimage={})
    journal.append("UNDONE", of=4)
    assert execute.begun_operations(journal) == [(2, ops[0], {}), (3, ops[1], {})]


def test_all_problems_are_kept_in_order_while_there_is_space() -> None:
    assert failures.bounded([Problem("a", "b"), Problem("c", "d")]) == ["a: b", "c: d"]
    assert failures.bounded([]) == []


def test_the_problems_that_just_fit_are_kept() -> None:
    """Each is kept as a text of JSON with a comma behind it."""
    long = [Problem("w", "x" * 997)] * (failures.PROBLEM_BYTES // 1003)
    left = failures.PROBLEM_BYTES % 1003
    assert failures.bounded([Problem("w", "x" * (left - 6)), *long])[0] == "w: " + "x" * (left - 6)
    assert len(failures.bounded([Problem("w", "x" * (left - 5)), *long])) == len(long)


BAD = scripted("2.0.0", 2, SCRIPT + b"echo not ready; exit 4\n")


def test_what_cannot_be_cleared_after_the_way_back_is_done_later(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    failing = Failing(
        root(host), "rename", f"/{STATE}/txn/000002.log", OSError(errno.EIO, os.strerror(errno.EIO))
    )
    with pytest.raises(RolledBackError, match="not ready"):
        install_steps(context(failing), BAD)
    install_steps(host, scripted("3.0.0", 3))
    assert records(host, 2)[-2:] == ["ROLLED-BACK", "END"]


def test_a_state_that_a_script_has_damaged_does_not_hide_why_it_was_undone(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    spoil = f'echo x > "$WAYBILL_ROOT/{STATE}/state.json"; echo not ready; exit 4\n'.encode()
    with pytest.raises(RolledBackError, match="not ready"):
        install_steps(host, scripted("2.0.0", 2, SCRIPT + spoil))
    install_steps(host, scripted("3.0.0", 3))
    assert records(host, 2)[-2:] == ["ROLLED-BACK", "END"]


def begun(host: Context, *types: str) -> Journal:
    """Gives the open journal of a transaction that has come this far on its way back."""
    (root(host) / STATE / "txn").mkdir(parents=True)
    journal = Journal.create(host.system, host.layout.journal("000001"), 0)
    for type_ in ("BEGIN", *types):
        journal.append(type_)
    return journal


def test_a_way_back_that_is_begun_again_is_told_once(host: Context) -> None:
    journal = begun(host, "ABORT", "ROLLED-BACK")
    execute.undo(replace(host, transaction="000001"), journal, "cut short")
    assert [record.type for record in journal.records] == ["BEGIN", "ABORT", "ROLLED-BACK"]


def test_a_way_back_says_why_in_no_more_than_its_room(host: Context) -> None:
    journal = begun(host)
    execute.undo(replace(host, transaction="000001"), journal, "x" * 5000, [Problem("a", "b")])
    assert journal.last("ABORT") == {"why": "x" * 1999 + "…", "said": ["a: b"]}


@pytest.mark.parametrize("lost", [True, False], ids=["a sync", "a write"])
def test_only_a_failed_sync_of_a_failing_rollback_is_a_reason_to_distrust_the_disk(
    host: Context, lost: bool
) -> None:
    install_steps(host, scripted("1.0.0", 1))
    kind = SyncError if lost else OSError
    failing = Refusing(root(host), "ROLLED-BACK", kind(errno.EIO, os.strerror(errno.EIO)))
    with pytest.raises(
        NotUndoneError,
        match=rf"could not be fully undone: {LOG}: Input/output error",
    ) as caught:
        install_steps(context(failing), BAD)
    journal = Journal.open(host.system, host.layout.journal("000002"))
    assert journal.has("DISTRUST") is lost
    assert caught.value.where == host.layout.journal("000002")


def test_what_is_said_of_a_release_that_stands_in_part_names_it_where_there_is_one() -> None:
    assert failures.incomplete_error(None, "no such unit").what == (
        "the release is INCOMPLETE: committed, but a step failed: no such unit"
    )


def test_all_that_is_known_of_a_cause_is_one_line_of_the_journal() -> None:
    known = StepError("said no", problems=[Problem("a", "b"), Problem("c", "d")])
    assert failures.reason_in_full(known) == "said no; a: b; c: d"
    assert failures.reason_in_full(full()) == os.strerror(errno.ENOSPC)


class Facts(Notes):
    """Remembers the steps as a structured log has them."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[str, dict[str, Any]]] = []

    def step(self, text: str, **fields: Any) -> None:
        self.steps.append((text, fields))


def told(host: Context, release: ReleaseSpec) -> list[tuple[str, dict[str, Any]]]:
    within = replace(host, progress=Facts())
    with suppress(RolledBackError):
        install_steps(within, release)
    assert isinstance(within.progress, Facts)
    return [(text, {**fields, "seconds": 0}) for text, fields in within.progress.steps]


def test_a_log_has_what_is_begun_done_and_decided(host: Context) -> None:
    steps = told(host, stepped("1.0.0", 1, FORWARD))
    names = [fields["step"] for _, fields in steps]
    assert names[0] == "begun"
    assert names[-3:] == ["health", "health done", "committed"]
    assert names.count("staged") == names.count("point of no return") == 1
    assert names.count("do") == names.count("do done") > 0
    assert {fields["transaction"] for _, fields in steps} == {"000001"}
    assert (steps[0][1]["verb"], steps[0][1]["version"]) == ("apply", "1.0.0")


def test_a_log_has_what_failed_and_each_step_back(host: Context) -> None:
    steps = told(host, BAD)
    names = [fields["step"] for _, fields in steps]
    failed = names.index("do failed")
    assert steps[failed][1]["kind"] == "script.apply"
    assert steps[failed][1]["phase"] == "activate"
    assert steps[failed][1]["reason"]
    assert names[failed + 1 :].count("undo") == names.count("do")
    assert names[failed + 1 :].count("undo done") == names.count("do")
    assert names[-1] == "rolled back"
    assert all(text.startswith("undo: ") or not text for text, fields in steps if fields["step"] == "undo")


def test_what_is_staged_is_said_once_before_anything_that_runs_is_touched(host: Context) -> None:
    install(host, ONE)
    install(host, TWO)
    found = Journal.open(host.system, f"/{STATE}/txn/000002.done").records
    staged = [place for place, record in enumerate(found) if record.type == "STAGED"]
    phases = [record.fields["op"]["phase"] if record.type == "INTENT" else "" for record in found]
    assert len(staged) == 1
    assert set(phases[: staged[0]]) == {"", "stage"}
    assert set(phases[staged[0] :]) == {"", "switch"}


class Edited(System):
    """A host where somebody edits a file right after all was staged."""

    def write_at(self, path: str, offset: int, data: bytes, *, truncate: bool = False) -> None:
        super().write_at(path, offset, data, truncate=truncate)
        if b'"type":"STAGED"' in data:
            (Path(self.root) / "opt/d").write_text("edited")


def test_what_was_edited_while_the_release_was_staged_is_found_before_anything_is_replaced(
    host: Context,
) -> None:
    install(host, ONE)
    with pytest.raises(RolledBackError, match="/opt/d"):
        install(context(Edited(root(host))), TWO)
    assert deployed(host) == "edited"
    assert "INTENT" not in records(host, 2)[records(host, 2).index("STAGED") :]


def test_the_history_has_room_before_anything_begins(host: Context) -> None:
    class Watching(System):
        there = False

        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            if name == "write_at" and b'"type":"BEGIN"' in args[2]:
                self.there = (root(host) / STATE / "history.jsonl").exists()
            return super().around(name, args, call)

    system = Watching(root(host))
    install(context(system), ONE)
    assert system.there


def test_the_history_says_what_ran_before(host: Context) -> None:
    install(host, ONE)
    install(host, TWO)
    first, second = finalize.history(host)
    assert (first["from"], second["from"]) == ("", first["to"])
    assert first["to"].startswith("1-")
