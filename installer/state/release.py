"""A release on this host, and the record of what it has outside of its directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from installer.core import jsonio
from installer.core.digest import sha256_hex
from installer.core.errors import NotUndoneError, os_errors_as
from installer.core.format import manifest_json
from installer.core.format.entries import health_check
from installer.core.format.manifest import MANIFEST, HealthCheck, Manifest
from installer.host.layout import RECORD_FILE, Layout
from installer.host.system import System
from installer.state.state import MIB, Entry


@dataclass(frozen=True, slots=True)
class Installed:
    """One file, link or directory that a release has on the host outside of its own directory.

    Attributes:
        path: Where, as a host path.
        kind: `file`, `link` or `dir`.
        sha256: Of a file's bytes, in hex.
        size: Of a file.
        mode: Permission bits of a file or directory.
        uid: Owner; -1 where owners are not changed.
        gid: Group; -1 where owners are not changed.
        target: Of a link.
        source: The host path that its bytes are copied from: in the release directory, or rendered.
        origin: Its bundle path; empty for a directory that only holds others.
        policy: `kept`: the version of the operator was kept there; `beside`: the version of the release,
            written next to such a file.
        was: Of a directory that was there before the product: its mode and owner then, `0755 0:0`. It is
            never removed, and gets them back. Empty: Waybill created it.
        capabilities: Of a file, as `setcap` takes them; empty for none, and where they cannot be set.
    """

    path: str
    kind: str
    sha256: str = ""
    size: int = 0
    mode: int = 0
    uid: int = -1
    gid: int = -1
    target: str = ""
    source: str = ""
    origin: str = ""
    policy: Literal["", "kept", "beside"] = ""
    was: str = ""
    capabilities: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """One release on this host.

    Attributes:
        manifest: Its verified manifest.
        identity: SHA-256 of its SHA256SUMS, in hex.
        directory: Holds its members under their bundle paths once the transaction has begun; a host path.
        staged: Holds them now, while planning; the same as `directory` for a retained release.
        installed: What it has outside of `directory`, in the order in which it is created.
        health: Its probes, their targets rendered with the host's values.
        rendered: While planning, the files that are rendered for it, by their paths on the host.
        blobs: Holds its image blobs while operations run, if that is not `directory`; empty: only the engine
            has them.
        shared: While planning, bundle paths of image blobs that a retained release has, too.
    """

    manifest: Manifest
    identity: str
    directory: str
    staged: str
    installed: tuple[Installed, ...] = ()
    health: tuple[HealthCheck, ...] = ()
    blobs: str | None = None
    rendered: Mapping[str, bytes] = field(default_factory=dict, repr=False, compare=False)
    shared: frozenset[str] = frozenset()

    @property
    def blobs_at(self) -> str:
        """The directory that its images are loaded from; empty if their blobs are not retained."""
        return self.directory if self.blobs is None else self.blobs

    def now(self, path: str) -> str:
        """Return the host path of a member while planning."""
        return f"{self.staged}/{path}"

    def then(self, path: str) -> str:
        """Return the host path of a member while operations run, for their arguments."""
        return f"{self.directory}/{path}"


RECORD_LIMIT = 512 * MIB


class DamagedReleaseError(NotUndoneError):
    """Files of a retained release are missing or were changed."""


def record_bytes(installed: tuple[Installed, ...], health: tuple[HealthCheck, ...]) -> bytes:
    """Return the record of what a release has on the host outside of its directory, and of its probes."""
    names = Installed.__slots__
    rows = [
        # Empty fields are left out: a release can have 250,000 rows.
        {name: value for name in names if (value := getattr(item, name)) not in ("", 0)}
        for item in installed
    ]
    return jsonio.dumps_lines({"schema": "waybill/record/v1", "installed": rows, **health_check.rows(health)})


def open_release(system: System, layout: Layout, entry: Entry, hint: str = "") -> Release:
    """Return a retained release with what it has on the host.

    Its manifest and record are parsed only if they are, byte for byte, what was verified and written.

    Raises:
        DamagedReleaseError: One of them is missing or was changed; `hint` says what to do.
    """
    directory = layout.release(entry.name)
    manifest = read_exact(system, f"{directory}/{MANIFEST}", entry.manifest, hint or _again(layout, entry))
    installed, health = read_record(system, layout, entry, hint)
    blobs = None if entry.blobs else ""
    parsed = manifest_json.parse(manifest, retained=True)
    return Release(parsed, entry.identity, directory, directory, installed, health, blobs)


def read_record(
    system: System, layout: Layout, entry: Entry, hint: str = ""
) -> tuple[tuple[Installed, ...], tuple[HealthCheck, ...]]:
    """Return what a release has on the host outside of its directory, and its health checks.

    Raises:
        DamagedReleaseError: The record is missing or was changed; `hint` says what to do.
    """
    path = f"{layout.record(entry.record)}/{RECORD_FILE}"
    data = read_exact(system, path, entry.record_sha256, hint or _again(layout, entry))
    # Not read field by field: the digest says that these are the bytes that this program wrote, and a release
    # may have 250,000 files.
    record = jsonio.loads_strict(data, path, RECORD_LIMIT)
    installed = tuple(Installed(**{"uid": 0, "gid": 0, **row}) for row in record["installed"])
    return installed, health_check.from_rows(record)


def _again(layout: Layout, entry: Entry) -> str:
    return (
        f"the disk may be losing data, or somebody edited the file. Install {layout.product} "
        f"{entry.version} again from its bundle: that writes the file again"
    )


def read_exact(system: System, path: str, sha256: str, hint: str) -> bytes:
    """Return a file of a release, which has to be what was verified or written.

    Raises:
        DamagedReleaseError: It is missing or was changed; `hint` says what to do.
    """
    with os_errors_as(DamagedReleaseError, "cannot be read", path, hint=hint):
        data = system.read(path, RECORD_LIMIT)
    # State and record are on the same disk: a digest tells a damaged or edited record from an old one.
    if sha256_hex(data) != sha256:
        raise DamagedReleaseError("was changed since it was installed", where=path, hint=hint)
    return data
