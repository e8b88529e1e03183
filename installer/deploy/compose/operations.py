"""The two operations that enclose the change of files.

Undone, `compose.up` stops a project that was not there before; `compose.before`, undone when the old files
and image tags are back, brings back what ran of the old project. Both leave to Compose what to recreate: the
services whose image, model or mounted files differ from those that their containers were created with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from installer.core.errors import Problem
from installer.deploy.compose.command import TIMEOUT, Source, alone, require
from installer.deploy.compose.containers import Container, containers, end_stops
from installer.deploy.compose.logs import last_lines
from installer.deploy.docker_cli import docker
from installer.deploy.operation import Handler, Json, StepError
from installer.host.context import Context

_UP = ("up", "-d", "--wait", "--pull", "never")
_ALL = (*_UP, "--remove-orphans")
_START = ("up", "-d", "--no-deps", "--pull", "never", "--remove-orphans")
_ONLY_CREATE = ("up", "--no-start", "--no-deps", "--pull", "never")


class Before(Handler):
    """`compose.before`: stops the old project if it goes; undone, brings it back as it was."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return the containers of the project, and the time."""
        there = containers(context, args["project"], args.get("engine", ""))
        return {
            "containers": {each.id: each.started for each in there},
            "services": [_state(each) for each in there],
            "at": int(context.system.now()),
        }

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Stop and remove the project if the new release does not have it any more."""
        if args["down"]:
            with alone(context):
                require(context, args, Source(args["old"]), "down", "--remove-orphans")

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Bring back what ran of the old project; containers that are as they were are left alone."""
        before = preimage["containers"]
        if not args["old"]:
            return
        with alone(context):
            there = containers(context, args["project"], args.get("engine", ""))
            if at := preimage.get("at"):  # a journal of an earlier version has none
                there = end_stops(context, args, at, there)
            # The same containers with the same start times: the old project never stopped.
            if {each.id: each.started for each in there} == before:
                return
            if not before:
                _remove(context, args, there)
                return
            if "services" not in preimage or not args["services"]:
                # A journal of an earlier version, or an old file that Compose could not read.
                if any(before.values()):
                    require(context, args, Source(args["old"]), *_ALL, "--force-recreate")
                return
            # Of services that the old release does not use, Compose leaves those of its other profiles.
            _remove(context, args, [each for each in there if _is_new(each, before, args["services"])])
            _bring_back(context, args, preimage["services"], there)


class Up(Handler):
    """`compose.up`: starts the project of the new release and waits until Compose reports it healthy."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return whether the old release had the project."""
        return {"there": bool(args["old"])}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Start the project. Nothing is pulled: the images came with the bundle."""
        source = Source(args["file"], contents=args.get("contents", {}))
        with alone(context):
            try:
                if again := args.get("again", ()):
                    require(context, args, source, *_ONLY_CREATE, "--force-recreate", *again)
                # `recreate`: of a journal of an earlier version.
                _start(context, args, source, ["--force-recreate"] if args.get("recreate") else [])
                _remove_services(context, args)
            except StepError as error:
                # Read now: undoing removes the containers, and their logs with them.
                if said := _failures(context, args):
                    error.problems = (*error.problems, *said)
                    error.hint = "read the last lines of its services, below"
                raise

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Stop the project if it is new; `compose.before` starts the old one when its files are back."""
        with alone(context):
            there = containers(context, args["project"], args.get("engine", ""))
            if not preimage["there"] and there:
                require(context, args, Source(args["file"]), "down", "--remove-orphans")


def _start(context: Context, args: Json, source: Source, how: Sequence[str]) -> None:
    """Start all services and wait for them; one that ends successfully is not waited for."""
    try:
        require(context, args, source, *_ALL, *how)
    except StepError:
        # Compose takes every container that ends while it waits for a failure, unless another service
        # depends on its end. One with a health check is meant to stay.
        there = containers(context, args["project"], args.get("engine", ""))
        done = {each.service for each in there if each.ended_well and not each.has_probe}
        rest = {each.service for each in there} - done
        if not done or any(each.fault for each in there if each.service in rest):
            raise
        if rest:
            require(context, args, source, *_UP, "--no-deps", *sorted(rest))


