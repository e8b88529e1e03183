"""What a release wants on the host: every file, link and directory outside of its own directory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from installer.core.digest import sha256_hex
from installer.core.errors import HostNotReadyError, Problem
from installer.core.format.entries.health_check import text_fault, texts, with_texts
from installer.core.format.health_target import is_template, without_secrets
from installer.core.format.manifest import FileEntry, HealthCheck, Manifest
from installer.core.format.methods import installed_by_method
from installer.core.limits import LIMITS
from installer.core.schema_errors import quoted
from installer.host.context import Context
from installer.host.system import System
from installer.planning.cluster import members
from installer.planning.cluster.discovery import Sight
from installer.planning.cluster.members import Cluster, cluster_of
from installer.planning.step_files.accounts import Owners, created
from installer.planning.step_files.rendered import StepFile, completed, step_files, with_references
from installer.planning.step_files.site_files import site_files
from installer.secrets.site import SiteSecrets
from installer.shared.configuration.peers import BUILT_IN as PEERS
from installer.shared.rendering.confidential import Rendered, Rendering
from installer.shared.rendering.release import Template
from installer.shared.values import BUILT_IN, Layer
from installer.staging.staged import Staged
from installer.state import recorded_values
from installer.state.recorded_values import RecordedSecret, RecordedSecrets, Span, ValueChange, recorded
from installer.state.release import Installed, Release
from installer.state.site_layers import LayerUse, release_values

_DEFAULT_MODE = 0o644
"""What a manifest has where no mode was declared."""
_OTHERS = 0o007
_NAMED = 5
"""Files that a note names."""


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
        layers: Where they come from, from the weakest; empty where no template uses values.
        confidential: Destinations of rendered templates that depend on secrets of stores.
        unrendered: Destinations of templates that could not be rendered; each has a problem.
        store_secrets: The values that are secrets of stores.
        cluster: The cluster of the host; None where the release expects nothing of it.
        members: The file that records it; empty where there is none.
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
    layers: tuple[LayerUse, ...] = ()
    confidential: set[str] = field(default_factory=set)
    unrendered: set[str] = field(default_factory=set)
    store_secrets: tuple[RecordedSecret, ...] = ()
    cluster: Cluster | None = None
    members: bytes = b""

    def record_files(self) -> dict[str, bytes]:
        """Return what is written next to the record of the release, by name."""
        files = {str(number): data for number, data in enumerate(self.rendered.values(), 1)}
        files |= {recorded_values.NAME: self.values} if self.values else {}
        return files | ({members.NAME: self.members} if self.members else {})


def destination(entry: FileEntry) -> str:
    """Return where a file goes on the host; empty where it stays in the release's directory."""
    return entry.install or installed_by_method(entry)


def desired(
    context: Context,
    staged: Staged,
    secrets: SiteSecrets,
    *,
    directory: str,
    record: str,
    site: tuple[Layer, ...],
    environment: str = "",
    sight: Sight | None = None,
    installs: Callable[[FileEntry, str], bool] = lambda _entry, _path: True,
    used: Collection[str] | None = None,
) -> Desired:
    """Return what a release wants on the host; render its templates.

    Args:
        context: The product.
        staged: The release.
        secrets: Resolves the references among the values.
        directory: Where its members will lie when they are copied from.
        record: Where its rendered files will lie.
        site: Layers of the command line, from the weakest; they come on top of the host's own.
        environment: What templates see as `waybill.environment`.
        sight: Looks for the peers of the cluster, where the site asks for it.
        installs: Whether a file of a step is installed at a path: where its method is used.
        used: The methods that are used; None for all.

    Raises:
        HostNotReadyError: Secrets could not be kept secret.
    """
    result, system = Desired(), context.system
    manifest = staged.manifest
    files = [
        (to, entry)
        for entry in manifest.for_platform(system.platform())
        if (to := destination(entry)) and (entry.install or installs(entry, to))
    ]
    own = {file.path: file for file in step_files(manifest, directory, used)}
    files += [(path, file.entry) for path, file in own.items()]
    if _templated(manifest, files):
        _configure(context, staged, secrets, files, (site, environment), result, sight, _referring(own))
    else:
        result.health = manifest.health
    release = Release(manifest, staged.identity, directory, staged.directory)
    _complete(context, release, own.values(), result)
    given, problems = site_files(context, manifest, directory, used)
    result.problems += problems
    result.rendered |= {file.path: file.data for file in given}
    owners = Owners(system, result.problems, created(context, staged, files))
    numbers = {to: number for number, to in enumerate(result.rendered, 1)}
    for to, entry in files:
        uid, gid = owners.find(entry.owner, to)
        sha256, size, source = entry.sha256, entry.size, f"{directory}/{entry.path}"
        if to in numbers:
            rendered = result.rendered[to]
            sha256, size = sha256_hex(rendered), len(rendered)
            source = f"{record}/{numbers[to]}"
        mode = _private(entry.mode) if to in result.confidential else entry.mode
        if to in own and _tells(result.rendered.get(to, b""), result.secrets):
            mode = _private(entry.mode)
        result.items.append(
            Installed(
                to, "file", sha256, size, mode, uid, gid, source=source, origin=entry.path,
                # As with owners: only root can set them.
                capabilities=entry.capabilities if system.privileged else "",
            )
        )  # fmt: skip
    for each in (row for row in manifest.directories if row.install):
        uid, gid = owners.find(each.owner, each.install)
        result.items.append(
            Installed(each.install, "dir", mode=each.mode, uid=uid, gid=gid, origin=each.path)
        )
    if not system.privileged and any(entry.capabilities for _, entry in files):
        result.notes.append("not run as root: capabilities of files are not set")
    uid, gid = owners.find("", "")
    result.items += [file.installed(uid, gid, f"{record}/{numbers[file.path]}") for file in given]
    result.items += [
        Installed(entry.install, "link", target=entry.target, origin=entry.path)
        for entry in manifest.links
        if entry.install
    ]
    return result


