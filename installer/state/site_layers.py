"""The values of a host for one release, and their layers: environment, cluster, the host itself.

A whole directory can lie on every host: a file of another environment or cluster is none of this host's
business. What looks like a layer and is none is told, since its values would be missed silently.

Root renders what is in these files, so only what nobody else can change is read. A link that leads nowhere, a
pipe or a directory is not "no values": the defaults would be used in their place without a word.
"""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from installer.core.errors import HostNotReadyError, Problem, WaybillError
from installer.core.format.manifest import Manifest
from installer.core.limits import LIMITS
from installer.core.schema_errors import did_you_mean
from installer.core.trust.root import ENVIRONMENT
from installer.host.host import A_KIND, Seen
from installer.host.layout import Layout
from installer.host.ownership import unprotected
from installer.host.system import System
from installer.shared import strict_yaml
from installer.shared.configuration.merge import LayerKind
from installer.shared.configuration.release_layers import release_layers
from installer.shared.configuration.substitution import not_resolved
from installer.shared.secrecy.site import schema_of, site_secrets
from installer.shared.values import BuiltIns, Configuration, Layer, Substitute, configure, excess_of
from installer.state.host_identity import (
    CLUSTER_FILE,
    ENVIRONMENT_FILE,
    recorded_cluster,
    recorded_environment,
)

SUFFIX = ".yaml"
_BACKUPS = ("~", ".bak", ".orig", ".old", ".swp", ".rpmsave", ".rpmnew", ".dpkg-old", ".dpkg-dist")
_NAMED = 5
"""Names in one warning."""


@dataclass(slots=True)
class SiteLayers:
    """What a host sets for a product.

    Attributes:
        layers: Its files, from the weakest.
        problems: Files that cannot be read, or that others could have changed.
        notes: What looks like a layer and is none.
    """

    layers: list[Layer] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LayerUse:
    """A layer that was read.

    Attributes:
        layer: Which one it is.
        file: Its file; of the release its path in the bundle; what was typed, without the value, for `--set`.
    """

    layer: LayerKind
    file: str