def _remove_services(context: Context, args: Json) -> None:
    """Remove what the new release does not use any more: Compose leaves services of profiles that are off."""
    if gone := args.get("gone", ()):
        there = containers(context, args["project"], args.get("engine", ""))
        _remove(context, args, [each for each in there if each.service in gone])


def _is_new(container: Container, before: Mapping[str, object], services: Mapping[str, object]) -> bool:
    return container.id not in before and container.service not in services


def _remove(context: Context, args: Json, gone: Sequence[Container]) -> None:
    """Stop containers as their services ask for, and remove them."""
    ids = [each.id for each in gone]
    for words in (("stop",), ("rm", "-f")) if ids else ():
        ended = docker(context, *words, *ids, timeout=TIMEOUT, engine=args.get("engine", ""))
        if not ended.ok:
            what = f"docker {words[0]}: {ended.reason(context.secrets)}"
            hint = f"see `docker ps --filter label=com.docker.compose.project={args['project']}`"
            raise StepError(what, where=args["project"], hint=hint).of(ended, context.secrets)


def _failures(context: Context, args: Json) -> list[Problem]:
    config, engine = args.get("config", ()), args.get("engine", "")
    return last_lines(context, args["project"], config, engine, only_failing=True)


def _state(container: Container) -> Json:
    return {
        "id": container.id,
        "service": container.service,
        "started": container.started,
        "ended": container.ended_well,
        "fails": bool(container.fault),
        "content": container.content,
    }


def _bring_back(
    context: Context, args: Json, before: Sequence[Mapping[str, str]], there: Sequence[Container]
) -> None:
    """Bring back the services that ran, and the containers of jobs that had ended, without running them.

    What an operator had stopped stays stopped. A job that others wait for has done its work for the old
    release; run again, the old one may not understand what the new one left.
    """
    services: Mapping[str, Json] = args["services"]
    now = {each.id: each for each in there}
    known = [row for row in before if row["service"] in services]
    # Containers keep the labels they had, so that those which were left alone are not recreated: an earlier
    # version may have created them, without any.
    labels = {row["service"]: row["content"] for row in known}
    contents = {name: labels.get(name, each["content"]) for name, each in services.items()}
    source = Source(args["old"], contents={name: each for name, each in contents.items() if each})
    ran = _names(row for row in known if row["started"])
    ended = _names(row for row in known if row["ended"] and row["id"] not in now)
    jobs = [name for name in ended if services[name]["job"] and name not in ran]
    again = [name for name in ended if not services[name]["job"] and name not in ran]
    stopped = _names(row for row in known if row["service"] not in ran and not row["ended"])
    # It was started again meanwhile, perhaps while the files of the new release were there.
    differing = [row for row in known if services[row["service"]]["differs"]]
    stale = _names(row for row in differing if row["started"] and _restarted(row, now))
    if stale:
        require(context, args, source, *_ONLY_CREATE, "--force-recreate", *stale)
    if jobs or stopped:
        require(context, args, source, *_ONLY_CREATE, *jobs, *stopped)
    if stopped:
        require(context, args, source, "stop", *stopped)
    if again:
        require(context, args, source, *_START, *again)
    # What did not work before is started, and not waited for: it would fail the undo of what did.
    failing = _names(row for row in known if row["started"] and row["fails"])
    if failing:
        require(context, args, source, *_START, *failing)
    if well := [name for name in ran if name not in failing]:
        require(context, args, source, *_ALL, "--no-deps", *well)


def _names(rows: Iterable[Mapping[str, str]]) -> list[str]:
    return sorted({row["service"] for row in rows})


def _restarted(row: Mapping[str, str], now: Mapping[str, Container]) -> bool:
    return row["id"] in now and now[row["id"]].started != row["started"]


HANDLERS: dict[str, Handler] = {"compose.before": Before(), "compose.up": Up()}
