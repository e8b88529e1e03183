"""Commands on a host of their own that has the programs of this machine, and none of what they change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def apart(directory: Path) -> Callable[[list[str]], list[str]]:
    """Return what puts a command on that host: the files of this one, changed in a directory only."""
    script = """
        set -e
        mount --make-rprivate /
        for place in etc var/lib opt run; do
            mkdir -p "$0/host/$place/upper" "$0/host/$place/work"
            over="upperdir=$0/host/$place/upper,workdir=$0/host/$place/work"
            mount -t overlay overlay -o "lowerdir=/$place,$over" "/$place"
        done
        exec "$@"
    """
    return lambda words: ["unshare", "--mount", "sh", "-c", script, str(directory), *words]
