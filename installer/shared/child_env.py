"""The environment of child processes, and what of the environment this process itself must not obey.

`install` runs programs as root: their environment is built here, not inherited, so that what an operator has
in a shell or a profile decides nothing: another engine, another host, another library. `bundle` runs programs
of the person who builds; they get that person's environment, without what the start of Waybill added.

The standalone executable starts through a shell script (`self_extract.sh`) that hides variables such as
LD_LIBRARY_PATH, which would make it load foreign libraries.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping

ORIGINAL = "WAYBILL_ORIGINAL_"
OWN = ("WAYBILL_EXE", "WAYBILL_FRESH")
DEFAULT_ENGINE = "unix:///var/run/docker.sock"
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
PODMAN_ENGINE = "unix:///run/podman/podman.sock"
"""Where Podman's service for root answers in Docker's API, once its socket is enabled."""
PROGRAMS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where programs are looked for first, whatever the order of the user's PATH."""
KEPT = ("LANG", "LANGUAGE", "TERM", "TZ", "NO_COLOR", "TMPDIR")
"""What a child of `install` has from its environment, besides LC_*: language, time zone, terminal."""
LOADERS = (
    "OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES", "OPENSSL_ENGINES", "GCONV_PATH", "LOCPATH",
    "NLSPATH", "SSLKEYLOGFILE", "GLIBC_TUNABLES", "MALLOC_TRACE",
)  # fmt: skip
"""What makes a library of this process load code or write files when it is first used."""


def child_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a child of `bundle`: the user's, without what the start of Waybill added.

    Args:
        environ: The environment of this process; `os.environ` by default.

    Returns:
        A new dictionary, which the caller may change.
    """
    source = os.environ if environ is None else environ
    added = {name for name in source if name in OWN or name.startswith(ORIGINAL)}
    clean = {name: value for name, value in source.items() if name not in added}
    return clean | {name.removeprefix(ORIGINAL): source[name] for name in added if name.startswith(ORIGINAL)}


def built_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a child of `install`: the same for every operator of this host.

    Args:
        environ: The environment of this process; `os.environ` by default.

    Returns:
        A new dictionary, which the caller may change.
    """
    source = os.environ if environ is None else environ
    kept = {name: value for name, value in source.items() if name in KEPT or name.startswith("LC_")}
    try:
        user = pwd.getpwuid(os.geteuid())
        home, name = user.pw_dir, user.pw_name
    except KeyError:
        home, name = "/", str(os.geteuid())
    # HOME is that of the user who runs the child: with `sudo -E` the variable names another user's files.
    person = {"HOME": home, "USER": name, "LOGNAME": name, "SHELL": "/bin/sh"}
    return {**kept, **person, "PATH": program_path(source)}


def program_path(environ: Mapping[str, str]) -> str:
    """Return the PATH of a child: the usual directories, then those of the user that nobody else can change.

    Some systems have their programs elsewhere, such as in /opt/bin; none of theirs comes before /usr/bin.
    """
    own = [part for part in environ.get("PATH", "").split(os.pathsep) if part not in PROGRAMS]
    return os.pathsep.join([*PROGRAMS, *dict.fromkeys(part for part in own if _is_safe(part))])


def _is_safe(directory: str) -> bool:
    # A relative entry is another directory in each place; an empty one is the current directory.
    if not directory.startswith("/"):
        return False
    try:
        seen = os.stat(directory)  # noqa: PTH116 - `--version` imports this module, and pathlib is slow
    except OSError:
        return False
    mine = seen.st_uid in (0, os.geteuid())
    return mine and stat.S_ISDIR(seen.st_mode) and not seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def engine_address(environ: Mapping[str, str] | None = None) -> str:
    """Return the address of the one engine that images, Compose projects and probes use.

    It is DOCKER_HOST, else what the site says, else Docker's own default; on a host without Docker, that of
    Podman or containerd. A Docker context never decides: it may be another machine's.
    """
    source = os.environ if environ is None else environ
    return source.get("DOCKER_HOST") or _site_engine() or _host_engine()


def _site_engine() -> str:
    try:
        # Of this machine, whatever `--root` says, as the engine is.
        with open(SITE_ENGINE, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - pathlib is slow
            seen = os.fstat(file.fileno())
            if seen.st_uid not in (0, os.geteuid()) or seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                # No address: whoever connects to it says so, and nothing is sent anywhere.
                return f"{SITE_ENGINE} (others can change it)"
            return file.read(_LINE).strip()
    except OSError:
        return ""


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


def forget_loaders() -> None:
    """Remove what would make a library of this process load foreign code; before one of them is imported."""
    for name in LOADERS:
        os.environ.pop(name, None)
