"""The environment of child processes.

The standalone executable starts through a shell script (`self_extract.sh`) that hides variables such as
LD_LIBRARY_PATH, which would make it load foreign libraries. Child processes get them back unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

ORIGINAL = "WAYBILL_ORIGINAL_"
OWN = ("WAYBILL_EXE", "WAYBILL_FRESH")


def child_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a child process: the user's own, without what the start of Waybill added.

    Args:
        environ: The environment of this process; `os.environ` by default.

    Returns:
        A new dictionary, which the caller may change.
    """
    source = os.environ if environ is None else environ
    added = {name for name in source if name in OWN or name.startswith(ORIGINAL)}
    clean = {name: value for name, value in source.items() if name not in added}
    return clean | {name.removeprefix(ORIGINAL): source[name] for name in added if name.startswith(ORIGINAL)}
