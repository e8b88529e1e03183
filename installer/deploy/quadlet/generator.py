"""Podman's generator on this host, and what it says of files before they are installed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from installer.core.errors import Problem
from installer.core.format.entries.quadlet_files import KIND
from installer.core.format.methods import directory_of
from installer.deploy.method import Target
from installer.deploy.quadlet.services import Service
from installer.host.context import Context

_DIRECTORIES = ("/usr/local/lib", "/usr/lib", "/lib", "/etc")
_GENERATOR = "systemd/system-generators/podman-system-generator"
_SECONDS = 30.0
# `converting "web.container": …` since Podman 5; before, `Error converting 'web.container', ignoring: …`.
_FAULT = re.compile(r"onverting [\"']([^\"']+)[\"'](?:, ignoring)?: (.*)")
_ASK = "ask the team that built the bundle to correct the file and to send a new bundle"


def find(context: Context) -> str | Problem:
    """Return the path of the generator, or why there is none."""
    for directory in _DIRECTORIES:
        path = f"{directory}/{_GENERATOR}"
        if context.system.which(path) is not None:
            return path
    if context.system.which("podman") is None:
        hint = "install Podman 4.4 or later, or omit this step with --skip quadlet"
        return Problem("podman", "is not installed", hint)
    ended = context.system.run(["podman", "--version"], timeout=_SECONDS)
    version = ended.stdout.decode("utf-8", "replace").strip().rpartition(" ")[2] if ended.ok else ""
    what = f"is version {version or 'unknown'}, which has no generator of services: that came with 4.4"
    hint = "upgrade Podman first, or omit this step with --skip quadlet"
    return Problem("podman", what, hint)


def refused(context: Context, generator: str, target: Target, services: list[Service]) -> Iterator[Problem]:
    """Yield the files of which the generator would make no service.

    Args:
        context: The host.
        generator: The path of the generator.
        target: The step.
        services: Those whose files are new or changed.
    """
    if not services:
        return
    every = [target.release.now(path).rpartition("/")[0] for path in target.options["files"]]
    # The files of the host follow: those of the release may name them, and come before older ones.
    places = ":".join(dict.fromkeys([*every, directory_of(KIND)]))
    ended = context.system.run([generator, "--dryrun"], timeout=_SECONDS, env={"QUADLET_UNIT_DIRS": places})
    said = ended.stderr.decode("utf-8", "replace")
    faults = {match[1]: match[2] for match in _FAULT.finditer(said)}
    made = set(re.findall(r"^---(.+)---$", ended.stdout.decode("utf-8", "replace"), re.MULTILINE))
    for each in services:
        if fault := faults.get(each.file.name):
            # It names the staged file, which nobody knows.
            what = re.sub(r" in /\S+$", "", fault)
            yield Problem(each.path, f"Podman of this host refuses it: {what}", _ASK)
        elif each.name not in made:
            what = f"Podman of this host makes no {each.name} of it: {ended.reason(context.secrets)}"
            yield Problem(each.path, what, _ASK)
