"""All limits in one place, with their units. They are looked at before anything is read or allocated."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """What a bundle may at most be.

    Attributes:
        members: Members of the tar, all kinds together.
        sums_bytes: Size of SHA256SUMS; holds `members` lines of the longest kind.
        manifest_bytes: Size of bundle.json.
        signature_bytes: Size of one signature file.
        signatures: Number of signature files.
        reserved_bytes: Size of the room that is kept free for later signatures.
        approval_bytes: Size of one approval or of one of its signature files.
        approvals: Number of approvals.
        document_bytes: Size of one document that is held in memory: a template, a values file, a unit.
        json_depth: How deep JSON may nest.
        json_piece: Size of one value of a large JSON object that is read piece by piece.
        json_integer: Largest absolute integer in JSON.
        sequence_jump: How far the sequence number of a product may leap in one upgrade: 100 major versions.
    """

    members: int = 250_000
    sums_bytes: int = 80 * MIB
    manifest_bytes: int = 64 * MIB
    signature_bytes: int = 64 * KIB
    signatures: int = 64
    reserved_bytes: int = 64 * MIB
    approval_bytes: int = 64 * KIB
    approvals: int = 64
    document_bytes: int = 16 * MIB
    json_depth: int = 32
    json_piece: int = 1 * MIB
    json_integer: int = 2**53
    sequence_jump: int = 10**13


LIMITS = Limits()
CHUNK = MIB
"""Bytes moved at a time: a 1 MiB buffer reaches the full speed of OpenSSL's SHA-256."""
