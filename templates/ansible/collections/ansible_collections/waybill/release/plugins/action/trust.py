"""Make a host trust a root, by its fingerprint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.waybill.release.plugins.plugin_utils.command import COMMON, Answer, install
from ansible_collections.waybill.release.plugins.plugin_utils.copying import digest_of, local_file, put
from ansible_collections.waybill.release.plugins.plugin_utils.host_action import HostAction

ARGUMENTS: dict[str, dict[str, Any]] = {
    **COMMON,
    "src": {"type": "str", "required": True},
    "fingerprint": {"type": "str", "required": True},
    "updates": {"type": "list", "elements": "str", "default": []},
    "env": {"type": "str"},
}
UNTRUSTED = 10
LARGEST = 1024 * 1024  # bytes of one file


class ActionModule(HostAction):
    """The action plugin of waybill.release.trust."""

    takes = ARGUMENTS

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Make the host trust the root, unless it trusts it, or a later version, already."""
        source = local_file(self, arguments["src"])
        updates = [local_file(self, each) for each in arguments["updates"]]
        if self._task.check_mode:
            return _would(install(self, arguments, "trust", "show"), arguments, source, updates)
        answer = self._ensure(arguments, source, updates)
        told = answer.result() if answer.good else answer.failure()
        changed = bool(answer.document.get("changed"))
        return {**told, "changed": changed, "trust": answer.document.get("trust")}

    def _ensure(self, arguments: dict[str, Any], source: Path, updates: list[Path]) -> Answer:
        words = [put(self, _data(source), source.name), "--fingerprint", arguments["fingerprint"]]
        for update in updates:
            put(self, _data(update), update.name)
        if updates:
            words += ["--update", self._connection._shell.tmpdir]
        if arguments["env"]:
            words += ["--env", arguments["env"]]
        return install(self, arguments, "trust", "ensure", *words)


def _would(answer: Answer, arguments: dict[str, Any], source: Path, updates: list[Path]) -> dict[str, Any]:
    """Return what check mode says: whether the host would trust another root than it does."""
    if answer.exit not in (0, UNTRUSTED):
        return answer.failure()
    wanted = arguments["fingerprint"].replace(" ", "").lower()
    if wanted != digest_of(source):
        raise AnsibleActionFail(f"{source}: has not the fingerprint that the task gives")
    trusted = answer.document.get("trust") or {"version": 0}
    newest = max(_version(each) for each in (source, *updates))
    return {"changed": trusted["version"] < newest, "trust": answer.document.get("trust")}


def _version(path: Path) -> int:
    """Return the version of a root; 0 for what lies next to one, such as signatures."""
    if path.suffix != ".json":
        return 0
    try:
        found = json.loads(_data(path))
    except ValueError as error:
        raise AnsibleActionFail(f"{path}: is no JSON: {error}") from error
    version = found.get("version") if isinstance(found, dict) else None
    return version if isinstance(version, int) else 0


def _data(path: Path) -> bytes:
    if path.stat().st_size > LARGEST:
        raise AnsibleActionFail(f"{path}: has more than {LARGEST} bytes, which no file of a root has")
    return path.read_bytes()
