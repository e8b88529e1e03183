"""Verification of a retained release before it is used: its files may have been damaged or edited."""

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
    "the retained release is damaged and cannot be used for a rollback: roll back to another "
    "release (see `install status`), or create a new bundle of this version with a higher "
    "`sequence` in bundle.yaml"
)


def read_manifest(system: System, directory: str) -> tuple[Manifest, str]:
    """Read the manifest in a release directory, to look at it, not to install it.

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
    # As for a new bundle: the digest before the parser.
    if not has_line(listed, digest, MANIFEST):
        raise TamperedError(f"{MANIFEST} does not match its line in {SUMS}", where=directory)
    manifest = manifest_json.parse(data, retained=True)
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
    """Verify a release directory like a new bundle: signature, list, manifest, every file.

    Args:
        system: The host.
        directory: Of the release, as a host path.
        platform: `os/arch` of this host.
        trust: The root and the clock.
        progress: Receives the bytes read.
        blobs: Whether its image blobs are retained there too.

    Returns:
        The verified release.

    Raises:
        UntrustedError: No trusted key signed it.
        ExpiredError: A key was revoked, or the root has expired.
        TamperedError: A file is not what was signed; the error names it.
        OSError: Something cannot be read.
    """
    sums = system.read(f"{directory}/{SUMS}", LIMITS.sums_bytes)
    # By name: other files of the directory are not read.
    signatures = [
        Signature.parse(name, system.read(f"{directory}/{name}", LIMITS.signature_bytes))
        for name in system.names(directory)
        if name.startswith(SUMS + ".") and name.endswith(tuple(f".{form}" for form in FORMS))
    ]
    # By the root of today: a release that was revoked since it was installed must not run again.
    evidence = trust.check_release(sums, signatures)
    manifest, identity = read_manifest(system, directory)
    entries = [
        entry for entry in manifest.for_platform(platform) if blobs or not entry.path.startswith(BLOBS)
    ]
    size = sum(entry.size for entry in entries)
    progress.start("verify the retained release", size)
    with system.hold_directories():
        for entry in entries:
            seen = system.observe(f"{directory}/{entry.path}")
            # Also the kind: a link to a file with the right content could change later.
            if (seen.kind, seen.sha256) != ("file", entry.sha256):
                raise TamperedError(
                    f"{entry.path} does not match the signed list",
                    where=directory,
                    hint=DAMAGED,
                )
            progress.advance(entry.size)
    progress.done()
    return VerifiedBundle(manifest, identity, evidence, (), size)
