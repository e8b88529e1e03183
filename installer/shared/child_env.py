"""The environment that child processes get.

The standalone executable starts through a shell head (`self_extract.sh`) that hides the variables
which would make it load foreign libraries. What we start is not ours: it gets them back as they were.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

ORIGINAL = "WAYBILL_ORIGINAL_"
OWN = ("WAYBILL_EXE", "WAYBILL_FRESH")


def child_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a child process: the person's own, without what our start added.

    Args:
        environ: The environment of this process; `os.environ` by default.

    Returns:
        A new dictionary, to be changed and passed on freely.
    """
    source = os.environ if environ is None else environ
    added = {name for name in source if name in OWN or name.startswith(ORIGINAL)}
    clean = {name: value for name, value in source.items() if name not in added}
    return clean | {name.removeprefix(ORIGINAL): source[name] for name in added if name.startswith(ORIGINAL)}
