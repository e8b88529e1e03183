"""The inventory of a site: read strictly, checked, and handed to Ansible as data that nothing is run from.

Ansible would run inventories that are programs, load plugins that one names, and fill in templates in its
variables. So it never gets the file of the site: it gets what was read here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Self

from installer.core.errors import Problem
from installer.deploy.ansible.inventory_variables import OWN, variable_problems
from installer.deploy.operation import Json
from installer.secrets.registry import references_in
from installer.shared import strict_yaml
from installer.shared.strict_yaml import Document, Path

MOST_HOSTS = 1000
MOST_GROUPS = 200
MOST_BYTES = 512 * 1024
"""Of the variables of all hosts: the journal has them, and a group gives its own to each of its hosts."""
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_GROUP = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_ALL = "all"
_KEYS = ("hosts", "vars", "children")


@dataclass(frozen=True, slots=True)
class Group:
    """A group: the hosts and the groups that are in it."""

    hosts: tuple[str, ...] = ()
    children: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """The hosts of the groups that a step addresses, and no others.

    Attributes:
        hosts: The variables of each host by its name, those of its groups included.
        groups: The groups by their names.
    """

    hosts: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Group]

    def as_json(self) -> Json:
        """Return it as a journal has it: references in place of secrets."""
        groups = {
            name: {"hosts": [*each.hosts], "children": [*each.children]} for name, each in self.groups.items()
        }
        return {"hosts": {name: dict(values) for name, values in self.hosts.items()}, "groups": groups}

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """Read it from a journal."""
        groups = {
            name: Group(tuple(each["hosts"]), tuple(each["children"]))
            for name, each in value["groups"].items()
        }
        return cls(value["hosts"], groups)

    def only(self, names: Collection[str]) -> Inventory:
        """Return it with these hosts alone."""
        hosts = {name: values for name, values in self.hosts.items() if name in names}
        groups = {
            name: Group(tuple(each for each in group.hosts if each in hosts), group.children)
            for name, group in self.groups.items()
        }
        return Inventory(hosts, groups)

    def reached_as(self, now: Inventory) -> Inventory:
        """Return it for the hosts of another one, each reached as that says; variables and groups stay.

        A host may have moved, left or come since: how it is reached is a fact of today, and what a release
        does there one of the release. A host that came since is as the other one has it.
        """
        hosts = {
            name: {**_part(self.hosts.get(name, values), own=False), **_part(values, own=True)}
            for name, values in now.hosts.items()
        }
        came = now.only([name for name in now.hosts if name not in self.hosts]).groups
        here, none = self.only(now.hosts).groups, Group()
        groups = dict[str, Group]()
        for name in dict.fromkeys([*here, *came]):
            one, other = here.get(name, none), came.get(name, none)
            children = tuple(dict.fromkeys(one.children + other.children))
            groups[name] = Group(one.hosts + other.hosts, children)
        return Inventory(hosts, groups)

    def children(self) -> Json:
        """Return the groups as Ansible reads them, the hosts without their variables."""
        return {
            name: {
                "hosts": {host: {} for host in each.hosts},
                "children": {child: {} for child in each.children},
            }
            for name, each in self.groups.items()
        }


def _part(values: Mapping[str, Any], *, own: bool) -> dict[str, Any]:
    """Return the variables by which Ansible reaches a host, or all others."""
    return {key: value for key, value in values.items() if key.startswith(OWN) == own}


@dataclass(slots=True)
class _Reader:
    """What is in the file, before groups are put together."""

    document: Document
    problems: list[Problem] = field(default_factory=list)
    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    members: dict[str, list[str]] = field(default_factory=lambda: {_ALL: []})
    children: dict[str, list[str]] = field(default_factory=lambda: {_ALL: []})
    variables: dict[str, dict[str, Any]] = field(default_factory=lambda: {_ALL: {}})

    def read(self) -> None:
        top = self.document.value
        if not isinstance(top, dict):
            self._note((), "is not an inventory", "write `all:`, and the hosts below it")
            return
        for name, group in top.items():
            if name == "plugin":
                hint = "write the hosts down: `ansible-inventory --list --yaml` prints what a plugin finds"
                self._note((name,), "lets a plugin find the hosts, and none is run here", hint)
            else:
                self._group(name, group, (name,), _ALL)

    def _note(self, place: Path, what: str, hint: str) -> None:
        self.problems.append(Problem(self.document.where(place), what, hint))

    def _mapping(self, value: Any, place: Path) -> Mapping[str, Any]:
        if value is None or isinstance(value, dict):
            return value or {}
        self._note(place, f"{place[-1]} is not a mapping", "write NAME: below it, with a colon")
        return {}

    def _group(self, name: str, group: Any, place: Path, parent: str) -> None:
        if not _GROUP.fullmatch(name):
            hint = "write it with letters, digits and underscores"
            self._note(place, f"{name[:60]} cannot be the name of a group", hint)
            return
        for each in (self.members, self.children):
            each.setdefault(name, [])
        if name != _ALL:
            self.children[parent].append(name)
        # A group may be in several places; what they say of it is put together, as Ansible does.
        own = self.variables.setdefault(name, {})
        for key, value in self._mapping(group, place).items():
            here = (*place, key)
            if key not in _KEYS:
                hint = "a group has hosts, vars and children; put it below one of them"
                self._note(here, f"{key[:60]} is nothing that a group can have", hint)
            elif key == "vars":
                own.update(self._variables(value, here, ""))
            elif key == "hosts":
                for host, values in self._mapping(value, here).items():
                    self._host(host, values, (*here, host), name)
            else:
                for child, more in self._mapping(value, here).items():
                    self._group(child, more, (*here, child), name)

    def _host(self, name: str, values: Any, place: Path, group: str) -> None:
        if not _HOST.fullmatch(name):
            ranges = "write each host down: ranges such as web[01:09] are not read"
            hint = ranges if "[" in name else "write it with letters, digits, dots and hyphens"
            self._note(place, f"{name[:60]} cannot be the name of a host", hint)
            return
        self.members[group].append(name)
        self.hosts.setdefault(name, {}).update(self._variables(values, place, name))

    def _variables(self, value: Any, place: Path, host: str) -> Mapping[str, Any]:
        values = self._mapping(value, place)
        for key, each in values.items():
            for what, hint in variable_problems(key, each, host):
                self._note((*place, key), what, hint)
        return values

    def depths(self) -> dict[str, int]:
        """Return how deep each group lies below `all`.

        Raises:
            CycleError: Groups contain each other.
        """
        parents: dict[str, list[str]] = {name: [] for name in self.children}
        for name, children in self.children.items():
            for child in children:
                parents[child].append(name)
        found = dict[str, int]()
        for name in TopologicalSorter(parents).static_order():
            found[name] = 1 + max((found[each] for each in parents[name]), default=-1)
        return found

    def below(self, names: Sequence[str]) -> list[str]:
        """Return groups, and all that are in them, each once."""
        found, ahead = dict[str, None](), [*names]
        while ahead:
            if (name := ahead.pop(0)) not in found:
                found[name] = None
                ahead += self.children[name]
        return [*found]

    def flat(self, depths: Mapping[str, int]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each host with its variables as Ansible merges them: inner groups win over outer ones."""
        order = sorted(self.children, key=lambda each: (depths[each], each))
        inside = [
            (name, {host for each in self.below([name]) for host in self.members[each]}) for name in order
        ]
        for host, own in self.hosts.items():
            found = dict(self.variables[_ALL])
            for name, hosts in inside:
                if host in hosts:
                    found.update(self.variables[name])
            yield host, found | own


