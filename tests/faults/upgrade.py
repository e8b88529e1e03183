"""A host below a directory and the bundle of its next release, for commands that are real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.faults.invariants import Ends
from tests.faults.stories import copy, outside, state
from tests.rig.desk import PASSWORD, Desk
from tests.rig.executables import TOP, Executables
from tests.rig.product import EPOCH, Product

RELEASES = (("1.3.0", b"\x7fELF old"), ("1.4.0", b"\x7fELF new!"))


@dataclass(frozen=True)
class Upgrade:
    """A host that has one release, the bundle of the next, and how both look.

    Attributes:
        programs: What runs: the executables, or the source.
        desk: Where the bundles were made.
        world: The host.
        bundle: The next release.
        ends: How the upgrade may end.
    """

    programs: Executables
    desk: Desk
    world: Path
    bundle: Path
    ends: Ends

    @classmethod
    def make(cls, base: Path, programs: Executables) -> Self:
        """Make both releases, install the first one, and try out the upgrade."""
        (base / "desk").mkdir()
        desk = Desk(base / "desk", programs, {"SOURCE_DATE_EPOCH": EPOCH}).set_up()
        world, bundles = base / "world", []
        (world / "etc").mkdir(parents=True)
        for version, binary in RELEASES:
            product = Product.make(base / version, binary)
            (product.directory / "web" / f"only-{version}.txt").write_text(version)
            bundles.append(base / f"{version}.tar")
            desk.bundle("create", version, "-C", product.directory, "-o", bundles[-1], "--key", desk.key)
        install = str(programs.install)
        trust = ["trust", "init", str(desk.root), "--fingerprint", desk.fingerprint]
        new = base / "new"
        for root, words in ((world, trust), (world, [bundles[0], "--yes"]), (new, [bundles[1], "--yes"])):
            if root == new:
                copy(world, new)
            subprocess.run([install, *words, "--root", root], capture_output=True, check=True)
        ends = Ends(outside(world), outside(new), "1.3.0", "1.4.0", state(world).highest)
        assert ends.old != ends.new
        return cls(programs, desk, world, bundles[1], ends)

    def command(self, root: Path) -> list[str]:
        """Return the command line of the upgrade."""
        return [str(self.programs.install), str(self.bundle), "--verify", "--yes", "--root", str(root)]


def from_source(base: Path) -> Executables:
    """Write programs that start the source: as quick to have as they are slow to start."""
    for name, module in (("install", "installer.cli.main"), ("bundle", "bundler.cli.main")):
        code = f"from {module} import main; main()"
        (base / name).write_text(f'#!/bin/sh\nPYTHONPATH={TOP} exec {sys.executable} -c "{code}" "$@"\n')
        (base / name).chmod(0o755)
    return Executables(base / "install", base / "bundle")


def environment() -> dict[str, str]:
    """Return the environment of the commands."""
    return {**os.environ, "COSIGN_PASSWORD": PASSWORD, "SOURCE_DATE_EPOCH": EPOCH}
