"""The files that a Compose file refers to: which, from where, and what for.

Paths are relative to a directory that depends on how Compose got to a file: those of the merged files mean
the directory of the first, those of an extended file its own, and those of an included one the directory that
its `include` names, or that of the first included file.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from installer.core.risk.compose_values import entries, is_true, items, resolved, text_of

Path = tuple[str | int, ...]
Role = Literal["project", "variables", "content", "mount", "device"]
_HOST = ("/", "~")
_NAMED = ("volume", "tmpfs", "image", "cluster", "npipe")


@dataclass(frozen=True, slots=True)
class Reference:
    """One path that a Compose file has.

    Attributes:
        role: What is there: `project` another Compose file, `variables` for the interpolation of one,
            `content` a file that Compose or a container reads, `mount` a bind mount, `device` that of a
            volume.
        what: The subject of a message, as `env_file of service web`.
        path: As it is written, with the variables filled in that have one value on every host.
        base: The directory that it is relative to.
        at: The keys that lead to it.
        inner: For another Compose file: the directory that paths in it are relative to.
        required: Whether Compose fails without it.
        writable: Whether a container may write to it.
    """

    role: Role
    what: str
    path: str
    base: str
    at: Path
    inner: str = ""
    required: bool = True
    writable: bool = False

    @property
    def on_host(self) -> bool:
        """Whether it is a path of the host, or may be one: a variable decides."""
        return self.path.startswith((*_HOST, "$"))

    @property
    def target(self) -> str:
        """The path in normal form; it begins with `..` where it leads out of the product."""
        return posixpath.normpath(posixpath.join(self.base, self.path))


def references(document: Any, base: str) -> Iterator[Reference]:
    """Yield the paths that a Compose file has, in its order.

    Args:
        document: Its values; aliases and merges are resolved.
        base: The directory that its relative paths mean.
    """
    root = document if isinstance(document, Mapping) else {}
    for number, each in enumerate(items(root.get("include"))):
        yield from _included(each, base, ("include", number))
    for name, service in entries(root.get("services")):
        if isinstance(service, Mapping):
            yield from _service(name, service, base)
    for section in ("configs", "secrets"):
        for name, each in entries(root.get(section)):
            if isinstance(each, Mapping) and (path := _path(each.get("file"))):
                yield Reference("content", f"{section}.{name}", path, base, (section, name, "file"))
    for name, volume in entries(root.get("volumes")):
        yield from _volume(name, volume, base)


def _included(each: Any, base: str, at: Path) -> Iterator[Reference]:
    said = each if isinstance(each, Mapping) else {"path": each}
    paths = [path for item in items(said.get("path")) if (path := _path(item))]
    if not paths:
        return
    directory = _path(said.get("project_directory"))
    first = posixpath.join(base, paths[0])
    inner = posixpath.normpath(posixpath.join(base, directory) if directory else posixpath.dirname(first))
    for path in paths:
        yield Reference("project", "include", path, base, at, inner)
    named = [path for item in items(said.get("env_file")) if (path := _path(item))]
    for path in named:
        yield Reference("variables", "env_file of include", path, base, at)
    if not named:
        # Compose reads it if it is there.
        yield Reference("variables", "include", ".env", inner, at, required=False)


def _service(name: str, service: Mapping[str, Any], base: str) -> Iterator[Reference]:
    at: Path = ("services", name)
    extends = service.get("extends")
    if isinstance(extends, Mapping) and (path := _path(extends.get("file"))):
        inner = posixpath.normpath(posixpath.dirname(posixpath.join(base, path)))
        yield Reference("project", f"extends of service {name}", path, base, (*at, "extends", "file"), inner)
    for key in ("env_file", "label_file"):
        listed = service.get(key)
        for number, each in enumerate(items(listed)):
            place = (*at, key, number) if isinstance(listed, list) else (*at, key)
            said = each if isinstance(each, Mapping) else {"path": each}
            required = text_of(said.get("required", True)).lower() != "false"
            if path := _path(said.get("path")):
                what = f"{key} of service {name}"
                yield Reference("content", what, path, base, place, required=required)
    for number, each in enumerate(items(service.get("volumes"))):
        yield from _mount(name, each, base, (*at, "volumes", number))


def _mount(service: str, each: Any, base: str, at: Path) -> Iterator[Reference]:
    each = resolved(each)[0]
    if isinstance(each, Mapping):
        source, is_bind = text_of(each.get("source")), text_of(each.get("type")) not in _NAMED
        read_only = is_true(each.get("read_only"))
    else:
        source, _, rest = text_of(each).partition(":")
        # Anything else is the name of a volume.
        is_bind = rest != "" and source.startswith((".", *_HOST, "$"))
        read_only = "ro" in rest.rpartition(":")[2].split(",")
    if source and is_bind:
        yield Reference("mount", f"service {service}", source, base, at, writable=not read_only)


def _volume(name: str, volume: Any, base: str) -> Iterator[Reference]:
    options = resolved(volume.get("driver_opts"))[0] if isinstance(volume, Mapping) else None
    if not isinstance(options, Mapping):
        return
    device = text_of(options.get("device"))
    words = {*text_of(options.get("o")).split(","), text_of(options.get("type"))}
    if device and words & {"bind", "rbind"}:
        at = ("volumes", name, "driver_opts", "device")
        yield Reference("device", f"volume {name}", device, base, at, writable=True)


def _path(value: Any) -> str:
    return text_of(resolved(value)[0])
