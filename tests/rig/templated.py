"""Releases of the product that a template of `bundle init` creates: two good ones and one that is not."""

from __future__ import annotations

import io
import re
import tarfile
import tempfile
from pathlib import Path

from bundler.commands.create import plan_bundle, write_bundle
from bundler.config.loader import load
from bundler.signing.cosign import CosignSigner
from installer.shared.progress import Progress
from tests.rig.desk import PASSWORD, Desk
from tests.rig.engine import Engine
from tests.rig.needs import needs

IMAGES = {"compose": "{product}", "quadlet": "localhost/{product}", "helm": "{product}"}
"""Images of the templates that have one; their build needs a base that no test downloads."""
VERSIONS = ("0.1.0", "0.2.0", "0.3.0")
"""The last one ends at once, as a release does that nobody tried."""


def product_of(template: str) -> str:
    """Return the name of the product."""
    return f"{template}-bell"


def base_image(engine: Engine) -> None:
    """Make what the images of templates are built on: a busybox with a shell."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(needs("busybox"), "bin/busybox")
        for name in ("sh", "sleep", "test", "rm"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for name in ("tmp", "etc"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(directory)
    stream.seek(0)
    with tempfile.TemporaryFile() as file:
        file.write(stream.getvalue())
        file.seek(0)
        engine.docker("import", "-", "busybox:stable", stdin=file)


def lay_out(desk: Desk, engine: Engine, template: str) -> dict[str, Path]:
    """Make the releases as a release engineer does: init, build, create.

    Returns:
        The bundles, by version.
    """
    if template in IMAGES:
        base_image(engine)
    directory = desk.home / product_of(template)
    desk.bundle("init", directory, "--template", template)
    text = (directory / "bundle.yaml").read_text()
    quick = text.replace("within: 60s", "within: 15s").replace("within: 30s", "within: 10s")
    (directory / "bundle.yaml").write_text(
        quick.replace("stable: 5s", "stable: 1s").replace("timeout: 5m", "timeout: 40s")
    )
    signer = CosignSigner.load(desk.key, password=PASSWORD.encode())
    releases = {}
    for version in VERSIONS:
        changelog = directory / "CHANGELOG.md"
        if version != VERSIONS[0]:
            new = f"## [Unreleased]\n\n## [{version}] - 2026-02-01\n\n- Rings.\n"
            changelog.write_text(changelog.read_text().replace("## [Unreleased]\n", new))
            for unit in directory.glob("deploy/quadlet/*"):
                unit.write_text(re.sub(r"(?m):\d+\.\d+\.\d+$", f":{version}", unit.read_text()))
        if version == VERSIONS[-1]:
            _spoil(directory)
        if template in IMAGES:
            image = IMAGES[template].format(product=directory.name)
            engine.docker("build", "-q", "-t", f"{image}:{version}", str(directory / "image"))
        releases[version] = desk.home / f"{template}-{version}.tar"
        # In this process: the executable, which has the templates, makes the releases of other tests.
        write_bundle(plan_bundle(load(directory, version)), releases[version], (signer,), Progress())
    return releases


def _spoil(directory: Path) -> None:
    """Let the product end at once, as a release does that nobody tried."""
    for program in (f"bin/{directory.name}", "image/serve.sh"):
        if (directory / program).exists():
            (directory / program).write_text("#!/bin/sh\necho 'cannot ring' >&2\nexit 1\n")
