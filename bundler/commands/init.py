"""`bundle init`: create a bundle.yaml and every file that it names, ready for `bundle create v0.1.0`.

Templates without a bundle.yaml add a directory of their name to a product: its pipeline, its monitoring.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.resources.abc import Traversable
from pathlib import Path

from bundler.commands.schema import bundle_schema
from bundler.config import resources
from installer.core.errors import UnfitInputError, UsageError
from installer.core.schema_errors import did_you_mean

DEFAULT = "service"
SCHEMA_FILE = "bundle.schema.json"
"""The schema next to bundle.yaml, whose first line names it: editors need no network for it."""
_CREATES = {
    "ansible": "adds ansible/: a collection that runs `install` on hosts without Python, and a playbook",
    "ci": "adds ci/: a pipeline for GitLab, Gitea, Forgejo, Jenkins, Woodpecker, Buildbot, or a plain script",
    "compose": "containers as a Docker Compose project, with a health check and rendered configuration",
    "helm": "containers in a Kubernetes cluster as a chart, with a readiness probe and rendered values",
    "monitoring": "adds monitoring/: Prometheus, alerts by mail, webhook and pager, Grafana, log collectors",
    "quadlet": "a container as a service of Podman, with a health check and rendered configuration",
    "salt": "adds salt/: an execution and a state module that run `install` on minions, and a state",
    "script": "a program that scripts of yours start and stop, for hosts without systemd",
    "systemd": "a program as a systemd service, with a health check and rendered configuration",
}
# `service` is what people look for; the directory has the name of the deployment method.
_ALIASES = {"service": "systemd"}
# What is the same in both: all that is not below deploy/.
_BASES = {"quadlet": "compose", "script": "systemd"}
_PRODUCT = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_NAMED = re.compile(rb"""(?m)^product:[ ]*["']?([a-z0-9][a-z0-9-]{0,63})["']?[ ]*(?:#.*)?$""")
_DESCRIPTION_LIMIT = 1024 * 1024


def template_names() -> list[str]:
    """Return the names of the templates."""
    found = [entry.name for entry in resources.templates().iterdir() if entry.is_dir()]
    return sorted([*found, *_ALIASES])


def is_addition(template: str) -> bool:
    """Tell whether a template adds a directory to a product, instead of creating a product."""
    return not (resources.templates() / _ALIASES.get(template, template) / "bundle.yaml").is_file()


def templates() -> list[tuple[str, str]]:
    """Return each template with what it creates."""
    return [
        (name, _CREATES.get(_ALIASES.get(name, name), "") + ("; same as systemd" if name in _ALIASES else ""))
        for name in template_names()
    ]


def init_project(directory: Path, template: str = DEFAULT) -> list[Path]:
    """Create the files of a template; existing files are left as they are.

    The product takes its name from the directory if that is a valid name, else it is `example-product`. A
    template that adds to a product takes the name from the bundle.yaml that is there.

    Args:
        directory: The directory of the product; created if it does not exist.
        template: The name of the template.

    Returns:
        The files that were written, relative to the directory, in order.

    Raises:
        UsageError: There is no such template.
        UnfitInputError: There is a bundle.yaml already, or a file cannot be written; new files are removed.
    """
    known = template_names()
    if template not in known:
        close = did_you_mean(template, known)
        names = f"the templates are {', '.join(known)}"
        hint = f"did you mean {close}? {names}" if close else names
        raise UsageError(f"unknown template {template}", hint=hint)
    adds = is_addition(template)
    product = _product(directory, described=adds)
    above = f"{template}/" if adds else ""
    wanted = {Path(_filled(above + name, product)): read for name, read in _sources(template).items()}
    if not adds:
        wanted[Path(SCHEMA_FILE)] = f"{bundle_schema().text}\n".encode
        _require_new(directory / "bundle.yaml")
    written: list[Path] = []
    try:
        for path, read in sorted(wanted.items()):
            # A CHANGELOG or config of the project is worth more than the one of the template.
            if os.path.lexists(directory / path):
                continue
            _write(directory / path, _filled(read().decode(), product).encode())
            written.append(path)
    except OSError as error:
        # All or nothing: half a template is harder to understand than none.
        for path in written:
            (directory / path).unlink(missing_ok=True)
        where = str(error.filename or directory)
        raise UnfitInputError(
            f"cannot be written: {error.strerror}", where=where, hint="the files created so far were removed"
        ) from None
    return written


def _product(directory: Path, *, described: bool) -> str:
    """Return the name of the product; `described`: as a bundle.yaml says that is there."""
    if described:
        with suppress(OSError), (directory / "bundle.yaml").open("rb") as file:
            # Only looked for: whether the file is right is what `bundle create` says.
            if found := _NAMED.search(file.read(_DESCRIPTION_LIMIT)):
                return found[1].decode()
    name = directory.absolute().name
    # A directory may have any name; a product's name is restricted by the schema.
    return name if _PRODUCT.fullmatch(name) else resources.PLACEHOLDER


def _filled(text: str, product: str) -> str:
    # Names of metrics have no hyphens, and do not begin with a digit.
    word = re.sub(r"^(?=[0-9])", "_", product.replace("-", "_"))
    return text.replace(resources.PLACEHOLDER, product).replace(resources.PLACEHOLDER.replace("-", "_"), word)


def _require_new(path: Path) -> None:
    # lexists: a dangling link counts, too, since writing would follow it.
    if os.path.lexists(path):
        raise UnfitInputError(
            "exists already; nothing was written",
            where=str(path),
            hint="edit that file, or choose another directory",
        )


def _sources(template: str) -> dict[str, Callable[[], bytes]]:
    """Return how to read each file of a template, those of its base included."""
    found = {}
    if template in _BASES:
        base = _files(resources.templates() / _BASES[template])
        found = {name: entry.read_bytes for name, entry in base if not name.startswith("deploy/")}
    own = _files(resources.templates() / _ALIASES.get(template, template))
    return found | {name: entry.read_bytes for name, entry in own}


def _files(directory: Traversable, above: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in directory.iterdir():
        name = f"{above}{entry.name}"
        if entry.is_dir():
            yield from _files(entry, name + "/")
        else:
            yield name, entry


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A wheel and an executable keep no modes: a script is recognised by its first line.
    mode = 0o777 if data.startswith(b"#!") else 0o666
    # O_EXCL: a file that appeared meanwhile is not overwritten.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
