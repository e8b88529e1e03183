"""Rules for the files of Podman's generator: what their containers get of the host."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from installer.core.risk.commands import suspicious
from installer.core.risk.host_paths import opened
from installer.core.risk.kube_files import examine_manifests
from installer.core.risk.risk import Found, Program, Risk
from installer.core.risk.unit_lines import directives, irregular_lines

_SECTIONS = ("Container", "Pod", "Network", "Volume", "Kube", "Image")
_STORAGE = "containers-storage:"
# Of each key: what a value does.
_OPENS = {
    "AddCapability": "gets the capabilities {}",
    "AddDevice": "may use the device {}",
    "ContainersConfModule": "follows the settings of {}",
    "SeccompProfile": "may make the system calls of {}",
    "SecurityLabelType": "runs under the label {}",
    "Sysctl": "changes the setting of the kernel {}",
    "Unmask": "sees {} of the kernel, which is hidden otherwise",
}
_ARGUMENTS = ("PodmanArgs", "GlobalArgs")
_OFF = ("SecurityLabelDisable", "SecurityLabelNested")
_HOST = ("host", "ns:")
MOST = 1000
"""Lines with a directive that are looked at."""


def examine_quadlet(where: str, text: Any) -> Found:
    """Yield what a file of Podman's generator runs and opens, or a manifest that such a file names.

    Args:
        where: Its path in the bundle.
        text: Its text; of a manifest the values of its documents.
    """
    if not isinstance(text, str):
        yield from examine_manifests(where, text)
        return
    lines = list(islice(directives(text), MOST + 1))
    pulls = [value for _, section, key, value in lines[:MOST] if (section, key) == ("Container", "Pull")]
    images = [value for _, section, key, value in lines[:MOST] if (section, key) == ("Image", "Image")]
    if where.endswith(".image") and not all(value.startswith(_STORAGE) for value in images):
        yield Risk("command", where, "fetches an image that is not in the release")
    if where.endswith(".container") and pulls[-1:] != ["never"]:
        yield Risk("command", where, "may fetch an image that is not in the release: it has no Pull=never")
    for number, section, key, value in lines[:MOST]:
        if not value:
            continue
        place = f"{where}:{number}"
        if section in _SECTIONS:
            yield from _opens(place, key, value)
        elif section == "Service" and key.startswith("Exec"):
            yield Risk("root", place, f"runs as root outside of the container: {key}={value}")
            yield Program(place, "root", f"{key}={value}")
            yield from suspicious(place, f"{key}={value}", numbered=False)
    for number, what in irregular_lines(text):
        yield Risk("command", f"{where}:{number}", f"this line {what}")
    if len(lines) > MOST:
        yield Risk("unread", where, f"has more than {MOST} lines with a directive: the rest was not examined")


def _opens(place: str, key: str, value: str) -> Iterator[Risk]:
    if key == "PublishPort":
        yield Risk("port", place, f"publishes {value}")
    elif key in ("Volume", "Mount"):
        yield from _mounts(place, key, value)
    elif key in ("Network", "UserNS") and value.startswith(_HOST):
        yield Risk("host", place, f"shares the namespace of the host: {key}={value}")
    elif key in _OPENS:
        yield Risk("host", place, f"{_OPENS[key].format(value)} ({key}=)")
    elif key in _OFF and value.lower() in ("1", "yes", "true", "on"):
        yield Risk("host", place, f"runs without the labels of SELinux ({key}=)")
    elif key in _ARGUMENTS:
        what = "which may be anything; read `man podman-run`"
        yield Risk("host", place, f"gives Podman the arguments {value}, {what}")


def _mounts(place: str, key: str, value: str) -> Iterator[Risk]:
    sources = [value.partition(":")[0]]
    if key == "Mount":
        words = [word.partition("=") for word in value.split(",")]
        sources = [text for sign, _, text in words if sign.strip() in ("source", "src")]
    for source in sources:
        if source.startswith(("/", "%", "~", ".")):
            what = f": {found}" if (found := opened(source)) else ""
            yield Risk("host", place, f"mounts {source} from the host{what} ({key}=)")
