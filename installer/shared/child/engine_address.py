"""The one container engine of a host for images, Compose projects and probes, and how people start it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from installer.core.errors import Problem
from installer.shared.child.environment import PROGRAMS, built_environment

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
PODMAN_ENGINE = "unix:///run/podman/podman.sock"
"""Where Podman's service for root answers in Docker's API, once its socket is enabled."""
CONTAINERD = "containerd://"
"""How the address of a containerd without Docker starts."""
CONTAINERD_ENGINES = (
    f"{CONTAINERD}/run/k3s/containerd/containerd.sock",
    f"{CONTAINERD}/run/containerd/containerd.sock",
)
"""Where containerd answers: that of k3s and RKE2, and that of every other node."""
SITE_ENGINE = "/etc/waybill/engine"
"""The file by which a site says which engine of its host is used."""
_LINE = 4096


def engine_address(environ: Mapping[str, str] | None = None) -> str:
    """Return the address of the one engine of this host.

    It is DOCKER_HOST, else what the site says, else Docker's own default; on a host without Docker, that of
    Podman or containerd. A Docker context never decides: it may be another machine's. Where the file of the
    site cannot be used, the result is no address, and `not_usable` says why: no other engine takes its place.
    """
    source = os.environ if environ is None else environ
    return source.get("DOCKER_HOST") or _site_engine() or _host_engine()


def _site_engine() -> str:
    """Return what the site says; nothing where it says nothing."""
    try:
        # Of this machine, whatever `--root` says, as the engine is. What is no file must not be waited for.
        fd = os.open(SITE_ENGINE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            seen = os.fstat(fd)
            if not stat.S_ISREG(seen.st_mode):
                return f"{SITE_ENGINE}: is not a file"
            if seen.st_uid not in (0, os.geteuid()) or seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return f"{SITE_ENGINE}: can be changed by others"
            return os.read(fd, _LINE).decode("utf-8", "replace").strip()
        finally:
            os.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"{SITE_ENGINE}: cannot be read ({error.strerror})"


def not_usable(address: str) -> Problem | None:
    """Return why an address is not that of an engine of this host with Docker's API; None where it is."""
    if address.startswith("unix://"):
        return None
    if address.startswith(f"{SITE_ENGINE}: "):
        hint = (
            "it has to be a file of root that everybody can read and nobody else can change: run "
            f"`chown root: {SITE_ENGINE}` and `chmod 0644 {SITE_ENGINE}`"
        )
        return Problem(SITE_ENGINE, address.removeprefix(f"{SITE_ENGINE}: "), hint)
    # Verified images are loaded through a socket; containers elsewhere would not be made of them.
    hint = (
        f"images can only be loaded into an engine of this host: correct or unset DOCKER_HOST, and "
        f"{SITE_ENGINE} if it is there; the form is unix:///path/of/the/socket"
    )
    return Problem(address, "is not an engine of this host", hint)


def _host_engine() -> str:
    # A Docker that is down stays the engine of its host: its images must not go elsewhere meanwhile.
    if _is_there(DEFAULT_ENGINE) or has_program("dockerd"):
        return DEFAULT_ENGINE
    running = (each for each in (PODMAN_ENGINE, *CONTAINERD_ENGINES) if _is_there(each))
    if found := next(running, ""):
        return found
    # The program decides, too: who is not root may not look for the socket, and it may not be enabled yet.
    return PODMAN_ENGINE if has_program("podman") else DEFAULT_ENGINE


def _is_there(address: str) -> bool:
    return os.path.exists(address.partition("://")[2])  # noqa: PTH110 - pathlib is slow


def has_program(name: str) -> bool:
    """Return whether this host has a program in one of the usual directories."""
    return any(os.access(f"{directory}/{name}", os.X_OK) for directory in PROGRAMS)


def is_podman(address: str) -> bool:
    """Return whether an address is that of Podman, as far as its name tells."""
    # Some systems have a link to Podman's socket where Docker's would be.
    path = os.path.realpath(address.removeprefix("unix://"))
    return path.rpartition("/")[2].startswith("podman")


def engine_name(address: str) -> str:
    """Return what texts call the engine at an address."""
    return "Podman" if is_podman(address) else "the Docker engine"


def engine_start(address: str) -> str:
    """Return how the engine at an address is started."""
    if is_podman(address):
        return (
            "start its socket, now and at every boot: `systemctl enable --now podman.socket`; to use another "
            "engine: set DOCKER_HOST=unix://…"
        )
    return (
        "start it: `systemctl start docker`; to start it at every boot: `systemctl enable docker`; to use "
        "another engine: set DOCKER_HOST=unix://…"
    )


def engine_unit(address: str) -> str:
    """Return the unit whose log is that of the engine at an address."""
    return "podman" if is_podman(address) else "docker"


def engine_environment(address: str = "") -> dict[str, str]:
    """Return what a Docker command line needs to reach the engine; empty `address` for `engine_address`."""
    # It comes before the context in Docker's own configuration files.
    return {"DOCKER_HOST": address or engine_address()}


def interpolation_environment(address: str = "") -> dict[str, str | None]:
    """Return the environment for Compose, which fills in variables of a Compose file from all that it has.

    Only what Docker needs is in it. None stands for a variable that the child must not have: the language or
    the time zone of whoever runs a command must not decide what a project is.

    Args:
        address: The engine; empty for `engine_address`.
    """
    kept = ("PATH", "HOME")
    return {**{name: None for name in built_environment() if name not in kept}, **engine_environment(address)}