def read_inventory(data: bytes, name: str, groups: Sequence[str]) -> tuple[Inventory | None, list[Problem]]:
    """Return the hosts of some groups of an inventory, and what is wrong with it; None where something is.

    Args:
        data: The file.
        name: How problems name it.
        groups: The groups that a step addresses.
    """
    document = strict_yaml.load(data, name)
    if document.problems:
        return None, list(document.problems)
    reader = _Reader(document)
    reader.read()
    reader.problems += references_in(document.value, document.where)[1]
    for count, most, what in (
        (len(reader.hosts), MOST_HOSTS, "hosts"),
        (len(reader.children), MOST_GROUPS, "groups"),
    ):
        if count > most:
            hint = "deploy to fewer hosts at once"
            reader.problems.append(Problem(name, f"has {count} {what}; {most} are possible", hint))
    try:
        depths = {} if reader.problems else reader.depths()
    except CycleError as error:
        what = f"the groups {' > '.join(error.args[1])} contain each other"
        reader.problems.append(Problem(name, what, "take one of them out of the other"))
    if not reader.problems:
        reader.problems += _group_problems(reader, groups, name)
    if reader.problems:
        return None, reader.problems
    inventory, problem = _inventory(reader, depths, groups, name)
    return (None, [problem]) if problem else (inventory, [])


def _group_problems(reader: _Reader, groups: Sequence[str], name: str) -> Iterator[Problem]:
    for group in groups:
        if group not in reader.children:
            hint = f"add the group {group}, with the hosts that the release is for"
            yield Problem(name, f"has no group {group}, which the release addresses", hint)
        elif not any(reader.members[each] for each in reader.below([group])):
            yield Problem(name, f"the group {group} has no hosts", f"add a host to {group}")


def _inventory(
    reader: _Reader, depths: Mapping[str, int], groups: Sequence[str], name: str
) -> tuple[Inventory | None, Problem | None]:
    # Others are of no use to the playbook, and `all` in it must not mean them.
    wanted = reader.below(groups)
    names = {host for group in wanted for host in reader.members[group]}
    hosts, left = dict[str, dict[str, Any]](), MOST_BYTES
    for host, values in reader.flat(depths):
        if host not in names:
            continue
        hosts[host] = values
        left -= len(json.dumps(values))
        # Before all of them are there: a large group variable counts for each host.
        if left < 0:
            what = f"the variables of its hosts are more than {MOST_BYTES // 1024} KiB"
            return None, Problem(
                name, what, "move what is the same for all hosts into the values of the site"
            )
    made = {
        group: Group(
            tuple(dict.fromkeys(reader.members[group])), tuple(dict.fromkeys(reader.children[group]))
        )
        for group in wanted
    }
    return Inventory(hosts, made), None


def host_names(data: bytes, name: str) -> frozenset[str] | None:
    """Return the names of all hosts of an inventory; None where it cannot be read."""
    reader = _Reader(strict_yaml.load(data, name))
    if not reader.document.problems:
        reader.read()
    return None if reader.document.problems or reader.problems else frozenset(reader.hosts)
