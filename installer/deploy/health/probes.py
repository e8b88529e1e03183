"""One attempt of a health check: what is asked, and what the answer says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from installer.core.format.manifest import HealthCheck
from installer.deploy.docker_cli import docker
from installer.deploy.health.parallel import ask_all
from installer.deploy.operation import StepError
from installer.deploy.systemctl import RESULT, result_text, show
from installer.host.context import Context
from installer.host.http_probe import BODY_LIMIT, Answer
from installer.shared.secrecy import MASK
from installer.shared.secrecy.names import names_secret

ONE_PROBE = 10.0
"""Seconds that one attempt may take."""
AT_ONCE = 32
"""Probes that are asked at the same time, where all are asked once."""
_UNIT = (*RESULT, "LoadState", "Type", "ExecMainStartTimestampMonotonic")
_SHOWN = 200
"""Most characters of what others say."""


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What came of one attempt.

    Attributes:
        fault: What is wrong; empty where nothing is.
        said: What was found where nothing is wrong.
    """

    fault: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class AskedProbe:
    """A probe that was asked once.

    Attributes:
        name: The probe in words.
        healthy: Whether it passed.
        said: What it found, or what is wrong.
    """

    name: str
    healthy: bool
    said: str


def probe_name(check: HealthCheck) -> str:
    """Return a probe in words; values in a URL whose names say that they are secret are hidden."""
    if check.kind == "command":
        return f"command {' '.join(check.command)}"
    if check.kind == "prometheus":
        return f"prometheus {check.query}"
    if check.kind == "http":
        socket = f" at {check.unix}" if check.unix else ""
        return f"http {shown_url(check.target)}{socket}"
    return f"{check.kind} {check.target}"


