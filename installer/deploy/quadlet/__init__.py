"""The method `quadlet`: services that Podman's generator makes of files of the release."""

from installer.deploy.operation import Handler
from installer.deploy.quadlet.method import METHOD

HANDLERS: dict[str, Handler] = {}
"""None of its own: systemd runs the services, so its operations stop, start and restore them."""

__all__ = ["HANDLERS", "METHOD"]
