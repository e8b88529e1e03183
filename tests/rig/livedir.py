"""A directory that counts as the running host: programs of this machine are run, files are below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from installer.core.format.entries.config_file import NOTHING, OnChange
from installer.host.system import Completed
from tests.rig.faulty import FaultySystem
from tests.rig.releases import Member, ReleaseSpec


class LiveDir(FaultySystem):
    """The host. Programs get its directory as `HOST`; what was run is in `ran`."""

    def __init__(self, root: Path, at: int = 0, fault: str = "") -> None:
        super().__init__(root, at, fault)
        self.live = True
        self.ran: list[tuple[str, ...]] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        cwd: str | None = None,
        **more: Any,
    ) -> Completed:
        self.ran.append(tuple(argv))
        known = {**(env or {}), "HOST": self.root}
        return super().run(argv, timeout=timeout, env=known, stdin=stdin, cwd=cwd, **more)


def shell(text: str, *words: str) -> tuple[str, ...]:
    """Return the words of a command that is a line of a shell; the words are its arguments."""
    return ("sh", "-c", text, "sh", *words)


def configured(
    version: str,
    sequence: int,
    text: str,
    *,
    validate: tuple[str, ...] = (),
    on_change: OnChange = NOTHING,
    timeout: int = 0,
    **members: Any,
) -> ReleaseSpec:
    """Return a release with the configuration file /etc/web.conf, and what is said of it."""
    said: Any = {"validate": validate, "on_change": on_change, "timeout": timeout}
    file = Member(text.encode(), "/etc/web.conf", kind="template", **said)
    return ReleaseSpec(version, sequence, {"config/web.conf": file, **members})


def with_members(spec: ReleaseSpec, members: Mapping[str, Member]) -> ReleaseSpec:
    """Return the release with more members."""
    return replace(spec, members={**spec.members, **members})
