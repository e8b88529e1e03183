"""The commands of `install`, run in this process on a directory that stands for a host with real trust."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.trust.root_files import root_bytes
from installer.cli.defaults import take_defaults
from installer.cli.words import with_command
from installer.core.trust.root import Root
from installer.state.trust_store import ROOT_FILE
from tests.rig import bundlebuild as build
from tests.rig.answers import Document
from tests.rig.trustworld import APPROVALS, FILES, NOW, World, root

CLOCK = "installer.commands.common.session.utc_now"
"""What tells every command the time."""


def environment(host: Path, text: str) -> None:
    """Says which environment a host belongs to."""
    (host / "etc/waybill/environment").write_text(text)


class Bench:
    """A host that commands are run on, with a clock that stands still."""

    def __init__(self, host: Path, stick: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.host, self.stick, self._capsys = host, stick, capsys

    def trust(self, made: Root) -> None:
        (self.host / ROOT_FILE[1:]).write_bytes(root_bytes(made))

    def bundle(self, world: World, name: str = "b.tar") -> Path:
        (self.stick / name).write_bytes(world.tar())
        return self.stick / name

    def run(self, *words: str) -> tuple[int, Document, str]:
        """Runs `install … --json`; gives exit code, document and what was said on stderr."""
        from installer.cli.app import app
        from installer.cli.options import console
        from installer.shared.command.command_line import run_app

        code = run_app(
            console, app, [*words, "--root", str(self.host), "--json"], with_command, take_defaults
        )
        said = self._capsys.readouterr()
        return code, Document.read(said.out), said.err

    def text(self, *words: str) -> tuple[int, str]:
        """Runs `install …`; gives exit code and everything that was said."""
        from installer.cli.app import app
        from installer.cli.options import console
        from installer.shared.command.command_line import run_app

        code = run_app(console, app, [*words, "--root", str(self.host)], with_command, take_defaults)
        said = self._capsys.readouterr()
        return code, said.out + said.err


@pytest.fixture
def host_dir(tmp_path: Path) -> Path:
    place = tmp_path / "host"
    (place / "etc/waybill/trust").mkdir(parents=True)
    return place


@pytest.fixture
def bench(
    host_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Bench:
    """A host of the environment `production`, which trusts the team; its clock stands still."""
    monkeypatch.setattr(CLOCK, lambda: NOW)
    made = Bench(host_dir, tmp_path, capsys)
    made.trust(root())
    environment(host_dir, "production\n")
    return made


def release(version: str = "1.4.0", sequence: int = 100_040_000_999, **fields: Any) -> World:
    plan = build.plan(
        FILES, room=512, rollback="docs/ROLLBACK.md", version=version, sequence=sequence,
        entries={"docs/a": {"install": "/opt/a"}}, **fields,
    )  # fmt: skip
    back = tuple(replace(each, fields={"rollback_to": "none"}) for each in APPROVALS)
    return World(plan=plan, approvals=back)


def newer(bench: Bench) -> str:
    """Return the path of a bundle with the release after `release()`."""
    return str(bench.bundle(release("1.5.0", 100_050_000_999), "newer.tar"))
