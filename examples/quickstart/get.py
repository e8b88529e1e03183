#!/usr/bin/env python3
"""Print what an HTTP server on this machine answers, on machines that may have no curl: get.py URL."""

from __future__ import annotations

import sys
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        # A proxy for other machines is of no use on this one.
        with build_opener(ProxyHandler({})).open(sys.argv[1], timeout=5) as answer:
            print(answer.read().decode())
    except URLError as error:
        sys.exit(f"get.py: {sys.argv[1]}: {error.reason}")
