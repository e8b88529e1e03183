"""A small world of trust, all real: people with keys, a root, a signed bundle, approvals, a host and a clock.

Each test changes one thing of a good world and looks at what refuses.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bundler.signing.cosign import CosignSigner, generate
from bundler.trust.root_files import root_bytes
from installer.core.digest import sha256_hex
from installer.core.format.bundle_source import BundleSource
from installer.core.format.manifest import SUMS, Manifest
from installer.core.trust.approval import Approval
from installer.core.trust.approval_sidecar import Sidecars
from installer.core.trust.policy import Decision, HostFacts
from installer.core.trust.root import PRODUCTION, Role, Root
from installer.core.trust.root_json import parse_root
from installer.core.trust.signatures import TrustedKey
from installer.core.trust.verifier import Trust
from installer.core.verify import OpenedBundle, VerifiedBundle, check_approvals, open_trusted, verify_payload
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import CREATED, BytesMedium, Part, Plan

MADE = datetime.fromtimestamp(CREATED, UTC)
NOW = MADE + timedelta(days=3)
HOST = "chat01.plant.example"
RUNNING = HostFacts(
    "production", HOST, "linux/amd64", 100_030_000_999, version="1.3.0", running=100_030_000_999
)
FILES = {"docs/ROLLBACK.md": b"Go back.\n", "docs/a": b"alpha\n", "trees/t/b": b"beta" * 150}


@dataclass(frozen=True)
class Person:
    """Somebody with a key of their own."""

    name: str
    signer: CosignSigner
    key: TrustedKey


@functools.cache
def person(name: str) -> Person:
    """Gives a person; the same name, the same person."""
    signer = generate(b"")[1]
    return Person(name, signer, TrustedKey.from_public(signer.public, name))


def public_file(directory: Path, name: str) -> Path:
    """Writes the public key of a person into a directory."""
    path = directory / f"{name}.pub"
    path.write_text(person(name).signer.public)
    return path


TEAM = {
    "release": "Rea",
    "root": "Ruth",
    "provenance": "Ci",
    "security": "Sec",
    "ops": "Ops",
    "break-glass": "Boss",
}


def root(**fields: Any) -> Root:
    """Gives a root in which each role is one person's, and `production` asks for everything."""
    people = {role: person(name) for role, name in TEAM.items()}
    values: dict[str, Any] = {
        "version": 1,
        "expires": NOW + timedelta(days=100),
        "keys": {each.key.keyid: each.key for each in people.values()},
        "roles": {role: Role((each.key.keyid,), 1) for role, each in people.items()},
        "environments": {"production": PRODUCTION},
    }
    return Root(**{**values, **fields})


def parsed(document: object) -> Root:
    """Return the root that a document of root.json describes."""
    return parse_root(json.dumps(document).encode())


def headed(version: int, *names: str, threshold: int = 1, **fields: Any) -> Root:
    """Gives a root whose role `root` is these people's."""
    people = [person(name).key for name in names]
    base = root(version=version, **fields)
    keys = {**base.keys, **{key.keyid: key for key in people}}
    roles = {**base.roles, "root": Role(tuple(key.keyid for key in people), threshold)}
    return replace(base, keys=keys, roles=roles)


def write_root(directory: Path, name: str, made: Root, *names: str) -> Path:
    """Writes a root and the signatures of some people next to it."""
    directory.mkdir(exist_ok=True)
    data = root_bytes(made)
    (directory / name).write_bytes(data)
    for each in names:
        signer = person(each).signer
        for form, content in signer.sign(data).items():
            (directory / f"{name}.{signer.keyid8}.{form}").write_bytes(content)
    return directory / name


@dataclass(frozen=True)
class Said:
    """An approval before it is signed: by whom, in which role, and what differs from a good one."""

    role: str
    by: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    data: bytes | None = None
    name: str = ""

    def files(self, identity: str, manifest: Manifest) -> dict[str, bytes]:
        """Signs it and gives its files."""
        who = person(self.by or TEAM[self.role]).signer
        values: dict[str, Any] = {
            "identity": identity,
            "product": manifest.product,
            "version": manifest.version,
            "role": self.role,
            "environment": "production",
            "not_before": MADE + timedelta(days=1),
            "expires": MADE + timedelta(days=14),
            "change_id": "CHG-7",
            "rollback_to": "1.3.0",
            **self.fields,
        }
        data = Approval(**values).to_bytes() if self.data is None else self.data
        name = self.name or f"approvals/{self.role}-{who.keyid8}.json"
        return {name: data, **{f"{name}.{form}": made for form, made in who.sign(data).items()}}


APPROVALS = (Said("provenance"), Said("security"), Said("ops"))


@dataclass(frozen=True)
class World:
    """Everything that a verification depends on; `verify` runs it as every command does.

    Attributes:
        root: The host's.
        host: The host.
        plan: The bundle, without signatures and approvals.
        signers: Who releases it.
        approvals: What is said about it.
        now: The time.
        known: The last trusted time of the host.
        edits: Members to change at the very end, by name.
        beside: Approvals that lie beside the bundle.
    """

    root: Root = field(default_factory=root)
    host: HostFacts = RUNNING
    plan: Plan = field(
        default_factory=lambda: build.plan(FILES, room=512, rollback="docs/ROLLBACK.md", upgrade_from="1.2.0")
    )
    signers: tuple[str, ...] = ("Rea",)
    approvals: tuple[Said, ...] = APPROVALS
    now: datetime = NOW
    known: datetime | None = MADE
    edits: Mapping[str, bytes] = field(default_factory=dict)
    beside: tuple[Said, ...] = ()

    @property
    def identity(self) -> str:
        """The bundle's."""
        return sha256_hex(self.sums)

    @property
    def sums(self) -> bytes:
        """The signed bytes."""
        return next(part.data for part in self.plan.head if part.name == SUMS)

    def files(self, said: tuple[Said, ...]) -> dict[str, bytes]:
        """Signs approvals."""
        return {
            name: data
            for each in said
            for name, data in each.files(self.identity, self.plan.manifest).items()
        }

    def tar(self) -> bytes:
        """Gives the whole bundle."""
        signed = [
            Part(f"{SUMS}.{person(name).signer.keyid8}.{form}", data)
            for name in self.signers
            for form, data in person(name).signer.sign(self.sums).items()
        ]
        tail = [Part(name, data) for name, data in self.files(self.approvals).items()]
        head = (self.plan.head[0], *signed, *self.plan.head[1:])
        plan = replace(self.plan, head=head, tail=tuple(tail))
        for name, data in self.edits.items():
            plan = plan.changed(name, data=data)
        return plan.tar()

    def trust(self) -> Trust:
        """Gives the host's trust."""
        return Trust(self.root, lambda: self.now, self.known)

    def verify(self, medium: BundleSource | None = None) -> tuple[VerifiedBundle, Decision]:
        """Takes all steps.

        Raises:
            WaybillError: The bundle is refused.
        """
        trust, medium = self.trust(), medium or BytesMedium(self.tar())
        opened: OpenedBundle = open_trusted(medium, trust, lambda _manifest: self.host)
        beside = Sidecars((("beside", self.files(self.beside)),)) if self.beside else Sidecars()
        if medium.parallel:
            decision = check_approvals(opened, trust, beside)
            return verify_payload(opened), decision
        verified = verify_payload(opened)
        return verified, check_approvals(opened, trust, beside)
