"""The other side of the gap: an operator at a host that has the stick, and nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rig.desk import PRODUCT, Desk
from tests.rig.host import MEDIA, Host, Result

STATE = "/var/lib/waybill"
HEALTH = "http://127.0.0.1:8222/healthz"


@dataclass
class Site:
    """A host, and what its operator types.

    Attributes:
        host: The machine.
        desk: Where the releases come from.
        options: What is appended to each command that applies something.
    """

    host: Host
    desk: Desk
    options: str = ""

    def carry(self, *files: Path) -> None:
        """Puts files on the stick, which the host sees read-only."""
        for file in files:
            if not (self.host.media / file.name).exists():
                shutil.copy2(file, self.host.media)

    def run(self, words: str, user: str = "") -> Result:
        """Types `./install WORDS` in the stick's directory; without a terminal."""
        as_user = f"setpriv --reuid={user} --regid={user} --clear-groups " if user else ""
        return self.host.run(f"cd {MEDIA} && {as_user}./install {words}")

    def install(self, words: str, exit_code: int = 0) -> str:
        """Types `./install WORDS`, which has to end with this exit code; gives both outputs."""
        rc, out, err = self.run(words)
        assert rc == exit_code, f"install {words}: exit {rc} instead of {exit_code}\n{out}{err}"
        return out + err

    def document(self, words: str, exit_code: int = 0) -> Any:
        """Types `./install WORDS --json`; what is on stdout has to be one document, which is given."""
        rc, out, err = self.run(f"{words} --json")
        assert rc == exit_code, f"install {words} --json: exit {rc} instead of {exit_code}\n{out}{err}"
        return json.loads(out)

    def trust(self, environment: str = "") -> None:
        """Sets up trust, as the sheet says; the host may belong to an environment."""
        self.host.media.chmod(0o755)
        self.carry(self.desk.programs.install, self.desk.root)
        belongs = f"--env {environment} " if environment else ""
        self.install(f"trust init root.json {belongs}--fingerprint {self.desk.fingerprint}")

    def apply(self, bundle: Path, exit_code: int = 0, more: str = "") -> str:
        """Carries a bundle over and installs it."""
        self.carry(bundle)
        return self.install(f"{bundle.name} --verify --yes {self.options} {more}", exit_code)

    def reset(self) -> None:
        """Takes the product off the host and makes the host forget that it ever had it."""
        if self.host.run(f"test -e {STATE}/{PRODUCT}").rc == 0:
            if self.status()["installed"]:
                self.install(f"remove {PRODUCT} --yes")
            # The audit log knows the highest sequence number, too.
            self.host.check(f"rm -rf {STATE}/{PRODUCT} {STATE}/audit*")

    def status(self) -> Any:
        """Gives what `status` says of the product."""
        (found,) = self.document(f"status --product {PRODUCT}")["products"]
        return found

    def version(self) -> str | None:
        """Gives the version that runs, as `status` has it; nothing may have drifted or be unfinished."""
        found = self.status()
        assert found["drift"] == []
        assert found["unfinished"] is None
        return str(found["installed"]["version"]) if found["installed"] else None

    def serving(self) -> str:
        """Asks the real server over HTTP who it is; empty where none answers healthily."""
        if self.host.run(f"curl -sf --max-time 5 {HEALTH}").rc != 0:
            return ""
        name = json.loads(self.host.check("curl -sf http://127.0.0.1:8222/varz"))["server_name"]
        return str(name.partition("@")[2])

    def tree(self, *places: str) -> str:
        """Gives the names, modes, owners and contents of everything below some places, but for locks."""
        found = " ".join(places)
        return self.host.check(
            f"for p in {found}; do [ -e $p ] || continue; "
            "find $p ! -name lock -printf '%p %y %m %u %l\\n' | sort; "
            f"find $p -type f ! -name lock -exec sha256sum {{}} + | sort; done"
        )
