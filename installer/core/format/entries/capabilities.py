"""Capabilities of files: their text, as `setcap` takes it, and the bytes in which the kernel keeps them.

The manifest has one form, such as `cap_net_bind_service,cap_net_raw=ep`. A bundle.yaml may have every text
that cap_from_text(3) allows and that names each capability.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

NAMES = (
    "cap_chown", "cap_dac_override", "cap_dac_read_search", "cap_fowner", "cap_fsetid", "cap_kill",
    "cap_setgid", "cap_setuid", "cap_setpcap", "cap_linux_immutable", "cap_net_bind_service",
    "cap_net_broadcast", "cap_net_admin", "cap_net_raw", "cap_ipc_lock", "cap_ipc_owner", "cap_sys_module",
    "cap_sys_rawio", "cap_sys_chroot", "cap_sys_ptrace", "cap_sys_pacct", "cap_sys_admin", "cap_sys_boot",
    "cap_sys_nice", "cap_sys_resource", "cap_sys_time", "cap_sys_tty_config", "cap_mknod", "cap_lease",
    "cap_audit_write", "cap_audit_control", "cap_setfcap", "cap_mac_override", "cap_mac_admin", "cap_syslog",
    "cap_wake_alarm", "cap_block_suspend", "cap_audit_read", "cap_perfmon", "cap_bpf",
    "cap_checkpoint_restore",
)  # fmt: skip
"""The capabilities of Linux 5.9 and later, in the order of their numbers."""
FORM = "capabilities as setcap takes them, such as cap_net_bind_service=ep"
LONGEST = 1024
"""Characters of a text."""
_CLAUSE = re.compile(r"(?P<names>[a-z_,]*)(?P<actions>(?:[=+-][eip]*)+)", re.IGNORECASE)
_ACTION = re.compile(r"([=+-])([eip]*)", re.IGNORECASE)
_BITS = {name: 1 << number for number, name in enumerate(NAMES)}
_V1, _V2, _V3 = 0x01000000, 0x02000000, 0x03000000
_EFFECTIVE = 1
_WORD = 0xFFFFFFFF


class CapabilityError(ValueError):
    """A text is not one of capabilities that a file can have."""


def canonical(text: str) -> str:
    """Return the one form of a text.

    Raises:
        CapabilityError: It is not valid, or no file can have it.
    """
    return _text(*_sets(text))


def fault(text: str) -> str:
    """Return why a text is not in the one form that a manifest has; empty where it is."""
    try:
        wanted = canonical(text)
    except CapabilityError as error:
        return str(error)
    return "" if text == wanted else f"must be written as {wanted}"


def xattr(text: str) -> bytes:
    """Return the value of `security.capability` for a text.

    Raises:
        CapabilityError: It is not valid.
    """
    permitted, inheritable, effective = _sets(text)
    words = (each >> shift & _WORD for shift in (0, 32) for each in (permitted, inheritable))
    return struct.pack("<5I", _V2 | (_EFFECTIVE if effective else 0), *words)


def text_of(value: bytes) -> str:
    """Return the text of a value of `security.capability`; a value of a later kind in hex."""
    size = len(value)
    if size < 4 or size % 4:
        return f"0x{value.hex()}"
    magic, *words = struct.unpack(f"<{size // 4}I", value)
    kind = magic & ~0xFF
    if kind == _V1 and len(words) == 2:
        words = [*words, 0, 0]
    # The fifth word of the third kind is the root of a user namespace.
    elif not (kind == _V2 and len(words) == 4) and not (kind == _V3 and len(words) == 5 and not words[4]):
        return f"0x{value.hex()}"
    permitted, inheritable = words[0] | words[2] << 32, words[1] | words[3] << 32
    if (permitted | inheritable) >> len(NAMES):
        return f"0x{value.hex()}"
    return _text(permitted, inheritable, bool(magic & _EFFECTIVE))


def _sets(text: str) -> tuple[int, int, bool]:
    """Return the permitted and the inheritable set, and whether all of them are effective."""
    sets = dict.fromkeys("pie", 0)
    if len(text) > LONGEST or not text.split():
        raise CapabilityError(f"must be {FORM}")
    for clause in text.split():
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise CapabilityError(f"{clause!r:.80} is not valid: write {FORM}")
        bits = _named(match["names"], clause)
        for sign, flags in _ACTION.findall(match["actions"].lower()):
            for flag in "pie":
                if flag in flags and sign != "-":
                    sets[flag] |= bits
                elif flag in flags or sign == "=":
                    sets[flag] &= ~bits
    permitted, inheritable, effective = sets["p"], sets["i"], sets["e"]
    if not permitted | inheritable:
        raise CapabilityError("grants nothing: leave it out")
    # The kernel keeps one bit for all: either all of them are effective, or none is.
    if effective not in (0, permitted | inheritable):
        raise CapabilityError("must have the flag e for all of the capabilities, or for none")
    return permitted, inheritable, bool(effective)


def _named(names: str, clause: str) -> int:
    # `all`, and no name at all, mean other capabilities on each kernel.
    if not names or names.lower() == "all":
        raise CapabilityError(f"{clause!r:.80} means all capabilities: name those that the program needs")
    bits = 0
    for name in names.lower().split(","):
        if name not in _BITS:
            raise CapabilityError(f"{name!r:.80} is not the name of a capability: see capabilities(7)")
        bits |= _BITS[name]
    return bits


def _text(permitted: int, inheritable: int, effective: bool) -> str:
    groups: dict[str, list[str]] = {}
    for name, bit in _BITS.items():
        flags = _flags(permitted & bit, inheritable & bit, effective)
        if flags:
            groups.setdefault(flags, []).append(name)
    return " ".join(f"{_joined(names)}={flags}" for flags, names in groups.items())


def _flags(permitted: int, inheritable: int, effective: bool) -> str:
    flags = ("i" if inheritable else "") + ("p" if permitted else "")
    return f"e{flags}" if effective and flags else flags


def _joined(names: Iterable[str]) -> str:
    return ",".join(names)
