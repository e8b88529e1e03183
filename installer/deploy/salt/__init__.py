"""The method `salt`: applies states of the bundle to this host, without a master."""

from installer.deploy.salt.method import METHOD
from installer.deploy.salt.operations import HANDLERS

__all__ = ["HANDLERS", "METHOD"]
