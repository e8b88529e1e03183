"""The evidence of verifications on this host: durable, bounded in number, never overwritten.

The newest of each result are kept, and those of retained releases, however old. The audit log has the SHA-256
of all: what was carried off the host before it was removed here can still be compared.

Passed and refused verifications are bounded separately: somebody who tries a thousand bad media cannot push
out the evidence of what was installed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

from installer import __version__
from installer.core import jsonio
from installer.core.digest import sha256_hex
from installer.core.errors import (
    ExpiredError,
    MediaError,
    NotApprovedError,
    RefusedError,
    TamperedError,
    UntrustedError,
    WaybillError,
)
from installer.core.limits import MIB
from installer.core.timestamps import parse_time
from installer.core.verify import Clock
from installer.core.vsa import VerificationTrace, make_evidence
from installer.host.directories import make_directory
from installer.host.layout import STATE, Layout
from installer.host.system import System
from installer.state.evidence import EvidenceFile
from installer.state.state import cannot_read_error, load

DIRECTORY = f"{STATE}/evidence.d"
"""No product has a dot in its name."""
KEEP = 100
"""How many of the newest are kept, for each result, besides those of retained releases."""
LIMIT = 8 * MIB
_NAME = re.compile(
    r"(?P<number>[0-9]{6,})-(?P<result>passed|refused|removed)-(?P<id12>[0-9a-f]{12}|unknown)\.json"
)
_PARTIAL = re.compile(r"\.([0-9]{6,})\.[0-9]+\.new")
REFUSALS = (UntrustedError, TamperedError, ExpiredError, RefusedError, NotApprovedError, MediaError)
"""Errors that are refusals; wrong usage, a busy host or a full disk are not."""


def record(
    system: System, data: bytes, result: Literal["passed", "refused", "removed"], identity: str
) -> EvidenceFile:
    """Write the evidence of a verification, or of the check after a removal, to the disk.

    Args:
        system: The host.
        data: The statement.
        result: How it ended.
        identity: The bundle's; empty where it is not known.

    Raises:
        OSError: It cannot be written, or not be made durable.
    """
    make_directory(system, DIRECTORY)
    number = max([0, *(int(match["number"]) for match in _names(system))]) + 1
    # Written under another name and linked: no reader and no crash sees half a record.
    temporary = f"{DIRECTORY}/.{number:06d}.{os.getpid()}.new"
    with suppress(FileNotFoundError):
        system.unlink(temporary)
    system.write_new(temporary, data, 0o600)
    try:
        path = _named(system, temporary, number, f"{result}-{identity[:12] or 'unknown'}")
    finally:
        with suppress(OSError):  # pruned later
            system.unlink(temporary)
    # The name has to be on the disk before anything relies on the evidence.
    system.sync_dir(DIRECTORY)
    _prune(system)
    return EvidenceFile(path, sha256_hex(data))


def _named(system: System, temporary: str, number: int, rest: str) -> str:
    """Link a complete record to the next free name: another install may be running."""
    while True:
        path = f"{DIRECTORY}/{number:06d}-{rest}.json"
        if not any(int(match["number"]) == number for match in _names(system)):
            with suppress(FileExistsError):
                system.link(temporary, path)
                return path
        number += 1


def _names(system: System) -> list[re.Match[str]]:
    return [match for name in system.names(DIRECTORY) if (match := _NAME.fullmatch(name))]


def _prune(system: System) -> None:
    """Remove the oldest of each result, and what a kill left; what fails is tried again later."""
    found = sorted(_names(system), key=lambda match: int(match["number"]))
    newest = int(found[-1]["number"]) if found else 0
    partial = [match for name in system.names(DIRECTORY) if (match := _PARTIAL.fullmatch(name))]
    # Recent ones may belong to an install that is running.
    gone = [match.group() for match in partial if int(match[1]) < newest - 9]
    old = [
        match.group()
        for result in ("passed", "refused", "removed")
        for match in [match for match in found if match["result"] == result][:-KEEP]
    ]
    # A state that cannot be read may refer to any of them.
    with suppress(OSError, WaybillError):
        needed = _retained(system) if old else frozenset[str]()
        gone += [name for name in old if f"{DIRECTORY}/{name}" not in needed]
    with suppress(OSError):
        for name in gone:
            system.unlink(f"{DIRECTORY}/{name}")


def _retained(system: System) -> frozenset[str]:
    """Return the evidence of the releases that this host retains, of all products, as paths.

    Raises:
        WaybillError: The state of a product cannot be read.
        OSError: It cannot be looked at.
    """
    layouts = [Layout(name) for name in system.names(STATE) if "." not in name]
    states = [load(system, layout) for layout in layouts if system.is_dir(layout.base)]
    files = [entry.evidence.file for state in states for entry in state.retained]
    return frozenset(file.path for file in files if file is not None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal, as its evidence records it.

    Attributes:
        time: When, as RFC 3339.
        file: What the operator called the bundle.
        product: Empty where no trusted key had signed the bundle.
        version: The same.
        identity: The bundle's; empty where it is not known.
        step: The step that refused; 0 where none did.
        what: Why.
        evidence: Where the record is.
    """

    time: str
    file: str
    product: str
    version: str
    identity: str
    step: int
    what: str
    evidence: str

    @property
    def when(self) -> float:
        """Seconds since 1970."""
        moment = parse_time(self.time)
        return moment.timestamp() if moment else 0

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object, as documents have it."""
        found = {name: value or None for name, value in asdict(self).items() if name != "step"}
        return {**found, "verification_step": self.step or None}

    def text(self) -> str:
        """Return it for people."""
        when = self.time.replace("T", " ").removesuffix("Z")
        which = f"{self.product} {self.version}".strip() or self.file
        step = f" at step {self.step}" if self.step else ""
        return f"{when}  REFUSED{step}  {which}: {self.what}\n    evidence: {self.evidence}"


def refusals(system: System, product: str = "") -> list[Refusal]:
    """Return what was refused here, from the oldest to the newest.

    Args:
        system: The host.
        product: Only of this product, or of bundles whose product is not known; empty: all.

    Raises:
        HostNotReadyError: This user may not read it.
    """
    found = []
    try:
        names = _names(system)
    except PermissionError as error:
        raise cannot_read_error(DIRECTORY) from error
    for match in sorted(names, key=lambda match: int(match["number"])):
        path = f"{DIRECTORY}/{match.group()}"
        if match["result"] == "refused" and (refusal := _refusal(system, path)):
            found += [refusal] if not product or refusal.product in ("", product) else []
    return found


def _refusal(system: System, path: str) -> Refusal | None:
    """Return the refusal in a file; None for a damaged one: the file itself is the evidence."""
    try:
        said = jsonio.loads_strict(system.read(path, LIMIT), path, LIMIT)["predicate"]
        bundle, why = said["waybill_bundle"], said["waybill_refusal"]
        identity = said["resourceUri"].rpartition(":")[2].replace("unknown", "")
        refusal = Refusal(
            said["timeVerified"], bundle["file"], bundle.get("product", ""), bundle.get("version", ""),
            identity, why.get("step", 0), why["what"], path,
        )  # fmt: skip
    except PermissionError as error:
        raise cannot_read_error(path) from error
    except (TamperedError, KeyError, TypeError, AttributeError, OSError):
        return None
    fits = all(type(value) is (int if name == "step" else str) for name, value in asdict(refusal).items())
    return refusal if fits else None


@dataclass(slots=True)
class EvidenceRecorder:
    """Writes the evidence of one `install BUNDLE`; a failure is reported and stops nothing.

    Attributes:
        system: The host.
        clock: Tells the time.
        warn: Called with the reason why there is no evidence.
        trace: What the verification comes to know.
        recorded: What was written; None before, or where it failed.
    """

    system: System
    clock: Clock
    warn: Callable[[str], None]
    trace: VerificationTrace
    recorded: EvidenceFile | None = None

    @contextmanager
    def record_refusals(self) -> Iterator[None]:
        """Write the evidence of a refusal inside, which is raised on."""
        try:
            yield
        except REFUSALS as error:
            # Nested or repeated refusals are one refusal.
            if self.recorded is None:
                self._write(error)
            raise

    def audit_fields(self) -> dict[str, str]:
        """Return the SHA-256 of the evidence, as the audit log has it; nothing where none was written."""
        return {"evidence": self.recorded.sha256} if self.recorded else {}

    def record_passed(self) -> EvidenceFile | None:
        """Write that the verification passed; return where, None where it could not be written."""
        self._write(None)
        return self.recorded

    def _write(self, error: WaybillError | None) -> None:
        try:
            data = make_evidence(self.trace, __version__, self.clock(), error)
            self.recorded = record(self.system, data, "refused" if error else "passed", self.trace.identity)
        except OSError as fault:
            self.warn(f"cannot write the evidence to {DIRECTORY}: {fault.strerror}")
