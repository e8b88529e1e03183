"""The in-toto Statement v1 about one bundle: the frame that approvals, provenance and evidence share.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. Statements are signed detached, like
everything else here, so there is no DSSE envelope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from installer.core.digest import HEX
from installer.core.fields import Value
from installer.core.format.manifest import SUMS

STATEMENT = "https://in-toto.io/Statement/v1"


def make_statement(predicate_type: str, predicate: Mapping[str, Any], identity: str) -> dict[str, Any]:
    """Return a statement as a JSON object.

    Args:
        predicate_type: The type of the predicate, a URI.
        predicate: The predicate.
        identity: SHA-256 of the bundle's SHA256SUMS, in hex; empty where the bundle could not be read.
    """
    return {
        "_type": STATEMENT,
        "subject": [{"name": SUMS, "digest": {"sha256": identity}}] if identity else [],
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def read_statement(value: Value, predicate_types: tuple[str, ...]) -> tuple[str, str, Value]:
    """Read the frame of a statement about one bundle; problems are noted in the document of `value`.

    Args:
        value: The statement.
        predicate_types: The types that are known to the caller.

    Returns:
        The type of the predicate, the identity of the bundle, and the predicate, which is not read yet.
    """
    with value.fields() as taken:
        taken.take("_type").choice((STATEMENT,))
        kind = taken.take("predicateType").choice(predicate_types)
        # Of several subjects nobody could say which one an approval is about.
        subjects = (listed := taken.take("subject")).items(_identity, 64)
        if isinstance(listed.raw, list) and len(subjects) != 1:
            listed.note(f"names {len(subjects)} subjects, not one")
        return kind, subjects[0] if subjects else "", taken.take("predicate")


def _identity(value: Value) -> str:
    with value.fields() as taken:
        taken.take("name").choice((SUMS,))
        with taken.take("digest").fields() as digest:
            return digest.take("sha256").text(HEX, "64 lower-case hex digits")
