"""Put the executable `install` on a host."""

from __future__ import annotations

import shlex
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.waybill.release.plugins.plugin_utils.command import EXECUTABLE, install, shell
from ansible_collections.waybill.release.plugins.plugin_utils.copying import (
    Copy,
    digest_of,
    local_file,
    place_of_copies,
)
from ansible_collections.waybill.release.plugins.plugin_utils.host_action import HostAction

ARGUMENTS: dict[str, dict[str, Any]] = {
    "root": {"type": "str", "default": "/"},
    "src": {"type": "str", "required": True},
    "env": {"type": "str"},
    "recover_at_boot": {"type": "bool", "default": False},
    "dest": {"type": "path"},
    "piece": {"type": "int", "default": 64},
}


class ActionModule(HostAction):
    """The action plugin of waybill.release.executable."""

    takes = ARGUMENTS

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Copy the executable and let it set itself up, unless the host has this one."""
        source = local_file(self, arguments["src"])
        place = f"{arguments['root'].rstrip('/')}{EXECUTABLE}"
        quoted = shlex.quote(place)
        # sha256sum ends the line with a name for standard input.
        if f"{digest_of(source)} " in shell(self, f"[ ! -x {quoted} ] || sha256sum <{quoted}"):
            return {"changed": False, "path": place}
        if self._task.check_mode:
            return {"changed": True, "path": place}
        copied = Copy(self, source, place_of_copies(arguments), arguments["piece"], "700").send()
        words = ["--env", arguments["env"]] if arguments["env"] else []
        words += ["--recover-at-boot"] if arguments["recover_at_boot"] else []
        answer = install(self, {**arguments, "executable": copied.path}, "setup", *words)
        shell(self, f"rm -f {shlex.quote(copied.path)}")
        if not answer.good:
            return {**answer.failure(), "changed": False}
        if not answer.document.get("changed"):
            raise AnsibleActionFail(f"{copied.path}: did not change {place}, which differs from it")
        told = {"changed": True, "path": place, "copied": copied.sent, "resumed": copied.resumed}
        return {**answer.result(), **told}