def check_configuration(
    context: Context,
    staged: Staged,
    secrets: SiteSecrets,
    *,
    site: tuple[Layer, ...],
    environment: str,
) -> Desired:
    """Return what is wrong with the values of a host for a release, and with what its templates make of them.

    Args:
        context: The product.
        staged: The release.
        secrets: Resolves the references among the values.
        site: Layers of the command line, from the weakest.
        environment: What templates see as `waybill.environment`.

    Raises:
        HostNotReadyError: Secrets could not be kept secret.
    """
    result = Desired()
    entries = staged.manifest.for_platform(context.system.platform())
    files = [(to, entry) for entry in entries if (to := destination(entry))]
    own = {file.path: file for file in step_files(staged.manifest, staged.directory, None)}
    files += [(path, file.entry) for path, file in own.items()]
    _configure(context, staged, secrets, files, (site, environment), result, referring=_referring(own))
    release = Release(staged.manifest, staged.identity, staged.directory, staged.directory)
    _complete(context, release, own.values(), result)
    result.problems += site_files(context, staged.manifest, staged.directory, None)[1]
    return result


def _referring(own: Mapping[str, StepFile]) -> list[str]:
    return [path for path, file in own.items() if file.keeps_references]


def _complete(context: Context, release: Release, files: Iterable[StepFile], result: Desired) -> None:
    """Let the methods complete what their steps render; a template without a result has a problem already."""
    for file in files:
        if file.path not in result.rendered or file.path in result.unrendered:
            continue
        data, problems = completed(context, release, file, result.rendered[file.path])
        # Values that are wrong are none: no step is tried with them.
        result.rendered[file.path] = b"" if problems and file.keeps_references else data
        result.problems += problems


def _tells(data: bytes, secrets: Iterable[str]) -> bool:
    """Return whether a secret of the site is in a rendered file."""
    text = data.decode("utf-8", "replace")
    return any(secret in text for secret in secrets)


def _configure(
    context: Context,
    staged: Staged,
    secrets: SiteSecrets,
    files: list[tuple[str, FileEntry]],
    given: tuple[tuple[Layer, ...], str],
    result: Desired,
    sight: Sight | None = None,
    referring: Collection[str] = (),
) -> None:
    """Merge the values, and render probes and templates with them."""
    system, release = context.system, (staged.manifest, staged.directory)
    result.unrendered |= {to for to, entry in files if entry.kind == "template"}
    found = release_values(system, context.layout, release, *given, secrets.substitute)
    result.secrets, result.layers = found.secrets, found.layers
    result.notes += [*found.notes, *secrets.notes]
    result.problems += found.problems
    values, merged = found.configuration.values, found.configuration.merged
    if staged.manifest.cluster:
        said = {problem.where for problem in result.problems}
        result.cluster, wrong = cluster_of(system, context.layout, staged.manifest.cluster, merged, sight)
        # The schema of the release may refuse the same peer.
        result.problems += [problem for problem in wrong if problem.where not in said]
    # What cannot be read is no reason to keep quiet about what the templates lack.
    if found.configuration.problems or (staged.manifest.cluster and not result.cluster):
        return
    if result.cluster:
        values[BUILT_IN] |= {PEERS: result.cluster.as_value()}
        result.members = result.cluster.as_bytes()
    references = {**merged.values, BUILT_IN: values[BUILT_IN]}
    rendering = Rendering.of(values, references, merged.told, secrets.values())
    spans: dict[str, tuple[Span, ...]] = {}
    result.health = _probes(staged.manifest, rendering, result, spans)
    _render(system, staged, files, rendering, result, spans, referring)
    result.store_secrets = tuple(RecordedSecret(*row) for row in secrets.digests())
    result.values = recorded(values, secrets.keyed, RecordedSecrets(result.store_secrets, spans))
    result.notes += _narrowed(files, result.confidential)


