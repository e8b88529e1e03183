"""Releases for tests of the installer's inside: staged as a verified bundle would be, without a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundler.archive.head import make_sums
from installer.commands.common.plan_execution import TransactionResult, execute_plan
from installer.commands.common.recovery import Recovered, exclusive
from installer.commands.rollback import plan_rollback
from installer.core.digest import sha256_hex
from installer.core.format import manifest_json
from installer.core.format.entries.config_file import NOTHING, OnChange
from installer.core.format.manifest import (
    MANIFEST,
    SUMS,
    Deployment,
    DirectoryEntry,
    FileEntry,
    HealthCheck,
    LinkEntry,
    Manifest,
)
from installer.core.format.manifest_rules import section_rank
from installer.host.context import Context
from installer.host.layout import Layout
from installer.host.system import System
from installer.planning.plan import Options, Plan
from installer.planning.planner import plan_apply, plan_remove
from installer.shared.progress import Progress
from installer.staging.staged import Staged
from installer.state.evidence import Evidence
from installer.transaction.journal import Journal

PRODUCT = "lan-chat"
SIGNED = Evidence({"signers": ["release (cosign 1234abcd)"]})
STATE = f"var/lib/waybill/{PRODUCT}"
"""Where Waybill keeps what it knows of the product, below the host's root."""


class Notes(Progress):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@dataclass
class Member:
    """One file of a release."""

    data: bytes
    install: str = ""
    mode: int = 0o644
    kind: str = "binary"
    owner: str = ""
    expanded: int = 0
    validate: tuple[str, ...] = ()
    on_change: OnChange = NOTHING
    timeout: int = 0
    capabilities: str = ""
    platform: str = ""


@dataclass
class ReleaseSpec:
    """A release to be staged."""

    version: str
    sequence: int
    members: Mapping[str, Member]
    links: tuple[LinkEntry, ...] = ()
    directories: tuple[DirectoryEntry, ...] = ()
    deploy: tuple[Deployment, ...] = ()
    health: tuple[HealthCheck, ...] = ()
    platforms: tuple[str, ...] = ("linux/amd64", "linux/arm64")
    values: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    product: str = PRODUCT

    def manifest(self) -> Manifest:
        files = tuple(
            FileEntry(
                *(
                    path,
                    len(m.data),
                    sha256_hex(m.data),
                    m.mode,
                    m.kind,
                    m.install,
                    m.owner,
                    m.platform,
                    m.expanded,
                ),
                validate=m.validate,
                on_change=m.on_change,
                timeout=m.timeout,
                capabilities=m.capabilities,
            )  # type: ignore[arg-type]
            for path, m in sorted(self.members.items(), key=lambda item: (section_rank(item[0]), item[0]))
        )
        return Manifest(
            product=self.product,
            version=self.version,
            sequence=self.sequence,
            created=0,
            expires=2**31 - 1,
            platforms=self.platforms,
            files=files,
            links=self.links,
            directories=self.directories,
            deploy=self.deploy,
            health=self.health,
            values=self.values,
            **self.extra,
        )


def context(system: System, product: str = PRODUCT) -> Context:
    """Gives a context that remembers what was said."""
    return Context(system, Layout(product), Notes())


def stage(root: Path, spec: ReleaseSpec) -> Staged:
    """Writes a release below `root` as the verifier would have staged it."""
    manifest = spec.manifest()
    data = manifest_json.dump(manifest)
    sums = make_sums(manifest.files, data)
    identity = sha256_hex(sums)
    directory = Layout(spec.product).stage(identity)
    here = root / directory[1:]
    here.mkdir(parents=True)
    for path in (root / "var/lib/waybill" / spec.product, here.parent):
        path.chmod(0o700)
    (here / MANIFEST).write_bytes(data)
    (here / SUMS).write_bytes(sums)
    for path, member in spec.members.items():
        to = here / path
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(member.data)
        to.chmod(member.mode | 0o600)
    return Staged(manifest, sha256_hex(data), identity, directory)


def root(within: Context) -> Path:
    """Return the directory that stands for the host."""
    return Path(within.system.root)


def state_file(within: Context, name: str) -> Path:
    """Return the path of a file of Waybill's state."""
    return root(within) / STATE / name


@contextmanager
def planned(within: Context, spec: ReleaseSpec, options: Options | None = None) -> Iterator[Plan]:
    """Stages a release and plans it, inside the lock."""
    with exclusive(within) as (state, _):
        staged = stage(root(within), spec)
        yield plan_apply(within, state, staged, options or Options(), evidence=SIGNED, keeps_key=True)


def install(within: Context, spec: ReleaseSpec, options: Options | None = None) -> TransactionResult:
    """Stages, plans and applies a release."""
    with planned(within, spec, options) as plan:
        return execute_plan(within, plan)


def plan_for(within: Context, spec: ReleaseSpec, options: Options | None = None) -> Plan:
    """Stage a release and return its plan, which is not carried out."""
    with planned(within, spec, options) as plan:
        return plan


def roll_back(
    within: Context, version: str | None = None, options: Options | None = None
) -> TransactionResult:
    """Roll back to a version, by default to the one before."""
    with exclusive(within) as (state, _):
        return execute_plan(within, plan_rollback(within, state, version, options or Options()))


def remove(within: Context, options: Options | None = None) -> TransactionResult:
    """Remove the product."""
    with exclusive(within) as (state, _):
        return execute_plan(within, plan_remove(within, state, options))


def recovered(within: Context) -> list[Recovered]:
    """Recover as every command does when it starts, and return what was done."""
    with exclusive(within) as (_, done):
        return done


def records(within: Context, number: int) -> list[str]:
    """Return the types of the records of an ended transaction, in order."""
    path = within.layout.journal(f"{number:06d}").removesuffix(".log") + ".done"
    return [record.type for record in Journal.open(within.system, path).records]
