"""What a release wants on the host: every file, link and directory outside of its own directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from installer.core.digest import sha256_hex
from installer.core.errors import HostNotReadyError, Problem
from installer.core.format.health_target import is_template, target_fault
from installer.core.format.manifest import FileEntry, HealthCheck, Manifest
from installer.core.format.methods import installed_by_method
from installer.core.limits import LIMITS
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared.secrecy.site import site_secrets
from installer.shared.values import BuiltIns, Layer, resolve
from installer.staging.staged import Staged
from installer.state.recorded_values import ValueChange, recorded
from installer.state.release import Installed


@dataclass(slots=True)
class Desired:
    """What a release wants, while it is put together.

    Attributes:
        items: Files, links and directories, without the directories that only hold them.
        rendered: Bytes of rendered templates by their destination.
        problems: Why it cannot be had here.
        health: Probes, their targets rendered.
        values: The file that records which values the templates were rendered with; empty where there is
            none.
        value_changes: Which values a rollback changes.
        values_unknown: Whether an earlier version of the installer did not record the values.
        secrets: Values of the site that are secret.
        notes: What the operator should know of the values.
    """

    items: list[Installed] = field(default_factory=list)
    rendered: dict[str, bytes] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    health: tuple[HealthCheck, ...] = ()
    values: bytes = b""
    value_changes: tuple[ValueChange, ...] = ()
    values_unknown: bool = False
    secrets: set[str] = field(default_factory=set, repr=False)
    notes: list[str] = field(default_factory=list)


def destination(entry: FileEntry) -> str:
    """Return where a file goes on the host; empty where it stays in the release's directory."""
    return entry.install or installed_by_method(entry)


def desired(
    system: System,
    layout: Layout,
    staged: Staged,
    *,
    directory: str,
    record: str,
    site: tuple[Layer, ...],
    environment: str = "",
    installs: Callable[[FileEntry, str], bool] = lambda _entry, _path: True,
) -> Desired:
    """Return what a release wants on the host; render its templates.

    Args:
        system: The host.
        layout: Where this product's things lie.
        staged: The release.
        directory: Where its members will lie when they are copied from.
        record: Where its rendered files will lie.
        site: Values files of the command line, from the weakest; they come on top of the host's own.
        environment: What templates see as `waybill.environment`.
        installs: Whether a file of a step is installed at a path: where its method is used.
    """
    result = Desired()
    owners = _Owners(system, result.problems)
    manifest = staged.manifest
    files = [
        (to, entry)
        for entry in manifest.for_platform(system.platform())
        if (to := destination(entry)) and (entry.install or installs(entry, to))
    ]
    values = (
        _values(system, layout, staged, (site, environment), result) if _templated(manifest, files) else {}
    )
    result.health = manifest.health if values is None else _probes(manifest, values, result)
    if values is not None:
        result.values = recorded(values) if values else b""
        _render(system, staged, files, values, result)
    numbers = {to: number for number, to in enumerate(result.rendered, 1)}
    for to, entry in files:
        uid, gid = owners.find(entry.owner, to)
        sha256, size, source = entry.sha256, entry.size, f"{directory}/{entry.path}"
        if to in numbers:
            rendered = result.rendered[to]
            sha256, size = sha256_hex(rendered), len(rendered)
            source = f"{record}/{numbers[to]}"
        result.items.append(
            Installed(to, "file", sha256, size, entry.mode, uid, gid, source=source, origin=entry.path)
        )
    uid, gid = owners.find("", "")
    result.items += [
        Installed(entry.install, "dir", mode=entry.mode, uid=uid, gid=gid, origin=entry.path)
        for entry in manifest.directories
        if entry.install
    ]
    result.items += [
        Installed(entry.install, "link", target=entry.target, origin=entry.path)
        for entry in manifest.links
        if entry.install
    ]
    return result


def _values(
    system: System, layout: Layout, staged: Staged, given: tuple[tuple[Layer, ...], str], result: Desired
) -> dict[str, Any] | None:
    manifest, (site, environment) = staged.manifest, given

    def member(path: str) -> Layer:
        return Layer(path, system.read(f"{staged.directory}/{path}", LIMITS.document_bytes))

    layers = [member(manifest.values)] if manifest.values else []
    try:
        data = system.read(layout.site_values, LIMITS.document_bytes, follow=True)
        layers.append(Layer(layout.site_values, data, system.mode_of(layout.site_values)))
    # A site without values of its own uses the defaults of the release.
    except FileNotFoundError:
        pass
    except OSError as error:
        hint = "run as root" if isinstance(error, PermissionError) else ""
        result.problems.append(Problem(layout.site_values, f"cannot read: {error.strerror}", hint))
    schema = member(manifest.values_schema) if manifest.values_schema else None
    # Before they are checked: what is said of a wrong value quotes it.
    result.secrets, result.notes = site_secrets([*layers, *site], schema)
    try:
        return resolve([*layers, *site], schema, BuiltIns(manifest.version, manifest.product, environment))
    except HostNotReadyError as error:
        result.problems += _problems(error)
        return None


