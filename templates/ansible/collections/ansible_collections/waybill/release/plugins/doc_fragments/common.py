"""What the documentation of every module has."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragments of this collection."""

    DOCUMENTATION = r"""
options:
  executable:
    description: The executable C(install) on the host.
    type: str
    default: /opt/waybill/bin/install
  root:
    description: Directory to use in place of C(/), as with the option C(--root) of the executable.
    type: str
    default: /
notes:
  - The host needs no Python. The connection runs commands of a POSIX shell, and puts files.
    See the README of the collection.
  - C(environment) of the task, the play or the host reaches the executable.
requirements:
  - "On the host: sh, mktemp and tail; those of busybox will do."
attributes:
  platform:
    description: Platforms of the hosts.
    support: full
    platforms: posix
"""
