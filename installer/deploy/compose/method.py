"""The method `compose`: starts a Compose project, with `docker compose` or `docker-compose` (v2 or later).

As with systemd, two operations enclose the change of files. Undone, `compose.up` stops a project that was not
there before; `compose.before`, undone when the old files and image tags are back, starts the old project.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from installer.core.errors import HostNotReadyError, Problem, WaybillError
from installer.deploy import release_files
from installer.deploy.compose import requirements, volumes
from installer.deploy.compose.changes import ServiceChange, service_changes
from installer.deploy.compose.command import KIND, find_tool, require_tool
from installer.deploy.compose.containers import containers
from installer.deploy.compose.drift import differences, without_model
from installer.deploy.compose.environment import complete, override, planned_data, unset
from installer.deploy.compose.environment import project_of as project_name
from installer.deploy.compose.logs import last_lines
from installer.deploy.compose.relative_data import left_behind, of_site
from installer.deploy.compose.release_project import Project, compose_files
from installer.deploy.compose.residue import names_of, residue
from installer.deploy.compose.volumes import VOLUME
from installer.deploy.docker_cli import docker, engine_problem
from installer.deploy.inventory import KEPT, InventoryItem, Residue
from installer.deploy.method import DATA, Method, Target
from installer.deploy.operation import Json, Op, StepError, ThirdStateError
from installer.deploy.systemctl import runs
from installer.host.context import Context
from installer.shared.child.engine_address import engine_address, engine_start, is_podman
from installer.state.release import Installed
from installer.state.state import load

_NAMED = 20
"""Variables without a value that a plan names."""


class Compose(Method):
    """The method `compose`."""

    name = "compose"
    item_kinds: ClassVar = ("project", VOLUME)
    data_kinds: ClassVar = (VOLUME,)

    def rendered(
        self, context: Context, target: Target, template: str, data: bytes
    ) -> tuple[bytes, list[Problem]]:
        """Return the environment file with Waybill's own variables, and what is wrong with it."""
        return complete(context, target, template, data)

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
        if is_podman(engine_address()) and not runs(context):
            # Its timers run the health checks: without them Compose would wait for ever.
            what = "is Podman, which checks the health of containers by systemd; systemd does not run here"
            return [Problem(engine_address(), what, "use a host that systemd runs, or Docker")]
        ended = docker(context, "version", "--format", "{{.Server.Version}}")
        if not ended.ok:
            hint = engine_start(engine_address())
            if b"permission denied" in ended.stderr.lower():
                hint = "run as root, or as a member of the group that owns the socket"
            what = f"the engine does not answer: {ended.reason(context.secrets)}"
            return [Problem(engine_address(), what, hint)]
        # Undoing, and removing the product, use the old file; installing the release again repairs it.
        again = old and new and old.release.identity == new.release.identity
        problems = release_files.changed(context, old.release, KIND) if old and not again else []
        if new is None:
            return problems
        if absent := self.absent_files(new):
            return [*problems, *absent]
        if "env" in new.options:
            # Without a rendered file, the plan says why there is none, and all variables would seem unset.
            if planned_data(new) is None:
                return problems
            problems += unset(context, new)
        problems += of_site(new)
        project = Project(context, new, tool)
        try:
            there = containers(context, project.name)
            # `up --remove-orphans` would remove containers of others that share the project's name.
            if old is None and there:
                problems.append(requirements.name_taken(context, project.name, there))
            problems += requirements.missing(project)
            problems += requirements.ports_taken(project, is_first=old is None)
        except StepError as error:
            problems += [Problem(error.where, error.what, error.hint), *error.problems]
        return problems

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return what becomes of each service and why, and which volumes the project has."""
        # People have contexts of their own: which engine it is must not be a guess.
        engine = f"engine: {engine_address()}"
        data = list(left_behind(context, old, new, compose_files(old))) if old else []
        if new is None:
            gone = [f"stop and remove project {project_name(old)}", *_volumes(context, old)] if old else []
            return [*gone, engine, *data] if old else []
        # Bundles of earlier versions may have such variables, and are installed and rolled back to as before.
        loose = unset(context, new) if "env" not in new.options else []
        notes = [f"{each.where}: {each.what}; Compose takes an empty text" for each in loose[:_NAMED]]
        site = override(new)
        files = [*compose_files(new), *([f"{site.origin} of the site"] if site else [])]
        lines = [f"{'update' if old else 'start'} project {project_name(new)} from {', '.join(files)}"]
        try:
            tool = require_tool(context)
            project = Project(context, new, tool)
            before = Project(context, old, tool) if old else None
            known = before if before and _services(before) else None
            lines += [each.text() for each in _changes(known, project)]
            lines += [f"volume {name}: its data stay" for name in project.model.own("volumes")]
            lines += _dropped(known, project) if known else []
        except (WaybillError, OSError):
            pass  # `check` says why, and nothing is carried out
        return [*lines, engine, *data, *notes]

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return the two operations that enclose the change of files.

        Raises:
            HostNotReadyError: Compose was removed since `check`, or refuses the file.
        """
        try:
            tool = require_tool(context)
            project = Project(context, new, tool) if new else None
            before = Project(context, old, tool) if old else None
            services = _services(before) if before else {}
            changes = _changes(before if services else None, project) if project else []
            contents = project.contents if project else {}
            for name, each in services.items():
                each["differs"] = bool(project) and contents.get(name, "") != each["content"]
        except StepError as error:
            raise HostNotReadyError(error.what, where=error.where, hint=error.hint) from error
        if (either := before or project) is None:
            return []
        old_file = before.file if before else ""
        # The old release's environment: undoing runs its Compose file with it.
        args = {**either.args, "old": old_file, "down": project is None, "services": services}
        down = "" if project else f"stop and remove project {either.name}"
        ops = [Op("compose.before", args, "switch", down)]
        if new is not None and project is not None:
            again = [each.name for each in changes if each.forced]
            config = [item.path for item in _rendered(new)]
            args = {**project.args, "old": old_file, "file": project.file, "config": config}
            gone = [each.name for each in changes if each.does == "remove"]
            args |= {"contents": contents, "again": again, "gone": gone}
            ops.append(Op("compose.up", args, "activate", f"start project {project.name}"))
        return ops

    def restarts(self, context: Context, target: Target) -> Mapping[str, int]:
        """Return how often the engine has restarted each container."""
        try:
            there = containers(context, project_name(target))
        except StepError:
            return {}
        return {f"service {each.service} ({each.name})": each.restarts for each in there}

    def failure_logs(self, context: Context, target: Target) -> list[Problem]:
        """Return the last lines that the containers logged."""
        return last_lines(context, project_name(target), [item.path for item in _rendered(target)])

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return which services are not as this release has them."""
        edited = release_files.changed(context, target.release, KIND)
        tool = find_tool(context)
        project = Project(context, target, [] if isinstance(tool, Problem) else tool)
        try:
            there = containers(context, project.name)
        except StepError as error:
            return [*edited, Problem("compose", error.what, error.hint)]
        if not there:
            return [*edited, Problem("compose", f"project {project.name} has no containers")]
        if edited or isinstance(tool, Problem):
            unknown = [tool] if isinstance(tool, Problem) else []
            return [*edited, *unknown, *without_model(project, there)]
        try:
            current = load(context.system, context.layout).current
            return [*differences(project, there, current.installed if current else 0)]
        except StepError as error:
            return [Problem("compose", error.what, error.hint), *without_model(project, there)]

    def inventory(self, context: Context, target: Target, *, running: bool) -> list[InventoryItem]:
        """Return the project of the running release."""
        return [InventoryItem("project", project_name(target))] if running else []

    def data(self, context: Context, target: Target) -> Iterator[InventoryItem]:
        """Return the named volumes of the project."""
        return volumes.volumes(context, target)

    def why_kept(self, context: Context, item: InventoryItem) -> str:
        """Return why a volume is not deleted now."""
        return volumes.why_kept(context, item)

    def purge(self, context: Context, items: Sequence[InventoryItem]) -> None:
        """Delete volumes."""
        volumes.delete(context, items)

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Look for containers, networks and volumes of the projects."""
        known = [item for item in items if item.kind == VOLUME]
        for item in items:
            if item.kind == VOLUME:
                continue
            rows = list(residue(context, item.name, {each.name for each in known}))
            yield from rows
            if all(row.how == "stays" for row in rows):
                yield Residue("gone", "project", item.name)
        yield from volumes.residue(context, known)