def _private(mode: int) -> int:
    """Return the mode of a file with secrets of stores: 0600, or a declared one without rights of others."""
    return 0o600 if mode == _DEFAULT_MODE else mode & ~_OTHERS


def _narrowed(files: list[tuple[str, FileEntry]], confidential: set[str]) -> list[str]:
    rows = [
        f"{to} ({entry.mode:04o})"
        for to, entry in files
        if to in confidential and entry.install and _private(entry.mode) != entry.mode
    ]
    if not rows:
        return []
    more = f", … {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    what = f"not readable by other users, since secrets of stores are in it: {', '.join(rows[:_NAMED])}{more}"
    return [f"{what}; a service that has to read it needs an `owner` in the bundle, or a `mode` such as 0640"]


def _templated(manifest: Manifest, files: list[tuple[str, FileEntry]]) -> bool:
    return (
        manifest.cluster is not None
        or any(entry.kind == "template" for _, entry in files)
        or any(is_template(text) for check in manifest.health for _, text in texts(check))
    )


def _probes(
    manifest: Manifest, render: Rendering, result: Desired, spans: dict[str, tuple[Span, ...]]
) -> tuple[HealthCheck, ...]:
    """Return the health checks with their texts rendered: the site chooses ports."""
    rows = [
        (index, check.kind, name, text)
        for index, check in enumerate(manifest.health)
        for name, text in texts(check)
        if is_template(text)
    ]
    templates = [
        Template(f"bundle.json: health[{index}].{name}", text.encode) for index, _, name, text in rows
    ]
    filled: dict[int, dict[str, str]] = {}
    for (index, kind, name, text), made in zip(rows, render(templates), strict=False):
        if isinstance(made.data, HostNotReadyError):
            result.problems += _problems(made.data)
            continue
        filled.setdefault(index, {})[name] = made.data.decode()
        problem = _probe_problem(index, (kind, name), text, made)
        result.problems += [problem] if problem else []
        spans[f"health {index}" if name == "target" else f"health {index}.{name}"] = made.spans
    return tuple(with_texts(check, filled.get(index, {})) for index, check in enumerate(manifest.health))


def _probe_problem(index: int, field: tuple[str, str], text: str, made: Rendered) -> Problem | None:
    """Return what is wrong with a rendered text of a probe."""
    # Before anything is stopped: a typing mistake in a values file is no reason to roll back.
    where, data = (
        f"bundle.json: health[{index}].{field[1]}",
        made.data if isinstance(made.data, bytes) else b"",
    )
    if made.confidential and field[1].startswith("command["):
        what = f"{text} would put a secret into the arguments of a program, which every user can read"
        return Problem(where, what, "the release has to give the program a file with the secret instead")
    form = "text without a NUL character" if b"\0" in data else text_fault(*field, data.decode())
    if not form:
        return None
    shown = "a text with a secret" if made.confidential else quoted(without_secrets(data.decode()))
    what = f"{text} is {shown} with the values of this host, but must be {form}"
    return Problem(where, what, "correct the values files; nothing was changed")


def _render(
    system: System,
    staged: Staged,
    files: list[tuple[str, FileEntry]],
    render: Rendering,
    result: Desired,
    spans: dict[str, tuple[Span, ...]],
    referring: Collection[str],
) -> None:
    """Render the templates among the files, all of them in one child process.

    In what is at the paths `referring`, references stay in place of secrets.
    """

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
    for number, ((to, made_of), made) in enumerate(zip(rows, render(templates), strict=False), 1):
        data, is_referring = made.data, to in referring and made.confidential
        if is_referring and isinstance(data, bytes):
            # With the references in it, it tells nothing of the secrets.
            data = with_references(made, made_of.path)
        result.confidential |= {to} if made.confidential and not is_referring else set()
        spans[str(number)] = () if is_referring else made.spans
        if isinstance(data, HostNotReadyError):
            result.problems += _problems(data)
        else:
            result.rendered[to] = data
            result.unrendered.discard(to)


def _problems(error: HostNotReadyError) -> list[Problem]:
    return list(error.problems) or [Problem(error.where, error.what, error.hint)]
