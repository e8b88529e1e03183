"""Loads an image by us and by `docker load`: fresh, with nothing new, with one new layer. Prints the ratios.

    python -m tests.bench.load [MEGABYTES] [KIND…]        (KIND of tests/rig/engine.py; default 300, 20)

Ours starts from a release's directory with zstd layers and ends when the image is on the disk and checked;
`docker load` starts from its own uncompressed archive and does not wait for the disk. Both are given for the
first with its wait (`+sync`) and without.
"""

from __future__ import annotations

import io
import os
import random
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from installer.deploy.method import Target
from installer.host.context import Context
from installer.host.layout import Layout
from installer.host.system import System
from installer.images.load_stream import ImageLoad, stream
from installer.images.method import HANDLERS, METHOD
from installer.shared.progress import Progress
from tests.rig.engine import Engine
from tests.rig.imagerelease import ReleaseDirectory

FILE = 200_000
ROUNDS = 5


def layer(seed: int, size: int) -> bytes:
    """Makes a layer of many files, half random and half text, as programs are."""
    rng = random.Random(seed)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for number in range(max(1, size // FILE)):
            member = tarfile.TarInfo(f"opt/{seed}/{number % 50}/{number}")
            data = rng.randbytes(FILE // 2) + rng.randbytes(100) * (FILE // 200)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def clocked(call: Callable[[], object]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started


def ours(context: Context, target: Target) -> None:
    for op in METHOD.operations(context, None, target):
        HANDLERS[op.kind].do(context, op.args, HANDLERS[op.kind].observe(context, op.args))


def archive(release: ReleaseDirectory, path: Path) -> Path:
    """Writes the only image of a release as `docker save` would."""
    (image,) = release.images
    with path.open("wb") as file:
        file.writelines(stream(ImageLoad(image, release.path, image.reference, "docker")))
    return path


def measure(kind: str, megabytes: int, home: Path) -> None:
    release, upgrade = (ReleaseDirectory(home / f"release-{number}-{kind}") for number in (1, 2))
    layers = [layer(seed, megabytes * 1_000_000 // 4) for seed in range(4)]
    release.image("bench/app:1", layers)
    upgrade.image("bench/app:2", [*layers, layer(4, megabytes * 10_000)])
    first, second = (archive(each, home / f"{each.path.name}.tar") for each in (release, upgrade))
    engine = Engine.launch(kind)
    try:
        os.environ["DOCKER_HOST"] = engine.host
        context = Context(System("/"), Layout("bench", str(home / "state")), Progress(), "t")

        def theirs(path: Path = first) -> None:
            with path.open("rb") as file:
                engine.docker("load", "--quiet", stdin=file)

        def clear() -> None:
            names = engine.text("images", "--format", "{{.Repository}}:{{.Tag}}").split()
            engine.docker("rmi", "--force", *names)
            os.sync()

        figures: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            figures.setdefault("theirs fresh", []).append(clocked(theirs))
            figures.setdefault("theirs sync", []).append(clocked(os.sync))
            figures.setdefault("theirs again", []).append(clocked(theirs))
            figures.setdefault("theirs upgrade", []).append(clocked(lambda: theirs(second)))
            clear()
            figures.setdefault("ours fresh", []).append(clocked(lambda: ours(context, release.target())))
            figures.setdefault("ours again", []).append(clocked(lambda: ours(context, release.target())))
            figures.setdefault("ours upgrade", []).append(clocked(lambda: ours(context, upgrade.target(2))))
            clear()
        best = {name: min(values) for name, values in figures.items()}
        size = first.stat().st_size / 1e6
        print(f"engine {kind} ({engine.version}), image of {size:.0f} MB, best of {ROUNDS}:")
        print("  " + "  ".join(f"{name} {value:.2f} s" for name, value in best.items()))
        print(
            f"  fresh, ours / docker load:         {best['ours fresh'] / best['theirs fresh']:.2f}  (bar 1.1)"
        )
        durable = best["theirs fresh"] + best["theirs sync"]
        print(f"  fresh, ours / docker load + sync:  {best['ours fresh'] / durable:.2f}")
        again = best["ours again"] / best["theirs again"]
        print(f"  nothing new, ours / docker load:   {again:.2f}  (bar 0.2)")
        print(f"  1 % new, ours / docker load:       {best['ours upgrade'] / best['theirs upgrade']:.2f}")
    finally:
        engine.stop()


def main() -> None:
    words = sys.argv[1:]
    megabytes = int(words.pop(0)) if words and words[0].isdigit() and len(words[0]) > 2 else 300
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder:
        for kind in words or ["20"]:
            measure(kind, megabytes, Path(folder))


if __name__ == "__main__":
    main()
