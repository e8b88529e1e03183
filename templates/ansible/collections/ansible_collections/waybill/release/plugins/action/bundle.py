"""Install, verify, remove or roll back a release: `install` on the host does it, and says what it did."""

from __future__ import annotations

import json
import shlex
from typing import Any

from ansible_collections.waybill.release.plugins.plugin_utils.command import COMMON, Answer, install, shell
from ansible_collections.waybill.release.plugins.plugin_utils.copying import (
    APPROVALS,
    Copied,
    Copy,
    identity_of,
    local_file,
    place_of_copies,
    put,
)
from ansible_collections.waybill.release.plugins.plugin_utils.host_action import HostAction

ARGUMENTS: dict[str, dict[str, Any]] = {
    **COMMON,
    "state": {
        "type": "str",
        "default": "installed",
        "choices": ["installed", "verified", "rolled_back", "absent"],
    },
    "src": {"type": "str"},
    "remote_src": {"type": "bool", "default": False},
    "dest": {"type": "path"},
    "keep_copy": {"type": "bool", "default": True},
    "piece": {"type": "int", "default": 64},
    "product": {"type": "str"},
    "version": {"type": "str"},
    "env": {"type": "str"},
    "approvals": {"type": "path"},
    "values": {"type": "dict", "default": {}},
    "values_files": {"type": "list", "elements": "path", "default": []},
    "only": {"type": "list", "elements": "str", "default": []},
    "skip": {"type": "list", "elements": "str", "default": []},
    "on_drift": {"type": "list", "elements": "str", "default": []},
    "work_dir": {"type": "path"},
    "keep": {"type": "int"},
    "retry_failed": {"type": "bool", "default": False},
    "allow_quorum_loss": {"type": "bool", "default": False},
    "data_restored": {"type": "bool", "default": False},
    "purge": {"type": "bool", "default": False},
    "wait": {"type": "int"},
    "timeout": {"type": "int"},
}
REQUIRED = [
    ("state", "installed", ["src"]),
    ("state", "verified", ["src"]),
    ("state", "rolled_back", ["product", "version"]),
    ("state", "absent", ["product"]),
]
_CONFIGURING = ("approvals", "env", "keep", "on_drift", "only", "skip", "work_dir")
_PLANNING = (*_CONFIGURING, "allow_quorum_loss", "retry_failed")
OPTIONS = {
    "verify": ("approvals", "env"),
    "plan": _PLANNING,
    "apply": (*_PLANNING, "wait", "timeout"),
    "rollback": (
        *("allow_quorum_loss", "approvals", "data_restored", "on_drift", "only", "product", "skip", "wait"),
    ),
    "remove": ("allow_quorum_loss", "on_drift", "purge", "wait"),
}
"""Which arguments become options of which command; their names are the same."""
_TROUBLE = ("drift", "damaged", "distrust", "in_progress", "leftover", "secrets_changed", "unfinished")
"""What `status` says of a product that is not quite as it was released."""

# One copy for each product: a link says which one is to go.
_KEEP = """\
cd {directory} || exit
before=$(readlink {link}) || before=
[ "$before" != {name} ] || exit 0
ln -sfn {name} {link} || exit
case $before in '' | */*) ;; *) rm -rf -- "$before" "$before.approvals" ;; esac
"""
# The copy goes with the product that it is for. A link of somebody else may lead elsewhere: only it goes.
_LOOK = """\
cd {directory} 2>/dev/null || exit 0
[ ! -L {link} ] || echo COPY
"""
_DROP = """\
cd {directory} 2>/dev/null || exit 0
[ -L {link} ] || exit 0
before=$(readlink {link}) || exit
case $before in '' | */* | . | ..) before= ;; esac
[ -z "$before" ] || rm -rf -- "$before" "$before.approvals" "$before.partial" || exit
rm -f -- {link} && echo COPY
"""
VALUES = "values of the task"
"""What messages say in place of the file in which values reach the host."""


def options(command: str, arguments: dict[str, Any]) -> list[str]:
    """Return the options of a command of `install` that the arguments of the task stand for."""
    words = []
    for name in OPTIONS[command]:
        option, value = f"--{name.replace('_', '-')}", arguments[name]
        if value is True:
            words.append(option)
        elif isinstance(value, list):
            words += [word for each in value for word in (option, each)]
        elif value not in (None, False):
            words += [option, str(value)]
    return words


def diffs(plan: dict[str, Any] | None) -> list[dict[str, str]]:
    """Return what a plan changes, for Ansible's --diff: the lists of files, then the texts."""
    signs = {"add": "+", "make": "+", "remove": "-", "clear": "-"}
    files = "\n".join(
        f"{signs.get(each['verb'], '~')} {each['path']} ({each['verb']})"
        for each in (plan or {}).get("files") or []
    )
    texts = [each["text"] for each in (plan or {}).get("config") or [] if each["text"]]
    return [{"prepared": f"{text}\n"} for text in (files, *texts) if text]


