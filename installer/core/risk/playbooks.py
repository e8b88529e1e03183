"""Rules for the files of a playbook: whoever may change them runs what he likes as root."""

from __future__ import annotations

import posixpath
import re

from installer.core.risk.commands import suspicious
from installer.core.risk.risk import Found, Program, Risk, by_rules

COLLECTIONS = "collections/ansible_collections"
"""Where collections lie, below the directory of the playbook."""
MOST = 200
"""Findings of one file."""
_YAML = (".yml", ".yaml")
_TASKS = ("tasks", "handlers")
_RULES = (
    (re.compile(r"\bcheck_mode\s*:\s*[\"']?(?:false|no)\b", re.IGNORECASE), "runs while planning, too"),
    (re.compile(r"\bdelegate_to\s*:"), "runs on another host"),
    (re.compile(r"\bconnection\s*:\s*(?!local\b)\S"), "reaches its hosts by another connection"),
    (re.compile(r"\bignore_errors\s*:\s*[\"']?(?:true|yes)\b", re.IGNORECASE), "ignores its failure"),
    (re.compile(r"\basync\s*:\s*[1-9]"), "may still run when the playbook has ended"),
)


def examine_playbook(where: str, text: str) -> Found:
    """Yield what a file of a playbook does as root.

    Args:
        where: Its path in the bundle.
        text: Its text.
    """
    if f"/{COLLECTIONS}/" in where:
        # A collection has thousands of files. One finding for each would hide all others.
        if posixpath.basename(where) in ("MANIFEST.json", "galaxy.yml"):
            yield Risk("unread", posixpath.dirname(where), "is a collection, which was not examined")
        return
    folder = posixpath.basename(posixpath.dirname(where))
    # Plugins run inside of Ansible, modules as programs.
    if where.endswith(".py"):
        yield Program(where, "root", text)
        yield Risk("root", where, "runs as root, as a part of Ansible")
    elif where.endswith(_YAML) and (folder in _TASKS or _is_playbook(text)):
        yield Program(where, "root", text)
        yield Risk("root", where, "runs as root")
        yield from suspicious(where, text)
        yield from by_rules(where, text, _RULES, MOST)


def _is_playbook(text: str) -> bool:
    return (
        re.search(r"^(?:- |  )(?:hosts|(?:ansible\.builtin\.)?import_playbook)\s*:", text, re.MULTILINE)
        is not None
    )
