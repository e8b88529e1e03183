"""Run cx_Freeze; started as a script by `build`, in a Python that sees only what is to be frozen.

Its argument is one JSON object: the options of `cx_Freeze.Freezer`, and `path`, the directories to import
from; `library`, the standard library to freeze, or nothing for that of this Python.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main(options: dict[str, Any]) -> None:
    """Freeze a program."""
    sys.path[:0] = options["path"]
    from cx_Freeze import Executable, Freezer

    program = Executable(options.pop("script"), target_name=options.pop("program"))
    # Before this Python's own, which only gives what no source archive has (_sysconfigdata).
    library = options.pop("library")
    options["path"] += [*filter(None, [library]), *sys.path[len(options["path"]) :]]
    Freezer([program], **options).freeze()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
