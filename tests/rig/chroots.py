"""Small roots of hosts to change into: busybox, loaders, and tools that tell about the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.rig.needs import needs

GNU = {"x86_64": "lib64/ld-linux-x86-64.so.2", "aarch64": "lib/ld-linux-aarch64.so.1"}
MUSL = {"x86_64": "lib/ld-musl-x86_64.so.1", "aarch64": "lib/ld-musl-aarch64.so.1"}
DEVICES = {"null": 3, "zero": 5, "random": 8, "urandom": 9}


@dataclass(frozen=True, slots=True)
class Answers:
    """What a host answers to `uname -m`, `getconf GNU_LIBC_VERSION` and `ldd --version`, and its loaders.

    A loader is a path and what it prints when it is started alone. A tool without an answer is absent.
    """

    machine: str = "x86_64"
    getconf: str = ""
    ldd: str = ""
    loaders: dict[str, str] = field(default_factory=dict)


class Root:
    """A root directory with busybox in it, as on Alpine."""

    def __init__(self, path: Path, busybox: Path) -> None:
        self.path, self.unshare = path, needs("unshare")
        for name in ("bin", "lib", "lib64", "dev", "proc", "tmp", "etc", "opt", "root", "usr", "var/cache"):
            (path / name).mkdir(parents=True)
        shutil.copy(busybox, path / "bin/busybox")
        listed = subprocess.run(
            [busybox, "--list"], capture_output=True, text=True, check=True
        ).stdout.split()
        for name in listed:
            if name != "busybox":
                (path / "bin" / name).symlink_to("busybox")
        (path / "usr/bin").symlink_to("../bin")
        (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        for name, number in DEVICES.items():
            os.mknod(path / "dev" / name, 0o20666, os.makedev(1, number))

    def answer(self, answers: Answers) -> None:
        """Makes the tools of this host answer so."""
        said = {"uname": answers.machine, "getconf": answers.getconf, "ldd": answers.ldd}
        for name, text in said.items():
            self.tool(f"bin/{name}", text)
        for loader, text in answers.loaders.items():
            self.tool(loader, text)

    def tool(self, name: str, text: str) -> None:
        """Puts a program there that prints a text; none if it is empty."""
        place = self.path / name
        place.unlink(missing_ok=True)
        if text:
            place.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
            place.chmod(0o755)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in it, as root, with a /proc that goes with the command."""
        script = 'mount -t proc proc "$1/proc" && exec chroot "$@"'
        return subprocess.run(
            [self.unshare, "--mount", "sh", "-c", script, "sh", self.path, *command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


def plain_root(path: Path) -> Root:
    """A root without a C library: its programs are static.

    busybox as the shell prefers its own tools to those of the root; bash, in bin/bash, does not.
    """
    usr = Path(needs("musl")).parents[2]
    root = Root(path, usr / "bin/busybox")
    shutil.copy(usr / "bin/bash-static", path / "bin/bash")
    return root


def musl_root(path: Path) -> Root:
    """A root of musl, with Debian's musl and busybox."""
    root = plain_root(path)
    shutil.copy(needs("musl"), path / MUSL["x86_64"])
    return root
