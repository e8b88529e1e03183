"""A file system of its own for one command: a full one, or one that is read-only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.rig.needs import needs

_TOP = Path(__file__).parents[2]
_BUNDLE = "from bundler.cli.main import main; main()"
_FULL = """
mount -t tmpfs -o size=256k small "$PLACE" || exit 99
cp -a "$KEPT/." "$PLACE/" || exit 99
cat /dev/zero > "$PLACE/filler" 2> /dev/null
before=$(find "$PLACE" | sort)
"$@"
code=$?
[ "$before" = "$(find "$PLACE" | sort)" ] || { echo "left behind:"; find "$PLACE" | sort; }
exit $code
"""
_READ_ONLY = 'mount -t tmpfs -o ro,size=4k small "$PLACE" || exit 99\nexec "$@"\n'


def bundle_on_full_disk(
    kept: Path, place: Path, *words: str, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `bundle` with a full file system at `place`; stdout says `left behind` if files came or went.

    Args:
        kept: The directory whose files are on it.
        place: A directory that exists.
        words: The command line.
        variables: Further ones of the environment.
    """
    return _run(_FULL, kept, place, words, variables)


def bundle_beside_read_only(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `bundle` with a read-only file system without free space at `place`; arguments as above."""
    return _run(_READ_ONLY, place, place, words, None)


def _run(
    script: str, kept: Path, place: Path, words: tuple[str, ...], variables: Mapping[str, str] | None
) -> subprocess.CompletedProcess[str]:
    needs("unshare")
    environment = {**os.environ, "COSIGN_PASSWORD": "", "PYTHONPATH": str(_TOP)}
    environment |= {"KEPT": str(kept), "PLACE": str(place), **(variables or {})}
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", _BUNDLE, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 99, ended.stderr
    return ended
