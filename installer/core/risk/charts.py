"""Rules for the files of a chart: what its pods get of their node, what it reads or grants in the cluster.

Templates are searched as text: what they make depends on values, and on the cluster.
"""

from __future__ import annotations

import re

from installer.core.risk.risk import Found, Risk, by_rules

MOST = 200
"""Findings of one file."""
_RULES = (
    (re.compile(r"\bhostPath\s*:"), "mounts a directory of the node"),
    (re.compile(r"\bprivileged\s*:\s*[\"']?true"), "runs with all rights on the node (privileged)"),
    (re.compile(r"\bhost(?:Network|PID|IPC)\s*:\s*[\"']?true"), "shares a namespace of the node"),
    (re.compile(r"\bhostPort\s*:"), "opens a port of the node"),
    (re.compile(r"\ballowPrivilegeEscalation\s*:\s*[\"']?true"), "may get more rights than it starts with"),
    (re.compile(r"\bkind\s*:\s*[\"']?ClusterRole(?:Binding)?\b"), "grants rights in the whole cluster"),
    (re.compile(r"\bkind\s*:\s*[\"']?\w*WebhookConfiguration\b"), "sees or changes what others create"),
    (re.compile(r"\{\{.*\blookup\b"), "reads objects of the cluster while it is rendered"),
)


def examine_chart(where: str, text: str) -> Found:
    """Yield what a file of a chart opens on nodes and in the cluster.

    Args:
        where: Its path in the bundle.
        text: Its text.
    """
    if where.endswith(".tgz"):
        yield Risk("unread", where, "is an archive, which was not examined: unpack it with tar and read it")
        return
    yield from by_rules(where, text, _RULES, MOST)
