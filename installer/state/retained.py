"""A release that is kept on the host, verified again before it is used: a disk forgets, and people edit."""

from __future__ import annotations

from installer.core.digest import sha256_hex
from installer.core.errors import TamperedError
from installer.core.format import manifest_json
from installer.core.format.checksums import check_sums, has_line
from installer.core.format.manifest import BLOBS, MANIFEST, SUMS, Manifest
from installer.core.limits import LIMITS
from installer.core.trust.signatures import FORMS, Signature
from installer.core.trust.verifier import Trust
from installer.core.verify import VerifiedBundle
from installer.host.system import System
from installer.shared.progress import Progress

DAMAGED = (
    "the kept release is damaged, and there is no way back to it: go to another one (`install status` lists "
    "what is kept), or have this version made again with a higher `sequence` in bundle.yaml"
)


def read_manifest(system: System, directory: str) -> tuple[Manifest, str]:
    """Read what a release directory says it is; for looking at it, not for installing it.

    Args:
        system: The host.
        directory: Of the release, as a host path.

    Returns:
        Its manifest and its identity. The manifest's digest was checked against SHA256SUMS.

    Raises:
        TamperedError: The two do not agree, or one of them is damaged.
        OSError: One of them cannot be read.
    """
    listed = system.read(f"{directory}/{SUMS}", LIMITS.sums_bytes)
    data = system.read(f"{directory}/{MANIFEST}", LIMITS.manifest_bytes)
    digest = sha256_hex(data)
    if not has_line(listed, digest, MANIFEST):
        raise TamperedError(f"{MANIFEST} is not what {SUMS} lists", where=directory)
    manifest = manifest_json.parse(data)
    check_sums(listed, manifest.files, digest)
    return manifest, sha256_hex(listed)


def verify_retained(
    system: System,
    directory: str,
    platform: str,
    trust: Trust,
    progress: Progress,
    *,
    blobs: bool = True,
) -> VerifiedBundle:
    """Verify a release directory as if it had just come: signature, list, manifest, every file.

    Args:
        system: The host.
        directory: Of the release, as a host path.
        platform: `os/arch` of this host.
        trust: Whom to believe.
        progress: Told the bytes.
        blobs: Whether the blobs of its images are kept there too.

    Returns:
        What is now known of it.

    Raises:
        UntrustedError: No trusted key signed it.
        ExpiredError: A key was revoked, or the trust is expired.
        TamperedError: A file is not what was signed; the message says which.
        OSError: Something cannot be read.
    """
    sums = system.read(f"{directory}/{SUMS}", LIMITS.sums_bytes)
    signatures = [
        Signature.parse(name, system.read(f"{directory}/{name}", LIMITS.signature_bytes))
        for name in system.names(directory)
        if name.startswith(SUMS + ".") and name.endswith(tuple(f".{form}" for form in FORMS))
    ]
    evidence = trust.check_release(sums, signatures)
    manifest, identity = read_manifest(system, directory)
    entries = [
        entry for entry in manifest.for_platform(platform) if blobs or not entry.path.startswith(BLOBS)
    ]
    size = sum(entry.size for entry in entries)
    progress.start("verify the kept release", size)
    with system.hold_directories():
        for entry in entries:
            seen = system.observe(f"{directory}/{entry.path}")
            if (seen.kind, seen.sha256) != ("file", entry.sha256):
                raise TamperedError(
                    f"{entry.path} is not what was signed",
                    where=directory,
                    hint=DAMAGED,
                )
            progress.advance(entry.size)
    progress.done()
    return VerifiedBundle(manifest, identity, evidence, (), size)
