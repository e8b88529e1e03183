"""Which directories of the host give whoever can write to them, or read them, the host itself."""

from __future__ import annotations

import posixpath
import re

_PATHS = (
    (r"/", "the whole file system of the host"),
    (
        r".*/(?:docker|containerd|podman|crio)[\w.-]*\.sock",
        "the socket of the container engine: root on this host",
    ),
    (r"/(?:var/)?run(?:/dbus|/systemd)?", "the sockets of the host's services"),
    (
        r"/etc(?:/(?:passwd|shadow|group|sudoers.*|ssh|pam\.d|cron.*|systemd|ld\.so.*))?(?:/.*)?",
        "configuration of the host",
    ),
    (r"/proc(?:/.*)?", "the processes of the host"),
    (r"/sys(?:/.*)?", "the kernel's settings and devices"),
    (r"/dev(?:/.*)?", "the devices of the host"),
    (r"/boot(?:/.*)?", "how the host boots"),
    (r"/(?:usr|bin|sbin|lib\w*)(?:/(?:s?bin|lib\w*)(?:/.*)?)?", "the programs of the host"),
    (r"/root(?:/.*)?|/home(?:/[^/]+(?:/\.ssh(?:/.*)?)?)?", "home directories"),
    (r"/var/lib/(?:docker|containerd|containers|kubelet)(?:/.*)?", "the data of the container engine"),
    (r"/var/lib/waybill(?:/.*)?|/opt/waybill(?:/.*)?", "the state of Waybill"),
    (r"/var|/var/lib|/var/log(?:/journal)?|/srv|/opt|/mnt|/media|/run/user", "data of other services"),
)
_TIMES = re.compile(r"/etc/(?:localtime|timezone|hostname|machine-id|ssl/certs|pki/[\w/.-]*)")


def opened(path: str) -> str:
    """Return what a path of the host opens to whoever gets it, in words; empty for data of its own.

    Args:
        path: An absolute path.
    """
    if not path.startswith("/"):
        return ""
    place = re.sub("^//", "/", posixpath.normpath(path[:4096]))
    # Read by many containers, and of no use to an attacker.
    if _TIMES.fullmatch(place):
        return ""
    return next((what for pattern, what in _PATHS if re.fullmatch(pattern, place)), "")