class ActionModule(HostAction):
    """The action plugin of waybill.release.bundle."""

    takes = ARGUMENTS
    required = REQUIRED

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Bring the host into the state that the task wants."""
        self._arguments = arguments
        self._values_file = ""
        states = {"installed": self._installed, "verified": self._verified}
        others = {"rolled_back": self._rolled_back, "absent": self._absent}
        return (states | others)[arguments["state"]]()

    def _installed(self) -> dict[str, Any]:
        done, copied = self._present()
        if done is not None:
            return done
        checks = self._task.check_mode
        command = "plan" if checks else "apply"
        words = [command, copied.path, *options(command, self._arguments), *self._values()]
        answer = self._install(*words, *([] if checks else ["--yes"]))
        plan = answer.document if checks else answer.document.get("plan")
        told = self._told(answer, copied, plan)
        if not answer.good:
            return told
        if not checks and not self._arguments["remote_src"]:
            self._tidy(copied, str(answer.document["product"]))
        changed = not plan["nothing_to_do"] if checks and plan else bool(answer.document["changed"])
        return {**told, "changed": changed}

    def _verified(self) -> dict[str, Any]:
        done, copied = self._present()
        if done is not None:
            return done
        answer = self._install("verify", copied.path, *options("verify", self._arguments))
        # A copy that stays is a change; a second run sends nothing.
        return {**self._told(answer, copied), "changed": copied.changed}

    def _rolled_back(self) -> dict[str, Any]:
        product, version = self._arguments["product"], self._arguments["version"]
        answer = self._install("status", "--product", product)
        if not answer.good:
            return answer.failure()
        (found,) = answer.document["products"]
        if found["installed"] and found["installed"]["version"] == version and not troubled(found):
            return {**answer.result(), "changed": False, "msg": f"{product} {version} is installed"}
        if self._task.check_mode:
            # The command itself would first recover an interrupted transaction.
            retained = [each["version"] for each in found["retained"]]
            there = version in retained
            said = (
                f"{product} {version} is retained" if there else f"{version} is none of {', '.join(retained)}"
            )
            return {**answer.result(), "changed": there, "failed": not there, "msg": said}
        answer = self._install("rollback", version, *options("rollback", self._arguments), "--yes")
        return {**self._told(answer, Copied("")), "changed": bool(answer.document.get("changed"))}

    def _absent(self) -> dict[str, Any]:
        product = self._arguments["product"]
        if self._task.check_mode:
            answer = self._install("status")
            there = [each["product"] for each in answer.document.get("products") or () if each["installed"]]
            told = answer.result() if answer.good else answer.failure()
            return {**told, "changed": product in there or self._has_copy(product, _LOOK)}
        answer = self._install("remove", product, *options("remove", self._arguments), "--yes")
        # Of a product that is not quite gone, the copy stays: it may be needed to repair it.
        dropped = answer.good and self._has_copy(product, _DROP)
        return {**self._told(answer, Copied("")), "changed": bool(answer.document.get("changed")) or dropped}

    def _has_copy(self, product: str, script: str) -> bool:
        """Look for the copy of a product's bundle, or remove it; tell whether it was there."""
        words = {"directory": place_of_copies(self._arguments), "link": f".{product}.installed"}
        quoted = {key: shlex.quote(value) for key, value in words.items()}
        return "COPY" in shell(self, script.format(**quoted)).splitlines()

    def _present(self) -> tuple[dict[str, Any] | None, Copied]:
        """Copy the bundle, or return a result if the release is installed and no copy is needed."""
        named = self._arguments["src"]
        if self._arguments["remote_src"]:
            return None, Copied(named)
        source = local_file(self, named)
        identity = identity_of(source)
        copy = Copy(self, source, place_of_copies(self._arguments), self._arguments["piece"])
        if not copy.is_there() and not self._wants_more() and (found := self._status_of(identity)):
            return found, Copied(copy.path)
        return None, copy.send()

    def _wants_more(self) -> bool:
        # Values of this task may render other files from the same release; and only the bundle tells.
        wanted = ("values", "values_files", "only", "skip")
        return any(self._arguments[name] for name in wanted)

    def _status_of(self, identity: str) -> dict[str, Any] | None:
        """Return the result where this release is installed, and is as it was released."""
        answer = self._install("status")
        for found in answer.document.get("products") or ():
            installed = found["installed"]
            if installed and installed["identity"] == identity and not troubled(found):
                said = f"{found['product']} {installed['version']} is installed; the bundle was not copied"
                told = {**answer.result(), "product": found["product"], "to": installed, "from": installed}
                return {**told, "changed": False, "msg": said, "copied": 0, "resumed": 0, "path": None}
        return None

    def _values(self) -> list[str]:
        words = [word for each in self._arguments["values_files"] for word in ("--values", each)]
        if self._arguments["values"]:
            # JSON is YAML. A file of mode 0600, since every user can read a command line.
            data = json.dumps(self._arguments["values"]).encode()
            self._values_file = put(self, data, "values.yaml")
            words += ["--values", self._values_file]
        return words

    def _tidy(self, copied: Copied, product: str) -> None:
        """Remove the copy, or that of the release before, so that a host has one bundle of a product."""
        directory, _, name = copied.path.rpartition("/")
        if not self._arguments["keep_copy"]:
            whole = shlex.quote(copied.path)
            shell(self, f"rm -rf {whole} {whole}{APPROVALS}")
            return
        quoted = {"directory": directory, "link": f".{product}.installed", "name": name}
        shell(self, _KEEP.format(**{key: shlex.quote(value) for key, value in quoted.items()}))

    def _told(self, answer: Answer, copied: Copied, plan: dict[str, Any] | None = None) -> dict[str, Any]:
        told = answer.result() if answer.good else answer.failure()
        if copied.path:
            told |= {"path": copied.path, "copied": copied.sent, "resumed": copied.resumed}
        if plan:
            told["plan"] = plan
        if self._task.diff and plan:
            told["diff"] = diffs(plan)
        # A failure may have changed the host: what could not be undone, the copy.
        return {"changed": bool(answer.document.get("changed")), **told}

    def _install(self, *words: str) -> Answer:
        answer = install(self, self._arguments, *words)
        # By the time that somebody reads a message, this file is gone.
        return answer.naming(self._values_file, VALUES) if self._values_file else answer


def troubled(product: dict[str, Any]) -> bool:
    """Tell whether a product differs from its release, by its entry in `status --json`."""
    incomplete = (product.get("installed") or {}).get("incomplete")
    return bool(incomplete) or any(product.get(name) for name in _TROUBLE)
