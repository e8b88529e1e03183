"""Which variables an inventory of a site may have: what a host is, and how it is reached by ssh.

An inventory can let Ansible run any program on the host where `install` runs: by templates, by options of
ssh, by other connections. So only variables that cannot are possible; a new one of Ansible is none of them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

OWN = "ansible_"
"""What the names of Ansible's own variables start with."""
LOCAL = "localhost"
"""The only name under which the host where `install` runs can be in an inventory without ssh."""
KEY_FILE = "ansible_ssh_private_key_file"
_TEMPLATE = ("{{", "{%", "{#")
_REFERENCE = "secret://"
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,63}")
_ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9:._%-]{0,252}")
_FILE = re.compile(r"/[^\x00-\x1f\x7f]{0,4095}")
_OPTIONS = frozenset(
    {
        *("AddressFamily", "BindAddress", "BindInterface", "CASignatureAlgorithms", "Ciphers"),
        *("ConnectionAttempts", "GlobalKnownHostsFile", "HostKeyAlgorithms", "HostKeyAlias"),
        *("IdentitiesOnly", "KexAlgorithms", "MACs", "ProxyJump", "PubkeyAcceptedAlgorithms"),
        *("TCPKeepAlive", "UserKnownHostsFile"),
    }
)
"""Options of ssh that start no program, and make no check weaker."""


def _text(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _one_of(*words: str) -> Callable[[Any], bool]:
    return lambda value: value in words


def _is_port(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 65535


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_REFERENCE)


def _are_options(value: Any) -> bool:
    try:
        words = shlex.split(value) if isinstance(value, str) else [""]
    except ValueError:
        return False
    # ssh also takes `NAME VALUE` in one word: then all of it is the name, and unknown.
    names = [word.partition("=")[0] for word in words[1::2]]
    return len(words) % 2 == 0 and {*words[::2]} <= {"-o"} and {*names} <= _OPTIONS


_KNOWN: dict[str, tuple[Callable[[Any], bool], str]] = {
    "ansible_host": (_text(_ADDRESS), "write an address or the name of a host"),
    "ansible_port": (_is_port, "write a number from 1 to 65535"),
    "ansible_user": (_text(_USER), "write the name of a user of that host"),
    KEY_FILE: (_text(_FILE), "write the path of a file, from /"),
    "ansible_ssh_common_args": (
        _are_options,
        f"write -o NAME=VALUE; possible are {', '.join(sorted(_OPTIONS))}; others belong into ssh_config",
    ),
    "ansible_ssh_transfer_method": (
        _one_of("smart", "sftp", "scp", "piped"),
        "write smart, sftp, scp or piped",
    ),
    "ansible_connection": (_one_of("ssh"), f"write ssh; only {LOCAL} can have local"),
    "ansible_become": (_is_flag, "write true or false"),
    "ansible_become_user": (_text(_USER), "write the name of a user of that host"),
    "ansible_become_method": (_one_of("sudo", "su", "doas"), "write sudo, su or doas"),
    "ansible_become_password": (_is_reference, "write where the secret is, such as secret://file/become"),
    "ansible_python_interpreter": (_text(_FILE), "write the path of a Python of that host"),
}


def variable_problems(key: str, value: Any, host: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a variable of a host or of a group, and what to do.

    Args:
        key: Its name.
        value: Its value.
        host: The name of the host; empty for a group.
    """
    if not key.isidentifier():
        yield f"{key[:60]} cannot be the name of a variable", "write it with letters, digits and underscores"
    elif key == "waybill":
        yield "waybill is what Waybill itself tells a playbook", "give the variable another name"
    elif any(sign in text for text in _texts(value) for sign in _TEMPLATE):
        what = f"{key[:60]} is a template, which Ansible would run on this host"
        yield what, "write the value; what is computed belongs into the playbook"
    elif key.startswith(OWN):
        yield from _own_problems(key, value, host)


def _own_problems(key: str, value: Any, host: str) -> Iterator[tuple[str, str]]:
    if host == LOCAL and (key, value) == ("ansible_connection", "local"):
        return
    if key not in _KNOWN:
        what = f"{key[:60]} is nothing that an inventory may set here"
        yield what, f"leave it out; possible are {', '.join(sorted(_KNOWN))}"
        return
    is_fit, hint = _KNOWN[key]
    if not is_fit(value):
        # The value may be a password.
        yield f"{key} has a value that is not possible here", hint


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
