"""The method `compose`: starts a Compose project, with `docker compose` or `docker-compose` (v2 or later).

As with systemd, two operations enclose the change of files. Undone, `compose.up` stops a project that was not
there before; `compose.before`, undone when the old files and image tags are back, starts the old project.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from installer.core.errors import HostNotReadyError, Problem
from installer.core.format.manifest import Kind
from installer.deploy import release_files
from installer.deploy.compose_logs import last_lines
from installer.deploy.docker_cli import QUICK, docker, engine_problem
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.method import Method, Target, full_path
from installer.deploy.operation import Handler, Json, Op, StepError
from installer.host.context import Context
from installer.host.system import Completed
from installer.shared.child_env import engine_address, engine_environment
from installer.state.release import Installed

TIMEOUT = 600.0
_LIST_TIMEOUT = 60.0
_NO_PLUGIN = b"docker --help"
"""Part of what a Docker command line without the plugin prints; the rest varies with its version."""


KIND: Kind = "compose"
"""Of the files that it gives to Compose."""
_NO_FILES = ("--env-file", os.devnull)
"""A file `.env` next to the Compose file is in no bundle, and sets what the Compose file leaves open."""
_PLAIN = ("--ansi", "never", "--progress", "plain")
_UP = ("up", "-d", "--wait", "--remove-orphans", "--pull", "never")
_LISTS = {
    "container": ("ps", "-a", "--format", "{{.Names}}"),
    "network": ("network", "ls", "--format", "{{.Name}}"),
    "volume": ("volume", "ls", "--format", "{{.Name}}"),
}
"""How to list what belongs to a project, by its kind."""


def find_tool(context: Context) -> list[str] | Problem:
    """Return the words that run Compose, or why it cannot be used."""
    system = context.system
    seen = []
    for words in (["docker", "compose"], ["docker-compose"]):
        # The plugin first: it is what Docker maintains; the separate program may be version 1.
        if system.which(words[0]) is None:
            continue
        ended = system.run([*words, "version", "--short"], timeout=QUICK, env=engine_environment())
        version = ended.stdout.decode("utf-8", "replace").strip().removeprefix("v")
        if not ended.ok and _NO_PLUGIN in ended.stderr:
            continue  # not an error: `docker-compose` may be there
        if not ended.ok:
            seen.append(f"{' '.join(words)} version: {ended.reason()}")
        elif re.match(r"\d+\.", version) and int(version.partition(".")[0]) >= 2:
            return words
        else:
            seen.append(f"{' '.join(words)} is version {version[:40]}; 2 or later is needed")
    remedy = "install the docker-compose-plugin, or use --skip compose"
    if seen:
        return Problem("docker compose", "; ".join(seen), f"run it by hand to see its error; or {remedy}")
    return Problem("docker compose", "is not installed", remedy)


def _compose(context: Context, args: Json, file: str, *words: str) -> Completed:
    directory, path = release_of(context, file)
    # From its standard input, Compose reads the very bytes that were checked.
    data = release_files.checked_bytes(context, directory, path, args.get("files"), KIND)
    # Compose runs on the real host: below --root it needs the path from outside.
    place = context.system.real(file).rpartition("/")[0]
    argv = [*args["tool"], "-p", args["project"], "--project-directory", place, "-f", "-", *_NO_FILES]
    env = {**args["env"], **engine_environment(args.get("engine", ""))}
    return context.system.run([*argv, *_PLAIN, *words], timeout=TIMEOUT, env=env, stdin=data)


def _require(context: Context, args: Json, file: str, *words: str) -> None:
    ended = _compose(context, args, file, *words)
    if not ended.ok:
        said = (ended.stderr or ended.stdout).decode("utf-8", "replace").strip().splitlines()
        raise StepError(
            f"docker compose {words[0]}: {ended.reason()}",
            where=args["project"],
            hint=f"see docker compose -p {args['project']} logs",
            problems=[Problem("compose", line[:300]) for line in said[-6:-1]],
        ).of(ended)


def containers(context: Context, project: str, engine: str = "") -> dict[str, str]:
    """Return the containers of a project and when each was started, "" for one that does not run.

    Args:
        context: The host.
        project: The project.
        engine: Address that an operation recorded; empty for the engine of this host.

    Raises:
        StepError: The engine does not answer.
    """
    # By label, not by Compose: this works when the file is gone, or not there yet.
    filter_ = f"label=com.docker.compose.project={project}"
    ended = docker(context, "ps", "-aq", "--no-trunc", "--filter", filter_, engine=engine)
    ids = ended.stdout.decode().split()
    # Two calls, because `docker ps` does not show when a container was started.
    if ended.ok and ids:
        form = '{"id":{{json .Id}},"at":{{json .State.StartedAt}},"up":{{json .State.Running}}}'
        ended = docker(context, "inspect", "--format", form, *ids, engine=engine)
    if not ended.ok:
        raise StepError(f"cannot list the containers: {ended.reason()}", where=project).of(ended)
    rows = [json.loads(line) for line in ended.stdout.splitlines()] if ids else []
    return {row["id"]: row["at"] if row["up"] else "" for row in rows}


class Before(Handler):
    """`compose.before`: stops the old project if it goes; undone, starts it as it was."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return the containers of the project."""
        return {"containers": containers(context, args["project"], args.get("engine", ""))}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Stop and remove the project if the new release does not have it any more."""
        if args["down"]:
            _require(context, args, args["old"], "down", "--remove-orphans")

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Start the old project, unless it never stopped."""
        before = preimage["containers"]
        # The same containers with the same start times: the old project never stopped.
        if not args["old"] or not any(before.values()):
            return
        if containers(context, args["project"], args.get("engine", "")) == before:
            return
        # Containers of the failed release are recreated even where Compose sees no difference: the files that
        # they mount have changed back.
        _require(context, args, args["old"], *_UP, "--force-recreate")


