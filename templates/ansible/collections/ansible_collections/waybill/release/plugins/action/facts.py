"""Gather what is installed on a host, as facts."""

from __future__ import annotations

from typing import Any

from ansible_collections.waybill.release.plugins.plugin_utils.command import COMMON, install
from ansible_collections.waybill.release.plugins.plugin_utils.host_action import HostAction

ARGUMENTS: dict[str, dict[str, Any]] = {
    **COMMON,
    "product": {"type": "str"},
    "health": {"type": "bool", "default": False},
    "check": {"type": "bool", "default": False},
}
DIFFERS = 3  # the exit code of a host that drifted, or is not healthy


class ActionModule(HostAction):
    """The action plugin of waybill.release.facts."""

    takes = ARGUMENTS

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the document of `status` as the fact `waybill`."""
        words = ["--product", arguments["product"]] if arguments["product"] else []
        words += [f"--{name}" for name in ("health", "check") if arguments[name]]
        answer = install(self, arguments, "status", *words)
        result = answer.result() if answer.good or answer.exit == DIFFERS else answer.failure()
        if answer.exit == DIFFERS and arguments["check"]:
            result.update(failed=True, msg="\n".join(differences(answer.document)))
        by_name = {each["product"]: each for each in answer.document.get("products") or ()}
        facts = {**answer.document, "by_name": by_name}
        return {**result, "changed": False, "ansible_facts": {"waybill": facts}}


def differences(document: dict[str, Any]) -> list[str]:
    """Return a line for each reason why `status` says that a host differs."""
    found = ["exit 3 (differs): the host is not as it was released"]
    for product in document["products"]:
        name, health = product["product"], product["health"] or {"checks": [], "not_asked": None}
        found += [f"{name}: {each['where']}: {each['what']}" for each in product["drift"]]
        found += [
            f"{name}: {each['name']}: {each['said']}" for each in health["checks"] if not each["healthy"]
        ]
        if health["not_asked"]:
            found.append(f"{name}: the health checks were not asked: {health['not_asked']}")
        if product["unfinished"] or product["in_progress"]:
            found.append(f"{name}: a transaction was interrupted, or goes on: run `install recover`")
        if (product["installed"] or {}).get("incomplete"):
            found.append(f"{name}: INCOMPLETE: {product['installed']['incomplete']}")
    return found
