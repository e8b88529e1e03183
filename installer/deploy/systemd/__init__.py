"""The method `systemd`: units, and the files by which systemd sets up the host for them."""

from installer.deploy.systemd.method import METHOD
from installer.deploy.systemd.operations import HANDLERS as UNITS
from installer.deploy.systemd.setting_operations import HANDLERS as SETTINGS

HANDLERS = UNITS | SETTINGS

__all__ = ["HANDLERS", "METHOD"]
