"""Releases of Salt states, on a directory of this machine, with the Salt of the rig."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from installer.core.format.manifest import Deployment
from installer.host.system import Completed
from installer.planning.plan import Options
from tests.rig.cache import CACHE
from tests.rig.faulty import FaultySystem
from tests.rig.releases import Member, ReleaseSpec
from tests.rig.stepreleases import stepped

ONLY = Options(only=frozenset({"files", "salt"}))
"""Applies states below the directory: without its name the method is left out there."""
STATE = "deploy/salt/lan_chat"
INIT = """\
{% set root = pillar.waybill.root %}
{{ root }}/srv/level:
  file.managed:
    - contents: "{{ pillar.waybill.version }} {{ pillar.get('level', 'none') }}"
    - makedirs: true
{{ root }}/srv/login:
  file.managed:
    - source: salt://lan_chat/login.j2
    - template: jinja
    - mode: '0600'
"""
HALF = INIT.replace(
    "{{ root }}/srv/login:",
    "it dies here:\n  cmd.run:\n    - name: kill -9 $PPID\n{{ root }}/srv/login:",
)
"""Ends Salt itself between two states, without a word."""
LOGIN = "password={{ pillar.get('password', 'none') }}\n"
UNDO = """\
{{ pillar.waybill.root }}/srv:
  file.absent: []
"""


@dataclass(frozen=True)
class States:
    """What one release has.

    Attributes:
        init: The state.
        undo: The state that reverts it; empty for none.
        pillar: The template of the pillar; empty for none.
        defaults: The default values of the bundle.
        options: More options of the step.
    """

    init: str = INIT
    undo: str = UNDO
    pillar: str = ""
    defaults: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def stated(number: int, states: States = States()) -> ReleaseSpec:
    """Return a release with a file and states."""
    files = {"init.sls": states.init, "login.j2": LOGIN} | ({"undo.sls": states.undo} if states.undo else {})
    members = {f"{STATE}/{name}": Member(text.encode(), kind="deploy") for name, text in files.items()}
    options: dict[str, Any] = {"state": list(members), "timeout": 60, **states.options}
    options |= {"undo": "lan_chat.undo"} if states.undo else {}
    members["config/f"] = Member(str(number).encode(), "/etc/f")
    template = ("pillar", "deploy/pillar.yaml.j2", states.pillar)
    return stepped(number, Deployment("salt", options), members, template, states.defaults)


class WithSalt(FaultySystem):
    """A host in a directory that has the Salt of the rig; notes what was run, and what is wrong at a run.

    Args:
        root: The directory.
        nth: Which run that changes something goes wrong; 0 for none.
        fault: `kill before`, `kill after`, `fail` or `hang`. For a kill half way, see `HALF`.
    """

    def __init__(self, root: Path, nth: int = 0, wrong: str = "") -> None:
        super().__init__(root)
        self._left, self._wrong = nth, wrong
        self.ran: list[tuple[str, ...]] = []

    def which(self, tool: str) -> str | None:
        return shutil.which(tool, path=str(CACHE / "salt/bin")) or super().which(tool)

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        self.ran.append(tuple(argv))
        if "state.apply" not in argv or argv[-1] == "test=True":
            return super().run(argv, **options)
        self._left -= 1
        if self._left or not self._wrong:
            return super().run(argv, **options)
        if self._wrong == "fail":
            return Completed(tuple(argv), 1, b"", b"the rig refuses")
        if self._wrong == "hang":
            return super().run(["sleep", "1000"], **{**options, "timeout": 0.2})
        if self._wrong == "kill after":
            super().run(argv, **options)
        self._die()
        raise AssertionError
