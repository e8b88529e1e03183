"""`systemctl`: one call, and what it says about units. For everything that acts on units of systemd."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from installer.core.errors import Problem
from installer.deploy import user_manager
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.host.system import Completed, System
from installer.shared.secrecy.known import EARLIER

TIMEOUT = 120.0
LOG_LINES = 20
MOST_WAITS = 5
"""How many times TIMEOUT is waited for at most where one call names several units."""
MOST_SHOWN = 3
"""Units whose last lines are shown where several failed."""
RUNNING = ("active", "activating", "reloading")
"""States of a unit that runs, or is about to."""
RESULT = ("ActiveState", "SubState", "Result", "ExecMainCode", "ExecMainStatus", "NRestarts")


def systemctl(context: Context, *words: str, timeout: float = 0) -> Completed:
    """Call `systemctl` with some words, with limits for its output and its time; by default for all units."""
    # Units that wait for each other have their time one after the other.
    timeout = timeout or TIMEOUT * min(max(len(words) - 1, 1), MOST_WAITS)
    argv, env = user_manager.command(context)
    return context.system.run([*argv, *words], timeout=timeout, env=env or None)


def require(context: Context, word: str, *units: str) -> None:
    """Call `systemctl`.

    Args:
        context: The host.
        word: The command.
        units: The units.

    Raises:
        StepError: It failed; `problems` has how each unit ended that failed, and its last lines.
    """
    ended = systemctl(context, word, *units)
    if ended.ok:
        return
    failed = units if len(units) < 2 else _failed(context, units) or units
    whose = f"of user {context.user.name}: " if context.user else ""
    raise StepError(
        f"{whose}systemctl {' '.join([word, *failed])}: {ended.reason(context.secrets)}",
        hint=f"see {journal(context, failed[0])}" if failed else "",
        problems=last_words(context, failed[:MOST_SHOWN]),
    ).of(ended, context.secrets)


def _failed(context: Context, units: Sequence[str]) -> tuple[str, ...]:
    try:
        found = show_all(context, units, "ActiveState")
    except StepError:
        return ()
    return tuple(unit for unit in units if found[unit]["ActiveState"] == "failed")


def last_words(context: Context, units: Iterable[str]) -> list[Problem]:
    """Return how units that failed ended, each with the last lines that it logged."""
    problems, units = list[Problem](), list(units)
    if units:
        # The journal may be behind: what a program wrote right before it ended may not be in it yet.
        context.system.run(["journalctl", "--sync"], timeout=10.0)
    for unit in units:
        try:
            state = show(context, unit, *RESULT, "ExecMainPID")
            fault = result_text(state) or _restarts_text(state)
        except StepError:
            fault, state = "", {}
        problems += [Problem(unit, fault)] if fault else []
        problems += [Problem(unit, line) for line in _last_lines(context, unit, state.get("ExecMainPID", ""))]
    return problems


def result_text(state: Mapping[str, str]) -> str:
    """Return how a unit failed, in words; empty where it did not.

    Args:
        state: The properties RESULT.
    """
    status = state["ExecMainStatus"]
    # CLD_EXITED is 1; the others are signals.
    is_signal = state["ExecMainCode"] not in ("1", "exited")
    how = f"killed by signal {status}" if is_signal else f"exit status {status}"
    how = how if status not in ("", "0") else state["Result"]
    if state["SubState"] == "auto-restart":
        count = state["NRestarts"]
        many = count.isdigit() and count != "0"
        times = f", {count} restart{'' if count == '1' else 's'} so far" if many else ""
        return f"has ended and will be restarted: {how}{times}"
    return f"is failed: {how}" if state["ActiveState"] == "failed" else ""


def _restarts_text(state: Mapping[str, str]) -> str:
    count = state["NRestarts"]
    if not count.isdigit() or count == "0":
        return ""
    return f"was restarted {'once' if count == '1' else f'{count} times'}"


def _last_lines(context: Context, unit: str, process: str) -> list[str]:
    argv = ["journalctl", "--no-pager", "-q", "-o", "cat", "-n", str(LOG_LINES + EARLIER)]
    argv += user_manager.journal_words(context, unit, process)
    ended = context.system.run(argv, timeout=10.0)
    text = ended.stdout.decode("utf-8", "replace") if ended.ok else ""
    return context.secrets.last_lines(text, LOG_LINES, 300)


def journal(context: Context, unit: str) -> str:
    """Return the command that shows what a unit wrote, in backticks."""
    return f"`journalctl {' '.join(user_manager.journal_words(context, unit))}`"


def show(context: Context, unit: str, *properties: str, timeout: float = 0) -> dict[str, str]:
    """Return properties of a unit.

    Raises:
        StepError: systemd does not answer.
    """
    return show_all(context, [unit], *properties, timeout=timeout)[unit]


def show_all(
    context: Context, units: Sequence[str], *properties: str, timeout: float = 0
) -> dict[str, dict[str, str]]:
    """Return properties of units, by their names, from one call.

    Raises:
        StepError: systemd does not answer.
    """
    if not units:
        return {}
    ended = systemctl(context, "show", "-p", ",".join(properties), *units, timeout=timeout)
    blocks = ended.stdout.decode("utf-8", "replace").strip("\n").split("\n\n")
    if not ended.ok or len(blocks) != len(units):
        why = ended.reason(context.secrets) if not ended.ok else "its answer is not complete"
        raise StepError(f"cannot read the state of {', '.join(units)}: {why}").of(ended, context.secrets)
    found = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]
    return {
        unit: {key: row.get(key, "") for key in properties} for unit, row in zip(units, found, strict=True)
    }


def has_new_job(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Return whether systemd has another job for a unit than before, by its property `Job`.

    A job outlives the `systemctl` that asked for it and was killed.
    """
    return now.get("Job", "") not in ("", "0", before.get("Job", ""))


def restart_counts(context: Context, units: Iterable[str]) -> dict[str, int]:
    """Return how often systemd has restarted each unit; a count that cannot be read is left out."""
    counts = {}
    for unit in units:
        ended = systemctl(context, "show", "-p", "NRestarts", "--value", unit, timeout=10.0)
        # Watching goes on without a count: probes still decide.
        if ended.ok and ended.stdout.strip().isdigit():
            counts[f"unit {unit}"] = int(ended.stdout)
    return counts


def is_masked(system: System, path: str) -> bool:
    """Return whether an administrator has masked the unit whose file belongs at a path."""
    seen = system.observe(path, digest=False)
    return seen.kind == "link" and seen.target == "/dev/null"


def runs(context: Context) -> bool:
    """Return whether systemd runs this host."""
    # The directory exists only while systemd is PID 1; having `systemctl` is not enough.
    return context.system.which("systemctl") is not None and context.system.is_dir("/run/systemd/system")