class Up(Handler):
    """`compose.up`: starts the project of the new release and waits until Compose reports it healthy."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return whether the old release had the project."""
        return {"there": bool(args["old"])}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Start the project. Nothing is pulled: the images came with the bundle."""
        again = ["--force-recreate"] if args["recreate"] else []
        try:
            _require(context, args, args["file"], *_UP, *again)
        except StepError as error:
            # Read now: undoing removes the containers, and their logs with them.
            logs = last_lines(context, args["project"], args.get("config", ()), args.get("engine", ""))
            error.problems = (*error.problems, *logs)
            raise

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Stop the project if it is new; `compose.before` starts the old one when its files are back."""
        there = containers(context, args["project"], args.get("engine", ""))
        if not preimage["there"] and there:
            _require(context, args, args["file"], "down", "--remove-orphans")


class Compose(Method):
    """The method `compose`."""

    name = "compose"
    item_kinds: ClassVar = ("project",)

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Check for Compose, the engine, the file, and for a foreign project of the same name."""
        tool = find_tool(context)
        if isinstance(tool, Problem):
            return [tool]
        # Compose runs without Docker's command line; listing containers and drift need it.
        if context.system.which("docker") is None:
            what = "is not installed; without it, Waybill cannot read the state of the containers"
            return [Problem("docker", what, "install Docker's command line, or use --skip compose")]
        if problem := engine_problem():
            return [problem]
        ended = docker(context, "version", "--format", "{{.Server.Version}}")
        if not ended.ok:
            hint = "start it: systemctl start docker; to start it at every boot: systemctl enable docker"
            return [Problem(engine_address(), f"the engine does not answer: {ended.reason()}", hint)]
        # Undoing, and removing the product, use the old file; installing the release again repairs it.
        again = old and new and old.release.identity == new.release.identity
        problems = release_files.changed(context, old.release, KIND) if old and not again else []
        if new is None:
            return problems
        problems += self.absent_files(new)
        # `up --remove-orphans` would remove containers of others that share the project's name.
        if old is None and containers(context, _project(new)):
            hint = f"remove it: docker compose -p {_project(new)} down"
            what = f"project {_project(new)} exists already and was not installed by Waybill"
            problems.append(Problem("compose", what, hint))
        return problems

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return which project is started, updated or removed."""
        # People have contexts of their own: which engine it is must not be a guess.
        engine = f"engine: {engine_address()}"
        if new is None:
            return [f"stop and remove project {_project(old)}", engine] if old else []
        how = "; all containers are recreated (configuration changed)" if _config_changed(old, new) else ""
        return [f"{'update' if old else 'start'} project {_project(new)} from {_file(new)}{how}", engine]

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return the two operations that enclose the change of files.

        Raises:
            HostNotReadyError: Compose was removed since `check`.
        """
        target = new or old
        if target is None:
            return []
        tool = find_tool(context)
        if isinstance(tool, Problem):
            raise HostNotReadyError(tool.what, where=tool.where, hint=tool.hint)
        old_file = old.release.then(_file(old)) if old else ""
        common = {"tool": tool, "project": _project(target), "old": old_file, "engine": engine_address()}
        down = f"stop and remove project {_project(target)}" if new is None else ""
        # The old release's environment: undoing runs its Compose file with it.
        before = {
            **common,
            "down": new is None,
            "env": _env(context, old or target),
            "files": release_files.listed((old or target).release.manifest, KIND),
        }
        ops = [Op("compose.before", before, "switch", down)]
        if new is not None:
            up = {
                **common,
                "file": new.release.then(_file(new)),
                "files": release_files.listed(new.release.manifest, KIND),
                "recreate": _config_changed(old, new),
                "env": _env(context, new),
                "config": [item.path for item in _rendered(new)],
            }
            ops.append(Op("compose.up", up, "activate", f"start project {_project(new)}"))
        return ops

    def failure_logs(self, context: Context, target: Target) -> list[Problem]:
        """Return the last lines that the containers logged."""
        return last_lines(context, _project(target), [item.path for item in _rendered(target)])

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return which containers do not run, or run from an image that is not of this release."""
        project = _project(target)
        edited = release_files.changed(context, target.release, KIND)
        try:
            found = containers(context, project)
            images = _images(context, found)
        except StepError as error:
            return [*edited, Problem("compose", error.what, error.hint)]
        if not found:
            return [*edited, Problem("compose", f"project {project} has no containers")]
        down = [name for name, started in found.items() if not started]
        problems = edited + [Problem("compose", f"container {name[:12]} is not running") for name in down]
        # Ids, not names: a name may have moved to another image since.
        signed = {each for image in target.release.manifest.images for each in (image.config, image.manifest)}
        for name, image in images:
            if signed and image not in signed:
                what = f"runs from image {image[7:19]}, which does not belong to this release"
                problems.append(Problem(f"container {name}", what, "install the release again"))
        return problems

    def inventory(self, context: Context, target: Target, *, running: bool) -> list[InventoryItem]:
        """Return the project of the running release."""
        return [InventoryItem("project", _project(target))] if running else []

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Look for containers, networks and volumes of the projects."""
        for item in items:
            rows = list(_residue(context, item.name))
            yield from rows
            if all(row.how == "stays" for row in rows):
                yield Residue("gone", "project", item.name)


def _residue(context: Context, project: str) -> Iterator[Residue]:
    hint = f"docker compose -p {project} down --remove-orphans"
    for kind, words in _LISTS.items():
        filter_ = f"label=com.docker.compose.project={project}"
        ended = docker(context, *words, "--filter", filter_, timeout=_LIST_TIMEOUT)
        if not ended.ok:
            what = f"cannot list its resources: {ended.reason()}"
            yield Residue("left", "project", project, what, hint)
            return
        for name in ended.stdout.decode("utf-8", "replace").split():
            if kind == "volume":
                # Volumes hold data. Removing them is never implied by removing the product.
                yield Residue(
                    "stays", kind, name, f"data of project {project}; to remove it: docker volume rm {name}"
                )
            else:
                yield Residue("left", kind, name, f"is still there; it belongs to project {project}", hint)


def _images(context: Context, ids: Iterable[str]) -> list[tuple[str, str]]:
    """Return the name and the image's id of each container.

    Raises:
        StepError: The engine does not answer.
    """
    if not (each := list(ids)):
        return []
    ended = docker(context, "inspect", "--format", "{{.Name}} {{.Image}}", *each)
    if not ended.ok:
        raise StepError(f"cannot read the images of the containers: {ended.reason()}").of(ended)
    rows = (line.partition(" ") for line in ended.stdout.decode().splitlines())
    return [(name.lstrip("/"), image) for name, _, image in rows]


def release_of(context: Context, file: str) -> tuple[str, str]:
    """Return the directory of the release that a file of it is in, and the file's path there."""
    base = f"{context.layout.releases}/"
    name, _, path = file.removeprefix(base).partition("/")
    return base + name, path


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
        "WAYBILL_RELEASE": full_path(context, target.release.directory),
    }


def _rendered(target: Target) -> list[Installed]:
    """Return the paths of rendered configuration."""
    templates = {entry.path for entry in target.release.manifest.of_kind("template")}
    return [item for item in target.release.installed if item.origin in templates]


def _config_changed(old: Target | None, new: Target) -> bool:
    """Return whether rendered configuration changed: Compose does not see that a mounted file did."""
    if old is None:
        return False

    def config(target: Target) -> set[tuple[str, str]]:
        return {(item.path, item.sha256) for item in _rendered(target) if not item.policy}

    return config(old) != config(new)


HANDLERS: dict[str, Handler] = {"compose.before": Before(), "compose.up": Up()}
METHOD = Compose()
