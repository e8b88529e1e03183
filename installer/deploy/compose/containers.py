"""The containers of a project, as the engine knows them: by label, without the Compose file."""

from __future__ import annotations

import json
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from installer.deploy.docker_cli import docker
from installer.deploy.operation import Json, StepError
from installer.host.context import Context
from installer.host.layout import STATE
from installer.host.private_copy import PREFIX
from installer.shared.child.engine_address import engine_address, is_podman

CONTENT = "io.waybill.content"
"""The label with the digest of the release's files that a service mounts; see `mounted`."""
_OF_COMPOSE = "com.docker.compose."
_GRACE = 10  # the engine's own
_AT_ONCE = 20
"""Containers that one command describes: what a child may write is bounded."""
_AGAIN = 0.5
"""Seconds between two looks at the containers."""
_GOING = ("stopping", "removing")
_ENDLESS = 600
"""Seconds that are waited for a container whose grace period has no end."""
_MARGIN = 10
"""Seconds that an engine may take to kill a container whose grace period is over."""
_ROW = (
    '{"Id":{{json .ID}},"Name":{{json .Name}},"Image":{{json .Image}},"State":{{json .State}},'
    '"Labels":{{json .Config.Labels}},"Env":{{json .Config.Env}},"Probe":{{json .Config.Healthcheck}},'
    '"Policy":{{json .HostConfig.RestartPolicy.Name}},"RestartCount":{{json .RestartCount}},'
    '"Grace":{{json .Config.StopTimeout}},"Signal":{{json .Config.StopSignal}}}'
)


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a service.

    Attributes:
        id: Its id, in full.
        name: Its name.
        service: The service that Compose created it for.
        image: Id of the image that it was created from.
        state: `State` of `docker inspect`.
        labels: Its labels.
        env: Its environment, `NAME=value`.
        has_probe: Whether it has a health check.
        policy: Its restart policy.
        restarts: How often the engine has started it again.
        grace: Seconds that it may take to stop; -1 for any time.
        signal: What asks it to stop: a name, or a number; empty for SIGTERM.
    """

    id: str
    name: str
    service: str
    image: str
    state: Mapping[str, Any]
    labels: Mapping[str, str]
    env: tuple[str, ...]
    has_probe: bool
    policy: str
    restarts: int
    grace: int
    signal: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of `docker inspect`."""
        labels = row["Labels"] or {}
        probe = (row["Probe"] or {}).get("Test") or ["NONE"]
        return cls(
            id=row["Id"],
            name=row["Name"].lstrip("/"),
            service=labels.get(f"{_OF_COMPOSE}service", ""),
            image=row["Image"],
            state=row["State"],
            labels=labels,
            env=tuple(row["Env"] or ()),
            has_probe=probe[0] != "NONE",
            policy=row["Policy"] or "no",
            restarts=int(row["RestartCount"] or 0),
            grace=_GRACE if row["Grace"] is None else int(row["Grace"]),
            signal=row.get("Signal") or "",
        )

    @property
    def running(self) -> bool:
        """Whether it runs, or is about to be started again by the engine."""
        return bool(self.state.get("Running") or self.state.get("Restarting"))

    @property
    def started(self) -> str:
        """When it was started; empty where it does not run."""
        return str(self.state.get("StartedAt", "")) if self.state.get("Running") else ""

    @property
    def ended_well(self) -> bool:
        """Whether it ran to its end, successfully, and the engine does not start it again."""
        ended = self.state.get("Status") == "exited" and self.state.get("ExitCode") == 0
        return ended and self.policy not in ("always", "unless-stopped")

    @property
    def ended_at(self) -> float:
        """When it ended, in seconds since 1970."""
        return _seconds(self.state.get("FinishedAt"))

    @property
    def started_at(self) -> float:
        """When it was started last, in seconds since 1970."""
        return _seconds(self.state.get("StartedAt"))

    @property
    def ran_for(self) -> float:
        """How long it ran until it ended, in seconds."""
        return self.ended_at - self.started_at

    def is_ended_by(self, number: str) -> bool:
        """Return whether a signal, by its number, asks it to stop, or kills it."""
        name = f"SIG{self.signal.upper().removeprefix('SIG')}"
        named = signal.Signals.__members__.get(name, signal.SIGTERM)
        own = self.signal if self.signal.isdecimal() else str(named.value)
        return number in (own, str(signal.SIGKILL.value))

    @property
    def model(self) -> str:
        """Compose's digest of the service's model when the container was created."""
        return self.labels.get(f"{_OF_COMPOSE}config-hash", "")

    @property
    def compose(self) -> str:
        """Version of Compose that created it."""
        return self.labels.get(f"{_OF_COMPOSE}version", "")

    @property
    def by_waybill(self) -> bool:
        """Whether Waybill created it: Compose then read its standard input, or a private copy."""
        file = self.labels.get(f"{_OF_COMPOSE}project.config_files", "-").partition(",")[0]
        return file == "-" or f"/{PREFIX}" in file

    @property
    def directory(self) -> str:
        """The directory of its project; empty where Compose did not create it."""
        return self.labels.get(f"{_OF_COMPOSE}project.working_dir", "")

    @property
    def of_release(self) -> bool:
        """Whether a label says that Waybill created it; `by_waybill` is also true without any label."""
        files = self.labels.get(f"{_OF_COMPOSE}project.config_files", "")
        return bool(self.content) or f"/{PREFIX}" in files or f"{STATE}/" in self.directory

    @property
    def content(self) -> str:
        """Digest of the mounted files that it was created with; empty for none."""
        return self.labels.get(CONTENT, "")

    @property
    def fault(self) -> str:
        """What is wrong with it, in words; empty where it runs and is not unhealthy."""
        status = str(self.state.get("Status") or "not running")
        # Between two attempts it also counts as running.
        if self.state.get("Restarting"):
            return f"keeps restarting (exit status {self.state.get('ExitCode', 'unknown')})"
        if status == "created":
            code = self.state.get("ExitCode")
            return f"could not be started: exit status {code}" if code else "was created and not started"
        if status == "paused":
            return "is paused"
        if not self.state.get("Running"):
            killed = ", out of memory" if self.state.get("OOMKilled") else ""
            return f"is not running: {status}, exit status {self.state.get('ExitCode', 'unknown')}{killed}"
        health = (self.state.get("Health") or {}).get("Status", "none")
        return "is unhealthy" if health == "unhealthy" else ""

    @property
    def last_probe(self) -> str:
        """What its health check said the last time it failed; empty where there is none, or it passes."""
        health = self.state.get("Health") or {}
        failed = [each for each in health.get("Log") or () if each.get("ExitCode")]
        if health.get("Status") in (None, "none", "healthy") or not failed:
            return ""
        said = " ".join(str(failed[-1].get("Output") or "").split()) or "no output"
        return f"health check: exit status {failed[-1]['ExitCode']}: {said}"


