"""Rules for files that set up the host: what they create, load and change as root."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from installer.core.risk.commands import suspicious
from installer.core.risk.groups import ROOT_GROUPS
from installer.core.risk.host_paths import opened
from installer.core.risk.risk import Found, Program, Risk
from installer.core.risk.setting_lines import control_characters, modules, settings, tmpfiles, users

MOST = 1000
"""Lines that are looked at."""


def _bounded(lines: Callable[[str, str], Found], where: str, text: str) -> Found:
    for number, what in islice(control_characters(text), 1):
        yield Risk("command", f"{where}:{number}", f"this line {what}")
    found = list(islice(lines(where, text), MOST + 1))
    yield from found[:MOST]
    if len(found) > MOST:
        yield Risk("unread", where, f"has more than {MOST} findings: the rest is not listed")


def examine_users(where: str, text: str) -> Found:
    """Yield the users and groups that a file of sysusers.d creates."""
    yield from _bounded(_users, where, text)


def _users(where: str, text: str) -> Found:
    for user in users(text):
        place = f"{where}:{user.line}"
        if user.kind == "m":
            kind, why = ("root", f": {ROOT_GROUPS[user.id]}") if user.id in ROOT_GROUPS else ("host", "")
            yield Risk(kind, place, f"makes {user.name} a member of the group {user.id}{why}")  # type: ignore[arg-type]
        elif user.kind in ("u", "g"):
            what = "user" if user.kind == "u" else "group"
            number = user.id.partition(":")[0]
            if number == "0":
                yield Risk("root", place, f"creates the {what} {user.name} with the number 0: root")
            else:
                yield Risk("host", place, f"creates the {what} {user.name}; it stays after a removal")


def examine_tmpfiles(where: str, text: str) -> Found:
    """Yield the paths that a file of tmpfiles.d creates, changes or removes as root."""
    yield from _bounded(_tmpfiles, where, text)


def _tmpfiles(where: str, text: str) -> Found:
    for each in tmpfiles(text):
        place = f"{where}:{each.line}"
        words = " ".join([each.type, each.path, *each.rest])
        what = f": {found}" if (found := opened(each.path)) else ""
        verb = "removes" if each.type in "rR" else "creates or changes"
        yield Risk("host", place, f"{verb} {each.path} as root, also at boot{what} ({words})")
        mode = each.rest[0].lstrip("~:") if each.rest else ""
        if mode.isdecimal() and each.type not in "rRxX":
            if int(mode[-1]) & 2:
                yield Risk("writable", place, f"every user may write to {each.path} (mode {mode})")
            if len(mode) > 3 and int(mode[-4]) & 6:
                yield Risk("root", place, f"{each.path} has the rights of its owner (mode {mode})")


def examine_settings(where: str, text: str) -> Found:
    """Yield the settings of the kernel that a file of sysctl.d changes."""
    yield from _bounded(_settings, where, text)


def _settings(where: str, text: str) -> Found:
    for each in settings(text):
        # The kernel starts this program as root whenever a process crashes.
        if each.key == "kernel.core_pattern" and each.value.startswith("|"):
            yield Program(f"{where}:{each.line}", "root", each.value[1:])
            yield Risk("root", f"{where}:{each.line}", f"the kernel runs as root: {each.value[1:]}")
        yield Risk("host", f"{where}:{each.line}", f"sets {each.key} of the kernel to {each.value}")


def examine_modules(where: str, text: str) -> Found:
    """Yield the kernel modules that a file of modules-load.d loads."""
    yield from _bounded(_modules, where, text)


def _modules(where: str, text: str) -> Found:
    for number, name in modules(text):
        yield Risk("root", f"{where}:{number}", f"loads the kernel module {name}, now and at boot")


def examine_rules(where: str, text: str) -> Found:
    """Yield the rules of udev: root obeys them whenever a device appears."""
    yield from _bounded(_rules, where, text)


def _rules(where: str, text: str) -> Found:
    for number, line in enumerate(text.split("\n"), 1):
        rule, place = line.strip(), f"{where}:{number}"
        if not rule or rule.startswith("#"):
            continue
        if any(word in rule for word in ("RUN", "PROGRAM", "IMPORT{program}")):
            yield Program(place, "root", rule)
            yield Risk("root", place, f"runs as root when a device appears: {rule}")
            yield from suspicious(place, rule, numbered=False)
        else:
            yield Risk("host", place, f"decides over devices: {rule}")
