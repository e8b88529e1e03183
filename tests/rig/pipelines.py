"""A product in a git repository with the pipeline of templates/ci, and the site that takes its bundles."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bundler.commands.init import init_project
from tests.rig.gitcheckout import commit_all, git

TOP = Path(__file__).resolve().parents[2]
CONNECTED = ["lint", "test", "build", "image", "artifact", "bundle"]
PRODUCT = "door-bell"
# BREAK names the target that fails, after it has begun to write. `test` starts a server and leaves it.
MAKEFILE = """\
BREAK ?=
fails = test "$(BREAK)" != $@
lint:
	sh -n bin/door-bell
	$(fails)
test:
	sleep 1000 & echo $$! > server.pid
	$(fails)
build image artifact:
	mkdir -p build/$@ && echo $@ $(VERSION) > build/$@/result
	$(fails) || { [ $@ != build ] || rm -r build/$@; exit 1; }
"""


def commands(directory: Path) -> str:
    """Lays down `bundle` and `waybill-install` from the source tree; returns a PATH with them."""
    directory.mkdir(exist_ok=True)
    for name, package in (("bundle", "bundler"), ("waybill-install", "installer")):
        call = f"import sys; from {package}.cli.main import main; sys.exit(main())"
        program = directory / name
        program.write_text(f'#!/bin/sh\nPYTHONPATH="{TOP}" exec "{sys.executable}" -c "{call}" "$@"\n')
        program.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


@dataclass
class Site:
    """A host in a directory whose environment `production` asks for the pipeline and for operations."""

    host: Path
    environment: dict[str, str]

    def installed(self) -> str:
        """Returns the version that is installed; empty where none is."""
        path = self.host / "etc/door-bell/door-bell.conf"
        found = re.search(r'version="(.*)"', path.read_text()) if path.exists() else None
        return found[1] if found else ""


@dataclass
class Checkout:
    """A checkout of the product."""

    path: Path
    keys: Path
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, path: Path) -> Checkout:
        """Makes a product of the template `service` with the pipeline, committed and tagged v0.1.0."""
        init_project(path)
        init_project(path, "ci")
        text = (path / "bundle.yaml").read_text()
        (path / "bundle.yaml").write_text(re.sub(r"(?m)^expires: .*$", "expires: 36500d", text))
        (path / "Makefile").write_text(MAKEFILE)
        (path / ".gitignore").write_text("build/\ndist/\nserver.pid\n")
        keys = path.parent / "keys"
        keys.mkdir()
        environment = {
            "PATH": commands(path.parent / "bin"),
            "HOME": str(path.parent),
            "COSIGN_PASSWORD": "pw",
        }
        environment["WAYBILL_PROVENANCE_KEY"] = str(keys / "ci.key")
        environment["WAYBILL_BUILDER_ID"] = "https://ci.lan/door-bell"
        made = cls(path, keys, environment)
        for name in ("ci", "operations", "release"):
            made.run("bundle", "keygen", name, cwd=keys)
        commit_all(path)
        git(path, "tag", "-am", "x", "v0.1.0")
        return made

    def run(
        self, *words: str, cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command with the environment of a runner."""
        variables = self.environment | environment
        return subprocess.run(
            words, cwd=cwd or self.path, env=variables, capture_output=True, text=True, check=False
        )

    def stage(self, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a stage."""
        return self.run("sh", "ci/ci.sh", *([name] if name else []), **environment)

    def git(self, *words: str) -> None:
        git(self.path, *words)

    def copied(self, target: Path) -> Checkout:
        """Copies it, with its history and what its stages made; the keys and programs stay the same."""
        shutil.copytree(self.path, target, symlinks=True)
        return Checkout(target, self.keys, self.environment)

    def cloned(self, target: Path, *options: str) -> Checkout:
        """Clones it as a runner does."""
        git(
            self.path.parent,
            "clone",
            "-q",
            *options,
            "--branch",
            "v0.1.0",
            f"file://{self.path}",
            str(target),
        )
        return Checkout(target, self.keys, self.environment)

    def bundles(self) -> list[str]:
        """Returns what lies in dist."""
        return sorted(path.name for path in (self.path / "dist").glob("*"))

    def site(self, path: Path) -> Site:
        """Makes a host that trusts the pipeline and operations; the bundle of this checkout has arrived."""
        root = path / "root.json"
        (path / "host/etc/waybill").mkdir(parents=True)
        (path / "host/etc/waybill/environment").write_text("production\n")
        install = path / "install"
        install.write_text(f'#!/bin/sh\nexec waybill-install "$@" --root {path}/host --only files\n')
        install.chmod(0o755)
        for words in (
            ("trust", "init", str(root), "--release-key", str(self.keys / "release.pub")),
            (
                "trust",
                "add-key",
                str(root),
                str(self.keys / "ci.pub"),
                "--role",
                "provenance",
                "--owner",
                "CI",
            ),
            (
                "trust",
                "add-key",
                str(root),
                str(self.keys / "operations.pub"),
                "--role",
                "ops",
                "--owner",
                "O",
            ),
            (
                "trust",
                "set-policy",
                str(root),
                "production",
                "--require",
                "provenance",
                "--require",
                "ops",
            ),
        ):
            done = self.run("bundle", *words)
            assert done.returncode == 0, done.stderr
        # The release key is on another machine than the pipeline's.
        bundle = str(self.path / "dist/door-bell-0.1.0.tar")
        done = self.run("bundle", "sign", bundle, "--key", str(self.keys / "release.key"))
        assert done.returncode == 0, done.stderr
        shown = json.loads(self.run("bundle", "trust", "show", str(root), "--json").stdout)
        fingerprint = shown["trust"]["fingerprint"]
        done = self.run(
            "waybill-install",
            "trust",
            "init",
            str(root),
            "--root",
            f"{path}/host",
            "--fingerprint",
            fingerprint,
        )
        assert done.returncode == 0, done.stderr
        return Site(
            path / "host",
            {
                "BUNDLE": bundle,
                "WAYBILL_ROOT_FILE": str(root),
                "WAYBILL_APPROVAL_KEY": str(self.keys / "operations.key"),
                "WAYBILL_ROLE": "ops",
                "WAYBILL_ENVIRONMENT": "production",
                "WAYBILL_CHANGE_ID": "CHG-1",
                "WAYBILL_ROLLBACK_TO": "none",
                "WAYBILL_INSTALL": str(install),
            },
        )
