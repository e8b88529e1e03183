"""Rules for the services of a Compose file: what each key gets of the host."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from installer.core.risk.compose_values import (
    LONGEST,
    has_variable,
    is_true,
    items,
    resolved,
    shown,
    text_of,
)
from installer.core.risk.host_paths import opened
from installer.core.risk.risk import Kind, Risk

Rule = Callable[[Any], Iterator[tuple[Kind, str]]]
ENGINE = "the socket of the container engine: root on this host"
_ROOT_USER = re.compile(r"(?:root|0+)(?::.*)?")
_HARDENING = re.compile(r"no-new-privileges(?::true)?|apparmor:docker-default|seccomp:builtin")


def examine_service(place: str, service: Mapping[str, Any]) -> Iterator[Risk]:
    """Yield what one service gets of the host, and what of it was not examined.

    Args:
        place: The file and the name of the service.
        service: Its keys; aliases and merges are resolved, variables are not.
    """
    for key, rule in RULES.items():
        if key not in service:
            continue
        value, is_cut = resolved(service[key])
        yield from (Risk(kind, place, what) for kind, what in rule(value))
        if key in _DECIDING and has_variable(value):
            what = f"{key}: {shown(value)}: a variable decides, which only the host knows"
            yield Risk("unread", place, what)
        if is_cut:
            yield Risk("unread", place, f"{key}: what follows after {LONGEST} characters was not examined")
    yield from unknown_keys(place, service, (*RULES, *OPEN_NOTHING))


def unknown_keys(place: str, mapping: Mapping[str, Any], known: tuple[str, ...]) -> Iterator[Risk]:
    """Yield the keys that are none of some; what a later Compose does with them nobody here can know."""
    for key in mapping:
        if key not in known and not str(key).startswith("x-"):
            yield Risk("unread", place, f"{str(key)[:100]}: a key that this version does not know")


def mount(source: str, rights: str = "") -> str:
    """Return that a directory of the host is mounted, and what that opens."""
    if "$" in source:
        return f"mounts {source}{rights}: a variable decides which directory of the host"
    if not rights and not source.startswith(("/", "~")):
        stays = "it is in the directory of the release, and data in it do not move to the next release"
        return f"mounts {source}{because(source) or f': {stays}'}"
    return f"mounts {source}{rights}{because(source)}"


def because(path: str) -> str:
    """Return what a path of the host opens, after a colon; empty for data of its own."""
    # Compose runs as root, and starts from the directory of its file.
    what = opened(f"/root{path[1:]}" if path.startswith("~") else path)
    if not path.startswith(("/", "~")) and ".." in path.split("/"):
        what = "it may be outside of the directory of the release"
    return f": {what}" if what else ""


def reads(path: str) -> Iterator[tuple[Kind, str]]:
    """Yield that a file of the host is read, where it is not in the directory of the Compose file."""
    if "$" in path:
        yield "host", f"reads {path}: a variable decides which file of the host"
    elif path.startswith(("/", "~")) or because(path):
        yield "host", f"reads {path}{because(path)}"


def _privileged(value: Any) -> Iterator[tuple[Kind, str]]:
    if is_true(value):
        yield "host", "privileged: true: the container is root on this host"


def _engine(value: Any) -> Iterator[tuple[Kind, str]]:
    if is_true(value):
        yield "host", f"use_api_socket: true: gets {ENGINE}"


def _namespace(key: str, what: str) -> Rule:
    def rule(value: Any) -> Iterator[tuple[Kind, str]]:
        text = text_of(value)
        if text == "host":
            yield "host", f"{key}: host: {what}"
        elif text.startswith("container:"):
            yield "host", f"{key}: {text}: shares it with a container of others"

    return rule


def _capabilities(value: Any) -> Iterator[tuple[Kind, str]]:
    yield from (("host", f"cap_add: {text_of(each)}") for each in items(value))


def _devices(value: Any) -> Iterator[tuple[Kind, str]]:
    for each in items(value):
        device = each.get("source") if isinstance(each, Mapping) else each
        yield "host", f"uses the device {text_of(device)}"


def _reserved(value: Any) -> Iterator[tuple[Kind, str]]:
    for key in ("resources", "reservations", "devices"):
        value = value.get(key) if isinstance(value, Mapping) else None
    if value:
        yield "host", f"uses devices of the host: {shown(value)}"


def _security(value: Any) -> Iterator[tuple[Kind, str]]:
    for each in map(text_of, items(value)):
        word = each.replace("=", ":").lower()
        if word.endswith(":unconfined") or word in ("label:disable", "no-new-privileges:false"):
            yield "host", f"security_opt: {each}: a protection of the engine is off"
        elif not _HARDENING.fullmatch(word):
            yield "host", f"security_opt: {each}: a protection of the engine is changed"


def _volumes(value: Any) -> Iterator[tuple[Kind, str]]:
    for each in items(value):
        if isinstance(each, Mapping):
            source, options = text_of(each.get("source")), each.get("bind")
            rights = ", read-only" if is_true(each.get("read_only")) else ""
            spread = text_of(options.get("propagation")) if isinstance(options, Mapping) else ""
            is_bind = text_of(each.get("type")) not in ("volume", "tmpfs", "image") or "$" in source
        else:
            source, _, rest = text_of(each).partition(":")
            mode = rest.rpartition(":")[2].split(",")
            rights = ", read-only" if "ro" in mode else ""
            spread = next((word for word in mode if word in ("shared", "rshared")), "")
            is_bind = "$" in text_of(each) or (rest != "" and source.startswith(("/", ".", "~")))
        if is_bind and source:
            wide = f", {spread}: what it mounts appears on the host" if "shared" in spread else ""
            yield "host", mount(source, rights + wide)


def _other(key: str, what: str = "") -> Rule:
    def rule(value: Any) -> Iterator[tuple[Kind, str]]:
        if words := shown(value):
            yield "host", f"{key}: {words}{what and f': {what}'}"

    return rule


def _env_files(value: Any) -> Iterator[tuple[Kind, str]]:
    for each in items(value):
        yield from reads(text_of(each.get("path") if isinstance(each, Mapping) else each))


def _provider(value: Any) -> Iterator[tuple[Kind, str]]:
    kind = text_of(value.get("type")) if isinstance(value, Mapping) else ""
    yield "root", f"provider: {kind}: a program of the host is run in place of a container"


def _build(value: Any) -> Iterator[tuple[Kind, str]]:
    if value:
        yield "host", "build: an image is built on this host, from what is not in the bundle"


def _hooks(key: str) -> Rule:
    def rule(value: Any) -> Iterator[tuple[Kind, str]]:
        for each in items(value):
            hook = each if isinstance(each, Mapping) else {}
            command = shown(hook.get("command"))
            if is_true(hook.get("privileged")):
                yield "host", f"{key}: privileged: true: the command is root on this host: {command}"
            if _is_root(hook.get("user")):
                yield "root", f"{key}: runs as root in its container: {command}"
            if any(has_variable(hook.get(name)) for name in ("privileged", "user")):
                yield "unread", f"{key}: a variable decides, which only the host knows: {command}"

    return rule


def _ports(value: Any) -> Iterator[tuple[Kind, str]]:
    for each in items(value):
        if isinstance(each, Mapping):
            published, address = text_of(each.get("published")), text_of(each.get("host_ip"))
            name = f"{published or 'a free port'}:{text_of(each.get('target'))}"
        else:
            # Address, port and target; an address of IPv6 has colons of its own.
            *head, published, target = ["", *text_of(each).rsplit(":", 2)]
            address, name = "".join(head), f"{published}:{target}" if published else target
        local = " (this host only)" if address.strip("[]") in ("127.0.0.1", "::1", "localhost") else ""
        yield "port", f"port {name} on {address or 'all addresses'}{local}"


def _user(value: Any) -> Iterator[tuple[Kind, str]]:
    if _is_root(value):
        yield "root", f"runs as root in its container: user: {text_of(value)}"


def _is_root(value: Any) -> bool:
    return _ROOT_USER.fullmatch(text_of(value)) is not None


RULES: dict[str, Rule] = {
    "privileged": _privileged,
    "use_api_socket": _engine,
    "network_mode": _namespace("network_mode", "uses the network of the host, and every port of it"),
    "pid": _namespace("pid", "sees and can stop every process of the host"),
    "ipc": _namespace("ipc", "shares memory with the processes of the host"),
    "uts": _namespace("uts", "can change the name of the host"),
    "cgroup": _namespace("cgroup", "sees the control groups of the host"),
    "userns_mode": _namespace("userns_mode", "root in the container is root on the host"),
    "cgroup_parent": _other("cgroup_parent", "is in a control group that the release chooses"),
    "cap_add": _capabilities,
    "devices": _devices,
    "device_cgroup_rules": _other("device_cgroup_rules"),
    "gpus": _other("gpus", "uses devices of the host"),
    "deploy": _reserved,
    "security_opt": _security,
    "runtime": _other("runtime", "runs under another runtime than the engine's own"),
    "volumes": _volumes,
    "volumes_from": _other("volumes_from"),
    "env_file": _env_files,
    "label_file": _env_files,
    "credential_spec": _other("credential_spec"),
    "sysctls": _other("sysctls"),
    "group_add": _other("group_add"),
    "extra_hosts": _other("extra_hosts"),
    "annotations": _other("annotations", "a runtime of the engine may obey them"),
    "models": _other("models", "runs language models outside of containers"),
    "provider": _provider,
    "build": _build,
    "post_start": _hooks("post_start"),
    "pre_stop": _hooks("pre_stop"),
    "ports": _ports,
    "user": _user,
}
"""What each key of a service opens, in the order of the gravest."""
_DECIDING = frozenset(
    ("privileged", "use_api_socket", "network_mode", "pid", "ipc", "uts", "cgroup", "userns_mode", "user")
)
"""Keys of which only some values are shown: one that a variable decides is said to be unread."""
OPEN_NOTHING = (
    "attach", "blkio_config", "cap_drop", "command", "configs", "container_name", "cpu_count", "cpu_percent",
    "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpus", "cpuset",
    "depends_on", "develop", "dns", "dns_opt", "dns_search", "domainname", "entrypoint", "environment",
    "expose", "extends", "external_links", "healthcheck", "hostname", "image", "init", "isolation", "labels",
    "links", "logging", "mac_address", "mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit",
    "networks", "oom_kill_disable", "oom_score_adj", "pids_limit", "platform", "profiles", "pull_policy",
    "pull_refresh_after", "read_only", "restart", "scale", "secrets", "shm_size", "stdin_open",
    "stop_grace_period", "stop_signal", "storage_opt", "tmpfs", "tty", "ulimits", "working_dir",
)  # fmt: skip
"""Keys that stay inside of the container, or limit it. The top-level `secrets` and `configs` have rules; an
extended file is examined itself (`further_files`)."""
