"""Waybill's builder: everything that runs on the connected side and at the transfer desk.

Raises:
    ImportError: a package of another project named `installer` stands before ours on the path.
"""

import installer as _installer

# Another distribution named `installer` exists: failing here is clearer than an AttributeError later.
if getattr(_installer, "WAYBILL", None) != "waybill":
    raise ImportError(
        f"the package `installer` at {_installer.__file__} is not part of Waybill: another project "
        "uses that name. hint: install Waybill into a separate virtual environment, or use the "
        "standalone executables"
    )

__version__ = _installer.__version__
