"""Rules for Compose files: what containers get of the host, and where they listen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from installer.core.risk.host_paths import opened
from installer.core.risk.risk import Found, Risk

_HOST = "host"
Rule = Callable[[Any], Iterator[str]]


def examine_services(where: str, document: Any) -> Found:
    """Yield what the services of a Compose file get of the host.

    Args:
        where: Its path in the bundle.
        document: Its values; aliases and merges are resolved.
    """
    root = document if isinstance(document, Mapping) else {}
    for name, service in _mapping(root.get("services")):
        place = f"{where}: service {name}"
        if not isinstance(service, Mapping):
            continue
        for key, rule in _RULES.items():
            if key in service:
                yield from (Risk("host", place, what) for what in rule(service[key]))
        yield from (Risk("port", place, what) for what in _ports(service.get("ports")))
        if _is_root(service.get("user")):
            yield Risk("root", place, f"runs as root in its container: user: {service['user']}")
    for name, volume in _mapping(root.get("volumes")):
        options = volume.get("driver_opts") if isinstance(volume, Mapping) else None
        device = _text(options.get("device")) if isinstance(options, Mapping) else ""
        if device:
            yield Risk("host", f"{where}: volume {name}", _mount(device))


def _privileged(value: Any) -> Iterator[str]:
    if _is_true(value):
        yield "privileged: true: the container is root on this host"


def _namespace(what: str) -> Rule:
    def rule(value: Any) -> Iterator[str]:
        if _text(value) == _HOST:
            yield what

    return rule


def _capabilities(value: Any) -> Iterator[str]:
    yield from (f"cap_add: {_text(each)}" for each in _list(value))


def _devices(value: Any) -> Iterator[str]:
    for each in _list(value):
        device = each.get("source", each) if isinstance(each, Mapping) else each
        yield f"uses the device {_text(device)}"


def _security(value: Any) -> Iterator[str]:
    for each in map(_text, _list(value)):
        word = each.replace("=", ":").lower()
        if word.endswith(":unconfined") or word in (
            "label:disable",
            "no-new-privileges:false",
            "systempaths:unconfined",
        ):
            yield f"security_opt: {each}: a protection of the engine is off"


def _volumes(value: Any) -> Iterator[str]:
    for each in _list(value):
        if isinstance(each, Mapping):
            source, mode = _text(each.get("source")), "ro" if _is_true(each.get("read_only")) else ""
            is_bind = each.get("type") == "bind"
        else:
            source, _, rest = _text(each).partition(":")
            mode = rest.rpartition(":")[2]
            is_bind = bool(rest) and source[:1] in "/.~$"
        if is_bind:
            yield _mount(source, "ro" in mode.split(","))


def _mount(source: str, read_only: bool = False) -> str:
    rights = ", read-only" if read_only else ""
    if "$" in source:
        return f"mounts {source}{rights}: a variable decides which directory of the host"
    if what := opened(source):
        return f"mounts {source}{rights}: {what}"
    return f"mounts {source}{rights}"


def _other(key: str) -> Rule:
    def rule(value: Any) -> Iterator[str]:
        items = value.items() if isinstance(value, Mapping) else ((each, "") for each in _list(value))
        words = [f"{name}={each}" if each != "" else _text(name) for name, each in items]
        if words:
            yield f"{key}: {', '.join(words)[:200]}"

    return rule


_RULES: dict[str, Rule] = {
    "privileged": _privileged,
    "network_mode": _namespace("network_mode: host: uses the network of the host, and every port of it"),
    "pid": _namespace("pid: host: sees and can stop every process of the host"),
    "ipc": _namespace("ipc: host: shares memory with the processes of the host"),
    "uts": _namespace("uts: host: can change the name of the host"),
    "cgroup": _namespace("cgroup: host: sees the control groups of the host"),
    "userns_mode": _namespace("userns_mode: host: root in the container is root on the host"),
    "cap_add": _capabilities,
    "devices": _devices,
    "device_cgroup_rules": _other("device_cgroup_rules"),
    "security_opt": _security,
    "volumes": _volumes,
    "volumes_from": _other("volumes_from"),
    "sysctls": _other("sysctls"),
    "group_add": _other("group_add"),
    "extra_hosts": _other("extra_hosts"),
}
"""What each key of a service opens; one line for each, in the order of the gravest."""


def _ports(value: Any) -> Iterator[str]:
    for each in _list(value):
        if isinstance(each, Mapping):
            published, address = _text(each.get("published")), _text(each.get("host_ip"))
            shown = f"{published or 'a free port'}:{_text(each.get('target'))}"
        else:
            # Address, port and target; an address of IPv6 has colons of its own.
            *head, published, target = ["", *_text(each).rsplit(":", 2)]
            address, shown = "".join(head), f"{published}:{target}" if published else target
        local = " (this host only)" if address.strip("[]") in ("127.0.0.1", "::1", "localhost") else ""
        yield f"port {shown} on {address or 'all addresses'}{local}"


def _is_root(value: Any) -> bool:
    return value is not None and _text(value).partition(":")[0] in ("root", "0")


def _is_true(value: Any) -> bool:
    return value is True or _text(value).lower() in ("true", "yes", "on")


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:300]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _mapping(value: Any) -> Iterator[tuple[str, Any]]:
    yield from ((_text(name), each) for name, each in value.items()) if isinstance(value, Mapping) else ()