def _seconds(text: object) -> float:
    """Return a time of the engine in seconds; infinite where it is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return float("inf")


def containers(context: Context, project: str, engine: str = "") -> list[Container]:
    """Return the containers of the services of a project, in the order of their names.

    Args:
        context: The host.
        project: The project.
        engine: Address that an operation recorded; empty for the engine of this host.

    Raises:
        StepError: The engine does not answer.
    """
    # By label, not by Compose: this works when the file is gone, or not there yet.
    filter_ = f"label={_OF_COMPOSE}project={project}"
    ended = docker(context, "ps", "-aq", "--no-trunc", "--filter", filter_, engine=engine)
    if not ended.ok:
        what = f"cannot list the containers: {ended.reason(context.secrets)}"
        raise StepError(what, where=project).of(ended, context.secrets)
    rows = _inspected(context, ended.stdout.decode().split(), engine)
    found = (Container.of(row) for row in rows)
    # What `docker compose run` leaves belongs to no service.
    ours = (each for each in found if each.labels.get(f"{_OF_COMPOSE}oneoff") != "True")
    return sorted(ours, key=lambda each: each.name)


def _inspected(context: Context, ids: Sequence[str], engine: str) -> Iterator[Mapping[str, Any]]:
    for first in range(0, len(ids), _AT_ONCE):
        some = ids[first : first + _AT_ONCE]
        ended = docker(context, "inspect", "--type", "container", "--format", _ROW, *some, engine=engine)
        # One that was removed meanwhile makes the command fail, and the others are described all the same.
        gone = b"No such container" in ended.stderr
        if not ended.ok and not gone:
            what = f"cannot inspect the containers: {ended.reason(context.secrets)}"
            raise StepError(what).of(ended, context.secrets)
        rows = [json.loads(line) for line in ended.stdout.splitlines() if line.strip()]
        if len(rows) < len(some) and not gone:
            raise StepError("cannot inspect the containers: the engine's answer is not complete")
        yield from rows


def settle(context: Context, args: Json, creating: Collection[str], limit: float = 30.0) -> None:
    """Wait until the containers of a project do not change, after a Compose that was killed or failed.

    What it had asked the engine for goes on: a container is created a moment later. For those that are being
    stopped, which may take long, `end_stops` waits.

    Args:
        context: The host.
        args: Of an operation: the project and the engine.
        creating: Names of containers that the engine was asked to create: it lists them when it has.
        limit: Seconds that it waits at most.
    """
    before: list[tuple[str, object]] | None = None
    until = context.system.monotonic() + limit
    # An engine that does not answer is reported by what follows.
    with suppress(StepError):
        while context.system.monotonic() < until:
            there = containers(context, args["project"], args.get("engine", ""))
            seen = [(each.id, each.state.get("Status")) for each in there]
            if seen == before and {each.name for each in there}.issuperset(creating):
                return
            before = seen
            context.system.sleep(_AGAIN)


def end_stops(context: Context, args: Json, since: int, there: list[Container]) -> list[Container]:
    """Wait until containers have stopped that a Compose which was killed had asked the engine to stop.

    An undo would see one that runs as before and leave it alone, and then the engine would end it. Of Docker,
    nothing but its events says that it is stopping a container: until the end it runs.

    Args:
        context: The host.
        args: Of an operation: the project and the engine.
        since: When the operation began, in seconds since 1970.
        there: The containers of the project.

    Returns:
        The containers of the project after that.

    Raises:
        StepError: The engine does not answer, or does not stop one.
    """
    stopping = {each.id for each in there if each.state.get("Status") in _GOING} | _told_to_stop(
        context, args, since, [each for each in there if each.running]
    )
    if not stopping:
        return there
    names = ", ".join(each.name for each in there if each.id in stopping)
    context.progress.note(f"waiting until the engine has stopped {names}")
    # It is not asked again: a second signal makes many programs drop what they are about to save.
    longest = max(each.grace if each.grace >= 0 else _ENDLESS for each in there if each.id in stopping)
    until = context.system.monotonic() + longest + _MARGIN
    while True:
        there = containers(context, args["project"], args.get("engine", ""))
        left = [each for each in there if each.id in stopping]
        left = [each for each in left if each.running or each.state.get("Status") in _GOING]
        if not left:
            return there
        if context.system.monotonic() > until:
            names = " ".join(each.name for each in left)
            hint = f"end what is left (`docker kill {names}`), then run `install recover`"
            raise StepError(f"the engine does not stop {names}", where=args["project"], hint=hint)
        context.system.sleep(_AGAIN)


def _told_to_stop(context: Context, args: Json, since: int, running: Sequence[Container]) -> set[str]:
    """Return the ids of running containers that were sent the signal to stop since they were started."""
    engine = args.get("engine", "")
    # Podman says itself what it is stopping.
    if not running or is_podman(engine or engine_address()):
        return set()
    chosen = ("type=container", "event=kill", f"label=com.docker.compose.project={args['project']}")
    filters = [word for each in chosen for word in ("--filter", each)]
    now = context.system.now()
    # The clock may have been set back meanwhile: then all that the engine remembers is looked at.
    period = ("--since", str(since if since < now else 0), "--until", f"{now:.3f}")
    form = ("--format", "{{.ID}} {{.TimeNano}} {{.Actor.Attributes.signal}}")
    ended = docker(context, "events", *filters, *period, *form, engine=engine)
    if not ended.ok:
        what = f"cannot see which containers are being stopped: {ended.reason(context.secrets)}"
        context.progress.warn(f"{what}; check with `docker ps` that all of them run")
        return set()
    by_id = {each.id: each for each in running}
    rows = (line.split() for line in ended.stdout.decode("utf-8", "replace").splitlines())
    return {
        id_
        for id_, time, number in (row for row in rows if len(row) == 3)
        if id_ in by_id and by_id[id_].is_ended_by(number) and int(time) / 1e9 >= by_id[id_].started_at
    }
