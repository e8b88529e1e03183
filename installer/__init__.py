"""Waybill's installer: everything that is in the standalone executable `install`.

Another project publishes a package named `installer` too. `WAYBILL` tells ours from theirs: `bundler`
checks it before it imports anything from here.
"""

WAYBILL = "waybill"
__version__ = "0.1.0"
