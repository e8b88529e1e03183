"""The users and groups of the files of a release, with those that a step of it creates first."""

from __future__ import annotations

from installer.core.errors import Problem
from installer.core.format.manifest import FileEntry
from installer.core.limits import LIMITS
from installer.core.risk.setting_lines import Accounts, fixed_numbers
from installer.host.context import Context
from installer.host.system import System
from installer.staging.staged import Staged


def created(context: Context, staged: Staged, files: list[tuple[str, FileEntry]]) -> Accounts:
    """Return the users and groups that the release creates with numbers of its own choice."""
    found = Accounts({}, {})
    for _, entry in files:
        if entry.kind == "sysusers":
            data = context.system.read(f"{staged.directory}/{entry.path}", LIMITS.document_bytes)
            numbers = fixed_numbers(data.decode("utf-8", "replace"))
            found.users.update(numbers.users)
            found.groups.update(numbers.groups)
    return found


class Owners:
    """Looks up users and groups, each once; without root rights owners are not set."""

    def __init__(self, system: System, problems: list[Problem], created: Accounts) -> None:
        self._system = system
        self._created = created
        self._problems = problems
        self._found: dict[str, tuple[int, int]] = {}

    def find(self, owner: str, path: str) -> tuple[int, int]:
        """Return the numbers of `user:group`, -1 for what is not set; note what does not exist."""
        if not self._system.privileged:
            return -1, -1
        if owner not in self._found:
            user, _, group = owner.partition(":")
            uid = self._system.user_id(user) if user else 0
            gid = self._system.group_id(group or user) if owner else 0
            # Created by the release before any of its files.
            uid = self._created.users.get(user) if uid is None else uid
            gid = self._created.groups.get(group or user) if gid is None else gid
            for what, name, number in (("user", user, uid), ("group", group or user, gid)):
                if number is None:
                    below = "" if self._system.live else f" --root {self._system.root}"
                    hint = f"create it first: {what}add --system {name}{below}"
                    problem = Problem(path, f"its {what} {name} does not exist on this host", hint)
                    self._problems.append(problem)
            self._found[owner] = (-1 if uid is None else uid, -1 if gid is None else gid)
        return self._found[owner]
