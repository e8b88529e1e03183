"""`bundle init`: create a bundle.yaml and every file that it names, ready for `bundle create v0.1.0`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
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
    "compose": "containers as a Docker Compose project, with a health check and rendered configuration",
    "systemd": "a program as a systemd service, with a health check and rendered configuration",
}
# `service` is what people look for; the directory has the name of the deployment method.
_ALIASES = {"service": "systemd"}
_PRODUCT = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def template_names() -> list[str]:
    """Return the names of the templates."""
    found = [entry.name for entry in resources.templates().iterdir() if (entry / "bundle.yaml").is_file()]
    return sorted([*found, *_ALIASES])


def templates() -> list[tuple[str, str]]:
    """Return each template with what it creates."""
    return [
        (name, _CREATES.get(_ALIASES.get(name, name), "") + ("; same as systemd" if name in _ALIASES else ""))
        for name in template_names()
    ]


def init_project(directory: Path, template: str = DEFAULT) -> list[Path]:
    """Create the files of a template; existing files are left as they are.

    The product takes its name from the directory if that is a valid name, else it is `example-product`.

    Args:
        directory: The directory; created if it does not exist.
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
    product = directory.absolute().name
    # A directory may have any name; a product's name is restricted by the schema.
    product = product if _PRODUCT.fullmatch(product) else resources.PLACEHOLDER
    source = resources.templates() / _ALIASES.get(template, template)
    wanted = {
        Path(name.replace(resources.PLACEHOLDER, product)): entry.read_bytes for name, entry in _files(source)
    }
    wanted[Path(SCHEMA_FILE)] = f"{bundle_schema().text}\n".encode
    # lexists: a dangling link counts, too, since writing would follow it.
    if os.path.lexists(directory / "bundle.yaml"):
        where = str(directory / "bundle.yaml")
        raise UnfitInputError(
            "exists already; nothing was written",
            where=where,
            hint="edit that file, or choose another directory",
        )
    written: list[Path] = []
    try:
        for path, read in sorted(wanted.items()):
            # A CHANGELOG or config of the project is worth more than the one of the template.
            if os.path.lexists(directory / path):
                continue
            _write(directory / path, read().replace(resources.PLACEHOLDER.encode(), product.encode()))
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
