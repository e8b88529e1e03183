"""Verification, as both commands do it: did a trusted key release this bundle, and may it be installed here?

`steps` numbers the checks. `open_trusted` does steps 1 to 14, which read only the head, whatever the size of
the bundle; `check_approvals` does 15 to 18; `verify_payload` does 19 and 20, one pass over the rest, which
can store what it reads (`installer.staging.stage`). `trust` takes the decisions, from bytes and a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from installer.core.digest import sha256_hex
from installer.core.errors import NotApprovedError, WaybillError
from installer.core.format.archive import Bundle, open_bundle
from installer.core.format.bundle_source import BundleSource
from installer.core.format.destinations import sensitive_destinations, sensitive_lines
from installer.core.format.manifest import FileEntry, Manifest
from installer.core.format.payload import Sink, check_payload, discard, to_read
from installer.core.format.tar_header import extent
from installer.core.oci.section import ImageSection
from installer.core.timestamps import format_seconds
from installer.core.trust.approval import group_files
from installer.core.trust.approval_sidecar import Sidecars
from installer.core.trust.policy import Decision, HostFacts
from installer.core.trust.signature_check import SignatureEvidence
from installer.core.trust.signatures import Signature
from installer.core.trust.steps import verification_step
from installer.core.trust.verifier import Trust
from installer.core.vsa import VerificationTrace

Clock = Callable[[], datetime]
NOTHING = Sidecars()
PARTIAL_APPEND = (
    "an interrupted append of an approval does not count; `bundle approve --repair` completes or removes it"
)


@dataclass(frozen=True, slots=True)
class OpenedBundle:
    """A bundle after step 14: released and suitable for this host; its payload is not read yet."""

    bundle: Bundle
    evidence: SignatureEvidence
    destination: HostFacts = field(default_factory=HostFacts)


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """A bundle after step 20.

    Attributes:
        manifest: What it carries.
        identity: SHA-256 of SHA256SUMS, in hex.
        evidence: The signatures that count, and by which root.
        approvals: Names of the approvals it carries.
        payload_bytes: Bytes that were checked.
        notes: What is unusual and harmless.
    """

    manifest: Manifest
    identity: str
    evidence: SignatureEvidence
    approvals: tuple[str, ...]
    payload_bytes: int
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "expires": format_seconds(self.manifest.expires),
            "source": asdict(self.manifest.source),
            "files": len(self.manifest.files),
            "payload_bytes": self.payload_bytes,
            "signatures": self.evidence.as_json(),
            "approvals": list(self.approvals),
            "sensitive": [each.as_json() for each in sensitive_destinations(self.manifest)],
            "notes": list(self.notes),
        }


def open_trusted(
    medium: BundleSource,
    trust: Trust,
    destination: Callable[[Manifest], HostFacts] = lambda _manifest: HostFacts(),
    trail: VerificationTrace | None = None,
) -> OpenedBundle:
    """Do steps 1 to 14.

    Args:
        medium: The bundle.
        trust: The root and the clock.
        destination: Returns what is known about the host, once the product is known.
        trail: Records what becomes known, also if the bundle is refused.

    Returns:
        The opened bundle with the signatures that count.

    Raises:
        UntrustedError: No trusted key signed it.
        TamperedError: It is not a bundle, or a signature is not of its bytes.
        ExpiredError: The bundle, the root or a key has expired or was revoked, or the clock was set back.
        RefusedError: It is not for this host, or older than what the host has had.
        MediaError: Reading failed.
    """
    evidence: list[SignatureEvidence] = []
    trail = trail or VerificationTrace()

    def decide_head(sums: bytes, signatures: Mapping[str, bytes]) -> None:
        trail.identity, trail.signatures = sha256_hex(sums), dict(signatures)
        # Only the names are parsed here; the content of a signature is not used before the check.
        found = [Signature.parse(name, data) for name, data in signatures.items()]
        trail.released = trust.check_release(sums, found)
        evidence.append(trail.released)

    try:
        bundle = open_bundle(medium, decide_head)
    except WaybillError as error:
        # The reader knows no steps: before the decision it read the head, after it the list and the manifest.
        error.step = error.step or (7 if evidence else 1)
        raise
    trail.manifest = bundle.manifest
    trail.host = host = destination(bundle.manifest)
    trust.check_manifest(bundle.manifest, host, medium.name, bundle.identity)
    return OpenedBundle(bundle, evidence[0], host)


def check_approvals(
    opened: OpenedBundle, trust: Trust, beside: Sidecars = NOTHING, trail: VerificationTrace | None = None
) -> Decision:
    """Do steps 15 to 18. Of a stream the approvals are known only after `verify_payload`.

    Args:
        opened: After steps 1 to 14.
        trust: The root and the clock.
        beside: Approvals that are not in the bundle.
        trail: Records what becomes known, also if the bundle is refused.

    Returns:
        The owners, approvals and provenance that count.

    Raises:
        NotApprovedError: Something that the policy requires is missing.
        WrongTargetError: The approvals are for other hosts.
        UsageError: The environment of the host is not known.
        TamperedError: An approval was changed after it was signed, or what follows the payload is malformed.
        MediaError: Reading failed.
    """
    with verification_step(19):
        inside = opened.bundle.read_tail()
    trail = trail or VerificationTrace()
    sources = (("", inside), *beside.sources)
    trail.approvals = [each for where, files in sources for each in group_files(files, where)[0]]
    try:
        trail.decision = trust.check_approvals(
            opened.bundle.manifest,
            opened.evidence,
            trail.approvals,
            opened.destination,
            trail.note_approvals,
            beside.damaged,
        )
    except NotApprovedError as error:
        # Copies lose the directory next to the bundle, or its name: so it is said where it was looked for.
        if error.step == 18 and (looked := beside.looked_in()):
            error.hint = f"{error.hint}; {looked}"
        raise
    return trail.decision


def payload_extent(opened: OpenedBundle, have: frozenset[str] = frozenset()) -> int:
    """Return the number of bytes that step 19 reads if the files `have` are present already."""
    return sum(extent(member.entry.size) for member in to_read(opened.bundle, have))


def verify_payload(
    opened: OpenedBundle,
    advance: Callable[[int], None] = lambda _count: None,
    sink: Sink = discard,
    have: frozenset[str] = frozenset(),
) -> VerifiedBundle:
    """Do steps 19 and 20.

    Args:
        opened: After steps 1 to 14.
        advance: Called with the bytes as they are read, from several threads.
        sink: Takes the files while they are checked.
        have: Paths of files that the sink has already, as signed. They are not given to it again; the
            documents of images are read all the same.

    Returns:
        The verified bundle.

    Raises:
        TamperedError: Something is not what was signed, or an image is not what the manifest says.
        MediaError: Reading failed.
    """
    bundle = opened.bundle
    # Before a byte of the payload: what the manifest alone contradicts is refused at once.
    with verification_step(20):
        images = ImageSection(bundle.manifest)

    def watched(entry: FileEntry, chunks: Iterator[memoryview]) -> None:
        # Closed at once after an error elsewhere: a layer may hold up others.
        with closing(_in_step(20, images.watch(entry, _in_step(19, chunks)))) as passing:
            (discard if entry.path in have else sink)(entry, passing)
            # The check ends with the last piece, also where the sink did not take them all.
            discard(entry, passing)

    with verification_step(19):
        approvals = check_payload(bundle, watched, advance, have=have - images.documents)
    with verification_step(20):
        images.finish()
    names = tuple(
        name for name in approvals if name.endswith(".json") and not name.endswith(".sigstore.json")
    )
    notes = (PARTIAL_APPEND,) if bundle.partial_append else ()
    return VerifiedBundle(
        bundle.manifest, bundle.identity, opened.evidence, names, bundle.payload_bytes, notes
    )


def _in_step(number: int, chunks: Iterator[memoryview]) -> Generator[memoryview]:
    """Yield the pieces, and mark a refusal that ends them with the number of the step."""
    with verification_step(number):
        yield from chunks


def report(verified: VerifiedBundle, decision: Decision | None = None) -> str:
    """Return what was checked, and why it is trusted and approved, as lines of text."""
    manifest, evidence = verified.manifest, verified.evidence
    rows = [
        ("verified", f"{manifest.product} {manifest.version} (sequence {manifest.sequence})"),
        ("identity", verified.identity),
    ]
    files: dict[tuple[str, str, str], list[str]] = {}
    for item in evidence.accepted:
        files.setdefault((item.owner, item.scheme, item.keyid), []).append(item.file)
    for (owner, scheme, keyid), found in files.items():
        rows += [
            ("released by", f"{owner}, {scheme} key {keyid[:16]}"),
            *(("", f"valid: {name}") for name in found),
        ]
    rows += [("not counted", f"{item.file}: {item.reason}") for item in evidence.rejected]
    # A single pinned key is a root without a version.
    by = f"by root version {evidence.root_version}" if evidence.root_version else "by the given key only"
    rows += [
        ("threshold", f"{len(evidence.owners)} of {evidence.threshold} required, {by}"),
        (
            "payload",
            (f"{len(manifest.files)} files, {verified.payload_bytes:,} bytes, all match the signed list"),
        ),
        ("expires", format_seconds(manifest.expires)),
        ("source", manifest.source.text()),
        ("approvals", ", ".join(verified.approvals) or "none"),
        *(decision.rows() if decision else ()),
        *(("SENSITIVE", line) for line in sensitive_lines(sensitive_destinations(manifest))),
        *(("note", note) for note in verified.notes),
    ]
    return "\n".join(f"{name:<12} {text}" for name, text in rows)


def summary(verified: VerifiedBundle, decision: Decision) -> str:
    """Return in one line who released a bundle, and who approved it."""
    accepted = verified.evidence.accepted
    released = dict.fromkeys(f"{each.owner} ({each.scheme} key {each.keyid[:8]})" for each in accepted)
    approved = dict.fromkeys(f"{each.key.owner} ({each.role})" for each in decision.counted)
    where = f" for {decision.environment}" if decision.environment else ""
    # A decision that lacks one is a refusal, and never comes here.
    by = f"approved{where} by {', '.join(approved)}" if approved else "no approvals are required"
    return f"verified: released by {', '.join(released)}; {by}"
