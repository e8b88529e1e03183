"""The method `kubectl`: applies manifests as they are in the cluster of this host."""

from installer.deploy.kubectl.method import METHOD
from installer.deploy.kubectl.operations import HANDLERS

__all__ = ["HANDLERS", "METHOD"]
