"""What a transaction reports of its steps for the structured log: kind, phase, label and end; no secrets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.core.errors import IncompleteError, RolledBackError
from installer.core.format.manifest import HealthCheck
from installer.deploy.operation import PHASES, StepError
from installer.host.context import Context
from installer.host.system import System
from installer.planning.plan import Options
from installer.transaction import execute
from installer.transaction.journal import Journal
from tests.rig.releases import STATE, Notes, ReleaseSpec, install, root
from tests.rig.scripts import SCRIPT, scripted
from tests.rig.steps import FORWARD, install_steps, stepped, unhealthy

WORD = "kie8Xohb4aiw"
TELLS = SCRIPT + f"echo token {WORD}; exit 4\n".encode()


class Steps(Notes):
    """Remembers what is reported for the log."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, Any]] = []

    def step(self, text: str, **fields: Any) -> None:
        super().step(text, **fields)
        self.steps.append(fields)


def told(host: Context, release: ReleaseSpec) -> tuple[Steps, BaseException | None]:
    """Installs a release where one word is secret; gives what was reported, and how it ended."""
    steps = Steps()
    within = replace(host, progress=steps)
    within.secrets.add([WORD])
    try:
        install_steps(within, release)
    except (RolledBackError, IncompleteError) as error:
        return steps, error
    return steps, None


def of(steps: Steps, *names: str) -> list[dict[str, Any]]:
    return [fields for fields in steps.steps if fields["step"] in names]


def test_each_step_has_a_beginning_and_an_end(host: Context) -> None:
    steps, _ = told(host, scripted("1.0.0", 1))
    begun, done = of(steps, "do"), of(steps, "do done")
    assert len(begun) == len(done) > 3
    for first, last in zip(begun, done, strict=True):
        assert {name: last[name] for name in ("transaction", "kind", "phase")} == {
            name: first[name] for name in ("transaction", "kind", "phase")
        }
        assert last["phase"] in PHASES
        assert isinstance(last["label"], str)
        assert last["seconds"] >= 0
    assert {fields["transaction"] for fields in steps.steps} == {"000001"}
    assert ("script.apply", "activate") in [(each["kind"], each["phase"]) for each in done]
    (health,) = of(steps, "health done")
    assert health.pop("seconds") >= 0
    assert health == {
        **dict.fromkeys(("kind", "phase"), "health"),
        "step": "health done",
        "transaction": "000001",
        "label": "health checks",
    }


def test_a_failed_step_has_reason_cause_and_output_without_secrets(host: Context) -> None:
    steps, error = told(host, scripted("1.0.0", 1, TELLS))
    (step,) = of(steps, "do failed")
    assert (step["kind"], step["cause"], step["output"]) == ("script.apply", "script", ["token ***"])
    assert "exit status 4" in step["reason"]
    assert error is not None
    assert WORD not in str(error)
    assert WORD not in f"{steps.steps}{steps.lines}"
    records = Journal.open(host.system, f"/{STATE}/txn/000001.done").records
    (abort,) = [record for record in records if record.type == "ABORT"]
    assert abort.fields["cause"] == "script"
    assert WORD not in str([record.fields for record in records if record.type != "INTENT"])
    # What is undone is reported alike.
    assert len(of(steps, "undo")) == len(of(steps, "undo done")) > 0


def test_a_secret_across_the_place_where_a_long_line_is_cut_is_not_told_in_part(host: Context) -> None:
    long = SCRIPT + f"printf '%0394d{WORD}%0100d\\n' 0 0; exit 4\n".encode()
    steps, error = told(host, scripted("1.0.0", 1, long))
    (step,) = of(steps, "do failed")
    assert step["reason"].endswith("000***00…")
    assert WORD[:5] not in f"{steps.steps}{error}{Path(root(host), STATE, 'txn/000001.done').read_text()}"


class Talkative(System):
    """A host whose errors quote a secret, as those of a library may."""

    def rename(self, source: str, target: str) -> None:
        if target == "/etc/f":
            raise OSError(5, f"refused for {WORD}")
        super().rename(source, target)


def test_an_error_that_quotes_a_secret_is_reported_and_recorded_without_it(host: Context) -> None:
    steps, error = told(replace(host, system=Talkative(root(host))), scripted("1.0.0", 1))
    (step,) = of(steps, "do failed")
    assert "refused for ***" in step["reason"]
    assert WORD not in f"{steps.steps}{steps.lines}{error}"
    assert WORD not in Path(root(host), STATE, "txn/000001.done").read_text()


