"""The method `compose`: brings a Compose project up, with `docker compose` or `docker-compose` (v2 and up).

As with systemd, two operations embrace the change of files: undone, `compose.up` takes down what was not
there before, and `compose.before`, when the old files and image tags are back, brings the old project up.
"""

# ruff: noqa: ARG002 - a method takes what the protocol gives it

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from installer.core.errors import HostNotReadyError, Problem
from installer.deploy.compose_logs import last_words
from installer.deploy.method import Target
from installer.deploy.operation import Json, Op, StepError
from installer.host.context import Context
from installer.host.system import Completed

TIMEOUT = 600.0
_QUICK = 30.0
_NO_PLUGIN = b"docker --help"
"""Where Docker's command line knows no `compose`, it refers to its help; what it says before that varies."""


def find_tool(context: Context) -> list[str] | Problem:
    """Finds Compose: its words, or why there is none."""
    system = context.system
    seen = []
    for words in (["docker", "compose"], ["docker-compose"]):
        if system.which(words[0]) is None:
            continue
        ended = system.run([*words, "version", "--short"], timeout=_QUICK)
        version = ended.stdout.decode("utf-8", "replace").strip().removeprefix("v")
        if not ended.ok and _NO_PLUGIN in ended.stderr:
            continue
        if not ended.ok:
            seen.append(f"{' '.join(words)} version: {ended.reason()}")
        elif re.match(r"\d+\.", version) and int(version.partition(".")[0]) >= 2:
            return words
        else:
            seen.append(f"{' '.join(words)} is version {version[:40]}; 2 or later is needed")
    way = "install the docker-compose-plugin, or use --skip compose"
    if seen:
        return Problem("docker compose", "; ".join(seen), f"run it by hand to see what it says; or {way}")
    return Problem("docker compose", "is not installed", way)


def _compose(context: Context, args: Json, file: str, *words: str, timeout: float = TIMEOUT) -> Completed:
    path = context.system.real(file)
    argv = [
        *args["tool"],
        "-p",
        args["project"],
        "-f",
        path,
        "--ansi",
        "never",
        "--progress",
        "plain",
        *words,
    ]
    return context.system.run(argv, timeout=timeout, env=args["env"])


def _require(context: Context, args: Json, file: str, *words: str) -> None:
    ended = _compose(context, args, file, *words)
    if not ended.ok:
        said = (ended.stderr or ended.stdout).decode("utf-8", "replace").strip().splitlines()
        raise StepError(
            f"docker compose {words[0]}: {ended.reason()}",
            where=args["project"],
            hint=f"see docker compose -p {args['project']} logs",
            problems=[Problem("compose", line[:300]) for line in said[-6:-1]],
        )


def containers(context: Context, project: str) -> dict[str, str]:
    """Gives the containers of a project and when each was started.

    Raises:
        StepError: The engine does not answer.
    """
    filter_ = f"label=com.docker.compose.project={project}"
    ended = context.system.run(["docker", "ps", "-aq", "--no-trunc", "--filter", filter_], timeout=_QUICK)
    ids = ended.stdout.decode().split()
    if ended.ok and ids:
        form = '{"id":{{json .Id}},"at":{{json .State.StartedAt}},"up":{{json .State.Running}}}'
        ended = context.system.run(["docker", "inspect", "--format", form, *ids], timeout=_QUICK)
    if not ended.ok:
        raise StepError(f"the engine does not say what runs: {ended.reason()}", where=project)
    rows = [json.loads(line) for line in ended.stdout.splitlines()] if ids else []
    return {row["id"]: row["at"] if row["up"] else "" for row in rows}


class Before:
    """`compose.before`: takes down what goes; undone, brings the old project up as it was."""

    def observe(self, context: Context, args: Json) -> Json:
        """Looks what runs."""
        return {"containers": containers(context, args["project"])}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Takes the project down where the new release has it no more."""
        if args["down"]:
            _require(context, args, args["old"], "down", "--remove-orphans")

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Brings the old project up, unless it never stopped."""
        before = preimage["containers"]
        if not args["old"] or not any(before.values()) or containers(context, args["project"]) == before:
            return
        _require(
            context, args, args["old"],
            "up", "-d", "--wait", "--remove-orphans", "--pull", "never", "--force-recreate",
        )  # fmt: skip


class Up:
    """`compose.up`: brings the project of the new release up and waits until it is healthy."""

    def observe(self, context: Context, args: Json) -> Json:
        """Says whether a project was there."""
        return {"there": bool(args["old"])}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Brings it up; nothing is pulled."""
        again = ["--force-recreate"] if args["recreate"] else []
        words = ["up", "-d", "--wait", "--remove-orphans", "--pull", "never", *again]
        try:
            _require(context, args, args["file"], *words)
        except StepError as error:
            # undoing removes the containers, and what they said with them
            said = last_words(context, args["project"], args.get("config", ()))
            problems = [*error.problems, *said]
            raise StepError(error.what, where=error.where, hint=error.hint, problems=problems) from error

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Takes down what was not there before; what was there comes back with the old files."""
        if not preimage["there"] and containers(context, args["project"]):
            _require(context, args, args["file"], "down", "--remove-orphans")


