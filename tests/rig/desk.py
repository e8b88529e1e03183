"""The connected side of the tests: a key, a root of trust, and releases made by the real `bundle`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.rig.executables import TOP, Executables
from tests.rig.host import Result
from tests.rig.needs import needs

PASSWORD = "correct horse"
PRODUCT = "lan-chat"
GOOD, BETTER, BAD = "1.4.0", "1.5.0", "1.6.0"


@dataclass
class Desk:
    """Where releases are made and signed.

    Attributes:
        home: Its directory: keys, root.json, releases.
        programs: The executables.
        env: More of the environment.
    """

    home: Path
    programs: Executables
    env: dict[str, str] = field(default_factory=dict)
    made: dict[str, Path] = field(default_factory=dict)

    def run(self, *words: str | Path) -> Result:
        """Runs `bundle` with the words given."""
        env = {**os.environ, "COSIGN_PASSWORD": PASSWORD, **self.env}
        done = subprocess.run(
            [self.programs.bundle, *map(str, words)], env=env, cwd=self.home, capture_output=True, check=False
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def bundle(self, *words: str | Path) -> str:
        """Runs `bundle`, which must succeed; gives what it printed."""
        rc, out, err = self.run(*words)
        assert rc == 0, f"bundle {' '.join(map(str, words))}: exit {rc}\n{out}{err}"
        return out

    def approve(self, path: Path, *words: str | Path, trusted: Sequence[str | Path] = ()) -> str:
        """Runs `bundle approve`; earlier versions neither verify nor ask, and lack the options for it."""
        asks = "--withdraw" in self.bundle("approve", "--help")
        more = [*(trusted or ("--root", self.root)), "--yes"] if asks else []
        return self.bundle("approve", path, *words, *more)

    def document(self, *words: str | Path) -> Any:
        """Runs `bundle … --json` and gives its document."""
        return json.loads(self.bundle(*words, "--json"))

    def set_up(self) -> Desk:
        """Makes the key and the root that trusts it."""
        self.bundle("keygen", "release")
        self.bundle("trust", "init", "root.json", "--release-key", "release.pub")
        return self

    @property
    def root(self) -> Path:
        return self.home / "root.json"

    @property
    def key(self) -> Path:
        return self.home / "release.key"

    @property
    def fingerprint(self) -> str:
        """What stands on the trust sheet."""
        shown = self.document("trust", "show", self.root)
        # Older executables had it at the top.
        return str(shown.get("trust", shown)["fingerprint"])

    def release(
        self,
        version: str,
        name: str = "",
        change: Callable[[Path], None] = lambda _directory: None,
        key: Path | None = None,
    ) -> Path:
        """Makes and signs a release of the quickstart's product; made once for each name.

        Args:
            version: 1.4.0 and 1.5.0 are good, 1.6.0 never gets healthy.
            name: Tells apart what was changed.
            change: What to change in the product's directory.
            key: Signs instead of the release key.
        """
        name = name or version
        if name not in self.made:
            directory = self.home / f"product-{name}"
            lay_out(version, directory)
            change(directory)
            target = self.home / f"{PRODUCT}-{name}.tar"
            self.bundle("create", version, "-C", directory, "-o", target, "--key", key or self.key)
            self.made[name] = target
        return self.made[name]


def lay_out(version: str, directory: Path) -> None:
    """Lays out one version of the quickstart's product, which is a real server; its probes are made quick."""
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), sysconfig.get_path("scripts"), os.environ["PATH"]]
    )
    subprocess.run(
        [TOP / "examples/quickstart/prepare.sh", version, directory],
        env={**os.environ, "PATH": path, "NATS_SERVER": needs("nats")},
        check=True,
    )
    description = directory / "bundle.yaml"
    quick = re.sub(r"within: \d+s, stable: \d+s", "within: 5s, stable: 1s", description.read_text())
    assert quick.count("within: 5s") == 3
    description.write_text(quick)