@dataclass(frozen=True, slots=True)
class ReleaseValues:
    """The values of a host for one release.

    Attributes:
        configuration: The values, merged and checked.
        layers: What was read, from the weakest.
        problems: Everything wrong with them, what cannot be read included.
        notes: What the operator should know of the files.
        secrets: Values that are secret.
        schema: The values schema of the release; None where it has none.
    """

    configuration: Configuration
    layers: tuple[LayerUse, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    secrets: set[str] = field(repr=False)
    schema: dict[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ValuesFile:
    """A values file that was read.

    Attributes:
        data: Its bytes.
        mode: Its permission bits.
    """

    data: bytes
    mode: int


def release_values(
    system: System,
    layout: Layout,
    release: tuple[Manifest, str],
    given: tuple[Layer, ...] = (),
    environment: str = "",
    substitute: Substitute = not_resolved,
) -> ReleaseValues:
    """Merge the layers of a release with those of the host and those of the command.

    Args:
        system: The host.
        layout: Where this product's things lie.
        release: Its verified manifest, and the directory that holds its members.
        given: Layers of the command line, from the weakest.
        environment: The environment of this host; empty for none.
        substitute: Resolves references to secrets; by default they stay as they are.

    Raises:
        UntrustedError: Somebody else could have changed which cluster this host belongs to.
        HostNotReadyError: Secrets could not be kept secret.
    """
    (manifest, directory), cluster = release, ""
    try:
        cluster = recorded_cluster(system)
        site = site_layers(system, layout, environment)
    except HostNotReadyError as error:
        site = SiteLayers(problems=[Problem(error.where, error.what, error.hint)])

    def read(path: str) -> bytes:
        return system.read(f"{directory}/{path}", LIMITS.document_bytes)

    shipped = release_layers(manifest, read, environment, cluster)
    # Whatever the site wrote wins over all that the release brings.
    layers, schema = [*shipped.layers, *site.layers, *given], shipped.schema
    # Before they are checked: what is said of a wrong value quotes it.
    secrets, notes = site_secrets(layers, schema) if not excess_of(layers) else (set[str](), [])
    built_ins = BuiltIns(manifest.version, manifest.product, environment)
    found = configure(layers, schema, built_ins, substitute=substitute)
    return ReleaseValues(
        found,
        tuple(LayerUse(layer.kind, layer.name) for layer in layers),
        (*shipped.problems, *site.problems, *found.problems),
        (*shipped.notes, *site.notes, *notes),
        secrets,
        schema_of(schema),
    )


def site_layers(system: System, layout: Layout, environment: str) -> SiteLayers:
    """Read the layers of a host.

    Args:
        system: The host.
        layout: Where this product's things lie.
        environment: The environment of this host; empty for none.

    Raises:
        UntrustedError: Somebody else could have changed which cluster this host belongs to.
        HostNotReadyError: The file with its cluster is damaged.
    """
    found, cluster = SiteLayers(), recorded_cluster(system)
    for kind, path in layer_files(layout, environment, cluster):
        _read(system, kind, path, found)
    found.notes += _misspelt(system, layout)
    found.notes += _others(system, layout.environments, environment, ENVIRONMENT_FILE)
    found.notes += _others(system, layout.clusters, cluster, CLUSTER_FILE)
    return found


def layer_files(layout: Layout, environment: str, cluster: str) -> Iterator[tuple[LayerKind, str]]:
    """Yield the files that a host would read, from the weakest, whether they are there or not."""
    if environment:
        yield "environment", f"{layout.environments}/{environment}{SUFFIX}"
    if cluster:
        yield "cluster", f"{layout.clusters}/{cluster}{SUFFIX}"
    yield "host", layout.site_values


def all_layer_files(system: System, layout: Layout) -> Iterator[str]:
    """Yield every values file on a host: its own first, then those of other environments and clusters."""
    own = {layout.site_values: None}
    # What is wrong with these settings is told by the commands that go by them.
    for recorded, directory in (
        (recorded_environment, layout.environments),
        (recorded_cluster, layout.clusters),
    ):
        with suppress(WaybillError):
            own[f"{directory}/{recorded(system)}{SUFFIX}"] = None
    yield from own
    for directory in (layout.environments, layout.clusters):
        with suppress(OSError):
            names = system.names(directory)
            yield from (
                path for name in names if name.endswith(SUFFIX) and (path := f"{directory}/{name}") not in own
            )


def _read(system: System, kind: LayerKind, path: str, found: SiteLayers) -> None:
    read = read_values_file(system, path)
    # A site without values of its own uses the defaults of the release.
    if isinstance(read, ValuesFile):
        found.layers.append(Layer(path, read.data, read.mode, kind))
    elif read is not None:
        # A directory that others can write to is a fault of each file in it, and is said once.
        found.problems += [problem for problem in read if problem not in found.problems]


def read_values_file(system: System, path: str) -> ValuesFile | list[Problem] | None:
    """Return a values file of a host; why it is not used, at least one reason; or None where it is absent.

    Args:
        system: The host.
        path: The file, as a host path.
    """
    # First: nobody can change between the two what nobody else could change before. And what others could
    # have put there is not even opened: an error about its content would show what a link leads to.
    if found := unprotected(system, path):
        return [_could_be_changed(each) for each in found]
    try:
        # A part that is wrong would make all that is below it look absent.
        for part in _parts(path):
            seen, target = _behind(system, part)
            if seen.kind == "absent" and not target:
                return None
            if problem := _wrong(system, part, seen, target, wanted="file" if part == path else "dir"):
                return [problem]
        return ValuesFile(system.read(path, strict_yaml.MAX_BYTES, follow=True), system.mode_of(path))
    except OSError as error:
        if error.errno == errno.EFBIG:
            what = f"is larger than {strict_yaml.MAX_BYTES // 1024} KiB"
            return [Problem(path, what, "move large data into separate files")]
        hint = "run as root" if isinstance(error, PermissionError) else ""
        return [Problem(path, f"cannot read: {error.strerror}", hint)]


def _could_be_changed(problem: Problem) -> Problem:
    what = f"{problem.what}: values that root renders could have been changed"
    return replace(problem, what=what, hint=f"{problem.hint}, then check the values there")


def _parts(path: str) -> list[str]:
    names = path.strip("/").split("/")
    return ["/" + "/".join(names[:end]) for end in range(1, len(names) + 1)]


def _behind(system: System, path: str) -> tuple[Seen, str]:
    """Return what a path leads to, and where it points if it is a link."""
    seen = system.observe(path, digest=False)
    if seen.kind != "link":
        return seen, ""
    try:
        with system.open_parent(path, follow=True) as at:
            place = "/" + "/".join(at.parts)
    except (FileNotFoundError, NotADirectoryError):
        return Seen("absent"), seen.target
    return system.observe(place, digest=False), seen.target


def _wrong(system: System, path: str, seen: Seen, target: str, *, wanted: str) -> Problem | None:
    if seen.kind == wanted:
        return None
    name = shlex.quote(system.root.rstrip("/") + path)
    if seen.kind == "absent":
        # A link out of the root directory is followed inside of it, as the system that boots there does.
        below = "" if system.live else f" below {system.root}"
        what = f"is a link to {target}, which does not exist{below}"
        return Problem(path, what, f"put what it should lead to there, or remove the link: `rm {name}`")
    kind = A_KIND[seen.kind]
    led = f"is a link to {target}, which is {kind}" if target else f"is {kind}"
    instead = "a file with values" if wanted == "file" else "a directory"
    return Problem(path, f"{led}, not {A_KIND[wanted]}", f"put {instead} there, or remove it")


def _misspelt(system: System, layout: Layout) -> Iterator[str]:
    known = [path.rpartition("/")[2] for path in (layout.site_values, layout.environments, layout.clusters)]
    with suppress(OSError):
        names = system.names(layout.config)
        for name in names:
            meant = "" if name in known or name.endswith(_BACKUPS) else did_you_mean(name, known)
            if meant:
                yield f"not read: {layout.config}/{name}; did you mean {meant}?"


def _others(system: System, directory: str, own: str, chosen_by: str) -> Iterator[str]:
    """Yield what is wrong with the other names in a directory of layers."""
    try:
        names = [name for name in system.names(directory) if not name.endswith(_BACKUPS)]
    except NotADirectoryError:
        yield f"not read: {directory} is not a directory"
        return
    # What this user may not list is said of the file itself, if it is there.
    except OSError:
        return
    named = [name for name in names if _is_layer(name)]
    if named and not own:
        kind = chosen_by.rpartition("/")[2]
        yield (
            f"not read: the files in {directory}, since this host belongs to no {kind}: write its name to "
            f"{chosen_by}"
        )
    odd = [name for name in names if name not in named]
    if odd:
        listed = ", ".join(odd[:_NAMED]) + (f", … {len(odd) - _NAMED} more" if len(odd) > _NAMED else "")
        yield f"not read: {listed} in {directory}; values files there are called NAME{SUFFIX}"
    if own and f"{own}{SUFFIX}" not in names:
        others = [name.removesuffix(SUFFIX) for name in named]
        if meant := did_you_mean(own, others):
            yield f"not read: {directory}/{meant}{SUFFIX}; did you mean {own}{SUFFIX}, which is not there?"


def _is_layer(name: str) -> bool:
    return name.endswith(SUFFIX) and ENVIRONMENT.fullmatch(name.removesuffix(SUFFIX)) is not None
