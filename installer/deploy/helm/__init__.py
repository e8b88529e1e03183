"""The method `helm`: installs charts in the cluster of this host."""

from installer.deploy.helm.method import METHOD
from installer.deploy.helm.operations import HANDLERS

__all__ = ["HANDLERS", "METHOD"]
