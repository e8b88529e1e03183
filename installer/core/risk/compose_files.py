"""Rules for Compose files: what containers get of the host, where they listen, and what was not examined.

Every key of the Compose specification has a rule, or is on a list of those that open nothing; any other is a
finding. The specification is that of the schema `compose-spec.json` in the repository of compose-spec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from installer.core.risk.compose_references import references
from installer.core.risk.compose_services import examine_service, mount, reads, unknown_keys
from installer.core.risk.compose_values import entries, resolved, shown, text_of
from installer.core.risk.risk import Found, Further, Risk

_SOURCES = (
    "name",
    "file",
    "environment",
    "content",
    "external",
    "labels",
    "driver",
    "driver_opts",
    "template_driver",
)
_VOLUME = ("name", "driver", "driver_opts", "external", "labels")
_NETWORK = (*_VOLUME, "ipam", "internal", "attachable", "enable_ipv4", "enable_ipv6")
_OWN_DRIVERS = ("", "bridge", "overlay", "none")


def examine_services(where: str, document: Any) -> Found:
    """Yield what the services of a Compose file get of the host.

    Args:
        where: Its path in the bundle.
        document: Its values; aliases and merges are resolved.
    """
    root = document if isinstance(document, Mapping) else {}
    for name, service in entries(root.get("services")):
        if isinstance(service, Mapping):
            yield from examine_service(f"{where}: service {name}", service)
    for section, (word, known, rule) in _SECTIONS.items():
        for name, each in entries(root.get(section)):
            if isinstance(each, Mapping):
                place = f"{where}: {word} {name}"
                yield from rule(place, name, resolved(each)[0])
                yield from unknown_keys(place, each, known)
    yield from unknown_keys(where, root, ("version", "name", "services", "include", "models", *_SECTIONS))


def further_files(document: Any, base: str) -> Iterator[Further]:
    """Yield the Compose files that a Compose file includes or extends.

    Args:
        document: Its values; aliases and merges are resolved.
        base: The directory in the bundle that its relative paths mean.
    """
    for found in references(document, base):
        if found.role == "project":
            is_known = not found.on_host and "$" not in found.path
            yield Further(found.what, found.target if is_known else found.path, found.inner)


def _volume(place: str, name: str, volume: Mapping[str, Any]) -> Iterator[Risk]:
    driver, options = text_of(volume.get("driver")), volume.get("driver_opts")
    if driver not in ("", "local"):
        yield Risk("host", place, f"uses the volume driver {driver}: {shown(options) or 'no options'}")
    device = text_of(options.get("device")) if isinstance(options, Mapping) else ""
    if device:
        yield Risk("host", place, mount(device))
    elif options and driver in ("", "local"):
        yield Risk("host", place, f"mounts what its options say: {shown(options)}")
    if external := _external(name, volume):
        yield Risk("host", place, f"uses the volume {external}, which is not of this release")


def _network(place: str, name: str, network: Mapping[str, Any]) -> Iterator[Risk]:
    driver, external = text_of(network.get("driver")), _external(name, network)
    if "host" in (driver, external, text_of(network.get("name"))):
        yield Risk("host", place, "is the network of the host, and every port of it")
    elif external:
        yield Risk("host", place, f"joins the network {external}, which is not of this release")
    elif driver not in _OWN_DRIVERS:
        options = shown(network.get("driver_opts")) or "no options"
        yield Risk("host", place, f"uses the network driver {driver}: {options}")


def _external(name: str, each: Mapping[str, Any]) -> str:
    """Return the name of what others made; empty for what Compose makes."""
    external = each.get("external")
    if isinstance(external, Mapping):
        return text_of(external.get("name")) or name
    is_own = external is None or text_of(external).lower() in ("", "false", "no", "off")
    return "" if is_own else text_of(each.get("name")) or name


def _source(place: str, _: str, source: Mapping[str, Any]) -> Iterator[Risk]:
    yield from (Risk(kind, place, what) for kind, what in reads(text_of(source.get("file"))))


_Section = tuple[str, tuple[str, ...], Callable[[str, str, Mapping[str, Any]], Iterator[Risk]]]
_SECTIONS: dict[str, _Section] = {
    "volumes": ("volume", _VOLUME, _volume),
    "networks": ("network", _NETWORK, _network),
    "configs": ("config", _SOURCES, _source),
    "secrets": ("secret", _SOURCES, _source),
}
"""Of each section other than the services: its word, the keys of its entries, and their rule."""
