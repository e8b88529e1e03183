"""A transfer desk with a bundle, the root that hosts trust, and the keys of approvers."""

from __future__ import annotations

import functools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bundler.approvals.approval import make_approval
from bundler.archive.head import member
from bundler.archive.reading import read_with_tail
from bundler.signing.cosign import encrypt_key
from bundler.trust.root_files import root_bytes
from installer.core.format.manifest import Deployment
from installer.core.format.tar_header import BLOCK, END
from installer.core.trust.root import Root
from tests.rig import bundlebuild as build
from tests.rig.approving import ASKED
from tests.rig.bundlebuild import CREATED
from tests.rig.trustworld import FILES, NOW, World, person

LATER = NOW + timedelta(days=3650)
"""By the clock of the machine that runs the tests."""
SCRIPT = {"deploy/apply.sh": b"#!/bin/sh\nuseradd eve\n"}


def plan(**fields: Any) -> build.Plan:
    files = {**FILES, **SCRIPT}
    order = ("docs/ROLLBACK.md", "docs/a", "deploy/apply.sh", "trees/t/b")
    return build.plan(
        {path: files[path] for path in order}, room=512, rollback="docs/ROLLBACK.md",
        entries={"deploy/apply.sh": {"kind": "script", "mode": 0o755}},
        deploy=(Deployment("script", {"apply": "deploy/apply.sh", "roll_forward_only": "adds a user"}),),
        **{"expires": int(LATER.timestamp()), **fields},
    )  # fmt: skip


def interrupt_append(path: Path, *, keyid8: str = "", written: int = 0) -> None:
    """Leaves in a bundle what a `bundle approve` leaves that is killed before its last write.

    Args:
        path: The bundle, its tail complete.
        keyid8: The key of the approval; empty for that of Ops.
        written: Bytes of the last write, which is the first header, that are on the disk.
    """
    bundle = read_with_tail(path)
    who = person("Ops")
    name = f"approvals/ops-{keyid8 or who.key.keyid8}.json"
    data = make_approval(ASKED, bundle, NOW).to_bytes()
    new = member(name, data, CREATED) + b"".join(
        member(f"{name}.{form}", made, CREATED) for form, made in who.signer.sign(data).items()
    )
    with path.open("r+b") as file:
        file.seek(bundle.tail_end)
        file.write(new[:written].ljust(BLOCK, b"\0") + new[BLOCK:] + END)


@functools.cache
def encrypted(name: str) -> bytes:
    """The key file of a person; its password takes a while on purpose."""
    return encrypt_key(person(name).signer._private, b"")


class ApprovalDesk:
    """A transfer desk on which `bundle` runs in this process."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self._capsys = path, capsys
        for name in ("Sec", "Ops", "Rea", "Boss"):
            (path / f"{name}.key").write_bytes(encrypted(name))
        (path / "Rea.pub").write_text(person("Rea").key.public)

    def bundle(self, world: World) -> None:
        (self.path / "b.tar").write_bytes(world.tar())

    def root(self, made: Root) -> None:
        (self.path / "root.json").write_bytes(root_bytes(made))

    def run(self, *words: str, key: str = "Sec", json_: bool = False) -> tuple[int, str, str]:
        """Runs `bundle approve` with a key; gives exit code, stdout and stderr."""
        return self.call(*words, "--key", str(self.path / f"{key}.key"), json_=json_)

    def call(self, *words: str, json_: bool = False) -> tuple[int, str, str]:
        """Runs `bundle approve`; gives exit code, stdout and stderr."""
        from bundler.cli.main import app
        from bundler.cli.options import console
        from installer.shared.command.command_line import run_app

        console.json_output = False
        given = ["approve", str(self.path / "b.tar"), *words, *(["--json"] if json_ else [])]
        code = run_app(console, app, given)
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def approve(
        self, *words: str, role: str = "security", env: str = "production", **more: Any
    ) -> tuple[int, str, str]:
        trusted = ("--root", str(self.path / "root.json"))
        return self.run("--role", role, "--env", env, *trusted, "--yes", *words, **more)

    @property
    def approvals(self) -> list[str]:
        return list(build.read((self.path / "b.tar").read_bytes()).read_tail())

    def prepared(self, name: str, *words: str, role: str = "security", env: str = "production") -> str:
        """Prepares an approval, and signs it elsewhere by the key of a person; gives the signature."""
        trusted = ("--root", str(self.path / "root.json"))
        code, _, err = self.call("--role", role, "--env", env, *trusted, "--prepare", *words)
        assert code == 0, err
        statement = self.path / f"b.tar.{role}.json"
        signature = self.path / "SIG"
        signature.write_bytes(person(name).signer.sign(statement.read_bytes())["sig"])
        (self.path / f"{name}.pub").write_text(person(name).key.public)
        return str(signature)
