"""The files of a step by which systemd sets up the host: what they change there, and what is out of order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from installer.core.errors import Problem
from installer.core.format.destinations import OWN_LINK, within
from installer.core.format.member_names import WAYBILL_DIRECTORIES
from installer.core.format.methods import installed_by_method
from installer.core.limits import LIMITS
from installer.core.risk import setting_lines
from installer.core.risk.setting_lines import CREATING, KINDS, SettingKind
from installer.deploy.inventory import InventoryItem
from installer.deploy.method import Target
from installer.deploy.operation import Op
from installer.deploy.systemd.programs import NAMES, find
from installer.deploy.systemd.units import read_text
from installer.host.context import Context

PATH, KERNEL = "created path", "kernel setting"
_ACCOUNTS = {"u": "user", "g": "group"}
KEPT_KINDS = (*_ACCOUNTS.values(), PATH, KERNEL)
"""Kinds of what stays after a removal."""
_CORRECT = "ask the team that built the bundle to correct it and to send a new bundle"
_BY_KIND = {
    "sysusers": "systemd-sysusers",
    "tmpfiles": "systemd-tmpfiles",
    "sysctl": "systemd-sysctl",
    "modules": "modprobe",
    "udev": "udevadm",
}


@dataclass(frozen=True, slots=True)
class SettingFile:
    """One such file.

    Attributes:
        kind: One of KINDS.
        path: In the bundle.
        place: Where it is installed.
        text: Its text.
        sha256: Its digest.
        mode: Its permission bits.
        release: The directory of its release, in which it is verified.
    """

    kind: SettingKind
    path: str
    place: str
    text: str
    sha256: str
    mode: int
    release: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All such files of a step.

    Attributes:
        files: In the order in which they are applied: users first, then what may belong to them.
    """

    files: tuple[SettingFile, ...] = ()

    @classmethod
    def of(cls, context: Context, target: Target | None) -> Self:
        """Return those of a step; none where there is no step."""
        if target is None:
            return cls()
        entries = {entry.path: entry for entry in target.release.manifest.files}
        named = [
            (kind, entries[path])
            for kind in KINDS
            for path in target.options.get(kind, [])
            if path in entries
        ]
        return cls(
            tuple(
                SettingFile(
                    kind, entry.path, entry.install or installed_by_method(entry),
                    read_text(context, target, entry.path, kind), entry.sha256,
                    entry.mode, target.release.directory,
                )
                for kind, entry in named
            )
        )  # fmt: skip

    def texts(self, kind: str) -> str:
        """Return the texts of all files of a kind."""
        return "\n".join(file.text for file in self.files if file.kind == kind)

    def places(self, kind: str) -> list[str]:
        """Return where the files of a kind are installed."""
        return [file.place for file in self.files if file.kind == kind]

    def new_accounts(self, context: Context) -> list[str]:
        """Return the users and groups that are not there yet, such as `user chat`."""
        system, found = context.system, dict[str, None]()
        for user in setting_lines.users(self.texts("sysusers")):
            if user.kind == "u" and system.user_id(user.name) is None:
                found[f"user {user.name}"] = None
            elif user.kind == "g" and system.group_id(user.name) is None:
                found[f"group {user.name}"] = None
        return list(found)

    def new_modules(self, context: Context) -> list[str]:
        """Return the kernel modules that are not loaded, and not built in with anything to set."""
        names = setting_lines.module_names(self.texts("modules"))
        directory = "/sys/module"
        return [name for name in names if not context.system.is_dir(f"{directory}/{name.replace('-', '_')}")]

    def wanted(self) -> dict[str, setting_lines.Setting]:
        """Return the settings of the kernel by their files; the last line counts."""
        found = setting_lines.settings(self.texts("sysctl"))
        return {each.path: each for each in found if each.is_exact}

    def created(self) -> list[str]:
        """Return the paths that tmpfiles.d creates, as far as they are known without the host."""
        lines = setting_lines.tmpfiles(self.texts("tmpfiles"))
        return list(dict.fromkeys(e.path.rstrip("/") for e in lines if e.type in CREATING and e.is_exact))

    def adjusted(self) -> list[str]:
        """Return the paths whose mode or owner tmpfiles.d changes."""
        lines = setting_lines.tmpfiles(self.texts("tmpfiles"))
        return list(dict.fromkeys(e.path.rstrip("/") or "/" for e in lines if e.type in "ez" and e.is_exact))

    def problems(self, context: Context) -> Iterator[Problem]:
        """Yield why the host cannot be set up so."""
        for file in self.files:
            for number, what in setting_lines.faults(file.kind, file.text):
                yield Problem(f"{file.path}:{number}", what, _CORRECT)
        for line in setting_lines.tmpfiles(self.texts("tmpfiles")):
            # As for every other file of a release: who writes there decides what is trusted.
            if within(line.path, (*WAYBILL_DIRECTORIES, OWN_LINK)):
                yield Problem(line.path, "is reserved for Waybill", _CORRECT)
        kinds = dict.fromkeys(file.kind for file in self.files)
        for kind in kinds:
            program = _BY_KIND[kind]
            is_needed = kind != "modules" or self.new_modules(context)
            if kind != "udev" and is_needed and find(context, program) is None:
                what = f"is not on this host, but {self.places(kind)[0]} needs it"
                yield Problem(program, what, f"install it ({NAMES[program]})")
        # A module brings settings of its own.
        if "modules" in kinds:
            return
        for path, each in self.wanted().items():
            if context.system.observe(path, digest=False).kind == "absent":
                yield Problem(each.key, "is no setting of the kernel of this host", _CORRECT)

    def lines(self, context: Context, old: Settings) -> Iterator[str]:
        """Yield what is changed on the host, and what of the old release stays as it is."""
        accounts = self.new_accounts(context)
        yield from (f"create {account}; a rollback or removal keeps it" for account in accounts)
        for path in self.created():
            if context.system.observe(path, digest=False).kind == "absent":
                yield f"create {path}"
        if changed := self._changed(old, "tmpfiles"):
            yield f"apply {', '.join(changed)}"
        for name in self.new_modules(context):
            yield f"load the kernel module {name}; a rollback or removal does not unload it"
        for path, each in self.wanted().items():
            now = value_of(context, path)
            if now != _normal(each.value):
                yield f"set {each.key} of the kernel to {each.value}{f' (now {now})' if now else ''}"
        if self._changed(old, "udev"):
            yield "reload the rules of udev; devices that are there get them at their next event"
        for item in old.kept(self):
            if item.kind == KERNEL:
                yield f"{item.name} of the kernel {item.why}"
            elif item.kind != PATH:
                yield f"keep {item.kind} {item.name}"
            elif is_there(context, item):
                yield f"keep {item.name}"

    def kept(self, new: Settings) -> Iterator[InventoryItem]:
        """Yield what these have brought and what stays although the new ones do not have it."""
        theirs = {(user.kind, user.name) for user in setting_lines.users(new.texts("sysusers"))}
        for user in setting_lines.users(self.texts("sysusers")):
            if user.kind in _ACCOUNTS and (user.kind, user.name) not in theirs:
                kind = _ACCOUNTS[user.kind]
                yield InventoryItem(
                    kind, user.name, why=f"{kind} of the release; files may still belong to it"
                )
        for path in self.created():
            if path not in new.created():
                yield InventoryItem(PATH, path, why="was created for the release, and may have data")
        for path, each in self.wanted().items():
            if path not in new.wanted():
                why = f"keeps its value {each.value} until the next boot"
                yield InventoryItem(KERNEL, each.key, _normal(each.value), path, why)

    def _changed(self, old: Settings, kind: str) -> list[str]:
        """Return the places of files of a kind that come or change; of rules also of those that go."""
        before = {file.place: file.sha256 for file in old.files if file.kind == kind}
        now = {file.place: file.sha256 for file in self.files if file.kind == kind}
        every = {**before, **now} if kind == "udev" else now
        return [place for place in every if before.get(place) != now.get(place)]

    def first(self, context: Context) -> Iterator[Op]:
        """Yield what comes before everything else: users, before the files that belong to them."""
        if files := [file for file in self.files if file.kind == "sysusers"]:
            accounts = self.new_accounts(context)
            label = f"create {', '.join(accounts)}" if accounts else ""
            fixed = setting_lines.fixed_numbers(self.texts("sysusers"))
            # Files of the release belong to these numbers: of those that are there, the host decides.
            users = {name: n for name, n in fixed.users.items() if f"user {name}" in accounts}
            groups = {n: g for n, g in fixed.groups.items() if context.system.group_id(n) is None}
            args = {
                "release": files[0].release,
                "files": {file.path: [file.sha256, file.mode] for file in files},
                "users": users,
                "groups": groups,
            }
            yield Op("systemd.users", args, "switch", label)

    def preimage(self, old: Settings) -> Iterator[Op]:
        """Yield the operation that remembers what undoing has to know."""
        if self._settings() or self._changed(old, "udev"):
            args = {
                "sysctl": list(self.wanted()),
                "paths": [*self.created(), *self.adjusted()],
                "udev": bool(self._changed(old, "udev")),
            }
            yield Op("systemd.settings", args, "switch")

    def last(self, old: Settings) -> Iterator[Op]:
        """Yield what comes once the files are there."""
        is_rules = bool(self._changed(old, "udev"))
        if self._settings() or is_rules:
            args = {
                "tmpfiles": self.places("tmpfiles"),
                "modules": setting_lines.module_names(self.texts("modules")),
                "sysctl": self.places("sysctl"),
                "values": {path: _normal(each.value) for path, each in self.wanted().items()},
                "udev": is_rules,
            }
            label = "set up the host" if self._settings() else "reload the rules of udev"
            yield Op("systemd.apply", args, "activate", label)

    def _settings(self) -> bool:
        return any(file.kind in ("tmpfiles", "modules", "sysctl") for file in self.files)

    def drift(self, context: Context) -> Iterator[Problem]:
        """Yield what is not on the host any more as it was set up."""
        again = "install the release again"
        for account in self.new_accounts(context):
            yield Problem(account, "does not exist", again)
        for path in self.created():
            if context.system.observe(path, digest=False).kind == "absent":
                places = " ".join(self.places("tmpfiles"))
                yield Problem(path, "is missing", f"run `systemd-tmpfiles --create {places}`")
        for name in self.new_modules(context):
            yield Problem(f"kernel module {name}", "is not loaded", f"run `modprobe {name}`")
        for path, each in self.wanted().items():
            now = value_of(context, path)
            # Some are for root's eyes only.
            is_unknown = not now and context.system.observe(path, digest=False).kind == "file"
            if now != _normal(each.value) and not is_unknown:
                yield Problem(each.key, f"is {now or 'not there'}, not {each.value}", again)


def is_there(context: Context, item: InventoryItem) -> bool:
    """Return whether something that `Settings.kept` has yielded is on the host."""
    if item.kind == "user":
        return context.system.user_id(item.name) is not None
    if item.kind == "group":
        return context.system.group_id(item.name) is not None
    if item.kind == KERNEL:
        return value_of(context, item.other) == item.mark
    return context.system.observe(item.name, digest=False).kind != "absent"


def creates_user(context: Context, target: Target, name: str) -> bool:
    """Return whether a release creates a user, by any of its steps."""
    files = target.release.manifest.of_kind("sysusers")
    texts = (read_text(context, target, entry.path, "sysusers") for entry in files)
    return any((each.kind, each.name) == ("u", name) for text in texts for each in setting_lines.users(text))


def value_of(context: Context, path: str) -> str:
    """Return the value of a setting of the kernel, blanks as one; empty where there is none."""
    try:
        return _normal(context.system.read(path, LIMITS.document_bytes).decode("utf-8", "replace"))
    except OSError:
        return ""


def _normal(value: str) -> str:
    return " ".join(value.split())