def _changes(old: Project | None, new: Project) -> list[ServiceChange]:
    return [*service_changes(old, new, containers(new.context, new.name))]


def _services(project: Project) -> Json:
    """Return what an undo has to know of each service; nothing where the file cannot be used any more.

    `content` is the digest of the files that it mounts, `job` whether others wait until it has ended, and
    `differs`, set by the plan, whether the new release has other files for it.
    """
    try:
        return {
            name: {"content": project.contents.get(name, ""), "job": name in project.model.jobs}
            for name in project.model.services
        }
    except (StepError, ThirdStateError):
        return {}


def _volumes(context: Context, target: Target) -> list[str]:
    """Return what becomes of the volumes of a project that goes."""
    project = project_name(target)
    try:
        found = [*volumes.volumes(context, target)]
        there = names_of(context, VOLUME, project)
    except (StepError, ThirdStateError):
        return []
    # Only a removal decides about data; an upgrade that drops the step leaves them.
    decided: Mapping[str, str] = target.options.get(DATA, {})
    lines = [_fate(each.name, decided.get(each.name, each.why or KEPT)) for each in found if each.mark]
    # Of an earlier release, most often. What the running one does not say of its data, nobody here knows. One
    # that it uses as external may be labelled as the project's own, from an earlier release.
    more = sorted({*there} - {each.name for each in found})
    why = f"it has data of project {project}, but is no volume of this release"
    return [
        *lines,
        *(f"volume {name} stays: {why}; to delete it: `docker volume rm {name}`" for name in more),
    ]


def _dropped(before: Project, project: Project) -> list[str]:
    """Return which volumes the new release does not have any more; what is in them stays."""
    model = project.model
    gone = {*before.model.own("volumes")} - {*model.own("volumes"), *model.external("volumes")}
    there = names_of(project.context, VOLUME, before.name)
    return [
        f"volume {name} stays, with its data: this release no longer has it" for name in there if name in gone
    ]


def _fate(name: str, why: str) -> str:
    if why == KEPT:
        return f"volume {name} stays; it has the data of the project"
    if why:
        return f"volume {name} stays: it {why}"
    return f"DELETE volume {name} and its data: nothing brings them back"


def _rendered(target: Target) -> list[Installed]:
    """Return the paths of rendered configuration."""
    templates = {entry.path for entry in target.release.manifest.of_kind("template")}
    return [item for item in target.release.installed if item.origin in templates]


METHOD = Compose()