class Unstaged(System):
    """A host that cannot record that all is staged, with an error that quotes a secret."""

    def write_at(self, path: str, offset: int, data: bytes, *, truncate: bool = False) -> None:
        if b'"type":"STAGED"' in data:
            raise OSError(5, f"refused for {WORD}")
        super().write_at(path, offset, data, truncate=truncate)


def test_an_error_between_two_steps_that_quotes_a_secret_is_recorded_without_it(host: Context) -> None:
    steps, error = told(replace(host, system=Unstaged(root(host))), scripted("1.0.0", 1))
    assert "refused for ***" in str(error)
    assert WORD not in f"{steps.steps}{steps.lines}"
    assert WORD not in Path(root(host), STATE, "txn/000001.done").read_text()


def test_failed_health_checks_that_quote_a_secret_are_reported_without_it(host: Context) -> None:
    check = HealthCheck("command", "", command=("/bin/sh", "-c", f"echo {WORD}; false"), within=0)
    steps = Steps()
    within = replace(host, progress=steps)
    within.secrets.add([WORD])
    with pytest.raises(RolledBackError) as caught:
        install(
            within,
            replace(scripted("1.0.0", 1), health=(check,)),
            Options(only=frozenset({"files", "script"})),
        )
    assert WORD not in f"{steps.steps}{caught.value}{caught.value.problems}"


def test_a_health_check_that_raises_a_secret_is_reported_and_passed_on_without_it(host: Context) -> None:
    steps = Steps()
    within = replace(host, progress=steps)
    within.secrets.add([WORD])
    with pytest.raises(StepError) as caught, execute._health_reported(within):
        raise StepError(f"refused for {WORD}")
    assert "refused for ***" in str(caught.value)
    assert WORD not in f"{steps.steps}{steps.lines}"


def test_failed_health_checks_are_reported_like_a_step(host: Context) -> None:
    steps, error = told(host, unhealthy(scripted("1.0.0", 1)))
    (step,) = of(steps, "health failed")
    assert (step["kind"], step["phase"], step["cause"]) == ("health", "health", "health")
    assert of(steps, "health done") == []
    assert isinstance(error, RolledBackError)
    assert error.cause == "health"


def test_steps_past_the_point_of_no_return_are_reported(host: Context) -> None:
    steps, error = told(host, stepped("1.0.0", 1, FORWARD, migrate=TELLS))
    assert isinstance(error, IncompleteError)
    assert error.cause == "script"
    assert WORD not in str(error)
    assert [each["kind"] for each in of(steps, "do failed")] == ["script.forward"]
    assert (root(host) / "etc/f").exists()
    committed = Journal.open(host.system, f"/{STATE}/txn/000001.done").records
    assert WORD not in str([record.fields for record in committed if record.type == "COMMIT"])


class Interrupted(System):
    """A host where somebody presses Ctrl-C right before a file is in its place."""

    def rename(self, source: str, target: str) -> None:
        if target == "/etc/f":
            raise KeyboardInterrupt("SIGTERM")
        super().rename(source, target)


def test_only_who_interrupted_it_is_told_that_it_goes_back(host: Context) -> None:
    for system, warnings in (
        (Interrupted(root(host)), ["interrupted by SIGTERM: rolling back"]),
        (host.system, []),
    ):
        steps, error = told(replace(host, system=system), scripted("1.0.0", 1, TELLS))
        assert isinstance(error, RolledBackError)
        assert [line for line in steps.lines if "rolling back" in line] == warnings


def test_what_ails_the_old_release_afterwards_is_told_without_secrets(host: Context) -> None:
    said = f"cd {root(host)}; ! test -e broken || {{ echo {WORD}; false; }}"
    check = HealthCheck("command", "", command=("/bin/sh", "-c", said), within=0)
    options = Options(only=frozenset({"files", "script"}))
    install(host, replace(scripted("1.0.0", 1), health=(check,)), options)
    host.secrets.add([WORD])
    breaking = SCRIPT + b'touch "$WAYBILL_ROOT/broken"; exit 4\n'
    with pytest.raises(RolledBackError) as caught:
        install(host, scripted("2.0.0", 2, breaking), options)
    sick = caught.value.problems[-1]
    assert sick.where == "1.0.0"
    assert WORD not in sick.what


@pytest.mark.parametrize("fails", [True, False])
def test_the_steps_that_are_told_to_people_are_told_once(host: Context, fails: bool) -> None:
    steps, _ = told(host, scripted("1.0.0", 1, TELLS if fails else SCRIPT))
    assert len(steps.lines) == len(dict.fromkeys(steps.lines))
