"""The method `compose`: starts a Compose project."""

from installer.deploy.compose.method import METHOD
from installer.deploy.compose.operations import HANDLERS

__all__ = ["HANDLERS", "METHOD"]
