"""Where provisioned components lie: outside the checkout, made by provision.py, only read by tests."""

from __future__ import annotations

import os
from pathlib import Path

from tests.rig import home

# Before the path is made: where the user has no home directory, the tests' own is the place.
home.provide()
CACHE = Path(os.environ.get("WAYBILL_RIG_CACHE") or Path.home() / ".cache" / "waybill-rig")
