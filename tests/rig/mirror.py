"""Find the Debian mirror that this machine already uses; the project names none.

    python tests/rig/mirror.py bookworm

WAYBILL_RIG_MIRROR names another mirror for every suite, WAYBILL_RIG_MIRROR_BULLSEYE one for bullseye only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

# `bookworm-security`, `-updates` and `-backports` are not among them: no host can be built from these alone.
NAMES = ("bullseye", "bookworm", "trixie", "forky", "sid")
SUITES = frozenset((*NAMES, "oldoldstable", "oldstable", "stable", "testing", "unstable"))


def setting(suite: str) -> str:
    """Return the name of the variable that sets the mirror of one suite."""
    return f"WAYBILL_RIG_MIRROR_{suite.upper()}"


def mirror(suite: str, apt: Sequence[str] = ()) -> str:
    """Return the URI of the mirror to fetch a suite from.

    Args:
        suite: The Debian suite.
        apt: Further options of apt-get, which say where its configuration is.

    Raises:
        SystemExit: Neither the environment nor apt's configuration names a mirror.
    """
    given = os.environ.get(setting(suite)) or os.environ.get("WAYBILL_RIG_MIRROR")
    if given:
        return given.rstrip("/")
    found = list(dict.fromkeys(_main_archives(apt)))
    if not found:
        raise SystemExit(
            "mirror: apt's sources name no Debian mirror that is reached over HTTP\n"
            "hint: set WAYBILL_RIG_MIRROR to the URI of one"
        )
    # Other publishers call their suites `bookworm` or `stable` too. Debian's archive is at /debian by custom.
    return next((uri for uri in found if uri.endswith("/debian")), found[0])


def _main_archives(options: Sequence[str]) -> Iterator[str]:
    """Yield the URIs that serve the component main of a Debian suite, in the order of apt's sources."""
    # apt reads both formats of its sources itself. It may not have downloaded any list yet: no release info.
    command = ["apt-get", *options, "indextargets", "--no-release-info"]
    command += ["--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages", "Component: main"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in listed.splitlines():
        suite, _, uri = line.partition(" ")
        if suite in SUITES:
            yield from (each.rstrip("/") for each in _resolved(uri) if each.startswith(("http:", "https:")))


def _resolved(uri: str) -> list[str]:
    """Return the mirrors of a list in a local file, which cloud images use, else the URI as it is."""
    scheme, _, path = uri.partition(":")
    if scheme != "mirror+file":
        return [uri]
    lines = Path(path.rstrip("/")).read_text().splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


if __name__ == "__main__":
    print(mirror(sys.argv[1]))
