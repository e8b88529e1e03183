"""The names that members after the payload may have: approvals and their signatures, and nothing else.

They are the only members that the signed list does not cover. A name that no reader of approvals knows could
carry anything under the eyes of everybody who unpacks the bundle.
"""

from __future__ import annotations

import re

DIRECTORY = "approvals/"
SIGNATURE_FORMS = ("sig", "sigstore.json", "asc")
"""What the name of a signature ends with."""
NAME = re.compile(
    r"approvals/(?P<role>provenance|security|ops|break-glass)-(?P<keyid8>[0-9a-f]{8})(\.[1-9][0-9]?)?\.json"
)


def signed_name(name: str) -> str:
    """Return the name of the approval that a file is a signature of; empty if it is not one."""
    for form in SIGNATURE_FORMS:
        if name.endswith(f".{form}") and NAME.fullmatch(name.removesuffix(f".{form}")):
            return name.removesuffix(f".{form}")
    return ""


def is_known(name: str) -> bool:
    """Return whether a name is that of an approval or of a signature of one."""
    return bool(NAME.fullmatch(name) or signed_name(name))
