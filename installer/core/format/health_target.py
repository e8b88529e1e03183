"""The targets of health checks: what a probe may name.

Targets may be templates, which the host fills in with its values: they are checked twice, before as far as
they are known, and again when they are filled in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from installer.core.format.entries.config_file import UNIT, UNIT_FORM

MAX_PORT = 65535
MAX_WATCH = 86400
"""Seconds that a probe may have to pass, or to stay OK."""
_FIELD = re.compile(r"\{\{.*?\}\}")
_HTTP = re.compile(r"https?://[^\s/?#]+([/?#]\S*)?")
_TCP = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]@]+):([0-9]{1,5})")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_USER = re.compile(r"(?<=//)[^/?#]*@")
# A value may be a token; the name before it tells which one is meant.
_QUERY = re.compile(r"([?&;][^=&;?#]*=)[^&;#]+")
FORMS = {
    "http": "a URL such as http://127.0.0.1:8080/healthz",
    "tcp": "an address and port such as 127.0.0.1:5432",
    "container": "the name of a container",
    "unit": UNIT_FORM,
    "prometheus": "the URL of a Prometheus server such as http://127.0.0.1:9090",
}
"""What a target has to be, by the kind of the probe."""


def is_template(text: str) -> bool:
    """Return whether the host fills something into a target or a word of a command."""
    return "{{" in text


def target_fault(kind: str, target: str) -> str:
    """Return what a target has to be instead, in words; empty where it is right.

    Args:
        kind: A kind of FORMS; any other kind has no target, which is checked elsewhere.
        target: As in bundle.json, or filled in.
    """
    checks: dict[str, Callable[[str], bool]] = {"http": _http, "tcp": _tcp, "container": _container}
    checks |= {"unit": _unit, "prometheus": _http}
    # A digit, or nothing, stands for each value: it is right in a host, in a port and in a path.
    texts = [_FIELD.sub(each, target) for each in ("1", "")] if is_template(target) else [target]
    if kind not in checks or any(map(checks[kind], texts)):
        return ""
    has_user = kind in ("http", "prometheus") and without_user(target) != target
    return (
        f"{FORMS[kind]}, without a user name or password: it is shown and logged" if has_user else FORMS[kind]
    )


def without_user(url: str) -> str:
    """Return a URL, or what was meant as one, without its user name and password."""
    return _USER.sub("***@", url)


def without_secrets(url: str) -> str:
    """Return a URL, or what was meant as one, without user, password and the values of its query."""
    return _QUERY.sub(r"\1***", without_user(url))


def _container(target: str) -> bool:
    return _CONTAINER.fullmatch(target) is not None


def _unit(target: str) -> bool:
    return UNIT.fullmatch(target) is not None


def _http(target: str) -> bool:
    if not _HTTP.fullmatch(target) or not target.isprintable():
        return False
    try:
        parts = urlsplit(target)
        port, host = parts.port, parts.hostname
        # What the request is made of: other characters would fail while the release is watched.
        (parts.path + parts.query).encode("ascii")
        (host or "").encode("idna")
    except ValueError:
        return False
    # A password has no place in a document that is shown and logged.
    return bool(host) and port != 0 and "@" not in parts.netloc


def _tcp(target: str) -> bool:
    match = _TCP.fullmatch(target)
    return match is not None and 0 < int(match[1]) <= MAX_PORT