class Compose:
    """The method `compose`."""

    name = "compose"

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Looks for Compose, the engine, the file, and for a project of the same name that is not ours."""
        tool = find_tool(context)
        if isinstance(tool, Problem):
            return [tool]
        if context.system.which("docker") is None:
            what = "is not installed: Compose alone does not say what runs, and in which state"
            return [
                Problem("docker", what, "install Docker's command line beside Compose, or use --skip compose")
            ]
        ended = context.system.run(["docker", "version", "--format", "{{.Server.Version}}"], timeout=_QUICK)
        if not ended.ok:
            hint = "start it: systemctl start docker (and systemctl enable docker, to have it after a boot)"
            return [Problem("docker", f"the engine does not answer: {ended.reason()}", hint)]
        if new is None:
            return []
        problems = []
        if _file(new) not in {entry.path for entry in new.release.manifest.files}:
            problems.append(Problem(_file(new), "is not in the bundle", "list it in bundle.yaml"))
        if old is None and containers(context, _project(new)):
            hint = f"take it down: docker compose -p {_project(new)} down"
            problems.append(Problem("compose", f"a project {_project(new)} that is not ours is there", hint))
        return problems

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Says which project goes up or down."""
        if new is None:
            return [f"take down project {_project(old)}"] if old else []
        how = ", all containers made anew (configuration changed)" if _config_changed(old, new) else ""
        return [f"{'update' if old else 'bring up'} project {_project(new)} from {_file(new)}{how}"]

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Gives what embraces the change of files.

        Raises:
            HostNotReadyError: Compose, there a moment ago, is not there any more.
        """
        target = new or old
        if target is None:
            return []
        tool = find_tool(context)
        if isinstance(tool, Problem):
            raise HostNotReadyError(tool.what, where=tool.where, hint=tool.hint)
        old_file = old.release.then(_file(old)) if old else ""
        common = {"tool": tool, "project": _project(target), "old": old_file}
        down = f"take down project {_project(target)}" if new is None else ""
        before = {**common, "down": new is None, "env": _env(context, old or target)}
        ops = [Op("compose.before", before, "switch", down)]
        if new is not None:
            up = {
                **common,
                "file": new.release.then(_file(new)),
                "recreate": _config_changed(old, new),
                "env": _env(context, new),
                "config": _rendered(new),
            }
            ops.append(Op("compose.up", up, "activate", f"bring up project {_project(new)}"))
        return ops

    def last_words(self, context: Context, target: Target) -> list[Problem]:
        """Gives what the containers said last, for a release that is not healthy."""
        return last_words(context, _project(target), _rendered(target))

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Says whether something of the project does not run, or runs from an image that was not signed."""
        project = _project(target)
        try:
            found = containers(context, project)
            images = _images(context, found)
        except StepError as error:
            return [Problem("compose", error.what, error.hint)]
        if not found:
            return [Problem("compose", f"nothing of project {project} runs")]
        down = [name for name, started in found.items() if not started]
        problems = [Problem("compose", f"container {name[:12]} does not run") for name in down]
        signed = {each for image in target.release.manifest.images for each in (image.config, image.manifest)}
        return problems + [
            Problem(
                f"container {name}",
                f"runs from image {image[7:19]}, which is not of this release",
                "install the release again",
            )
            for name, image in images
            if signed and image not in signed
        ]


def _images(context: Context, ids: Iterable[str]) -> list[tuple[str, str]]:
    """Gives the name and the image's id of each container.

    Raises:
        StepError: The engine does not answer.
    """
    argv = ["docker", "inspect", "--format", "{{.Name}} {{.Image}}", *ids]
    ended = context.system.run(argv, timeout=_QUICK) if len(argv) > 4 else None
    if ended is None:
        return []
    if not ended.ok:
        raise StepError(f"the engine does not say what runs: {ended.reason()}")
    rows = (line.partition(" ") for line in ended.stdout.decode().splitlines())
    return [(name.lstrip("/"), image) for name, _, image in rows]


def _file(target: Target) -> str:
    return str(target.options.get("file", ""))


def _project(target: Target | None) -> str:
    return str(target.options.get("project") or target.release.manifest.product) if target else ""


def _env(context: Context, target: Target) -> dict[str, str]:
    manifest = target.release.manifest
    return {
        "WAYBILL_PRODUCT": manifest.product,
        "WAYBILL_VERSION": manifest.version,
        "WAYBILL_ROOT": context.system.root.rstrip("/"),
        "WAYBILL_RELEASE": context.system.root.rstrip("/") + target.release.directory,
    }


def _rendered(target: Target) -> list[str]:
    """Gives the paths of rendered configuration."""
    templates = {entry.path for entry in target.release.manifest.of_kind("template")}
    return [item.path for item in target.release.installed if item.origin in templates]


def _config_changed(old: Target | None, new: Target) -> bool:
    """Compose sees that a service changed, but not that a file it mounts did."""
    if old is None:
        return False

    def config(target: Target) -> set[tuple[str, str]]:
        templates = {entry.path for entry in target.release.manifest.of_kind("template")}
        rendered = [item for item in target.release.installed if item.origin in templates]
        return {(item.path, item.sha256) for item in rendered if not item.policy}

    return config(old) != config(new)


HANDLERS: dict[str, Any] = {"compose.before": Before(), "compose.up": Up()}
METHOD = Compose()
