"""All limits with their units. They are checked before anything is read or allocated."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest bundle that is accepted.

    Attributes:
        members: Members of the tar, all kinds together.
        sums_bytes: Size of SHA256SUMS; enough for `members` of the longest lines.
        manifest_bytes: Size of bundle.json.
        signature_bytes: Size of one signature file.
        signatures: Number of signature files.
        reserved_bytes: Size of the space reserved for later signatures.
        approval_bytes: Size of one approval or of one of its signature files.
        approvals: Number of approvals.
        document_bytes: Size of one document that is held in memory: a template, a values file, a unit.
        values_layers: Number of values files for single environments and clusters.
        values_layer_bytes: Size of one of them.
        json_depth: Deepest nesting of JSON.
        json_piece: Size of one value of a large JSON object that is read piece by piece.
        json_integer: Largest absolute integer in JSON.
        sequence_jump: Largest rise of the sequence number in one upgrade: 100 major versions.
        first_sequence: Largest sequence number of the first release on a host. It is above every number that
            follows from a version (below 10^15) and above a time in microseconds until 2033; above it there
            is space for 700 of the largest jumps.
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
    values_layers: int = 256
    values_layer_bytes: int = 1 * MIB
    json_depth: int = 32
    json_piece: int = 1 * MIB
    json_integer: int = 2**53
    sequence_jump: int = 10**13
    first_sequence: int = 2 * 10**15


LIMITS = Limits()
CHUNK = MIB
"""Bytes moved at a time: a buffer of 1 MiB reaches the full speed of OpenSSL's SHA-256."""