def _templated(manifest: Manifest, files: list[tuple[str, FileEntry]]) -> bool:
    return any(entry.kind == "template" for _, entry in files) or any(
        is_template(word) for check in manifest.health for word in (check.target, *check.command)
    )


def _probes(manifest: Manifest, values: Mapping[str, Any], result: Desired) -> tuple[HealthCheck, ...]:
    """Return the health checks with their targets rendered: the site chooses ports."""
    from installer.shared.rendering.release import Template, render_all

    rows = {
        f"bundle.json: health[{index}].{field}": (check.kind if field == "target" else "", text)
        for index, check in enumerate(manifest.health)
        for field, text in (
            ("target", check.target),
            *((f"command[{number}]", word) for number, word in enumerate(check.command)),
        )
        if is_template(text)
    }
    templates = [Template(where, text.encode) for where, (_, text) in rows.items()]
    filled: dict[str, str] = {}
    for (where, (kind, text)), made in zip(rows.items(), render_all(templates, values), strict=False):
        if isinstance(made, HostNotReadyError):
            result.problems += _problems(made)
            continue
        filled[where] = made.decode()
        # Before anything is stopped: a typing mistake in a values file is no reason to roll back.
        form = "text without a NUL character" if b"\0" in made else target_fault(kind, filled[where])
        form = form or ("the name of a program" if where.endswith(".command[0]") and not made else "")
        if form:
            what = f"{text} is {filled[where]!r:.80} with the values of this host, but must be {form}"
            result.problems.append(Problem(where, what, "correct the values files; nothing was changed"))
    return tuple(
        replace(
            check,
            target=filled.get(f"bundle.json: health[{index}].target", check.target),
            command=tuple(
                filled.get(f"bundle.json: health[{index}].command[{number}]", word)
                for number, word in enumerate(check.command)
            ),
        )
        for index, check in enumerate(manifest.health)
    )


def _render(
    system: System,
    staged: Staged,
    files: list[tuple[str, FileEntry]],
    values: Mapping[str, Any],
    result: Desired,
) -> None:
    """Render the templates among the files, all of them in one child process."""
    from installer.shared.rendering.release import Template, render_all

    def read(entry: FileEntry) -> bytes:
        template = system.read(f"{staged.directory}/{entry.path}", LIMITS.document_bytes)
        # Read a second time, after it was staged: it may have been changed since.
        if sha256_hex(template) != entry.sha256:
            what = "differs from the verified content"
            result.problems.append(Problem(entry.path, what, "run the same command again"))
            return b""
        return template

    rows = [(to, entry) for to, entry in files if entry.kind == "template"]
    # A template that has no result has a problem, and no plan with a problem is carried out.
    result.rendered |= dict.fromkeys((to for to, _ in rows), b"")
    templates = [Template(entry.path, partial(read, entry)) for _, entry in rows]
    for (to, _), made in zip(rows, render_all(templates, values), strict=False):
        if isinstance(made, HostNotReadyError):
            result.problems += _problems(made)
        else:
            result.rendered[to] = made


def _problems(error: HostNotReadyError) -> list[Problem]:
    return list(error.problems) or [Problem(error.where, error.what, error.hint)]


class _Owners:
    """Looks up users and groups, each once; without root rights owners are not set."""

    def __init__(self, system: System, problems: list[Problem]) -> None:
        self._system = system
        self._problems = problems
        self._found: dict[str, tuple[int, int]] = {}

    def find(self, owner: str, path: str) -> tuple[int, int]:
        if not self._system.privileged:
            return -1, -1
        if owner not in self._found:
            user, _, group = owner.partition(":")
            uid = self._system.user_id(user) if user else 0
            gid = self._system.group_id(group or user) if owner else 0
            for what, name, number in (("user", user, uid), ("group", group or user, gid)):
                if number is None:
                    below = "" if self._system.live else f" --root {self._system.root}"
                    hint = f"create it first: {what}add --system {name}{below}"
                    problem = Problem(path, f"its {what} {name} does not exist on this host", hint)
                    self._problems.append(problem)
            self._found[owner] = (-1 if uid is None else uid, -1 if gid is None else gid)
        return self._found[owner]
