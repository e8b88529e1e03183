"""Small real images, made without a registry: one layer by import, or layers on a base that images share."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.rig.engine import Engine
from tests.rig.needs import needs


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image holds: files by path (all executable), on a base or on nothing."""

    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    base: str = "scratch"
    cmd: Sequence[str] = ()
    health: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


def tar_of(files: Mapping[str, bytes | Path], mode: int = 0o755) -> bytes:
    """Packs files, deterministically."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            data = content.read_bytes() if isinstance(content, Path) else content
            member = tarfile.TarInfo(name.lstrip("/"))
            member.size, member.mode = len(data), mode
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def build(engine: Engine, tag: str, recipe: Recipe) -> str:
    """Builds an image (one layer per file) and returns its id."""
    names = {name: f"f{number}" for number, name in enumerate(recipe.files)}
    lines = [
        f"FROM {recipe.base}",
        *(f'COPY ["{flat}", "/{name.lstrip("/")}"]' for name, flat in names.items()),
    ]
    lines += [f'LABEL "{key}"="{value}"' for key, value in recipe.labels.items()]
    if recipe.health:
        lines.append(f"HEALTHCHECK --interval=1s --timeout=2s --retries=3 CMD {_words(recipe.health)}")
    if recipe.cmd:
        lines.append(f"CMD {_words(recipe.cmd)}")
    context = {names[name]: content for name, content in recipe.files.items()}
    packed = tar_of({"Dockerfile": "\n".join(lines).encode(), **context})
    image, _log = engine.client.images.build(
        fileobj=io.BytesIO(packed), custom_context=True, tag=tag, rm=True
    )
    return str(image.id)


def import_rootfs(engine: Engine, tag: str, rootfs: Path, *changes: str) -> str:
    """Makes a one-layer image of a root file system's tar and returns its id."""
    options = [word for change in changes for word in ("--change", change)]
    return engine.text("import", *options, str(rootfs), tag)


def busybox(cmd: Sequence[str] = ("/bin/busybox", "sleep", "1000000")) -> Recipe:
    """Describes an image of one static busybox (1 MB), with the applets by their names as arguments."""
    return Recipe({"/bin/busybox": Path(needs("busybox"))}, cmd=cmd)


def nats() -> Recipe:
    """Describes an image of a real server (19 MB, static): NATS on port 4222, its monitoring on 8222."""
    program = Path(needs("nats"))
    return Recipe(
        {"/bin/busybox": Path(needs("busybox")), "/nats-server": program},
        cmd=("/nats-server", "--http_port", "8222"),
        health=("/bin/busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8222/healthz"),
    )


def _words(words: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"