def shown_url(url: str) -> str:
    """Return a URL without user information, and without values that are secret by name."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    secret = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if names_secret(name)}
    words = [
        f"{name}={MASK}" if is_set and parse_qsl(f"{name}=x")[0][0] in secret else word
        for word in parts.query.split("&")
        for name, is_set, _ in [word.partition("=")]
    ]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(query="&".join(words), netloc=host)) if secret or "@" in url else url


def ask_once(context: Context, checks: Sequence[HealthCheck]) -> list[AskedProbe]:
    """Ask each probe once, all at the same time and for a limited time."""
    # Threads do not look for secrets at the same time.
    context.secrets.hide("x")
    answers = ask_all(
        context.system, [partial(ask, context, each) for each in checks], at_once=AT_ONCE, seconds=ONE_PROBE
    )
    found = []
    for check, answer in zip(checks, answers, strict=True):
        got = answer or ProbeAnswer(f"no answer within {ONE_PROBE:g} s")
        said = context.secrets.hide(got.fault or got.said)
        found.append(AskedProbe(context.secrets.hide(probe_name(check)), not got.fault, said))
    return found


def ask(context: Context, check: HealthCheck) -> ProbeAnswer:
    """Run a probe once."""
    try:
        return _KINDS[check.kind](context, check)
    except StepError as error:
        return ProbeAnswer(error.what)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return ProbeAnswer(f"{where}{error.strerror or str(error) or type(error).__name__}")
    # A target that an older version accepted: the release is unhealthy, and the transaction is undone.
    except ValueError as error:
        return ProbeAnswer(f"cannot be probed: {error}")


def _http(context: Context, check: HealthCheck) -> ProbeAnswer:
    answer = context.system.http_get(check.target, ONE_PROBE, ca=check.ca, unix=check.unix)
    return ProbeAnswer(answer_fault(check, answer), f"answered {answer.status}")


def answer_fault(check: HealthCheck, answer: Answer) -> str:
    """Return what is wrong with an answer; empty where it is as expected."""
    expected = check.statuses or (str(check.status),)
    if not any(_covers(each, answer.status) for each in expected):
        moved = 300 <= answer.status < 400 and answer.headers.get("location")
        to = f"; it redirects to {_short(shown_url(moved[0]))}, which is not followed" if moved else ""
        return f"answered {answer.status}, expected {' or '.join(expected)}{to}"
    for wanted in check.headers:
        name, _, text = wanted.partition(": ")
        values = answer.headers.get(name.lower(), ())
        if not values:
            return f"answered without the header {name}, expected {text!r} in it"
        if not any(text in value for value in values):
            return f"answered with {name}: {_short(values[0])}, expected {text!r} in it"
    if check.body and check.body.encode() not in answer.body:
        first = f"the first {BODY_LIMIT // 1024} KiB of " if answer.is_cut else ""
        return f"answered {answer.status}, but {first}the body does not contain {check.body!r}"
    return ""


def _covers(expected: str, status: int) -> bool:
    first, _, last = expected.partition("-")
    return int(first) <= status <= int(last or first)


def _short(text: str) -> str:
    shown = text if text.isprintable() else repr(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _prometheus(context: Context, check: HealthCheck) -> ProbeAnswer:
    url = f"{check.target.rstrip('/')}/api/v1/query?query={quote(check.query, safe='')}"
    answer = context.system.http_get(url, ONE_PROBE, ca=check.ca, unix=check.unix)
    if answer.is_cut:
        return ProbeAnswer(
            f"answered with more than {BODY_LIMIT // 1024} KiB: use a query with fewer samples"
        )
    return query_answer(check, answer)


def query_answer(check: HealthCheck, answer: Answer) -> ProbeAnswer:
    """Compare the answer of a Prometheus server with what is expected."""
    try:
        found = json.loads(answer.body)
        if found["status"] != "success":
            return ProbeAnswer(f"the query failed: {_short(str(found.get('error', 'no reason given')))}")
        kind, result = found["data"]["resultType"], found["data"]["result"]
        samples = {"scalar": lambda: [result], "vector": lambda: [each["value"] for each in result]}
        if kind not in samples:
            return ProbeAnswer(f"the query has a {_short(str(kind))} as its result, not a scalar or a vector")
        values = [float(value) for _, value in samples[kind]()]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ProbeAnswer(f"answered {answer.status}, but not as a Prometheus server does")
    if not values:
        return ProbeAnswer("the query has no result: no such series, or none of late")
    # NaN is in no range.
    wrong = [value for value in values if not _in_range(check, value)]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return ProbeAnswer(f"the result is {wrong[0]:g}{more}, expected {expected_text(check)}")
    many = f" and {len(values) - 1} more" if len(values) > 1 else ""
    return ProbeAnswer("", f"the result is {values[0]:g}{many}")


def _in_range(check: HealthCheck, value: float) -> bool:
    if check.equals:
        return value == float(check.equals)
    return float(check.min or "-inf") <= value <= float(check.max or "inf")


def expected_text(check: HealthCheck) -> str:
    """Return in words what the result of a query has to be."""
    if check.equals:
        return check.equals
    words = [f"at least {check.min}"] if check.min else []
    return " and ".join([*words, f"at most {check.max}"] if check.max else words)


def _tcp(context: Context, check: HealthCheck) -> ProbeAnswer:
    # An IPv6 address has brackets; the port follows the last colon.
    host, _, port = check.target.rpartition(":")
    context.system.tcp_connect(host.strip("[]"), int(port), ONE_PROBE)
    return ProbeAnswer("", "accepted a connection")


def _command(context: Context, check: HealthCheck) -> ProbeAnswer:
    system, (program, *words) = context.system, check.command
    # Below the directory of --root lies the program of the release: that of this machine is another one. On
    # a live host the name stays: programs such as busybox do what the name of the link says.
    is_below = program.startswith("/") and not context.live
    if is_below and system.observe(program, digest=False).kind != "absent":
        program = system.real(program)
    ended = system.run([program, *words], timeout=ONE_PROBE, env={"WAYBILL_ROOT": system.root})
    return ProbeAnswer("" if ended.ok else ended.reason(context.secrets), "exit status 0")


def _unit(context: Context, check: HealthCheck) -> ProbeAnswer:
    state = show(context, check.target, *_UNIT, timeout=ONE_PROBE)
    return ProbeAnswer(unit_fault(state), f"is {state['ActiveState']} ({state['SubState']})")


def unit_fault(state: Mapping[str, str]) -> str:
    """Return what is wrong with a unit; empty where it is active, or has done its work.

    Args:
        state: Its properties, as `systemctl show` has them.
    """
    if state["LoadState"] != "loaded":
        return "there is no such unit" if state["LoadState"] == "not-found" else f"is {state['LoadState']}"
    if fault := result_text(state):
        return fault
    if state["ActiveState"] in ("active", "reloading"):
        return ""
    ran = state["ExecMainStartTimestampMonotonic"] not in ("", "0")
    done = state["Type"] == "oneshot" and state["ActiveState"] == "inactive" and ran
    return "" if done and state["Result"] == "success" else f"is {state['ActiveState']}"


def _container(context: Context, check: HealthCheck) -> ProbeAnswer:
    found = inspect(context, check.target)
    has_check = not isinstance(found, str) and "Health" in found.get("State", {})
    return ProbeAnswer(container_fault(found), "is running, healthy" if has_check else "is running")


def container_fault(found: Mapping[str, Any] | str) -> str:
    """Return what is wrong with a container; empty where it is healthy.

    Args:
        found: A row of `docker inspect`, or why there is none.
    """
    if isinstance(found, str):
        return found
    state = found.get("State", {})
    # Between two attempts it also counts as running.
    if state.get("Restarting"):
        return "keeps restarting"
    if not state.get("Running"):
        return f"is {state.get('Status', 'not running')}, exit status {state.get('ExitCode', 'unknown')}"
    health = state.get("Health", {}).get("Status", "none")
    return "" if health in ("healthy", "none") else f"is {health}"


def inspect(context: Context, container: str) -> Mapping[str, Any] | str:
    """Return the row of `docker container inspect`, or why there is none, in words."""
    ended = docker(context, "container", "inspect", container, timeout=ONE_PROBE)
    if not ended.ok:
        return ended.reason(context.secrets)
    try:
        rows: list[Mapping[str, Any]] = json.loads(ended.stdout)
    except ValueError:
        return "the engine's answer is not JSON"
    return rows[0] if rows else "there is no such container"


def restarts(context: Context, checks: Iterable[HealthCheck]) -> dict[str, int]:
    """Return how often the containers and units of some probes were restarted, by their names for people."""
    counts = {}
    for check in checks:
        if check.kind == "container":
            found = inspect(context, check.target)
            if not isinstance(found, str):
                counts[f"container {check.target}"] = int(found.get("RestartCount", 0))
        elif check.kind == "unit":
            try:
                count = show(context, check.target, "NRestarts", timeout=ONE_PROBE)["NRestarts"]
            except StepError:
                continue
            # By the name that the method `systemd` has for it: one restart is one problem.
            counts[f"unit {check.target}"] = int(count) if count.isdigit() else 0
    return counts


_KINDS = {
    "http": _http, "tcp": _tcp, "command": _command,
    "container": _container, "unit": _unit, "prometheus": _prometheus,
}  # fmt: skip
