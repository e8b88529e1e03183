"""What is in the files of a playbook: what it needs and does not have, and what it cannot get on a host."""

from __future__ import annotations

import configparser
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from installer.core.errors import Problem
from installer.core.limits import LIMITS
from installer.core.risk.playbooks import COLLECTIONS
from installer.shared import strict_yaml
from installer.shared.strict_yaml import Document
from installer.shared.strict_yaml import Path as Place

_YAML = (".yml", ".yaml")
_MOST = 50
"""Problems of one kind that are named."""
_LISTS = ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always")
_BUILT_IN = ("ansible.builtin", "ansible.legacy")
_MODULE = re.compile(r"([a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*)\.[a-z_][a-z0-9_.]*")
_HERE = ("all", "localhost", "127.0.0.1")
_VAULT = re.compile(rb"^[ \t]*\$ANSIBLE_VAULT;", re.MULTILINE)
_HEAD = len("$ANSIBLE_VAULT;")
_VENDOR = "run `ansible-galaxy collection install -p collections NAME` in the directory of the playbook"
_ROLES = "put the role into the directory roles of the playbook: hosts cannot download anything"
_ASKS = (
    *("ask_pass", "become_ask_pass", "ask_vault_pass", "vault_password_file", "vault_identity_list"),
    *("become_password_file", "connection_password_file", "log_path"),
)
"""Settings that ask for something, name a file of another machine, or write secrets to one."""


