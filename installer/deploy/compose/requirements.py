"""What a project needs of the host and does not bring: networks, volumes, images, free ports, its name."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress

from installer.core.errors import Problem
from installer.deploy.compose.command import real_path
from installer.deploy.compose.containers import Container
from installer.deploy.compose.release_project import Project
from installer.deploy.docker_cli import docker
from installer.deploy.method import full_path
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.host.layout import STATE
from installer.state.public import visible_state

_ANY = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, never bound
_TABLES = (
    ("tcp", "/proc/1/net/tcp"),
    ("tcp", "/proc/1/net/tcp6"),
    ("udp", "/proc/1/net/udp"),
    ("udp", "/proc/1/net/udp6"),
)
_TABLE_LIMIT = 16 * 1024 * 1024
_BOUND = {"tcp": "0A", "udp": "07"}
"""The state of a socket that takes connections, as /proc/net has it."""
_PORTS = '{{.Label "com.docker.compose.project"}}\t{{.Names}}\t{{.Ports}}'
Port = tuple[str, int, str]
"""Address, port and protocol."""


def missing(project: Project) -> list[Problem]:
    """Return the external networks and volumes, and the images, that are not there.

    Raises:
        StepError: Compose refuses the file, or the engine does not answer.
    """
    context, model, problems = project.context, project.model, list[Problem]()
    for kind, word in (("networks", "network"), ("volumes", "volume")):
        wanted = model.external(kind)
        there = _listed(context, word, "ls", "--format", "{{.Name}}") if wanted else []
        problems += [
            Problem(
                f"{word} {name}",
                "is external in the Compose file and does not exist",
                f"create it: `docker {word} create {name}`",
            )
            for name in wanted
            if name not in there
        ]
    for service in model.services.values():
        # What the release brings is loaded before the project starts.
        if service.image and not project.images(service.image) and not _has_image(context, service.image):
            what = f"image {service.image} is neither in the bundle nor in the engine, and nothing is pulled"
            hint = "list it under images in bundle.yaml, or load it into the engine first"
            problems.append(Problem(f"service {service.name}", what, hint))
    return problems


def name_taken(context: Context, project: str, there: Sequence[Container]) -> Problem:
    """Return the problem of a project that runs in the engine, although no release of it is installed.

    Args:
        context: The product that is planned for.
        project: Name of the project.
        there: Its containers.
    """
    found = f"project {project} exists already"
    if not any(each.of_release for each in there):
        hint = f"remove it: `docker compose -p {project} down`"
        return Problem("compose", f"{found} and was not installed by Waybill", hint)
    # Such a project may be in production. No hint may take it down.
    another = "a second installation in the same engine needs another `project` in bundle.yaml"
    directories = [each.directory for each in there if each.directory]
    # State can be on another disk, by a link.
    if any(each.startswith(f"{real_path(context, context.layout.base)}/") for each in directories):
        return _left_over(context, project, found)
    state = f"{real_path(context, context.layout.state)}/"
    if below := [each.removeprefix(state) for each in directories if each.startswith(state)]:
        what = f"{found}: Waybill installed it for the product {below[0].partition('/')[0]}"
        return Problem("compose", what, "use another `project` in bundle.yaml: each product needs its own")
    roots = [root for root, below, _ in (each.partition(f"{STATE}/") for each in directories) if below]
    if not roots:
        what = f"{found}: Waybill installed it, below another root"
        return Problem("compose", what, f"use the `--root` that it was installed with; {another}")
    root = roots[0]
    what = f"{found}: Waybill installed it below {root or '/'}, which is another root"
    use = f"use `--root {shlex.quote(root)}`" if root else "omit `--root`"
    return Problem("compose", what, f"to change that installation, {use}; {another}")


def _left_over(context: Context, project: str, found: str) -> Problem:
    """Return the problem of a project that Waybill started for this very product."""
    system, layout = context.system, context.layout
    if system.observe(layout.state_file, digest=False).kind == "absent":
        base = full_path(context, layout.base)
        what = f"{found}: Waybill installed it, but {base} has no record of that"
        return Problem("compose", what, f"restore {base} from a backup")
    # A backup would bring back an old record, and with it a lower sequence number.
    if current := visible_state(system, layout).current:
        what = f"{found}: Waybill installed it, but not with {layout.product} {current.version}, which runs"
        return Problem("compose", what, f"see what runs in it: `docker compose -p {project} ps --all`")
    what = f"{found}: Waybill installed it, and no release of {layout.product} is installed any more"
    return Problem("compose", what, f"run `install remove {layout.product}`: it says what is left, and why")


def ports_taken(project: Project, *, is_first: bool) -> list[Problem]:
    """Return which ports of the host that services publish are in use.

    Args:
        project: The project.
        is_first: Whether nothing of the project runs yet. Otherwise a port that a process listens on may
            belong to what this very change stops.
    """
    wanted = [(name, port) for name, each in project.model.services.items() for port in each.ports]
    if not wanted:
        return []
    context = project.context
    held = [*_published(context)]
    ours = [port for owner, _, port in held if owner == project.name]
    others = [(f"container {name}", port) for owner, name, port in held if owner != project.name]
    listening = [("a process", port) for port in _listening(context)] if is_first and context.live else []
    problems = []
    for service, port in wanted:
        if any(_same(port, each) for each in ours):
            continue
        if by := next((name for name, each in (*others, *listening) if _same(port, each)), ""):
            what = f"port {port[0] + ':' if port[0] else ''}{port[1]}/{port[2]} is in use by {by}"
            problems.append(Problem(f"service {service}", what, "stop what uses it, or change the port"))
    return problems


def _same(one: Port, other: Port) -> bool:
    address = one[0] in _ANY or other[0] in _ANY or one[0] == other[0]
    return address and one[1:] == other[1:]


def _listed(context: Context, *words: str) -> list[str]:
    ended = docker(context, *words)
    if not ended.ok:
        raise StepError(f"docker {words[0]}: {ended.reason(context.secrets)}").of(ended, context.secrets)
    return ended.stdout.decode("utf-8", "replace").splitlines()


def _has_image(context: Context, name: str) -> bool:
    return docker(context, "image", "inspect", "--format", "{{.Id}}", name).ok


def _published(context: Context) -> Iterator[tuple[str, str, Port]]:
    """Yield project, container and port of what containers that run have published."""
    for line in _listed(context, "ps", "--no-trunc", "--format", _PORTS):
        owner, name, ports = [*line.split("\t"), "", ""][:3]
        for each in ports.split(", "):
            before, arrow, after = each.partition("->")
            address, _, numbers = before.rpartition(":")
            protocol = after.rpartition("/")[2]
            first, _, last = numbers.partition("-")
            if arrow and first.isdigit():
                for number in range(int(first), int(last or first) + 1):
                    yield owner, name, (address.strip("[]"), number, protocol)


def _listening(context: Context) -> Iterator[Port]:
    """Yield the ports that processes of this host listen on, as the kernel lists them."""
    for protocol, path in _TABLES:
        rows: Sequence[bytes] = ()
        with suppress(OSError):
            rows = bytes(context.system.read(path, _TABLE_LIMIT)).splitlines()[1:]
        for row in rows:
            words = row.decode("ascii", "replace").split()
            address, _, number = words[1].partition(":")
            if words[3] == _BOUND[protocol]:
                yield _address(address), int(number, 16), protocol


def _address(text: str) -> str:
    """Return an address of the kernel's tables as people write it; empty for any, and for IPv6."""
    # A port of one IPv6 address is rare enough to be taken for one of all addresses.
    parts = bytes.fromhex(text)[::-1] if len(text) == 8 else b""
    return ".".join(str(each) for each in parts) if any(parts) else ""
