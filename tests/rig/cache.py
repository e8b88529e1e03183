"""Where provisioned components lie: outside the checkout, made by provision.py, only read by tests."""

from __future__ import annotations

import os
from pathlib import Path

# Without HOME and without an entry in the passwd database, this is a path that nothing is at.
CACHE = Path(os.environ.get("WAYBILL_RIG_CACHE") or os.path.expanduser("~/.cache/waybill-rig"))