class Content:
    """The files of a directory with a playbook.

    Args:
        source: The directory.
        folder: Its path from bundle.yaml.
        names: Its files, below it.
        groups: The groups of the inventory of a site that it addresses; empty for the installed host alone.
    """

    def __init__(self, source: Path, folder: str, names: Sequence[str], groups: Sequence[str] = ()) -> None:
        self._source, self._folder, self._names, self._groups = source, folder, names, groups
        self._known = set(names)
        vendored = (
            name.removeprefix(f"{COLLECTIONS}/").split("/") for name in names if name.startswith(COLLECTIONS)
        )
        self._collections = {".".join(parts[:2]) for parts in vendored if len(parts) > 2}
        self._roles = {name.split("/")[1] for name in names if name.startswith("roles/")}

    def problems(self) -> list[Problem]:
        """Return what would not work on a host."""
        # What is in a collection is the matter of its publisher, and has names that only it explains.
        own = [name for name in self._names if not name.startswith("collections/")]
        found = [*self._settings(), *self._requirements()]
        for name in own:
            is_yaml = name.endswith(_YAML)
            # A whole file, or a value in one.
            data = self._read(name) if is_yaml else self._read(name, _HEAD)
            if vault := _VAULT.search(data):
                line = data[: vault.start()].count(b"\n") + 1
                what = "is encrypted with Ansible Vault, and no host has its password"
                hint = "let the site have the secret: `secret://…`"
                found.append(Problem(f"{self._shown(name)}:{line}", what, hint))
            elif is_yaml:
                found += islice(self._document(name, data), _MOST)
        return found

    def warnings(self) -> list[Problem]:
        """Return what a person should know: tasks that run for real while a plan is made."""
        found = []
        for name in self._names:
            if not name.endswith(_YAML) or name.startswith("collections/"):
                continue
            document = strict_yaml.load(self._read(name), self._shown(name))
            for place, task in _tasks(document.value, ()):
                # A plan must change nothing, and only the author knows whether the task does.
                if task.get("check_mode") in (False, "no", "False"):
                    what = "check_mode: false makes this task run for real while a plan is made"
                    hint = "use it for tasks that only read"
                    found.append(Problem(document.where((*place, "check_mode")), what, hint, "check-mode"))
        return found[:_MOST]

    def _shown(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _read(self, name: str, limit: int = LIMITS.document_bytes) -> bytes:
        try:
            with (self._source / name).open("rb") as file:
                return file.read(limit)
        except OSError:
            return b""

    def _settings(self) -> Iterator[Problem]:
        if "ansible.cfg" not in self._known:
            return
        # As Ansible reads it: the last one of two keys counts, and % means itself.
        parser, where = configparser.RawConfigParser(strict=False), self._shown("ansible.cfg")
        try:
            parser.read_string(self._read("ansible.cfg").decode("utf-8", "replace"))
        except configparser.Error as error:
            yield Problem(where, f"cannot be read: {str(error).splitlines()[0]}", "correct the file")
            return
        for section in parser.sections():
            for key, value in parser.items(section):
                if key in _ASKS and str(value).lower() not in ("", "false", "no", "0"):
                    what = f"sets {key}, and a host has neither a terminal nor that file"
                    yield Problem(where, what, "remove it; secrets come from the site")

    def _requirements(self) -> Iterator[Problem]:
        """Yield what is asked for in requirements.yml, and is not here."""
        for name in self._names:
            base, folder = posixpath.basename(name), posixpath.dirname(name)
            if base not in ("requirements.yml", "requirements.yaml") or folder not in (
                "",
                "collections",
                "roles",
            ):
                continue
            document = strict_yaml.load(self._read(name), self._shown(name))
            value = document.value
            # The old form is a list of roles.
            value = {"roles": value} if isinstance(value, list) else value if isinstance(value, dict) else {}
            for key, ask in (("collections", self._collection), ("roles", self._role)):
                rows = value.get(key)
                for number, row in enumerate(rows if isinstance(rows, list) else []):
                    place = (number,) if isinstance(document.value, list) else (key, number)
                    yield from ask(row, document.where(place))

    def _collection(self, row: Any, where: str) -> Iterator[Problem]:
        name = str(row.get("name", "") if isinstance(row, dict) else row)
        if name not in self._collections:
            yield Problem(where, f"the collection {name} is not in {self._folder}/{COLLECTIONS}", _VENDOR)
            return
        bounds = str(row.get("version", "*")) if isinstance(row, dict) else "*"
        has = self._version(name)
        if has and not _fits(has, bounds):
            what = f"the collection {name} {bounds} is needed, but version {has} is in the directory"
            yield Problem(where, what, _VENDOR)

    def _version(self, collection: str) -> str:
        place = f"{COLLECTIONS}/{collection.replace('.', '/')}/MANIFEST.json"
        try:
            return str(json.loads(self._read(place))["collection_info"]["version"])
        except (ValueError, KeyError, TypeError):
            return ""

    def _role(self, row: Any, where: str) -> Iterator[Problem]:
        name = str(
            (row.get("name") or row.get("src") or row.get("role") or "") if isinstance(row, dict) else row
        )
        if name not in self._roles and not self._is_in_collection(name):
            yield Problem(where, f"the role {name} is not in {self._folder}/roles", _ROLES)

    def _is_in_collection(self, name: str) -> bool:
        # A name that a variable decides cannot be checked here.
        return "{{" in name or ".".join(name.split(".")[:2]) in self._collections

    def _document(self, name: str, data: bytes) -> Iterator[Problem]:
        """Yield what is wrong in the plays and tasks of one file."""
        # For its lines. Ansible allows tags, anchors and words that are refused elsewhere.
        document = strict_yaml.load(data, self._shown(name))
        broken = [each for each in document.problems if each.what.startswith("is not YAML")]
        is_read = posixpath.basename(posixpath.dirname(name)) in ("tasks", "handlers", "") or "/" not in name
        if broken and is_read:
            yield broken[0]
        if isinstance(document.value, dict) and re.fullmatch(r"roles/[^/]+/meta/main\.ya?ml", name):
            rows = document.value.get("dependencies")
            for number, row in enumerate(rows if isinstance(rows, list) else []):
                yield from self._role(row, document.where(("dependencies", number)))
        if not isinstance(document.value, list):
            return
        for number, play in enumerate(document.value):
            if isinstance(play, dict) and ("hosts" in play or "import_playbook" in play):
                yield from self._play(document, (number,), play)
        for place, task in _tasks(document.value, ()):
            yield from self._task(document, place, task)

    def _play(self, document: Document, place: Place, play: Mapping[str, Any]) -> Iterator[Problem]:
        # Without a terminal Ansible takes the default, or nothing, and goes on.
        if "vars_prompt" in play:
            what = "asks for variables, and a host has no terminal (vars_prompt)"
            hint = "take them from the values of the site: `values` of the step"
            yield Problem(document.where((*place, "vars_prompt")), what, hint)
        # A play without hosts does nothing and succeeds.
        hosts = play.get("hosts")
        if isinstance(hosts, str) and not self._is_addressed(hosts) and "{{" not in hosts:
            what = f"hosts: {hosts:.60} names other hosts than the one that is installed"
            hint = "write hosts: all"
            if self._groups:
                what = f"hosts: {hosts:.60} names hosts that are in none of the groups of the step"
                hint = f"write one of {', '.join(self._groups)}, or all; or add it to `groups`"
            yield Problem(document.where((*place, "hosts")), what, hint)
        for number, row in enumerate(play.get("roles") or ()):
            yield from self._role(row, document.where((*place, "roles", number)))

    def _is_addressed(self, hosts: str) -> bool:
        if not self._groups:
            return hosts.startswith(_HERE)
        # Groups inside of those of the step are a matter of the site: a playbook cannot rely on them.
        names = (each.strip().lstrip("&!").partition("[")[0] for each in re.split("[:,]", hosts))
        return all(name in (*_HERE, *self._groups) for name in names)

    def _task(self, document: Document, place: Place, task: Mapping[str, Any]) -> Iterator[Problem]:
        for key, value in task.items():
            where = document.where((*place, key))
            short = key.removeprefix("ansible.builtin.").removeprefix("ansible.legacy.")
            # A module without dots is a built-in one, or lies next to the playbook: Ansible itself says so.
            match = _MODULE.fullmatch(key)
            if match and match[1] not in _BUILT_IN and match[1] not in self._collections:
                what = f"{key} is in the collection {match[1]}, which is not in {self._folder}/{COLLECTIONS}"
                yield Problem(where, what, _VENDOR)
            elif short == "pause" and not (isinstance(value, dict) and {"seconds", "minutes"} & value.keys()):
                what = "waits for a key, and a host has no terminal (pause without seconds)"
                yield Problem(where, what, "say how long: seconds or minutes")
            elif short in ("import_role", "include_role") and isinstance(value, dict) and "name" in value:
                yield from self._role(value["name"], where)


def _tasks(value: Any, place: Place) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield the tasks of a file, with those of blocks, each with its place."""
    for number, each in enumerate(value if isinstance(value, list) else ()):
        if not isinstance(each, dict):
            continue
        here = (*place, number)
        if "hosts" not in each and "import_playbook" not in each:
            yield here, each
        for key in _LISTS:
            yield from _tasks(each.get(key), (*here, key))


def _fits(version: str, bounds: str) -> bool:
    """Return whether a version is in a range of requirements.yml; what is not understood is let pass."""
    numbers = _numbers(version)
    for part in bounds.split(","):
        match = re.fullmatch(r"\s*(>=|<=|==|!=|>|<|=)?\s*([0-9]+(?:\.[0-9]+)*)\s*", part)
        if match is None or numbers is None:
            continue
        other = _numbers(match[2]) or ()
        is_equal, is_less = numbers == other, numbers < other
        fits = {
            ">=": not is_less, "<=": is_less or is_equal, "!=": not is_equal,
            ">": not is_less and not is_equal, "<": is_less,
        }.get(match[1] or "==", is_equal)  # fmt: skip
        if not fits:
            return False
    return True


def _numbers(text: str) -> tuple[int, ...] | None:
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", text)
    return tuple([*map(int, match[0].split(".")), 0, 0][:3]) if match else None
