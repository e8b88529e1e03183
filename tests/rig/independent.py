"""The verifier of the documents, written from the text of the format: it must agree with the reader.

Every helper that reads a bundle in a test asks it too. So each hostile bundle of the suite is a case for it,
and for the page that it was written from.
"""

from __future__ import annotations

import functools
import io
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from installer.core import limits
from installer.core.errors import MediaError, WaybillError
from installer.core.format import archive, checksums, partial_append
from tests.rig.needs import needs

VERIFIER = Path(__file__).parents[2] / "docs" / "reference" / "verifier"
NAMES = ("common", "images", "manifest", "probes", "verify", "whole")
LARGEST = 64 * 2**20
"""Bytes of the largest bundle that is compared: the verifier is short, not fast."""
SMALL = 2**20
"""Bytes of the largest bundle that is kept in memory for the next answer."""


@functools.cache
def verifier() -> ModuleType:
    """Return its main module; its other modules have plain names, which are taken away again."""
    before = {name: sys.modules.pop(name) for name in NAMES if name in sys.modules}
    sys.path.insert(0, str(VERIFIER))
    try:
        return import_module("verify")
    finally:
        sys.path.remove(str(VERIFIER))
        for name in NAMES:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def answer(data: bytes, pem: str | None = None, *, images: bool = False) -> tuple[int, str]:
    """Return its exit code for a bundle, and the reason.

    Args:
        data: The bundle.
        pem: The public key that must have signed; None: nobody is asked.
        images: Whether the images are looked at.
    """
    main: Any = verifier()
    try:
        main.verify(io.BytesIO(data), pem.encode() if pem else None, images)
    except main.Refused as refused:
        return int(refused.args[0]), str(refused.args[1])
    return 0, "verified"


@functools.lru_cache(maxsize=1)
def _last(data: bytes, pem: str | None = None, *, images: bool = False) -> tuple[int, str]:
    """Return the answer, kept for the next call: most tests read the same bytes as a file and as a pipe."""
    return answer(data, pem, images=images)


def compare(
    data: bytes, error: BaseException | None, pem: str | None = None, *, images: bool = False
) -> None:
    """Demand that the verifier accepts what the reader accepts, and refuses the rest with the same exit code.

    Args:
        data: The bundle.
        error: What the reader raised; None where it accepted the bundle.
        pem: The key that the reader was told to trust; None where nobody was asked.
        images: Whether the reader has looked at the images.
    """
    patched = any(each.LIMITS is not limits.LIMITS for each in (archive, checksums, partial_append))
    # Faults of the media are not in the bytes; limits that a test has lowered are not those of the format.
    if patched or len(data) > LARGEST or isinstance(error, MediaError):
        return
    if error is not None and not isinstance(error, WaybillError):
        return
    if images:
        needs("zstd")
    code, why = (_last if len(data) <= SMALL else answer)(data, pem, images=images)
    wanted = error.exit_code if isinstance(error, WaybillError) else 0
    assert code == wanted, f"the reader says {wanted} ({error}), the verifier of the documents {code} ({why})"
